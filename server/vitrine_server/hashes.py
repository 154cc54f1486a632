"""Perceptual hashes: 64 bits that survive re-encoding, scaling, grey and light overlays.

pHash (Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010): the
signs of the 8×8 lowest frequencies of the luminance against their median. A mirrored or turned
picture has the same frequencies with other signs or transposed, so the hashes of all eight
symmetries cost one transform. An item's hash is made of its stored thumbnail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import simplejpeg

if TYPE_CHECKING:
    from numpy.typing import NDArray

BITS = 64

# How the queried picture is oriented against the one with the hash, in the order of `symmetries`.
SYMMETRIES = (
    "upright",
    "mirrored",
    "upside down and mirrored",
    "turned by 180°",
    "transposed",
    "turned left by 90°",
    "turned right by 90°",
    "transposed and turned by 180°",
)

_SIDE = 32
_LOW = 8
_ALTERNATING = (-1.0) ** np.arange(_LOW)

# Regions are looked for at this size: text of a screenshot is then a few pixels thin.
_REGION_SIDE = 640
_BACKGROUND_DISTANCE = 14
_MIN_REGION_SHARE = 0.03
_MAX_REGION_SHARE = 0.97
_MAX_REGION_ASPECT = 5
_MIN_REGION_SIDE = 32


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a picture, in pixels."""

    x: int
    y: int
    width: int
    height: int

    def cut(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, …) → (height, width, …)."""
        return pixels[self.y : self.y + self.height, self.x : self.x + self.width]


def grey(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB (H, W, 3) uint8 → luminance (H, W) uint8."""
    return cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY).astype(
        np.uint8, copy=False
    )


def open_thumbnail(thumbnail: bytes) -> NDArray[np.uint8]:
    """The luminance (H, W) uint8 of a stored thumbnail."""
    decoded: NDArray[np.uint8] = simplejpeg.decode_jpeg(thumbnail, "GRAY")
    return decoded[..., 0]


def phash(luminance: NDArray[np.uint8]) -> int:
    """The hash of (H, W) uint8."""
    return _bits(_frequencies(luminance))


def of_thumbnail(thumbnail: bytes) -> int:
    """The hash that is stored with an item."""
    return phash(open_thumbnail(thumbnail))


def symmetries(luminance: NDArray[np.uint8]) -> list[int]:
    """The hashes of (H, W) uint8 in all orientations, in the order of SYMMETRIES."""
    found = []
    frequencies = _frequencies(luminance)
    for low in (frequencies, frequencies.T):
        columns, rows = _ALTERNATING[None, :], _ALTERNATING[:, None]
        found += [_bits(low), _bits(low * columns), _bits(low * rows), _bits(low * columns * rows)]
    return found


def distance(first: int, second: int) -> int:
    """Differing bits of two hashes, 0 to 64."""
    return (first ^ second).bit_count()


def regions(pixels: NDArray[np.uint8], *, limit: int = 2) -> list[Box]:
    """Pictures that stand on a plain ground in RGB (H, W, 3): inside a border, or on a page.

    The ground is the most frequent colour along the edge. Thin things (text, rules) are dropped;
    the largest `limit` of what is left are returned, none when the picture fills the frame.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, _REGION_SIDE / max(height, width))
    small = cv2.resize(
        np.ascontiguousarray(pixels),
        (max(1, round(width * scale)), max(1, round(height * scale))),
        interpolation=cv2.INTER_AREA,
    ).astype(np.uint8, copy=False)
    difference = np.abs(small.astype(np.int16) - _ground(small)).max(2)
    mask = (difference > _BACKGROUND_DISTANCE).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((13, 13), np.uint8)).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    found = []
    for row in np.argsort(-stats[1:, cv2.CC_STAT_AREA])[:limit] + 1:
        x, y, w, h = stats[row, :4].tolist()
        share = w * h / mask.size
        if (
            _MIN_REGION_SHARE <= share <= _MAX_REGION_SHARE
            and min(w, h) >= _MIN_REGION_SIDE
            and max(w, h) <= _MAX_REGION_ASPECT * min(w, h)
        ):
            found.append(Box(*(round(value / scale) for value in (x, y, w, h))))
    return found


def _ground(pixels: NDArray[np.uint8]) -> NDArray[np.int16]:
    """The mean (3,) of the most frequent colour of the outline, in steps of 8."""
    outline = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]).astype(np.int16)
    codes = (outline >> 3) @ np.array([1024, 32, 1], np.int16)
    values, counts = np.unique(codes, return_counts=True)
    return np.asarray(outline[codes == values[counts.argmax()]].mean(0), np.int16)


def _frequencies(luminance: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The lowest frequencies (8, 8); rows are vertical."""
    small = cv2.resize(
        np.ascontiguousarray(luminance), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA
    )
    return np.asarray(cv2.dct(small.astype(np.float32))[:_LOW, :_LOW], np.float32)


def _bits(frequencies: NDArray[np.float32]) -> int:
    flat = frequencies.reshape(-1)
    rest = np.sort(flat[1:])  # the first is the mean brightness
    return int.from_bytes(np.packbits(flat > rest[len(rest) // 2]).tobytes(), "big")
