"""Figure labels ("FIG. 3") in several hands, from the one typeface that Pillow carries."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .chance import Draw

_FORMS = ("FIG. {}", "FIG.{}", "Fig. {}", "Fig.{}", "FIG-{}", "FIGURE {}", "Figure {}", "FIG {}")
_WEIGHTS = (40, 14, 14, 5, 3, 2, 3, 5)


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def hand_for(draw: Draw) -> tuple[str, float, float, int, bool]:
    """Return how a sheet letters its figures: form, width factor, slant, boldness, underline."""
    return (
        draw.choice("form", _FORMS, _WEIGHTS),
        draw.uniform("wide", 0.7, 1.25),
        draw.choice("slant", (0.0, 0.0, 0.0, 0.22), None),
        draw.choice("bold", (0, 1), (7, 3)),
        draw.chance("underline", 0.04),
    )


def label(number: int, height: int, hand: tuple[str, float, float, int, bool]) -> NDArray[np.uint8]:
    """Draw a label about `height` pixels high: (H, W) uint8, black on white."""
    form, wide, slant, bold, underline = hand
    text = form.format(number)
    size = max(8, int(height * 1.35))
    font = _font(size)
    length = int(font.getlength(text)) + 8
    canvas = Image.new("L", (length, int(size * 1.4)), 255)
    pen = ImageDraw.Draw(canvas)
    pen.text((4, 0), text, 0, font=font, stroke_width=bold * max(1, size // 24), stroke_fill=0)
    if underline:
        pen.line((4, int(size * 1.2), length - 4, int(size * 1.2)), 0, max(1, size // 12))
    w = int((length + slant * canvas.height) * wide)
    if not slant:
        canvas = canvas.resize((w, canvas.height), Image.Resampling.BILINEAR)
    else:
        canvas = canvas.transform(
            (w, canvas.height), Image.Transform.AFFINE,
            (1.0 / wide, slant, -slant * canvas.height, 0, 1, 0), Image.Resampling.BILINEAR,
            fillcolor=255,
        )  # fmt: skip
    box = Image.eval(canvas, lambda p: 255 - p).getbbox()
    return np.asarray(canvas.crop(box))
