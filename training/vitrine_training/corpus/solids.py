"""Solids from curves: extrusions, revolved and lofted bodies, tubes, ribbons, ellipsoids, boxes.

All sizes are in model units; what is not said to stand on z = 0 is centred on the origin.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from . import outlines
from .kernels import clip_ears
from .mesh import Model, Patch, grid, joined, new_group

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Two neighbouring segments of a profile that turn by more than this meet in an edge that is drawn.
_CORNER_COS = math.cos(math.radians(33.0))


def _corners(points: Floats, *, closed: bool) -> list[int]:
    """Return the indices where a polyline turns sharply (the ends of an open one included)."""
    if closed:
        d = np.roll(points, -1, axis=0) - points
        d /= np.linalg.norm(d, axis=1, keepdims=True) + 1e-12
        turn = np.sum(d * np.roll(d, 1, axis=0), axis=1)
        return [int(i) for i in np.flatnonzero(turn < _CORNER_COS)]
    d = np.diff(points, axis=0)
    d /= np.linalg.norm(d, axis=1, keepdims=True) + 1e-12
    turn = np.sum(d[1:] * d[:-1], axis=1)
    inner = (int(i) for i in np.flatnonzero(turn < _CORNER_COS) + 1)
    return [0, *inner, len(points) - 1]


def _arc_length(points: Floats) -> Floats:
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    return np.concatenate([[0.0], np.cumsum(steps)])


def skin(rings: Floats, *, closed: bool = True, seams: bool = True) -> Model:
    """Surface through rings (R, C, 3), split into patches at its sharp corners.

    closed: the last point of each ring joins the first. seams: draw the edges at corners.
    """
    if closed:
        rings = np.concatenate([rings, rings[:, :1]], axis=1)
    middle = rings[int(np.argmax(np.ptp(rings, axis=1).sum(axis=1)))]
    u = _arc_length(middle)
    v = _arc_length(rings[:, 0])
    if closed:
        spots = _corners(middle[:-1], closed=True)
        columns = (
            [spots[0], *spots[1:], spots[0] + len(middle) - 1] if spots else [0, len(middle) - 1]
        )
        if spots and spots[0] > 0:  # start at a corner
            rings = np.concatenate([rings[:, :-1], rings[:, : spots[0] + 1]], axis=1)
            u = np.concatenate([u[:-1], u[-1] + u[: spots[0] + 1]])
    else:
        columns = _corners(middle, closed=False)
    centre = rings[:, : len(middle)].mean(axis=1)
    profile = np.stack([np.linalg.norm(rings[:, 0] - centre, axis=1), _arc_length(centre)], axis=1)
    rows = _corners(profile, closed=False) if np.ptp(profile[:, 0]) > 1e-9 else [0, len(rings) - 1]
    group = new_group()
    parts = []
    for r0, r1 in pairwise(rows):
        drop = abs(profile[r1, 0] - profile[r0, 0]) > 1.5 * abs(profile[r1, 1] - profile[r0, 1])
        for c0, c1 in pairwise(columns):
            flat = c1 - c0 <= 2 and not drop
            bent = 2 if drop and c1 - c0 > 8 else 0 if flat or drop else 1
            parts.append(
                grid(
                    rings[r0 : r1 + 1, c0 : c1 + 1],
                    u[c0 : c1 + 1],
                    v[r0 : r1 + 1],
                    bent=bent,
                    group=None if seams else group,
                )
            )
    return joined(parts)


def face(outline: Floats, z: float = 0.0, holes: Sequence[Floats] = ()) -> Model:
    """Flat face at height z with optional holes (outlines inside it)."""
    points = outline if outlines.area(outline) > 0 else outline[::-1]
    for hole in sorted(holes, key=lambda h: -float(h[:, 0].max())):
        ring = hole if outlines.area(hole) < 0 else hole[::-1]
        start = int(np.argmax(ring[:, 0]))
        ring = np.concatenate([ring[start:], ring[: start + 1]])
        at = _bridge(points, ring[0])
        points = np.concatenate([points[: at + 1], ring, points[at:]])
    triangles = clip_ears(np.ascontiguousarray(points))
    vertices = np.column_stack([points, np.full(len(points), z)])
    return Model([Patch(vertices, points.copy(), triangles, 0, new_group())])


def _bridge(points: Floats, inner: Floats) -> int:
    """Return the outline vertex that a hole's point `inner` sees, to join them."""
    order = np.argsort(np.sum((points - inner) ** 2, axis=1))
    a, b = points, np.roll(points, -1, axis=0)
    for i in order:
        p = points[i]
        d1 = _side(inner, p, a) * _side(inner, p, b)
        d2 = _side(a, b, inner) * _side(a, b, p)
        if p[0] >= inner[0] and not np.any((d1 < -1e-12) & (d2 < -1e-12)):
            return int(i)
    return int(order[0])


def _side(a: Floats, b: Floats, p: Floats) -> Floats:
    side: Floats = (b[..., 0] - a[..., 0]) * (p[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (
        p[..., 0] - a[..., 0]
    )
    return side


def extrude(
    outline: Floats, height: float, *, bevel: float = 0.0, holes: Sequence[Floats] = ()
) -> Model:
    """Prism on z = 0; `bevel` cuts its top and bottom edges by that much."""
    bevel = min(bevel, 0.45 * height)
    if outlines.area(outline) < 0:
        outline = outline[::-1]
    if bevel > 0:
        small = outlines.inset(outline, bevel)
        stack = [(small, 0.0), (outline, bevel), (outline, height - bevel), (small, height)]
    else:
        small, stack = outline, [(outline, 0.0), (outline, height)]
    rings = np.stack([np.column_stack([o, np.full(len(o), z)]) for o, z in stack])
    # a bevel's edges are drawn on both sides, however blunt
    sides = joined(skin(rings[i : i + 2]) for i in range(len(rings) - 1))
    walls = joined(
        skin(np.stack([np.column_stack([h, np.full(len(h), z)]) for z in (0.0, height)]))
        for h in holes
    )
    return sides + walls + face(small, 0.0, holes) + face(small, height, holes)


def revolve(
    profile: Sequence[Sequence[float]] | Floats, *, segments: int = 40, seams: bool = True
) -> Model:
    """Turn a profile of (radius, height) points about z; edges are drawn at its sharp corners."""
    p = np.asarray(profile, dtype=np.float64)
    t = np.linspace(0.0, outlines.TAU, segments + 1) + 0.5 * math.pi  # the seam is at the back
    c, s = np.cos(t), np.sin(t)
    v = _arc_length(p)
    group = new_group()
    parts = []
    cuts = _corners(p, closed=False)
    for i, j in pairwise(cuts):
        part = p[i : j + 1]
        points = np.empty((len(part), segments + 1, 3))
        points[..., 0] = part[:, :1] * c
        points[..., 1] = part[:, :1] * s
        points[..., 2] = part[:, 1:]
        drop = np.ptp(part[:, 0]) > 1.6 * np.ptp(part[:, 1])
        u = t * max(float(part[:, 0].max()), 1e-6)
        flat = drop and np.ptp(part[:, 1]) < 0.02 * np.ptp(part[:, 0])
        if flat:  # plain coordinates for patterns on discs
            parts.append(
                grid(points, points[..., 0], points[..., 1], bent=0, group=None if seams else group)
            )
        else:
            parts.append(
                grid(points, u, v[i : j + 1], bent=2 if drop else 1, group=None if seams else group)
            )
    return joined(parts)


def loft(
    sections: Sequence[tuple[Floats, float]] | Sequence[tuple[Floats, float, float, float]],
    *,
    caps: bool = True,
    seams: bool = True,
) -> Model:
    """Skin through outlines of equal length, each (outline, z) or (outline, z, dx, dy)."""
    rings = []
    for outline, z, *shift in sections:
        dx, dy = shift if shift else (0.0, 0.0)
        rings.append(
            np.column_stack([outline[:, 0] + dx, outline[:, 1] + dy, np.full(len(outline), z)])
        )
    stack = np.stack(rings)
    body = skin(stack, seams=seams)
    if not caps:
        return body
    ends = [
        face(ring[:, :2], float(ring[0, 2]))
        for ring in (stack[0], stack[-1])
        if np.ptp(ring[:, :2]) > 1e-6
    ]
    return joined([body, *ends])


def tube(
    path: Sequence[Sequence[float]] | Floats,
    radius: float | Sequence[float] | Floats,
    *,
    section: Floats | None = None,
    closed: bool = False,
    caps: bool = True,
    sides: int = 14,
) -> Model:
    """Sweep a section (unit outline, by default a circle) along a path (N, 3).

    radius: one, or one a point.
    """
    p = np.asarray(path, dtype=np.float64)
    ring = outlines.ellipse(1.0, 1.0, sides) if section is None else section
    n = len(p)
    tangent = np.roll(p, -1, axis=0) - np.roll(p, 1, axis=0) if closed else np.gradient(p, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-12
    # parallel transport keeps the section from twisting
    normals = np.empty((n, 3))
    axis = np.eye(3)[int(np.argmin(np.abs(tangent[0])))]
    normals[0] = axis - tangent[0] * (axis @ tangent[0])
    normals[0] /= np.linalg.norm(normals[0])
    for i in range(1, n):
        step = normals[i - 1] - tangent[i] * (normals[i - 1] @ tangent[i])
        normals[i] = step / (np.linalg.norm(step) + 1e-12)
    binormals = np.cross(tangent, normals)
    r = np.broadcast_to(np.asarray(radius, dtype=np.float64), (n,))[:, None, None]
    rings = p[:, None] + r * (
        ring[None, :, :1] * normals[:, None] + ring[None, :, 1:] * binormals[:, None]
    )
    if closed:
        rings = np.concatenate([rings, rings[:1]])
    rings = np.concatenate([rings, rings[:, :1]], axis=1)
    v = _arc_length(np.concatenate([p, p[:1]]) if closed else p)
    size = float(r.max())
    u = _arc_length(np.concatenate([ring, ring[:1]])) * size
    spots = _corners(ring, closed=True)
    if not spots:
        body = grid(rings, u, v)
    else:
        rings = np.concatenate([rings[:, :-1], rings[:, : spots[0] + 1]], axis=1)
        u = np.concatenate([u[:-1], u[-1] + u[: spots[0] + 1]])
        ends = [*spots, spots[0] + len(ring)]
        body = joined(
            grid(rings[:, a : b + 1], u[a : b + 1], v, bent=0 if b - a <= 2 else 1)
            for a, b in pairwise(ends)
        )
    if closed or not caps:
        return body
    fan = np.stack(
        [np.zeros(len(ring) - 2), np.arange(1, len(ring) - 1), np.arange(2, len(ring))], 1
    )
    tips = [
        Patch(rings[i, : len(ring)], ring * size, fan.astype(np.int32), 0, new_group())
        for i in (0, -1)
    ]
    return Model(body.patches + tips)


def ellipsoid(
    rx: float, ry: float, rz: float, *, power_xy: float = 2.0, power_z: float = 2.0, n: int = 28
) -> Model:
    """Superellipsoid: powers of 2 give an ellipsoid, above it towards a box."""
    t = np.linspace(-0.5 * math.pi, 0.5 * math.pi, n // 2 + 1)
    c, s = np.cos(t), np.sin(t)
    e = 2.0 / power_z
    radius, height = np.abs(c) ** e, np.sign(s) * np.abs(s) ** e
    ring = np.roll(
        outlines.superellipse(rx, ry, power_xy, n * 2 if power_xy > 2 else n), n // 4, axis=0
    )
    ring = np.concatenate([ring, ring[:1]])
    points = np.empty((len(t), len(ring), 3))
    points[..., :2] = radius[:, None, None] * ring
    points[..., 2] = height[:, None] * rz
    v = _arc_length(np.stack([radius * max(rx, ry), height * rz], axis=1))
    return grid(points, _arc_length(ring), v)


def box(w: float, d: float, h: float, *, radius: float = 0.0, bevel: float = 0.0) -> Model:
    """Box on z = 0, with rounded upright edges and bevelled top and bottom edges."""
    outline = outlines.rounded_rectangle(w, d, radius) if radius > 0 else outlines.rectangle(w, d)
    return extrude(outline, h, bevel=bevel)


def cylinder(
    radius: float, height: float, *, bevel: float = 0.0, top: float | None = None
) -> Model:
    """Upright cylinder on z = 0 (a cone when `top` radius differs)."""
    r1 = radius if top is None else top
    if bevel > 0:
        profile = [[0, 0], [radius - bevel, 0], [radius, bevel], [r1, height - bevel],
                   [r1 - bevel, height], [0, height]]  # fmt: skip
    else:
        profile = [[0, 0], [radius, 0], [r1, height], [0, height]]
    return revolve(np.maximum(np.array(profile, dtype=np.float64), [0.0, -1e9]))


def torus(radius: float, thickness: float, *, sides: int = 14, segments: int = 40) -> Model:
    """Ring in the plane z = 0; `thickness` is the radius of its tube."""
    return tube(
        np.column_stack([outlines.ellipse(radius, radius, segments), np.zeros(segments)]),
        thickness, closed=True, sides=sides,
    )  # fmt: skip


def ribbon(path: Sequence[Sequence[float]] | Floats, width: float, thickness: float) -> Model:
    """Strap along a path (N, 3), its width across the plane in which the path bends."""
    p = np.asarray(path, dtype=np.float64)
    tangent = np.gradient(p, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-12
    spread = np.ptp(p, axis=0)
    across = np.eye(3)[int(np.argmin(spread))]
    normal = np.cross(tangent, across)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]
    rings = np.stack(
        [p + 0.5 * width * a * across + 0.5 * thickness * b * normal for a, b in corners], axis=1
    )
    v = _arc_length(p)
    return joined(
        grid(rings[:, i : i + 2], np.array([0.0, width if i % 2 == 0 else thickness]), v, bent=0)
        for i in range(4)
    )
