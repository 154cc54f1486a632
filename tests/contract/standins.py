"""Parts and pictures that the contract tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from standing import average_info, averages

from vitrine_server.tower import Encoded

if TYPE_CHECKING:
    from numpy.typing import NDArray


class AverageEncoder:
    """The Encoder protocol on plain numpy: close pictures have close vectors."""

    ready = True
    has_text = False

    def __init__(self) -> None:
        self.info = average_info()

    async def encode(self, pixels: NDArray[np.uint8], *, deadline: float) -> Encoded:
        return Encoded(averages(pixels), 0.0, 0.0)

    async def encode_text(self, text: str, *, field: str, deadline: float) -> Encoded:
        raise AssertionError("this encoder has no text tower")

    async def check(self) -> None:
        return

    async def close(self) -> None:
        return


def scene(seed: int) -> NDArray[np.uint8]:
    """A picture with shapes and texture, as a photo has: (300, 260, 3) uint8."""
    rng = np.random.default_rng(seed)
    ground = cv2.GaussianBlur(rng.integers(60, 200, (300, 260, 3)).astype(np.uint8), (0, 0), 25)
    pixels = cv2.normalize(ground, None, 40, 220, cv2.NORM_MINMAX).astype(np.uint8)
    for _ in range(25):
        colour = rng.integers(0, 256, 3).tolist()
        centre = int(rng.integers(20, 240)), int(rng.integers(20, 280))
        axes = int(rng.integers(6, 45)), int(rng.integers(6, 45))
        cv2.ellipse(pixels, centre, axes, float(rng.integers(0, 180)), 0, 360, colour, -1)
    return pixels
