"""Two drawings laid over each other: where their lines agree and where they do not.

The second drawing is moved, turned, scaled and if need be mirrored onto the first, never stretched
or sheared: that would hide differences of proportion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

Pixels: TypeAlias = NDArray[np.uint8]
_Ink: TypeAlias = NDArray[np.float32]

_SIDE = 96  # pixels along the side while searching; the overlay has the view's own size
_REFINED = 3  # of the nine first guesses, those that fit best
_INK = 64  # difference from white, of 255, above which a pixel is part of a line
_MIN_PAPER = 0.5  # share of near-white pixels in a drawing
_MAX_COLOUR = 6.0  # mean distance between the channels of a drawing, of 255
# Okabe and Ito's colours: told apart with every kind of colour blindness.
_BOTH, _ONLY_A, _ONLY_B = (34, 34, 34), (213, 94, 0), (0, 114, 178)


@dataclass(frozen=True, slots=True)
class Pose:
    """What is done to the second drawing: mirror, turn, scale, then move (shares of the side)."""

    shift_x: float
    shift_y: float
    scale: float
    degrees: float
    mirrored: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """overlay: (V, V, 3) uint8 RGB, lines of both dark, of the first orange, of the second blue.

    agreement: share of the two drawings' lines that lie within 1 % of the side of the other's.
    """

    pose: Pose
    agreement: float
    overlay: Pixels


def is_drawing(view: Pixels) -> bool:
    """Mostly white paper and hardly any colour. view: (V, V, 3) uint8."""
    wide = view.astype(np.int16)
    paper = float((wide.min(axis=2) > 255 - _INK).mean())
    colour = float((wide.max(axis=2) - wide.min(axis=2)).mean())
    return _MIN_PAPER < paper < 1 and colour < _MAX_COLOUR


def difference(a: Pixels, b: Pixels) -> Difference:
    """Align b with a and compare the lines. a, b: (V, V, 3) uint8 drawings of one size."""
    ink_a, ink_b = _ink(a), _ink(b)
    small_a, small_b = _blurred(ink_a), _blurred(ink_b)
    starts = sorted(
        _starts(small_a, small_b), key=lambda pose: -_correlation(small_a, small_b, pose)
    )
    refined = [_refine(small_a, small_b, start) for start in starts[:_REFINED]]
    pose = max(refined, key=lambda found: found[0])[1]
    size = len(a)
    moved = cv2.warpAffine(ink_b, _matrix(pose, size), (size, size), flags=cv2.INTER_LINEAR)
    lines_a, lines_b = ink_a > _INK, moved > _INK
    near_a, near_b = _widened(lines_a), _widened(lines_b)
    agreeing = (lines_a & near_b).sum() + (lines_b & near_a).sum()
    total = lines_a.sum() + lines_b.sum()
    overlay = np.full((size, size, 3), 255, np.uint8)
    overlay[lines_a & ~near_b] = _ONLY_A
    overlay[lines_b & ~near_a] = _ONLY_B
    overlay[(lines_a & near_b) | (lines_b & near_a)] = _BOTH
    return Difference(pose, float(agreeing / total) if total else 0.0, overlay)


def _ink(view: Pixels) -> _Ink:
    """(V, V) float32: 0 on white paper, 255 in black lines."""
    return np.asarray(255 - cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), np.float32)


def _blurred(ink: _Ink) -> _Ink:
    """Small and soft, so that lines that lie beside each other still attract."""
    small = cv2.resize(ink, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(small, (0, 0), 2.5), np.float32)


def _starts(a: _Ink, b: _Ink) -> Sequence[Pose]:
    """As they lie, and centred and scaled by their ink: upright, turned by quarters, mirrored."""
    (ax, ay, spread_a), (bx, by, spread_b) = _moments(a), _moments(b)
    scale = min(4.0, max(0.25, spread_a / spread_b))
    poses = [Pose(0, 0, 1, 0, mirrored=False)]
    for mirrored in (False, True):
        for degrees in (0, 90, 180, 270):
            unmoved = Pose(0, 0, scale, degrees, mirrored)
            x, y = _matrix(unmoved, 1) @ (bx, by, 1)
            poses.append(Pose(ax - float(x), ay - float(y), scale, degrees, mirrored))
    return poses


def _moments(ink: _Ink) -> tuple[float, float, float]:
    """Centre (x, y) and root mean square distance from it, as shares of the side."""
    total = float(ink.sum()) or 1.0
    at = (np.arange(_SIDE) + 0.5) / _SIDE
    columns, rows = ink.sum(axis=0), ink.sum(axis=1)
    x, y = float(columns @ at) / total, float(rows @ at) / total
    spread = (columns @ (at - x) ** 2 + rows @ (at - y) ** 2) / total
    return x, y, max(0.01, math.sqrt(float(spread)))


def _refine(a: _Ink, b: _Ink, start: Pose) -> tuple[float, Pose]:
    """Pattern search (Hooke and Jeeves, 1961) for the pose with the largest correlation."""
    steps = np.array([0.04, 0.04, 0.08, 6.0])
    place = np.array([start.shift_x, start.shift_y, start.scale, start.degrees])
    best = _correlation(a, b, start)
    while steps[0] > 0.002:
        moved = False
        for axis in range(4):
            for sign in (1, -1):
                tried = place.copy()
                tried[axis] += sign * steps[axis]
                if not 0.2 <= tried[2] <= 5:
                    continue
                found = _correlation(a, b, _pose(tried, start))
                if found > best:
                    best, place, moved = found, tried, True
                    break
        if not moved:
            steps /= 2
    return best, _pose(place, start)


def _correlation(a: _Ink, b: _Ink, pose: Pose) -> float:
    """Cosine of a and b in this pose."""
    moved = cv2.warpAffine(b, _matrix(pose, _SIDE), (_SIDE, _SIDE))
    lengths = float(np.linalg.norm(a) * np.linalg.norm(moved))
    return float(np.vdot(a, moved)) / lengths if lengths else 0.0


def _pose(place: NDArray[np.float64], start: Pose) -> Pose:
    x, y, scale, degrees = (float(value) for value in place)
    return Pose(x, y, scale, degrees, start.mirrored)


def _matrix(pose: Pose, size: int) -> NDArray[np.float64]:
    """(2, 3) matrix of the pose for pixels of a view with this side; it turns about the centre."""
    angle, centre = math.radians(pose.degrees), size / 2
    cosine, sine = pose.scale * math.cos(angle), pose.scale * math.sin(angle)
    flip = -1.0 if pose.mirrored else 1.0
    turn = np.array([[flip * cosine, -sine], [flip * sine, cosine]])
    moved = centre - turn @ (centre, centre) + np.array([pose.shift_x, pose.shift_y]) * size
    return np.column_stack([turn, moved])


def _widened(lines: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """With everything within 1 % of the side."""
    reach = max(1, round(0.01 * len(lines)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return np.asarray(cv2.dilate(lines.astype(np.uint8), disc) > 0)
