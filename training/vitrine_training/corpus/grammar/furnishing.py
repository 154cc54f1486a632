"""Locarno 06: tables, storage, cushions, mats, mirrors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .. import forms, outlines, parts, solids
from ..mesh import Model
from ..registry import subclass
from .seating import legs, under

if TYPE_CHECKING:
    from ..chance import Draw
    from ..forms import Say


@subclass("table", "06-03", ("table", "桌子"), ("desk", "书桌"), ("coffee table", "茶几"))
def table(draw: Draw, say: Say) -> Model:
    """Tables and desks."""
    w, d = draw.uniform("width", 0.5, 1.8), draw.uniform("depth", 0.45, 0.9)
    height, t = draw.uniform("height", 0.35, 0.8), draw.uniform("top", 0.015, 0.07)
    shape = forms.outline(draw.part("top"), 0.5 * w, 0.5 * d)
    top = solids.extrude(shape, t, bevel=0.25 * t)
    top = top.dressed(forms.ornament(draw, w, say, probability=0.2))
    model = under(draw, shape, height, say) + top.moved(0, 0, height)
    if draw.chance("shelf", 0.3):
        say("a lower shelf", "下层搁板")
        model += solids.box(0.8 * w, 0.8 * d, 0.02).moved(
            0, 0, height * draw.uniform("low", 0.2, 0.5)
        )
    if draw.chance("drawers", 0.35):
        count = draw.integer("count", 1, 3)
        say(f"{count} drawers" if count > 1 else "a drawer", f"{'一两三'[count - 1]}个抽屉")
        front = solids.box(0.8 * w / count, 0.02, 0.1 * height)
        pull = parts.knob(draw, 0.02, 0.03).turned("x", 90).moved(0, -0.01, 0.05 * height)
        model += solids.box(0.84 * w, 0.7 * d, 0.14 * height).moved(0, 0, 0.86 * height)
        model += (front + pull).row(count, x=0.82 * w / count).moved(0, -0.36 * d, 0.88 * height)
    return model


@subclass(
    "cabinet", "06-04", ("cabinet", "柜子"), ("sideboard", "餐边柜"), ("chest of drawers", "斗柜")
)
def cabinet(draw: Draw, say: Say) -> Model:
    """Cabinets with doors, drawers and open compartments."""
    w, d, h = draw.uniform("w", 0.4, 1.5), draw.uniform("d", 0.3, 0.5), draw.uniform("h", 0.5, 1.8)
    body = solids.box(w, d, h, radius=draw.choice("corner", (0.0, 0.0, 0.04)))
    base = draw.uniform("base", 0.03, 0.25)
    if draw.chance("legged", 0.5):
        model = body + legs(draw, w, d, base, say).moved(0, 0, -base)
    else:
        model = body + solids.box(0.95 * w, 0.93 * d, 0.06).moved(0, 0, -0.06)
    columns, rows = draw.integer("columns", 1, 4), draw.integer("rows", 1, 5)
    if columns * rows == 1:
        rows = 2
    cw, ch = w / columns, h / rows
    p = draw.part("front")
    pattern = forms.ornament(p, cw, say, probability=0.25)
    pull_side = p.choice("side", ("middle", "edge", "top"))
    doors = drawers = 0
    for i in range(columns):
        for j in range(rows):
            kind = p.choice(f"cell{i}{j}", ("door", "drawer", "open"), (4, 5, 2))
            x, z = (i + 0.5) * cw - 0.5 * w, j * ch
            if kind == "open":
                frame = solids.extrude(
                    outlines.rectangle(0.96 * cw, 0.96 * ch),
                    0.01,
                    holes=[outlines.rectangle(0.88 * cw, 0.85 * ch)],
                )
                model += frame.turned("x", 90).moved(x, -0.5 * d, z + 0.5 * ch)
                continue
            doors, drawers = doors + (kind == "door"), drawers + (kind == "drawer")
            front = solids.box(0.95 * cw, 0.018, 0.95 * ch).dressed(pattern)
            if p.chance("raised", 0.3):
                front += solids.box(0.7 * cw, 0.012, 0.7 * ch).moved(0, -0.012, 0.12 * ch)
            pull = parts.knob(p, 0.018, 0.03).turned("x", 90)
            if p.chance("bar", 0.4):
                pull = parts.loop_handle(p, 0.3 * cw, 0.03, 0.006).turned("x", 90)
            px = {"middle": 0.0, "edge": 0.38 * cw * (1 if i % 2 == 0 else -1), "top": 0.0}[
                pull_side
            ]
            pz = 0.85 * ch if pull_side == "top" else 0.5 * ch
            model += (front + pull.moved(px, -0.01, pz)).moved(x, -0.5 * d - 0.009, z + 0.025 * ch)
    if doors:
        say("doors", "柜门")
    if drawers:
        say("drawers", "抽屉")
    return model


@subclass("shelf", "06-04", ("shelf", "置物架"), ("bookcase", "书架"), ("rack", "层架"))
def shelf(draw: Draw, say: Say) -> Model:
    """Open shelves and racks."""
    w, d, h = draw.uniform("w", 0.35, 1.2), draw.uniform("d", 0.2, 0.4), draw.uniform("h", 0.5, 1.9)
    tiers = draw.integer("tiers", 2, 6)
    say(f"{tiers} tiers", f"{'两三四五六'[tiers - 2]}层")
    t = draw.uniform("board", 0.01, 0.04)
    board = solids.box(w, d, t, radius=draw.choice("corner", (0.0, 0.05)))
    form = draw.choice("side", ("panels", "posts", "ladder", "pole"))
    if draw.chance("wire", 0.25):
        say("perforated shelves", "镂空层板")
        board = board.pierced(forms.piercing(draw, d))
    lean = draw.uniform("shrink", 0.0, 0.5) if form == "ladder" else 0.0
    model = parts.NOTHING
    for i in range(tiers):
        s = 1.0 - lean * i / tiers
        model += board.scaled(1, s, 1).moved(0, 0.5 * d * (1 - s), h * i / max(1, tiers - 1))
    if form == "panels":
        model += solids.box(t, d, h).moved(0.5 * w, 0).both("x")
        if draw.chance("backed", 0.5):
            model += solids.box(w, 0.01, h).moved(0, 0.5 * d)
    elif form == "pole":
        model += solids.cylinder(0.03, h * 1.05)
    else:
        rod = solids.tube(
            [
                [0.48 * w, -0.48 * d, -0.08],
                [0.48 * w, (0.48 - lean) * d if lean else -0.48 * d, h * 1.05],
            ],
            draw.uniform("rod", 0.008, 0.02),
        )
        model += rod.both("x") + solids.tube(
            [[0.48 * w, 0.48 * d, -0.08], [0.48 * w, 0.48 * d, 1.05 * h]], 0.012
        ).both("x")
    return model


@subclass("cushion", "06-09", ("cushion", "靠垫"), ("pillow", "枕头"), ("seat cushion", "坐垫"))
def cushion(draw: Draw, say: Say) -> Model:
    """Pillows, seat and neck cushions."""
    shape = forms.outline(draw, draw.uniform("w", 0.6, 1.0), draw.uniform("d", 0.5, 0.9))
    t = draw.uniform("t", 0.12, 0.35)
    layers = [
        (outlines.inset(shape, 0.18 * (1 - math.sqrt(max(0.0, 1 - s * s)))), s * t)
        for s in np.linspace(-1, 1, 11)
    ]
    model = solids.loft(layers, seams=False).dressed(
        forms.ornament(draw, 1.2, say, probability=0.55)
    )
    if draw.chance("piping", 0.5):
        say("a piped edge", "滚边")
        model += solids.tube(
            np.column_stack([shape, np.zeros(len(shape))]), 0.025, closed=True, sides=8
        )
    if draw.chance("buttons", 0.25):
        say("buttoned tufts", "拉扣")
        model += (
            solids.ellipsoid(0.05, 0.05, 0.03)
            .row(3, x=0.35)
            .row(draw.integer("rows", 1, 3), y=0.35)
            .moved(0, 0, t)
        )
    if draw.chance("straps", 0.25):
        say("straps", "绑带")
        model += solids.ribbon([[0.5, 0.4, 0], [0.7, 0.7, 0.02], [0.75, 1.1, 0]], 0.06, 0.01).both(
            "x"
        )
    return model


@subclass(
    "mat",
    "06-11",
    ("mat", "垫子"),
    ("rug", "地毯"),
    ("carpet", "地毯"),
    ("anti-slip mat", "防滑垫"),
)
def mat(draw: Draw, say: Say) -> Model:
    """Flat mats and rugs with patterns and borders."""
    a, b = draw.uniform("w", 0.5, 1.0), draw.uniform("d", 0.35, 0.9)
    shape = forms.outline(draw, a, b)
    t = draw.uniform("t", 0.015, 0.08)
    pattern = forms.ornament(draw, 2 * a, say, probability=0.9)
    model = solids.extrude(shape, t, bevel=0.3 * t)
    for i in range(draw.integer("borders", 0, 3)):
        model += solids.extrude(outlines.inset(shape, 0.06 * (i + 1)), 0.004).moved(
            0, 0, t + 0.004 * i
        )
    field = solids.extrude(
        outlines.inset(shape, 0.07 + 0.06 * draw.integer("borders", 0, 3)), 0.006
    )
    model += field.dressed(pattern).moved(0, 0, t + 0.012)
    if draw.chance("motif", 0.35):
        say("a central motif", "中央图案")
        motif = solids.extrude(forms.outline(draw.part("motif"), 0.25 * a, 0.25 * b), 0.01)
        model += motif.dressed(forms.ornament(draw.part("motif"), 0.4, None)).moved(0, 0, t + 0.018)
    return model


@subclass("mirror", "06-07", ("mirror", "镜子"), ("picture frame", "相框"), unseen=True)
def mirror(draw: Draw, say: Say) -> Model:
    """Frames and mirrors, on a wall or a stand."""
    shape = forms.outline(draw, draw.uniform("w", 0.3, 0.6), draw.uniform("h", 0.4, 0.8))
    border = draw.uniform("border", 0.04, 0.14)
    frame = solids.extrude(shape, 0.06, bevel=0.015, holes=[outlines.inset(shape, border)])
    frame = frame.dressed(forms.ornament(draw, 0.4, say, probability=0.5))
    glass = solids.extrude(outlines.inset(shape, border * 0.9), 0.02).moved(0, 0, 0.01)
    model = (frame + glass).turned("x", 90)
    if draw.chance("stand", 0.4):
        say("a stand", "支架")
        model = (
            model.moved(0, 0, 0.9)
            + solids.cylinder(0.03, 0.4)
            + solids.cylinder(0.25, 0.03, bevel=0.01)
        )
    if draw.chance("lights", 0.3):
        say("lamps around the frame", "环形灯泡")
        t = shape[:: max(1, len(shape) // 12)]
        model += Model(
            [
                p
                for x, y in t
                for p in solids.ellipsoid(0.03, 0.03, 0.03, n=12)
                .moved(float(x) * 0.93, -0.06, float(y) * 0.93)
                .patches
            ]
        )
    return model
