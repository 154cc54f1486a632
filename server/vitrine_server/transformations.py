"""What people do to a picture before they publish it as theirs: copies to measure with.

Each takes RGB (H, W, 3) uint8 and a generator, and returns another picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import simplejpeg

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

_WHITE = (255, 255, 255)
_PAGES = ((720, 1280), (1280, 800))  # width, height of a phone's and a laptop's screen
_TEXT = "Lorem ipsum dolor sit amet"


def crop(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """70 to 90 % of each side, from anywhere."""
    height, width = pixels.shape[:2]
    share = rng.uniform(0.7, 0.9)
    h, w = max(1, int(height * share)), max(1, int(width * share))
    y, x = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    return np.ascontiguousarray(pixels[y : y + h, x : x + w])


def jpeg(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """JPEG of quality 10 to 30."""
    return _reencoded(pixels, int(rng.integers(10, 31)))


def overlay(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A bar over 10 to 20 % of the height, and a line of text that shows through."""
    changed = pixels.copy()
    height, width = changed.shape[:2]
    bar = int(height * rng.uniform(0.1, 0.2))
    top = int(rng.integers(0, height - bar + 1))
    changed[top : top + bar] = rng.integers(0, 256, 3)
    written = changed.copy()
    size = width / 400
    at = (int(width * 0.05), int(height * rng.uniform(0.3, 0.9)))
    font = cv2.FONT_HERSHEY_DUPLEX
    cv2.putText(written, "SALE 50% OFF", at, font, 1.6 * size, _WHITE, max(1, int(4 * size)))
    return np.asarray(cv2.addWeighted(written, 0.7, changed, 0.3, 0), np.uint8)


def border(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A plain border of 5 to 15 % on each side."""
    height, width = pixels.shape[:2]
    top, bottom, left, right = (
        int(rng.uniform(0.05, 0.15) * length) for length in (height, height, width, width)
    )
    colours = [_WHITE, (0, 0, 0), tuple(rng.integers(0, 256, 3).tolist())]
    framed = np.empty((height + top + bottom, width + left + right, 3), np.uint8)
    framed[:] = colours[int(rng.integers(0, 3))]
    framed[top : top + height, left : left + width] = pixels
    return framed


def grey(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Without colour, with another contrast and brightness."""
    luminance = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    changed = np.clip(luminance * rng.uniform(0.8, 1.2) + rng.uniform(-20, 20), 0, 255)
    return np.repeat(changed.astype(np.uint8)[..., None], 3, axis=2)


def flip(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Mirrored."""
    return np.ascontiguousarray(pixels[:, ::-1])


def rotation(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Turned by 3 to 10 degrees, the corners white."""
    height, width = pixels.shape[:2]
    angle = rng.uniform(3, 10) * rng.choice([-1, 1])
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1)
    turned = cv2.warpAffine(pixels, matrix, (width, height), borderValue=_WHITE)
    return np.asarray(turned, np.uint8)


def quarter_turn(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Turned by 90, 180 or 270 degrees."""
    return np.ascontiguousarray(np.rot90(pixels, int(rng.integers(1, 4))))


def screenshot(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """On a page with a bar and lines of text, saved as JPEG."""
    width, height = _PAGES[int(rng.integers(0, len(_PAGES)))]
    ground = int(rng.choice([255, 245, 30]))
    ink = 60 if ground > 128 else 200
    page = np.full((height, width, 3), ground, np.uint8)
    page[: int(height * 0.06)] = ink
    own_height, own_width = pixels.shape[:2]
    scale = min(width * 0.8 / own_width, height * 0.7 / own_height) * rng.uniform(0.75, 1)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    size = max(1, int(own_width * scale)), max(1, int(own_height * scale))
    shown = cv2.resize(pixels, size, interpolation=method)
    y, x = int(height * 0.1), int(rng.uniform(0.03, 0.97) * (width - size[0]))
    page[y : y + size[1], x : x + size[0]] = shown
    for line in range(4):
        at = (int(width * 0.05), min(height - 5, y + size[1] + 30 + 28 * line))
        cv2.putText(page, _TEXT, at, cv2.FONT_HERSHEY_SIMPLEX, 0.8, (ink, ink, ink), 2)
    return _reencoded(page, 80)


ALL: Mapping[str, Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]] = {
    "crop": crop,
    "JPEG": jpeg,
    "overlay": overlay,
    "border": border,
    "grey": grey,
    "flip": flip,
    "rotation": rotation,
    "quarter turn": quarter_turn,
    "screenshot": screenshot,
}


def encode(pixels: NDArray[np.uint8], quality: int = 92) -> bytes:
    """RGB (H, W, 3) → JPEG."""
    encoded: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels), quality, colorspace="RGB", colorsubsampling="420"
    )
    return encoded


def _reencoded(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    decoded: NDArray[np.uint8] = simplejpeg.decode_jpeg(encode(pixels, quality), "RGB")
    return decoded
