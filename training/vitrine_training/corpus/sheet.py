"""A sheet: its figures, their layout and lettering, and its reduction to a square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .chance import Draw, mix
from .figure import ORTHOGRAPHIC, View, extent, render
from .lettering import hand_for, label
from .style import STYLES, pen_for, reproduce, reproduction_for

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from .figure import Pen
    from .mesh import Packed
    from .style import Reproduction

    Gray = NDArray[np.uint8]

_SIDES = tuple(ORTHOGRAPHIC)
ONE_HAND_SHARE = 0.6
# The figures of a typical patent in their order; further ones are drawn by chance.
_SCHEDULE = ("perspective", *_SIDES, "perspective")


@dataclass(frozen=True)
class Sheet:
    """One finished sheet: pixels (size, size) uint8, the kind of its first view, its style."""

    pixels: Gray
    view: str
    style: str
    figures: int


def _views(habit: Draw, draw: Draw, view: int) -> tuple[list[View], int]:
    """Return the figures of sheet number `view` and the number of the first of them.

    A draughtsman keeps to a number of figures a sheet, and the figures follow one another.
    """
    usual = habit.choice("figures", (1, 2, 3, 4), (72, 20, 4, 4))
    count = draw.choice("figures", (1, 2), (3, 1)) if draw.chance("unusual", 0.1) else usual
    start = view * usual
    views = [_figure(draw.part(f"figure{i}"), start + i) for i in range(count)]
    return views, start + 1


def _figure(draw: Draw, index: int) -> View:
    if index < len(_SCHEDULE):
        kind = _SCHEDULE[index]
    else:
        kind = draw.choice("kind", ("perspective", *_SIDES, "detail"), (6, 1, 1, 1, 1, 1, 1, 1))
    if kind in ORTHOGRAPHIC:
        return ORTHOGRAPHIC[kind]
    view = perspective(draw)
    if kind == "perspective":
        return view
    return View(
        "detail", view.azimuth, view.elevation, zoom=draw.uniform("zoom", 1.5, 2.3),
        x=draw.uniform("at_x", -0.35, 0.35), y=draw.uniform("at_y", -0.35, 0.35),
    )  # fmt: skip


def perspective(draw: Draw) -> View:
    """Return a three-quarter view, mostly from above, with no to strong perspective."""
    side = draw.choice("quarter", (-35.0, 35.0, 145.0, 215.0), (40, 35, 13, 12))
    below = draw.chance("below", 0.18)
    height = draw.uniform("height", 10.0, 50.0)
    return View(
        "perspective", side + draw.uniform("swing", -24.0, 24.0), -height if below else height,
        roll=draw.uniform("roll", -40.0, 40.0) if draw.chance("tilted", 0.06) else 0.0,
        perspective=draw.choice("lens", (0.0, 0.12, 0.25, 0.38), (5, 2, 2, 1)),
    )  # fmt: skip


def compose(
    packed: Packed, seed: int, *, view: int, size: int, style: str | None = None,
    avoid: Collection[str] = (),
) -> Sheet:  # fmt: skip
    """Draw sheet number `view` of a design as a (size, size) square.

    Layout is a habit of the whole design. In most designs pen, style and reproduction are
    too, as in real ones; in the rest each sheet has its own, so that none can be relied
    on. style: a name of `STYLES`, drawn when None; `avoid` are styles that it must not get.
    """
    habit, draw = Draw(mix(seed, 78)), Draw(mix(seed, view, 77))
    hand = habit if habit.chance("one_hand", ONE_HAND_SHARE) else draw
    names = [name for name in STYLES if name not in avoid]
    style = style or hand.choice("style", names, [STYLES[name] for name in names])
    pixels = int(size * (2.6 if size <= 320 else 2))
    views, number = _views(habit, draw, view)
    boxes = [extent(packed, v) for v in views]
    pen = pen_for(style, hand, pixels)
    sheet = _draw_figures(packed, views, boxes, draw, habit, pen, number, pixels)
    sheet = _turn(sheet, habit, draw)
    small = _reduce(sheet, size, draw, reproduction_for(hand, draw))
    return Sheet(small, views[0].kind, style, len(views))


def _draw_figures(
    packed: Packed, views: list[View], boxes: list[tuple[float, float, float, float]], draw: Draw,
    habit: Draw, pen: Pen, number: int, pixels: int,
) -> Gray:  # fmt: skip
    """Lay the figures out in a column, row or square, all at one scale, each with its label."""
    sizes = [(b[2] - b[0], b[3] - b[1]) for b in boxes]
    columns = _columns(sizes, draw)
    rows = -(-len(sizes) // columns)
    wide = max(w for w, _ in sizes)
    high = max(h for _, h in sizes)
    gap = draw.uniform("between", 0.06, 0.5) * min(max(wide, 0.3), max(high, 0.3))
    drop = habit.choice("label_drop", (0.05, 0.12, 0.35), (5, 4, 1))
    drop *= draw.uniform("drop", 0.8, 1.5)
    letter = habit.choice("letter", (0.022, 0.032, 0.05), (4, 5, 1))
    letter *= habit.uniform("size", 0.8, 1.3)
    labelled = not draw.chance("unlabelled", 0.06)
    total = max(columns * wide + (columns - 1) * gap, rows * (high + gap))
    scale = 0.93 * pixels / (total * (1.0 + (drop + letter if labelled and rows == 1 else 0.0)))
    hand = hand_for(habit)
    drawn: list[Gray] = []
    for i, view in enumerate(views):
        picture = render(packed, view, scale, pen, mix(draw.seed, i))
        if labelled:
            text = label(number + i, max(7, int(letter * pixels)), hand)
            picture = _stacked(picture, text, int(drop * pixels * 0.6) + 4)
        drawn.append(picture)
    cell_w = max(p.shape[1] for p in drawn) + int(gap * scale * 0.5)
    cell_h = max(p.shape[0] for p in drawn) + int(gap * scale * 0.5)
    sheet = np.full((rows * cell_h, columns * cell_w), 255, np.uint8)
    for i, picture in enumerate(drawn):
        y = (i // columns) * cell_h + (cell_h - picture.shape[0]) // 2
        x = (i % columns) * cell_w + (cell_w - picture.shape[1]) // 2
        sheet[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return sheet


def _columns(sizes: list[tuple[float, float]], draw: Draw) -> int:
    if len(sizes) == 1:
        return 1
    if len(sizes) == 2:
        wide = sizes[0][0] > sizes[0][1]
        return 1 if wide != draw.chance("against", 0.15) else 2
    return 2 if len(sizes) == 4 else draw.choice("columns", (1, 2, 3), (3, 3, 1))


def _stacked(above: Gray, below: Gray, space: int) -> Gray:
    width = max(above.shape[1], below.shape[1])
    out = np.full((above.shape[0] + space + below.shape[0], width), 255, np.uint8)
    x = (width - above.shape[1]) // 2
    out[: above.shape[0], x : x + above.shape[1]] = above
    x = (width - below.shape[1]) // 2
    out[-below.shape[0] :, x : x + below.shape[1]] = below
    return out


def _turn(sheet: Gray, habit: Draw, draw: Draw) -> Gray:
    """Rotate a wide sheet to portrait in some designs, as registers print them."""
    wide = sheet.shape[1] > 1.15 * sheet.shape[0]
    turned = habit.chance("turned", 0.4) if wide else habit.chance("all_turned", 0.05)
    if turned != draw.chance("turned_otherwise", 0.06):
        sheet = np.rot90(sheet, 1 if habit.chance("anticlockwise", 0.85) else -1)
    return np.ascontiguousarray(sheet)


def _reduce(sheet: Gray, size: int, draw: Draw, how: Reproduction) -> Gray:
    """Crop to the ink, leave a margin, reproduce, and letterbox on white."""
    rows = np.flatnonzero((sheet < 128).any(axis=1))
    columns = np.flatnonzero((sheet < 128).any(axis=0))
    if len(rows) == 0:
        rows, columns = np.arange(sheet.shape[0]), np.arange(sheet.shape[1])
    sheet = sheet[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    margin = int(draw.choice("margin", (0.015, 0.03, 0.08), (6, 3, 1)) * max(sheet.shape))
    sheet = np.pad(sheet, margin, constant_values=255)
    skew = draw.uniform("skew", -1.2, 1.2) if draw.chance("skewed", 0.2) else 0.0
    if skew:
        turned = Image.fromarray(sheet).rotate(skew, Image.Resampling.BILINEAR, fillcolor=255)
        sheet = np.asarray(turned)
    ratio = size / max(sheet.shape)
    inner = (max(1, round(sheet.shape[1] * ratio)), max(1, round(sheet.shape[0] * ratio)))
    small = reproduce(sheet, inner, how)
    out = np.full((size, size), 255, np.uint8)
    x, y = (size - inner[0]) // 2, (size - inner[1]) // 2
    out[y : y + inner[1], x : x + inner[0]] = np.asarray(small)
    return out
