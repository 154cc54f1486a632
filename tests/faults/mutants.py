"""Damaged copies of good pictures in every accepted format, from a seed."""

from __future__ import annotations

import io
import random
from functools import cache

import numpy as np
from PIL import Image

FORMATS: dict[str, dict[str, object]] = {
    "jpeg": {"format": "JPEG"},
    "progressive jpeg": {"format": "JPEG", "progressive": True},
    "png": {"format": "PNG"},
    "palette png": {"format": "PNG"},
    "16-bit png": {"format": "PNG"},
    "webp": {"format": "WEBP"},
    "lossless webp": {"format": "WEBP", "lossless": True},
    "animated webp": {"format": "WEBP", "save_all": True},
    "gif": {"format": "GIF"},
    "animated gif": {"format": "GIF", "save_all": True},
    "bmp": {"format": "BMP"},
    "cmyk jpeg": {"format": "JPEG"},
}
_MODES = {"palette png": "P", "16-bit png": "I;16", "gif": "P", "cmyk jpeg": "CMYK"}


@cache
def good(name: str) -> bytes:
    """A whole picture of the format."""
    options = dict(FORMATS[name])
    cells = np.random.default_rng(len(name)).integers(0, 255, (9, 11, 3), dtype=np.uint8)
    image = Image.fromarray(cells).resize((88, 72), Image.Resampling.BICUBIC)
    frames = [image.rotate(angle) for angle in (0, 90, 180)]
    if options.get("save_all"):
        options["append_images"] = frames[1:]
    elif name == "16-bit png":
        frames[0] = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    elif name in _MODES:
        frames[0] = image.convert(_MODES[name])
    file = io.BytesIO()
    frames[0].save(file, **options)  # type: ignore[arg-type]
    return file.getvalue()


def mutant(seed: int) -> tuple[str, bytes]:
    """The seed's format and damage: flipped bits, cut, doubled, zeroed, or grown numbers."""
    chance = random.Random(seed)
    name = list(FORMATS)[seed % len(FORMATS)]
    data = bytearray(good(name))
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        # headers are where parsers take numbers from
        span = len(data) if chance.random() < 0.5 else min(len(data), 120)
        if span == 0:
            break
        at = chance.randrange(span)
        kind = chance.randrange(7)
        if kind == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at] = chance.choice((0x00, 0x7F, 0x80, 0xFF))
        elif kind == 2:
            data[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", bytes(4)))
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            del data[at : at + chance.randrange(1, 64)]
        elif kind == 5:
            data[at:at] = data[at : at + chance.randrange(1, 200)]
        else:
            data[at:at] = chance.randbytes(chance.randrange(1, 64))
    return name, bytes(data)
