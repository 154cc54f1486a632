"""Locarno 05, 07, 19, 25: panels, profiles, moulds, fabrics, things for desks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .. import forms, outlines, parts, solids
from ..mesh import Model
from ..registry import subclass
from .generic import attachment
from .vessels import section

if TYPE_CHECKING:
    from ..chance import Draw
    from ..forms import Say
    from ..mesh import Model


@subclass("panel", "25-01", ("panel", "面板"), ("tile", "瓷砖"), ("fence", "围栏"), ("brick", "砖"))
def panel(draw: Draw, say: Say) -> Model:
    """Tiles, boards, grilles, blocks with relief."""
    a, b, t = draw.uniform("a", 0.4, 0.9), draw.uniform("b", 0.4, 0.9), draw.uniform("t", 0.04, 0.3)
    shape = forms.outline(draw, a, b)
    model = solids.extrude(shape, t, bevel=0.1 * t)
    if draw.chance("pierced", 0.3):
        model = model.pierced(forms.piercing(draw, a, say)) + solids.extrude(
            shape, t * 1.2, holes=[outlines.inset(shape, 0.08)]
        )
    else:
        model = model.dressed(forms.ornament(draw, 2 * a, say, probability=0.6))
        relief = attachment(draw.part("relief"), 0.3)
        nx, ny = draw.integer("nx", 0, 4), draw.integer("ny", 1, 4)
        if nx:
            say("a raised relief", "凸起浮雕")
            model += (
                relief.scaled(1, 1, 0.4)
                .row(nx, x=1.5 * a / nx)
                .row(ny, y=1.5 * b / ny)
                .moved(0, 0, t)
            )
    return model.turned("x", 90) if draw.chance("upright", 0.5) else model


@subclass(
    "profile",
    "25-01",
    ("extruded profile", "型材"),
    ("rail", "导轨"),
    ("moulding", "线条"),
    ("pipe", "管材"),
)
def profile(draw: Draw, say: Say) -> Model:
    """Long bodies of one section."""
    form = draw.choice("form", ("slots", "angle", "free", "ribbed", "tube"))
    length = draw.uniform("l", 0.8, 2.6)
    if form == "slots":
        say("T slots", "T形槽")
        arm = np.array(
            [
                [0.12, -0.12],
                [0.35, -0.3],
                [0.35, -0.1],
                [0.45, -0.1],
                [0.45, 0.1],
                [0.35, 0.1],
                [0.35, 0.3],
            ]
        ) * draw.uniform("s", 0.8, 1.1)
        quarter = [
            arm @ np.array([[math.cos(k), math.sin(k)], [-math.sin(k), math.cos(k)]])
            for k in np.arange(4) * math.pi / 2
        ]
        body = solids.extrude(np.concatenate(quarter), length, holes=[outlines.ellipse(0.08, n=16)])
    elif form == "angle":
        say("an angle section", "角形截面")
        t = draw.uniform("t", 0.04, 0.12)
        w, d = draw.uniform("w", 0.4, 0.8), draw.uniform("d", 0.3, 0.8)
        path = np.array([[0, d], [0, 0], [w, 0], [w, draw.uniform("lip", 0.0, 0.5)]])
        body = solids.extrude(
            outlines.thick(
                outlines.rounded(path[:3], 0.05)
                if draw.chance("l", 0.5)
                else outlines.smooth(path, 24),
                t,
                round_ends=False,
            ),
            length,
        )
    elif form == "tube":
        outer = forms.outline(draw, 0.4, 0.35)
        body = solids.extrude(
            outer, length, holes=[outlines.inset(outer, draw.uniform("wall", 0.04, 0.12))]
        )
    elif form == "ribbed":
        say("ribs", "筋条")
        body = solids.extrude(
            outlines.lobed(0.4, draw.integer("ribs", 6, 20), draw.uniform("deep", 0.08, 0.25)),
            length,
        )
    else:
        body = solids.extrude(forms.outline(draw, 0.5, 0.3), length)
    if draw.chance("holes", 0.3):
        say("mounting holes", "安装孔")
        body += (
            solids.torus(0.08, 0.015)
            .turned("x", 90)
            .row(draw.integer("hole", 2, 5), z=0.4)
            .moved(0, -0.3, 0.5 * length)
        )
    return body.turned("y", 90) if draw.chance("lying", 0.7) else body


@subclass(
    "mould",
    "07-04",
    ("ice mould", "冰格"),
    ("baking mould", "烤模"),
    ("cookie cutter", "饼干模"),
    ("tray", "托盘"),
)
def mould(draw: Draw, say: Say) -> Model:
    """Plates of cavities, and cutters of bent strip."""
    if draw.chance("cutter", 0.35):
        say("a bent strip outline", "带状轮廓")
        shape = forms.outline(draw, 0.6, 0.5)
        if draw.chance("star", 0.3):
            shape = outlines.rounded(outlines.star(draw.integer("points", 4, 8), 0.6, 0.35), 0.05)
        wall = solids.extrude(
            shape, draw.uniform("h", 0.15, 0.5), holes=[outlines.inset(shape, 0.03)]
        )
        bridge = solids.box(1.0, 0.1, 0.03).row(draw.integer("bars", 1, 3), y=0.2).moved(0, 0, 0.05)
        return (
            wall
            + solids.extrude(
                outlines.inset(shape, -0.05), 0.03, holes=[outlines.inset(shape, 0.03)]
            )
            + bridge
        )
    nx, ny = draw.integer("nx", 2, 6), draw.integer("ny", 1, 4)
    say(f"{nx * ny} cavities", f"{nx * ny}个模腔")
    s = 0.3
    plate = solids.extrude(
        outlines.rounded_rectangle(s * nx + 0.15, s * ny + 0.15, 0.1), 0.06, bevel=0.015
    )
    hollow = forms.outline(draw, 0.42 * s, 0.42 * s)
    cup = solids.loft([(hollow * 0.7, -draw.uniform("deep", 0.1, 0.3)), (hollow, 0.0)], caps=True)
    rim = solids.tube(
        np.column_stack([hollow, np.full(len(hollow), 0.06)]), 0.012, closed=True, sides=6
    )
    inner = solids.extrude(hollow * 0.75, 0.005).moved(0, 0, 0.062)
    one = cup + rim + inner.dressed(forms.ornament(draw, s, say, probability=0.3))
    model = plate + one.row(nx, x=s).row(ny, y=s)
    if draw.chance("handle", 0.3):
        model += (
            parts.loop_handle(draw, 0.4, 0.15, 0.03)
            .turned("z", 90)
            .turned("y", 90)
            .moved(0.5 * s * nx + 0.06, 0, 0.03)
        )
    return model


@subclass(
    "fabric",
    "05-05",
    ("fabric pattern", "面料图案"),
    ("textile", "纺织品"),
    ("wallpaper", "壁纸"),
    ("blanket", "毯子"),
)
def fabric(draw: Draw, say: Say) -> Model:
    """Flat sheets that are all pattern; blankets with shaped outlines."""
    shape = (
        outlines.rectangle(1.6, 2.0) if draw.chance("plain", 0.5) else forms.outline(draw, 0.8, 1.0)
    )
    model = solids.extrude(shape, 0.02).dressed(forms.ornament(draw, 1.6, say, probability=1.0))
    for i in range(draw.integer("motifs", 0, 3)):
        p = draw.part(f"motif{i}")
        motif = solids.extrude(
            forms.outline(p, p.uniform("a", 0.08, 0.4), p.uniform("b", 0.08, 0.4)), 0.012
        )
        model += motif.dressed(forms.ornament(p, 0.4, None, probability=0.5)).moved(
            p.uniform("x", -0.5, 0.5), p.uniform("y", -0.7, 0.7), 0.02
        )
    if draw.chance("fringe", 0.3):
        say("a fringe", "流苏")
        model += solids.box(0.012, 0.12, 0.01).row(24, x=0.066).moved(0, -1.05).both("y")
    if draw.chance("draped", 0.25):
        say("folds", "褶皱")
        k, amount = draw.uniform("folds", 4, 9), draw.uniform("fold", 0.03, 0.12)
        strip = [[x, amount * math.sin(k * x)] for x in np.linspace(-0.9, 0.9, 50)]
        return solids.extrude(outlines.thick(np.array(strip), 0.02, round_ends=False), 1.6).dressed(
            forms.ornament(draw, 1.6, None, probability=1.0)
        )
    return model.turned("x", 90)


@subclass("pen", "19-06", ("pen", "笔"), ("marker", "记号笔"), ("electronic cigarette", "电子烟"))
def pen(draw: Draw, say: Say) -> Model:
    """Slim turned or prismatic bodies with clips and tips."""
    h, r = draw.uniform("h", 1.4, 2.6), draw.uniform("r", 0.07, 0.16)
    ring = section(draw)
    line = forms.profile(draw, r, h, pieces=6, closed=False)
    model = solids.loft([(ring * max(a, 0.6 * r), z) for a, z in line]).dressed(
        forms.ornament(draw, 0.3, say, probability=0.3)
    )
    model += solids.cylinder(0.7 * r, 0.35, top=0.02).turned("x", 180)
    if draw.chance("clip", 0.6):
        say("a clip", "笔夹")
        model += solids.box(0.4 * r, 0.05, draw.uniform("clip_l", 0.4, 0.8), bevel=0.01).moved(
            0, -1.2 * r, h - 0.85
        ) + solids.box(0.4 * r, 0.6 * r, 0.06).moved(0, -0.9 * r, h - 0.1)
    if draw.chance("button", 0.5):
        say("a push button", "按钮")
        model += solids.cylinder(0.4 * r, 0.2, bevel=0.02).moved(0, 0, h)
    return model


@subclass(
    "stationery",
    "19-02",
    ("desk organizer", "收纳架"),
    ("napkin holder", "纸巾架"),
    ("book end", "书立"),
    ("stapler", "订书机"),
)
def stationery(draw: Draw, say: Say) -> Model:
    """Holders for desks and tables: bent wire, plates, cells."""
    form = draw.choice("form", ("wire", "plates", "cells", "lever"))
    w, h = draw.uniform("w", 0.6, 1.2), draw.uniform("h", 0.4, 1.0)
    if form == "wire":
        say("bent wire sides", "弯丝框架")
        side = forms.outline(draw, 0.5 * w, 0.5 * h)
        loop = (
            solids.tube(np.column_stack([side, np.zeros(len(side))]), 0.03, closed=True)
            .turned("x", 90)
            .moved(0, 0, 0.5 * h)
        )
        depth = draw.uniform("depth", 0.25, 0.5)
        bars = solids.tube([[0, -depth, 0], [0, depth, 0]], 0.02).row(
            draw.integer("bars", 3, 8), x=0.11 * w
        )
        upright = (
            solids.tube([[0, 0, 0], [0, 0, h]], 0.02)
            .row(draw.integer("upright", 0, 5), x=0.15 * w)
            .moved(0, -depth)
        )
        return loop.moved(0, -depth) + loop.moved(0, depth) + bars + upright
    if form == "plates":
        plate = (
            solids.extrude(forms.outline(draw, 0.5 * w, 0.5 * h), 0.04)
            .turned("x", 90)
            .moved(0, 0, 0.5 * h)
        )
        plate = (
            plate.pierced(forms.piercing(draw, w, say))
            if draw.chance("pierced", 0.4)
            else plate.dressed(forms.ornament(draw, w, say))
        )
        gap = draw.uniform("gap", 0.15, 0.4)
        return plate.row(draw.integer("plates", 2, 4), y=gap) + solids.box(w, gap * 2.2, 0.05)
    if form == "lever":
        say("a hinged arm", "铰接臂")
        base = solids.box(1.4, 0.3, 0.12, radius=0.1, bevel=0.03)
        arm = (
            solids.extrude(forms.outline(draw, 0.65, 0.12), 0.28, bevel=0.04)
            .turned("x", 90)
            .moved(0, 0.14, 0.2)
        )
        return (
            base
            + arm.turned("y", draw.uniform("open", 3, 18)).moved(0, 0, 0.12)
            + solids.cylinder(0.06, 0.36).turned("x", 90).moved(0.6, 0.18, 0.2)
        )
    nx, ny = draw.integer("nx", 1, 4), draw.integer("ny", 1, 2)
    say(f"{nx * ny} cells", f"{nx * ny}格")
    shape = section(draw)
    model = parts.NOTHING
    for i in range(nx):
        for j in range(ny):
            tall = h * draw.uniform(f"h{i}{j}", 0.5, 1.0)
            model += solids.loft(
                [
                    (shape * 0.24, 0),
                    (shape * 0.24, tall),
                    (shape * 0.21, tall),
                    (shape * 0.21, 0.1),
                ],
                caps=False,
            ).moved(0.46 * i, 0.46 * j)
    return model + solids.box(0.46 * nx + 0.1, 0.46 * ny + 0.1, 0.05).moved(
        0.23 * (nx - 1), 0.23 * (ny - 1)
    )
