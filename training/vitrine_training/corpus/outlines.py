"""Plane curves: closed outlines for extrusions and sections, open curves for paths.

Outlines are (N, 2) float64, counter-clockwise, without a repeated last point.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TAU = 2.0 * math.pi


def ellipse(a: float, b: float | None = None, n: int = 40) -> Floats:
    """Ellipse with half axes a and b."""
    t = np.arange(n) * (TAU / n)
    return np.stack([a * np.cos(t), (a if b is None else b) * np.sin(t)], axis=1)


def superellipse(a: float, b: float, power: float, n: int = 48) -> Floats:
    """|x/a|^power + |y/b|^power = 1: diamond (1), ellipse (2), towards a rectangle (above)."""
    t = np.arange(n) * (TAU / n)
    c, s = np.cos(t), np.sin(t)
    e = 2.0 / power
    return np.stack([a * np.sign(c) * np.abs(c) ** e, b * np.sign(s) * np.abs(s) ** e], axis=1)


def rectangle(w: float, d: float) -> Floats:
    """Rectangle of full width w and depth d around the origin."""
    return np.array([[-w, -d], [w, -d], [w, d], [-w, d]]) * 0.5


def rounded(points: Floats, radius: float | Sequence[float], n: int = 5) -> Floats:
    """Round each corner of a polygon with arcs of the given radius (one, or one a corner)."""
    count = len(points)
    radii = [radius] * count if isinstance(radius, (int, float)) else list(radius)
    out = []
    for i in range(count):
        p, a, b = points[i], points[i - 1], points[(i + 1) % count]
        da, db = a - p, b - p
        la, lb = math.hypot(*da), math.hypot(*db)
        da, db = da / la, db / lb
        cosine = float(np.clip(da @ db, -0.9999, 0.9999))
        half = 0.5 * math.acos(cosine)
        cut = min(radii[i] / math.tan(half), 0.49 * la, 0.49 * lb)
        if cut < 1e-6:
            out.append(p)
            continue
        # a quadratic curve is close enough to the arc at these sizes
        t = np.linspace(0.0, 1.0, n)[:, None]
        out.extend((1 - t) ** 2 * (p + da * cut) + 2 * t * (1 - t) * p + t**2 * (p + db * cut))
    return np.array(out)


def rounded_rectangle(w: float, d: float, radius: float, n: int = 5) -> Floats:
    """Rectangle with rounded corners."""
    return rounded(rectangle(w, d), max(1e-4, min(radius, 0.49 * w, 0.49 * d)), n)


def regular(sides: int, radius: float, *, turn: float = 0.0) -> Floats:
    """Regular polygon."""
    t = np.arange(sides) * (TAU / sides) + turn
    return radius * np.stack([np.cos(t), np.sin(t)], axis=1)


def star(points: int, outer: float, inner: float) -> Floats:
    """Star polygon with alternating radii."""
    t = np.arange(2 * points) * (TAU / (2 * points)) + 0.5 * math.pi
    r = np.where(np.arange(2 * points) % 2 == 0, outer, inner)
    return np.stack([r * np.cos(t), r * np.sin(t)], axis=1)


def gear(teeth: int, outer: float, inner: float) -> Floats:
    """Square-toothed wheel."""
    t = np.arange(4 * teeth) * (TAU / (4 * teeth))
    r = np.where(np.arange(4 * teeth) % 4 < 2, outer, inner)
    return np.stack([r * np.cos(t), r * np.sin(t)], axis=1)


def lobed(radius: float, lobes: int, depth: float, n: int = 96, *, sharp: float = 1.0) -> Floats:
    """Circle with `lobes` waves of relative depth; `sharp` above 1 narrows the valleys."""
    t = np.arange(n) * (TAU / n)
    wave = (
        np.abs(np.cos(0.5 * lobes * t)) ** sharp if sharp != 1.0 else 0.5 + 0.5 * np.cos(lobes * t)
    )
    r = radius * (1.0 - depth + depth * wave)
    return np.stack([r * np.cos(t), r * np.sin(t)], axis=1)


def blob(
    radius: float, amplitudes: Sequence[float], phases: Sequence[float], n: int = 72
) -> Floats:
    """Circle with its radius varied by the harmonics 2, 3, 4, … of the given amplitudes."""
    t = np.arange(n) * (TAU / n)
    r = np.ones(n)
    for k, (amplitude, phase) in enumerate(zip(amplitudes, phases, strict=True), start=2):
        r += amplitude * np.cos(k * t + phase)
    r *= radius
    return np.stack([r * np.cos(t), r * np.sin(t)], axis=1)


def heart(size: float, n: int = 56) -> Floats:
    """Heart of about the given half width."""
    t = np.arange(n) * (TAU / n)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x, y], axis=1)[::-1] * (size / 16.0)


def egg(a: float, b: float, skew: float, n: int = 48) -> Floats:
    """Ellipse that is wider at one end of its y axis."""
    points = ellipse(a, b, n)
    points[:, 0] *= 1.0 + skew * points[:, 1] / b
    return points


def crescent(radius: float, bite: float, n: int = 32) -> Floats:
    """Moon: a disc less a disc of the same size moved by `bite` radii."""
    half = math.acos(min(0.95, 0.5 * bite))
    t = np.linspace(half, TAU - half, n)
    outer = radius * np.stack([np.cos(t), np.sin(t)], axis=1)
    s = np.linspace(math.pi + half, math.pi - half, n)[1:-1]
    inner = radius * np.stack([bite + np.cos(s), np.sin(s)], axis=1)
    return np.concatenate([outer, inner])


def smooth(
    points: Sequence[Sequence[float]] | Floats, n: int = 32, *, closed: bool = False
) -> Floats:
    """Centripetal-free Catmull-Rom curve through points (K, D), resampled to n points."""
    p = np.asarray(points, dtype=np.float64)
    if closed:
        p = np.concatenate([p[-1:], p, p[:2]])
    else:
        p = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    segments = len(p) - 3
    s = np.arange(n) * (segments / n) if closed else np.linspace(0, segments, n)
    i = np.minimum(s.astype(int), segments - 1)
    t = (s - i)[:, None]
    a, b, c, d = p[i], p[i + 1], p[i + 2], p[i + 3]
    curve: Floats = 0.5 * (
        2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3
    )
    return curve


def thick(path: Floats, width: float | Floats, *, round_ends: bool = True) -> Floats:
    """Outline of an open plane path (N, 2) of the given full width (one, or one a point)."""
    w = np.broadcast_to(np.asarray(width, dtype=np.float64) * 0.5, (len(path),))[:, None]
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-12
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    right, left = path - normal * w, path + normal * w
    if not round_ends:
        return np.concatenate([right, left[::-1]])
    t = np.linspace(-0.5 * math.pi, 0.5 * math.pi, 8)[1:-1, None]
    head = path[-1] + w[-1] * (np.cos(t) * tangent[-1] + np.sin(t) * normal[-1])
    tail = path[0] - w[0] * (np.cos(t) * tangent[0] + np.sin(t) * normal[0])
    return np.concatenate([right, head, left[::-1], tail])


def area(points: Floats) -> float:
    """Signed area, positive when counter-clockwise."""
    x, y = points[:, 0], points[:, 1]
    return 0.5 * float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def inset(points: Floats, amount: float) -> Floats:
    """Move an outline inwards by about `amount`, limited so that it keeps its sense."""
    edges = np.roll(points, -1, axis=0) - points
    lengths = np.linalg.norm(edges, axis=1, keepdims=True) + 1e-12
    normal = np.stack([-edges[:, 1], edges[:, 0]], axis=1) / lengths
    both = normal + np.roll(normal, 1, axis=0)
    both /= np.maximum(np.sum(both * both, axis=1, keepdims=True) * 0.5, 0.35)
    moved: Floats = points + both * amount
    return moved
