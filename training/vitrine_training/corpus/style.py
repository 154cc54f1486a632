"""Pens and reproductions: how a sheet is drawn, and what printing and scanning did to it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from . import kernels
from .figure import Pen

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .chance import Draw

    Gray = NDArray[np.uint8]

# Drawing styles and how often a sheet uses them.
STYLES = {
    "plain": 0.30,
    "contoured": 0.27,
    "streaked": 0.13,
    "hatched": 0.07,
    "stippled": 0.08,
    "tangent": 0.05,
    "photo": 0.06,
    "halftone": 0.04,
}


def pen_for(name: str, draw: Draw, pixels: int) -> Pen:
    """Return the pen of one sheet; `pixels` is the sheet's long side before reduction."""
    unit = pixels / 672.0
    fine = draw.uniform("fine", 0.8, 1.4) * draw.choice("weight", (1.0, 1.3, 1.7), (6, 3, 1))
    heavy = draw.choice("heavy", (1.0, 1.5, 2.0), (5, 3, 1))
    widths = tuple(max(0.9, w * fine * unit) for w in (heavy, 1.0, 0.8, 0.75))
    mode = {
        "contoured": kernels.CONTOURS,
        "streaked": kernels.STREAKS,
        "hatched": kernels.HATCH,
        "stippled": kernels.STIPPLE,
    }.get(name, kernels.PLAIN)
    dash = draw.uniform("dash", 5.0, 11.0) * unit
    return Pen(
        widths=(widths[0], widths[1], widths[2], widths[3]),
        mode=mode,
        spacing=draw.uniform("spacing", 5.0, 9.0) * unit,
        level=draw.uniform("level", 0.35, 1.0),
        contour_step=draw.uniform("step", 0.025, 0.07),
        dash_on=dash,
        dash_off=dash * draw.uniform("gap", 0.6, 1.1),
        crease_dash=draw.uniform("tangent", 8.0, 16.0) * unit if name == "tangent" else 0.0,
        gray=name == "photo",
        albedo=draw.choice("albedo", (1.0, 0.7, 0.4, 0.15), (4, 2, 2, 2)),
        gloss=draw.uniform("gloss", 0.0, 0.5),
        halftone=draw.uniform("halftone", 0.55, 0.95) if name == "halftone" else 0.0,
        outlines=name != "photo" or draw.chance("inked", 0.5),
        light=(draw.uniform("lx", -0.8, 0.8), draw.uniform("ly", -0.9, -0.2), -0.65),
    )


@dataclass(frozen=True)
class Reproduction:
    """What happened to a sheet after it was drawn."""

    kind: str  # clean, faint, fax, speckled, jpeg
    strength: float
    seed: int


def reproduction_for(hand: Draw, draw: Draw) -> Reproduction:
    """Return the reproduction of one sheet: its kind from `hand`, its grain from the sheet."""
    kind = hand.choice(
        "reproduction", ("clean", "faint", "fax", "speckled", "jpeg"), (40, 22, 20, 6, 12)
    )
    return Reproduction(kind, hand.unit("strength"), int(draw.unit("grain") * 2**31))


def reproduce(sheet: Gray, size: tuple[int, int], how: Reproduction) -> Image.Image:
    """Reduce a sheet (H, W) to `size` (width, height) the way its reproduction does it."""
    picture = Image.fromarray(sheet)
    rng = np.random.default_rng(how.seed)
    if how.kind == "fax":
        # black and white, then every nth pixel: thin lines break up
        between = tuple(max(1, int(s * (1.0 + 0.7 * how.strength))) for s in size)
        method = Image.Resampling.BOX if how.strength < 0.4 else Image.Resampling.NEAREST
        cut = 140 + 80 * rng.random()
        picture = picture.resize((between[0], between[1]), method).point(lambda p: 255 * (p > cut))
        return picture.resize(size, Image.Resampling.BICUBIC)
    if how.kind == "speckled":
        noisy = np.asarray(picture).copy()
        noisy[rng.random(noisy.shape) < 0.004 * how.strength] = 0
        noisy[(rng.random(noisy.shape) < 0.25 * how.strength) & (noisy < 128)] = 255
        picture = Image.fromarray(noisy)
    method = Image.Resampling.BICUBIC if how.seed % 3 else Image.Resampling.BOX
    small = picture.resize(size, method, reducing_gap=None)
    if how.strength > 0.75:
        small = small.filter(ImageFilter.GaussianBlur(0.25 + 1.2 * (how.strength - 0.75)))
    if how.kind == "faint":
        ink = 0.35 + 0.4 * how.strength
        small = small.point(lambda p: int(255 - (255 - p) * ink))
    if how.kind == "jpeg":
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=int(25 + 55 * how.strength))
        small = Image.open(buffer).convert("L")
    return small
