"""One figure: a packed model seen from a view, drawn with pen lines and shading on white paper."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import kernels
from .mesh import rotation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .mesh import Packed

    Floats = NDArray[np.float64]
    Gray = NDArray[np.uint8]


@dataclass(frozen=True)
class View:
    """Camera: azimuth, elevation and roll in degrees, perspective 0 for orthographic.

    zoom above 1 draws an enlarged detail around (x, y), in units of the model's radius.
    """

    kind: str
    azimuth: float
    elevation: float
    roll: float = 0.0
    perspective: float = 0.0
    zoom: float = 1.0
    x: float = 0.0
    y: float = 0.0


ORTHOGRAPHIC = {
    "front": View("front", 0, 0),
    "back": View("back", 180, 0),
    "left": View("left", -90, 0),
    "right": View("right", 90, 0),
    "top": View("top", 0, 90),
    "bottom": View("bottom", 0, -90),
}


@dataclass(frozen=True)
class Pen:
    """How a figure is drawn; lengths in pixels of the sheet before it is reduced.

    widths: outline, crease, ornament and contour lines. mode: shading mode of `kernels.resolve`.
    """

    widths: tuple[float, float, float, float]
    mode: int
    spacing: float
    level: float
    contour_step: float
    dash_on: float
    dash_off: float
    crease_dash: float = 0.0  # above 0, creases are drawn as dash-dot lines of this length
    gray: bool = False  # continuous tone under the lines
    albedo: float = 1.0  # of the material in continuous tone
    gloss: float = 0.0
    halftone: float = 0.0  # above 0, the tone becomes black dots of this strength
    outlines: bool = True
    light: tuple[float, float, float] = (-0.5, -0.6, -0.62)

    @property
    def shaded(self) -> bool:
        """Whether anything of the drawing depends on the light."""
        return self.mode != kernels.PLAIN or self.gray or self.halftone > 0


def project(packed: Packed, view: View) -> Floats:
    """Return all vertices in view coordinates (V, 3): right, down, away."""
    base = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    matrix = base @ rotation("x", view.elevation) @ rotation("z", -view.azimuth)
    c, s = math.cos(math.radians(view.roll)), math.sin(math.radians(view.roll))
    matrix = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]) @ matrix
    seen: Floats = packed.vertices @ matrix.T
    return seen


def extent(packed: Packed, view: View) -> tuple[float, float, float, float]:
    """Return the figure's bounding box (left, top, right, bottom) in model radii."""
    if view.zoom > 1.0:
        half = 0.9 / view.zoom
        return view.x - half, view.y - half, view.x + half, view.y + half
    eye = project(packed, view)
    flat = eye[:, :2] / (1.0 + view.perspective * eye[:, 2:])
    (left, top), (right, bottom) = flat.min(axis=0), flat.max(axis=0)
    return float(left), float(top), float(right), float(bottom)


def render(packed: Packed, view: View, pixels: float, pen: Pen, seed: int) -> Gray:
    """Draw the figure at `pixels` a model radius: (H, W) uint8, black on white, cropped."""
    left, top, right, bottom = extent(packed, view)
    pad = 4
    width = math.ceil((right - left) * pixels) + 2 * pad
    height = math.ceil((bottom - top) * pixels) + 2 * pad
    eye = project(packed, view)
    w = 1.0 / (1.0 + view.perspective * eye[:, 2])
    screen = np.empty_like(eye)
    screen[:, 0] = (eye[:, 0] * w - left) * pixels + pad
    screen[:, 1] = (eye[:, 1] * w - top) * pixels + pad
    screen[:, 2] = eye[:, 2] * w
    matrix = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    matrix = matrix @ rotation("x", view.elevation) @ rotation("z", -view.azimuth)
    normals = packed.normals @ matrix.T

    shape = (height, width)
    depth = np.full(shape, 9.0, np.float32)
    visible = np.full(shape, -1, np.int32)
    kernels.rasterise(
        screen, w, packed.triangles, packed.owner, packed.uv, packed.table, 0.0015, depth, visible
    )
    group = np.empty(shape, np.int32)
    cell = np.zeros(shape, np.int32)
    contour = np.full(shape, -1, np.int32)
    slope = np.zeros(shape, np.float32)
    tone = np.full(shape, 255, np.uint8)
    ink = np.zeros(shape, np.uint8)
    light = np.array(pen.light) / np.linalg.norm(pen.light)
    kernels.resolve(
        screen, w, packed.triangles, packed.owner, packed.uv, normals, packed.seams,
        packed.table, visible,
        light, pen.shaded, pen.mode, pen.spacing, pen.level, pen.contour_step, seed & 0x7FFFFFFF,
        group, cell, contour, slope, tone, ink,
    )  # fmt: skip
    lines = np.zeros(shape, np.uint8)
    kernels.trace_edges(depth, group, cell, contour, slope, 0.012, lines)

    covered = group >= 0
    broken = np.zeros(shape, np.uint8)
    broken[covered] = packed.broken[group[covered]]
    if broken.any():
        lines[(broken > 0) & (lines >= kernels.ORNAMENT)] = 0
        ink[broken > 0] = 0
        tone[broken > 0] = 255
        kernels.dash(lines, broken, pen.dash_on, pen.dash_off, 0.0)
    if pen.crease_dash > 0:
        creases = (lines == kernels.CREASE).astype(np.uint8)
        kernels.dash(lines, creases, pen.crease_dash, 0.8 * pen.crease_dash, 2.0)

    paper = np.full(shape, 255, np.uint8)
    if pen.gray:
        shade = tone / 255.0
        shine = np.maximum(0.0, (shade - 0.8) / 0.2) ** 3
        paper[covered] = (255.0 * np.minimum(1.0, pen.albedo * shade + pen.gloss * shine))[covered]
    elif pen.halftone > 0:
        grain = _grain(shape, seed)
        paper[covered & (tone < 255 * pen.halftone * grain)] = 0
    paper[ink > 0] = 0
    if pen.outlines:
        kernels.stroke(lines, np.array([0.0, *pen.widths]), paper)
    return paper


def _grain(shape: tuple[int, int], seed: int) -> Floats:
    return np.random.default_rng(seed).random(shape)
