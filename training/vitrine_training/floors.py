"""Descriptors that need no learning: what an encoder must beat, in the same table.

Each takes pixels (N, S, S, 3) uint8 and returns (N, D) float32 of unit length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_HOG_SIDE, _HOG_CELL, _HOG_BINS = 128, 16, 9


def _unit(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, 1e-12), np.float32)


def _small(pixels: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """Grey (N, side, side), whole numbers 0..255 (rounding residues would look like gradients)."""
    grey = pixels.mean(axis=3, dtype=np.float32).round().astype(np.uint8)
    small = [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in grey]
    return np.stack(small).astype(np.float32, copy=False)


def random(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Chance."""
    return _unit(np.random.default_rng(0).standard_normal((len(pixels), 64)))


def thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Darkness of 32×32 pixels."""
    return _unit(255.0 - _small(pixels, 32).reshape(len(pixels), -1))


def phash(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """64 signs of the lowest DCT frequencies; cosine then orders as the Hamming distance does."""
    low = np.stack([cv2.dct(image)[:8, :8].ravel() for image in _small(pixels, 32)])
    return _unit(np.where(low > np.median(low[:, 1:], axis=1, keepdims=True), 1.0, -1.0))


def hog(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Histograms of oriented gradients (Dalal & Triggs, CVPR 2005).

    128×128 grey, 16-pixel cells, 9 unsigned orientations, 2×2-cell blocks with L2-Hys.
    """
    grey = _small(pixels, _HOG_SIDE)
    dy, dx = np.zeros_like(grey), np.zeros_like(grey)
    dy[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    dx[:, :, 1:-1] = grey[:, :, 2:] - grey[:, :, :-2]
    magnitude = np.hypot(dx, dy)
    angle = np.rad2deg(np.arctan2(dy, dx)) % 180.0
    bins = np.minimum((angle * (_HOG_BINS / 180.0)).astype(np.int64), _HOG_BINS - 1)
    count, cells = len(grey), _HOG_SIDE // _HOG_CELL
    shape = (count, cells, _HOG_CELL, cells, _HOG_CELL)
    histogram = np.stack(
        [
            np.where(bins == angle_bin, magnitude, 0.0).reshape(shape).mean(axis=(2, 4))
            for angle_bin in range(_HOG_BINS)
        ],
        axis=-1,
    )
    blocks = np.concatenate(
        [
            histogram[:, i : cells - 1 + i, j : cells - 1 + j]
            for i, j in ((0, 0), (0, 1), (1, 0), (1, 1))
        ],
        axis=-1,
    )
    blocks = blocks / np.sqrt((blocks**2).sum(axis=-1, keepdims=True) + 1e-10)
    blocks = np.minimum(blocks, 0.2)
    blocks = blocks / np.sqrt((blocks**2).sum(axis=-1, keepdims=True) + 1e-10)
    return _unit(blocks.reshape(count, -1))


FLOORS: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.float32]]] = {
    "random": random,
    "32×32 pixels": thumbnail,
    "pHash": phash,
    "HOG": hog,
}
