"""Scans made alike before they are encoded: straight, without specks, cut to content, in contrast.

A setting of a collection, in effect for what is stored in it and for every image that it is
searched with. An embedding of a cleaned picture is another embedding: `key` keeps them apart in
caches.

    deskew     turns by up to 7 degrees, until lines and edges run straight
    despeckle  removes dark specks of a few pixels
    crop       cuts to what differs from the ground, with a margin
    contrast   stretches the darkest and the lightest two per cent to black and white
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

Step = Literal["deskew", "despeckle", "crop", "contrast"]

# The order in which they are applied, whatever the order in the setting.
STEPS: tuple[Step, ...] = ("deskew", "despeckle", "crop", "contrast")
# Cutting needs more pixels than the encoder takes: images are opened this many times as large.
OPENED = 3
# Changes with what the steps do, so that a cache never mixes two versions.
_VERSION = 1

_MAX_SKEW_DEG = 7.0
_SKEW_STEPS_DEG = (1.0, 0.25)
_SKEW_SIDE = 400
_MIN_GAIN = 1.05  # of the best angle's score over that of no turn, or the picture stays as it is
_SPECK_SHARE = 3e-5  # of the picture's pixels
_INK_DISTANCE = 48
_MARGIN = 0.03
_TAILS_PERCENT = (2, 98)
_MIN_RANGE = 16


def key(digest: bytes, steps: Sequence[Step]) -> bytes:
    """The SHA-256 of an image's bytes as a cache key for these steps."""
    if not steps:
        return digest
    text = f"{_VERSION} {' '.join(sorted(steps))}".encode()
    return hashlib.sha256(digest + text).digest()


def clean(pixels: Pixels, steps: Sequence[Step], fill: tuple[int, int, int]) -> Pixels:
    """RGB (H, W, 3) uint8 → the same with these steps applied; `crop` changes the shape."""
    for step in STEPS:
        if step in steps:
            pixels = _APPLY[step](np.ascontiguousarray(pixels), fill)
    return pixels


def _deskew(pixels: Pixels, fill: tuple[int, int, int]) -> Pixels:
    """Postl's criterion ("Detection of linear oblique structures and skew scan in digitized
    documents", ICPR 1986): sums along straight lines differ most from one to the next.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, _SKEW_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(_grey(pixels), size, interpolation=cv2.INTER_AREA).astype(np.float32)
    ground = np.float32(np.median(small))
    ink = np.abs(small - ground)
    start = _straightness(ink, 0.0)
    best, angle = start, 0.0
    reach = _MAX_SKEW_DEG
    for step in _SKEW_STEPS_DEG:
        tried = angle + np.arange(-reach, reach + step / 2, step)
        scores = [_straightness(ink, float(one)) for one in tried]
        at = int(np.argmax(scores))
        if scores[at] > best:
            best, angle = scores[at], float(tried[at])
        reach = step
    if abs(angle) < _SKEW_STEPS_DEG[-1] or best < _MIN_GAIN * start:
        return pixels
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    turned = cv2.warpAffine(
        pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=fill
    )
    return np.asarray(turned, np.uint8)


def _straightness(ink: NDArray[np.float32], angle_deg: float) -> float:
    height, width = ink.shape
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle_deg, 1.0)
    turned = cv2.warpAffine(ink, matrix, (width, height), flags=cv2.INTER_LINEAR)
    rows, columns = np.diff(turned.sum(axis=1)), np.diff(turned.sum(axis=0))
    return float((rows**2).sum() / width + (columns**2).sum() / height)


def _despeckle(pixels: Pixels, fill: tuple[int, int, int]) -> Pixels:
    ink = _ink(pixels)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(ink)
    most = max(4, round(_SPECK_SHARE * ink.size))
    speck = stats[:, cv2.CC_STAT_AREA] <= most
    speck[0] = False
    mask = cv2.dilate(speck[labels].astype(np.uint8), np.ones((3, 3), np.uint8))
    cleaned: Pixels = pixels.copy()
    cleaned[(mask > 0) & (ink == 0) | speck[labels]] = _ground(pixels)
    return cleaned


def _crop(pixels: Pixels, fill: tuple[int, int, int]) -> Pixels:
    rows, columns = (np.flatnonzero(_ink(pixels).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return pixels
    height, width = pixels.shape[:2]
    margin = round(_MARGIN * max(rows[-1] - rows[0], columns[-1] - columns[0]))
    top, left = max(0, int(rows[0]) - margin), max(0, int(columns[0]) - margin)
    bottom = min(height, int(rows[-1]) + margin + 1)
    right = min(width, int(columns[-1]) + margin + 1)
    part: Pixels = pixels[top:bottom, left:right]
    return part


def _contrast(pixels: Pixels, fill: tuple[int, int, int]) -> Pixels:
    low, high = np.percentile(_grey(pixels), _TAILS_PERCENT)
    if high - low < _MIN_RANGE:
        low, high = float(pixels.min()), float(pixels.max())  # lines are fewer than the tails
    if high - low < _MIN_RANGE:
        return pixels
    table = ((np.arange(256) - low) * 255 / (high - low)).clip(0, 255).round().astype(np.uint8)
    return np.asarray(cv2.LUT(pixels, table), np.uint8)


_APPLY: dict[Step, Callable[[Pixels, tuple[int, int, int]], Pixels]] = {
    "deskew": _deskew,
    "despeckle": _despeckle,
    "crop": _crop,
    "contrast": _contrast,
}


def _grey(pixels: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def _ground(pixels: Pixels) -> Pixels:
    """The median colour (3,) of the outline."""
    edge = [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]
    return np.asarray(np.median(np.concatenate(edge), axis=0), np.uint8)


def _ink(pixels: Pixels) -> Pixels:
    """1 where a pixel differs clearly from the ground, (H, W)."""
    distance = np.abs(pixels.astype(np.int16) - _ground(pixels).astype(np.int16)).max(axis=2)
    ink: Pixels = (distance > _INK_DISTANCE).astype(np.uint8)
    return ink
