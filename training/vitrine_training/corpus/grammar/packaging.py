"""Locarno 03, 09, 23: boxes, bags, bins and basins."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .. import forms, outlines, parts, solids
from ..mesh import Model, Pattern
from ..registry import subclass
from .vessels import section

if TYPE_CHECKING:
    from ..chance import Draw
    from ..forms import Say
    from ..mesh import Model


@subclass(
    "food container",
    "07-07",
    ("food container", "食品容器"),
    ("lunch box", "饭盒"),
    ("storage box", "收纳盒"),
)
def food_container(draw: Draw, say: Say) -> Model:
    """Shallow boxes with lids, rims, compartments and clips."""
    a, b, h = draw.uniform("w", 0.5, 0.9), draw.uniform("d", 0.35, 0.7), draw.uniform("h", 0.2, 0.8)
    shape = forms.outline(draw, a, b)
    small = shape * draw.uniform("draft", 0.78, 1.0)
    model = solids.loft([(small, 0), (shape, h)]) + solids.extrude(shape * 1.06, 0.05).moved(
        0, 0, h
    )
    lid = solids.extrude(shape * 0.9, draw.uniform("lid", 0.03, 0.2), bevel=0.02).moved(
        0, 0, h + 0.05
    )
    cells = draw.integer("cells", 0, 4)
    if cells > 1:
        say(f"{cells} compartments", f"{'一二三四'[cells - 1]}格")
        cell = solids.extrude(
            outlines.rounded_rectangle(1.5 * a / cells, 1.3 * b, 0.12), 0.05, bevel=0.015
        )
        model += cell.row(cells, x=1.65 * a / cells).moved(0, 0, h + 0.06)
    else:
        model += lid.dressed(forms.ornament(draw, 2 * a, say, probability=0.3))
    clips = draw.integer("clips", 0, 2)
    if clips:
        say("locking clips", "锁扣")
        clip = solids.box(0.3 * a, 0.05, 0.22, bevel=0.015)
        model += clip.row(clips, x=0.7 * a).moved(0, -1.02 * b, h - 0.12) + clip.moved(
            0, 1.02 * b, h - 0.12
        )
    if draw.chance("handle", 0.3):
        say("a carrying handle", "提手")
        model += parts.loop_handle(draw, 1.2 * a, 0.4, 0.05).moved(0, 0, h + 0.05)
    if draw.chance("ribs", 0.25):
        model += (
            solids.box(0.03, 0.04, 0.8 * h)
            .row(draw.integer("rib", 4, 12), x=0.14 * a)
            .moved(0, -b, 0.05)
        )
    return model


@subclass("carton", "09-03", ("box", "盒子"), ("carton", "纸盒"), ("package", "包装盒"))
def carton(draw: Draw, say: Say) -> Model:
    """Folding boxes and cartons with windows, tucks and print."""
    w, d, h = draw.uniform("w", 0.4, 1.2), draw.uniform("d", 0.2, 1.0), draw.uniform("h", 0.2, 1.4)
    form = draw.choice("form", ("box", "gable", "hex", "pillow", "sleeve"))
    if form == "hex":
        model = solids.extrude(outlines.regular(draw.integer("sides", 5, 8), 0.6 * w), h)
    elif form == "gable":
        say("a gable top with a handle", "屋顶提手")
        model = solids.box(w, d, h)
        top = [
            (outlines.rectangle(w, d), h),
            (outlines.rectangle(w, 0.06), h + 0.5 * d),
            (outlines.rectangle(w, 0.05), h + 0.8 * d),
        ]
        model += solids.loft(top)
    elif form == "pillow":
        say("a pillow shape", "枕形")
        model = solids.ellipsoid(0.5 * w, 0.2 * w, 0.5 * h, power_xy=2.2, power_z=6)
    else:
        model = solids.box(w, d, h)
    model = model.dressed(forms.ornament(draw, max(w, h), say, probability=0.5))
    face = draw.part("face")
    front = -0.5 * d - 0.005
    if form not in ("hex", "pillow"):
        if face.chance("window", 0.35):
            say("a window", "开窗")
            pane = solids.extrude(forms.outline(face, 0.35 * w, 0.3 * h), 0.02)
            model += pane.turned("x", 90).moved(0, front, 0.5 * h)
        if face.chance("print", 0.35):
            say("printed lettering", "印刷文字")
            text = solids.face(outlines.rectangle(0.8 * w, 0.25 * h)).turned("x", 90)
            model += text.dressed(Pattern(23, 0.08 * w, 0.06 * h)).moved(0, front, 0.85 * h)
        if face.chance("tuck", 0.5):
            model += (
                solids.box(0.9 * w, 0.01, 0.2 * d)
                .turned("x", face.uniform("open", -60, -5))
                .moved(0, front, h)
            )
    return model


@subclass(
    "bag",
    "03-01",
    ("bag", "包"),
    ("handbag", "手提包"),
    ("backpack", "背包"),
    ("tote bag", "手提袋"),
)
def bag(draw: Draw, say: Say) -> Model:
    """Bags with straps, flaps and pockets."""
    w, d, h = draw.uniform("w", 0.6, 1.1), draw.uniform("d", 0.2, 0.5), draw.uniform("h", 0.5, 1.2)
    shape = outlines.superellipse(0.5 * w, 0.5 * d, draw.uniform("power", 2.5, 8))
    top = draw.uniform("top", 0.55, 1.0)
    t = np.linspace(0, 1, 10)
    body = solids.loft(
        [
            (
                shape
                * (1 + (top - 1) * s + draw.uniform("belly", 0, 0.15) * math.sin(math.pi * s))
                * (0.93 if s == 0 else 1),
                h * s,
            )
            for s in t.tolist()
        ]
    )
    model = body.dressed(forms.ornament(draw, w, say, probability=0.4))
    straps = draw.choice("straps", ("handles", "shoulder", "pack", "top"))
    if straps == "handles":
        say("two carrying handles", "双提手")
        model += (
            parts.loop_handle(draw, 0.5 * w, draw.uniform("drop", 0.2, 0.6), 0.025)
            .moved(0, 0.4 * d * top, h)
            .both("y")
        )
    elif straps == "shoulder":
        say("a shoulder strap", "肩带")
        path = outlines.smooth(
            [
                [-0.45 * w * top, 0, h],
                [-0.4 * w, 0, 1.8 * h],
                [0.4 * w, 0, 1.8 * h],
                [0.45 * w * top, 0, h],
            ],
            26,
        )
        model += solids.ribbon(path, 0.08, 0.015)
    elif straps == "pack":
        say("two back straps", "双肩背带")
        path = outlines.smooth(
            [[0, 0.45 * d, h], [0, d, 0.85 * h], [0, 0.9 * d, 0.4 * h], [0, 0.45 * d, 0.1 * h]], 22
        )
        model += solids.ribbon(path, 0.1, 0.02).moved(0.22 * w).both("x") + parts.loop_handle(
            draw, 0.2 * w, 0.12, 0.02
        ).moved(0, 0, h)
    else:
        say("a top handle", "提手")
        model += parts.loop_handle(draw, 0.35 * w, 0.2, 0.03).moved(0, 0, h)
    if draw.chance("flap", 0.4):
        say("a front flap", "翻盖")
        flap = solids.extrude(
            outlines.rounded(
                np.array([[-0.48, 0], [-0.4, -0.5], [0.4, -0.5], [0.48, 0]]) * [w * top, h], 0.1
            ),
            0.02,
        )
        model += flap.turned("x", 90).moved(0, -0.5 * d, h) + parts.knob(draw, 0.04, 0.03).turned(
            "x", 90
        ).moved(0, -0.52 * d, 0.6 * h)
    if draw.chance("pocket", 0.5):
        say("a front pocket", "前袋")
        pocket = solids.box(
            draw.uniform("pw", 0.4, 0.8) * w,
            0.2 * d,
            draw.uniform("ph", 0.25, 0.5) * h,
            radius=0.04,
            bevel=0.03,
        )
        zip_line = solids.box(0.35 * w, 0.02, 0.02).moved(0, -0.11 * d, 0.3 * h)
        model += (pocket + zip_line).moved(0, -0.5 * d, 0.06 * h)
    if draw.chance("wheels", 0.12):
        say("wheels", "滚轮")
        model += parts.wheel(draw, 0.08, 0.06).moved(0.35 * w, 0.3 * d, 0).both("x")
    return model


@subclass(
    "bucket",
    "09-02",
    ("bucket", "桶"),
    ("waste bin", "垃圾桶"),
    ("cooler", "保温箱"),
    ("basket", "篮子"),
)
def bucket(draw: Draw, say: Say) -> Model:
    """Open or lidded tubs, baskets, bins and coolers."""
    ring = section(draw)
    r, h = draw.uniform("radius", 0.4, 0.6), draw.uniform("height", 0.5, 1.3)
    low = draw.uniform("low", 0.65, 1.0)
    wall = solids.loft([(ring * r * low, 0), (ring * r, h)])
    if draw.chance("pierced", 0.3):
        say("perforated walls", "镂空壁")
        wall = wall.pierced(forms.piercing(draw, r * 2))
    else:
        wall = wall.dressed(forms.ornament(draw, r * 2, say, probability=0.4))
    model = wall + solids.loft(
        [(ring * r * 1.06, 0.94 * h), (ring * r * 1.06, h), (ring * r * 0.95, h)], caps=False
    )
    for i in range(draw.integer("bands", 0, 3)):
        z = h * draw.uniform(f"band{i}", 0.1, 0.8)
        s = low + (1 - low) * z / h
        model += solids.loft([(ring * r * s * 1.03, z), (ring * r * s * 1.03, z + 0.05)])
    if draw.chance("lid", 0.45):
        say("a lid", "盖子")
        rise = draw.uniform("rise", 0.05, 0.3)
        model += solids.loft(
            [(ring * r * 1.08, h), (ring * r * 1.08, h + 0.07), (ring * r * 0.6, h + rise + 0.07)]
        )
    elif draw.chance("bail", 0.6):
        say("a bail handle", "提梁")
        model += parts.loop_handle(draw, 2 * r, draw.uniform("bail_h", 0.3, 0.7), 0.025).moved(
            0, 0, 0.92 * h
        )
    if draw.chance("sides", 0.35):
        say("side grips", "侧提手")
        model += (
            parts.loop_handle(draw, 0.4, 0.14, 0.03)
            .turned("z", 90)
            .turned("y", 90)
            .moved(0.97 * r, 0, 0.8 * h)
            .both("x")
        )
    if draw.chance("wheels", 0.2):
        say("two wheels", "双轮")
        model += parts.wheel(draw, 0.15, 0.09).moved(0.5 * r, 0.7 * r, 0.1).both("x")
    if draw.chance("pedal", 0.12):
        model += solids.box(0.25, 0.2, 0.04).moved(0, -r, 0.05)
    return model


@subclass(
    "basin", "23-02", ("basin", "洗手盆"), ("sink", "水槽"), ("bathtub", "浴缸"), ("tray", "托盘")
)
def basin(draw: Draw, say: Say) -> Model:
    """Sinks, tubs and trays: a rim, a hollow, a drain."""
    a, b, h = draw.uniform("w", 0.6, 1.2), draw.uniform("d", 0.4, 0.8), draw.uniform("h", 0.08, 0.6)
    outer = forms.outline(draw, a, b)
    border = draw.uniform("border", 0.05, 0.2)
    inner = (
        forms.outline(draw.part("inner"), a - border, b - border)
        if draw.chance("other", 0.5)
        else outlines.inset(outer, border)
    )
    low = inner * draw.uniform("draft", 0.7, 0.95)
    inside = solids.loft([(inner, h), (inner * 0.97, 0.5 * h), (low, 0.15 * h)], caps=False)
    model = (
        solids.loft([(outer * draw.uniform("foot", 0.7, 1.0), 0), (outer, h)], caps=False) + inside
    )
    model += (
        solids.face(outer, h, [inner]) + solids.face(low, 0.15 * h) + solids.face(outer * 0.8, 0)
    )
    if draw.chance("drain", 0.6):
        say("a drain", "排水口")
        model += solids.torus(0.06, 0.012).moved(
            0, draw.uniform("drain_y", -0.2, 0.3) * b, 0.16 * h
        ) + solids.cylinder(0.05, 0.01).moved(0, 0.1 * b, 0.155 * h)
    if draw.chance("cells", 0.3):
        say("compartments", "分格")
        model += (
            solids.box(0.03, 1.7 * (b - border), 0.7 * h)
            .row(draw.integer("walls", 1, 4), x=0.5 * a)
            .moved(0, 0, 0.2 * h)
        )
    if draw.chance("ears", 0.3):
        say("end handles", "端部把手")
        model += (
            parts.loop_handle(draw, 0.6 * b, 0.12, 0.03)
            .turned("x", -90)
            .turned("z", -90)
            .moved(0.97 * a, 0, 0.9 * h)
            .both("x")
        )
    bottom = forms.ornament(draw, a, say, probability=0.25)
    if bottom is not None:
        model += solids.face(low * 0.97, 0.152 * h).dressed(bottom)
    return model
