"""Locarno 07: cups, bowls, vessels that pour, pots and pans."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import forms, outlines, parts, solids
from ..mesh import Model
from ..registry import subclass
from .vessels import section, shell

if TYPE_CHECKING:
    from ..chance import Draw
    from ..forms import Say
    from ..mesh import Model


@subclass("cup", "07-01", ("cup", "杯子"), ("mug", "马克杯"), ("tumbler", "随行杯"))
def cup(draw: Draw, say: Say) -> Model:
    """Cups, mugs, tumblers, goblets."""
    r, h = draw.uniform("radius", 0.35, 0.55), draw.uniform("height", 0.5, 1.5)
    ring, line = section(draw), forms.profile(draw, r, h, pieces=3, closed=False)
    outer = [(ring * max(a, 0.02), z) for a, z in line]
    inner = [(ring * max(a - 0.04, 0.02), z) for a, z in line[::-1]]
    inner[-1] = (inner[-1][0], 0.04)
    model = solids.loft(outer + inner, caps=True)
    model = model.dressed(forms.ornament(draw, 2 * r, say, probability=0.4))
    if draw.chance("stem", 0.15):
        say("a stem", "高脚")
        stem = [
            [0, -0.6],
            [0.8 * r, -0.6],
            [0.8 * r, -0.57],
            [0.08, -0.5],
            [0.06, -0.3],
            [0.1, 0.0],
            [line[0, 0], 0.05],
        ]
        model += solids.revolve(outlines.smooth(stem[3:], 14)) + solids.revolve(stem[:4])
    if draw.chance("handle", 0.6):
        say("a handle", "杯把")
        side = float(np.interp(0.5 * h, line[:, 1], line[:, 0]))
        handle = parts.loop_handle(
            draw, h * draw.uniform("ear", 0.45, 0.8), draw.uniform("reach", 0.2, 0.4), 0.045
        )
        model += handle.turned("y", 90).moved(0.94 * side, 0, h * draw.uniform("at", 0.45, 0.58))
    if draw.chance("lid", 0.3):
        say("a lid", "杯盖")
        lid = forms.profile(
            draw.part("lid"), line[-1, 0] * 1.04, draw.uniform("lid_h", 0.08, 0.2), pieces=3
        )
        model += solids.revolve(lid).moved(0, 0, h)
        if draw.chance("straw", 0.5):
            say("a drinking straw", "吸管")
            model += solids.tube(
                outlines.smooth([[0.1, 0, h], [0.12, 0, h + 0.35], [0.3, 0, h + 0.5]], 14), 0.03
            )
    return model


@subclass(
    "bowl", "07-01", ("bowl", "碗"), ("dish", "盘子"), ("plate", "餐盘"), ("pet bowl", "宠物碗")
)
def bowl(draw: Draw, say: Say) -> Model:
    """Bowls and plates of any outline."""
    ring = section(draw)
    r, h = draw.uniform("radius", 0.6, 1.0), draw.uniform("height", 0.1, 0.7)
    base = draw.uniform("base", 0.25, 0.7) * r
    t = np.linspace(0, 1, 10)
    curve = base + (r - base) * t ** draw.uniform("curve", 0.35, 1.4)
    outer = [(ring * a, h * s) for a, s in zip(curve, t, strict=True)]
    if draw.chance("rim", 0.4):
        say("a flat rim", "宽平边")
        outer.append((ring * r * 1.18, h * 1.02))
    rim = outer[-1][0]
    inner = [(ring * (a - 0.05), h * s + 0.03) for a, s in zip(curve[::-1], t[::-1], strict=True)]
    model = solids.loft([*outer, (rim * 0.99, h * 1.05), *inner])
    model = model.dressed(forms.ornament(draw, 2 * r, say, probability=0.4))
    if draw.chance("divided", 0.25):
        say("compartments", "分格")
        count = draw.integer("walls", 1, 4)
        wall = solids.box(0.85 * r, 0.03, 0.8 * h).moved(0.4 * r, 0, 0.15 * h)
        model += wall.ring(count + 1)
    if draw.chance("ears", 0.2):
        say("two handles", "双耳")
        ear = parts.loop_handle(draw, 0.4 * r, 0.25 * r, 0.04).turned("x", -90).turned("z", -90)
        model += ear.moved(0.95 * r, 0, 0.8 * h).both("x")
    if draw.chance("slats", 0.12):
        model += solids.cylinder(base * 1.1, 0.15, top=base).moved(0, 0, -0.15)
    return model


@subclass(
    "kettle",
    "07-02",
    ("kettle", "水壶"),
    ("teapot", "茶壶"),
    ("coffee pot", "咖啡壶"),
    ("pitcher", "水罐"),
)
def kettle(draw: Draw, say: Say) -> Model:
    """Vessels that pour: spout, handle, lid."""
    r, h = draw.uniform("radius", 0.4, 0.65), draw.uniform("height", 0.5, 1.3)
    body = shell(draw, r, h, pieces=3).dressed(forms.ornament(draw, r * 2, say, probability=0.3))
    top = body.bounds()[1][2]
    z = draw.uniform("spout_z", 0.25, 0.7) * h
    tip = h * draw.uniform("tip", 0.8, 1.2)
    reach = r * draw.uniform("spout", 1.3, 2.2)
    neck = outlines.smooth(
        [
            [-0.7 * r, 0, z],
            [-0.5 * (r + reach), 0, z + 0.1 * h],
            [-0.9 * reach, 0, tip - 0.1],
            [-reach, 0, tip],
        ],
        18,
    )
    model = body + solids.tube(neck, np.linspace(0.17, draw.uniform("spout_r", 0.04, 0.1), 18))
    lid = forms.profile(draw.part("lid"), 0.7 * r, draw.uniform("lid_h", 0.1, 0.3), pieces=3)
    model += solids.revolve(lid).moved(0, 0, top) + parts.knob(draw, 0.09, 0.12).moved(
        0, 0, top + 0.2
    )
    if draw.chance("bail", 0.35):
        say("a bail handle over the lid", "提梁")
        model += parts.loop_handle(draw, 1.6 * r, draw.uniform("bail_h", 0.4, 0.8), 0.04).moved(
            0, 0, 0.9 * h
        )
    else:
        say("a side handle", "侧把手")
        model += (
            parts.loop_handle(draw, 0.7 * h, draw.uniform("ear", 0.3, 0.5), 0.05)
            .turned("y", 90)
            .moved(0.8 * r, 0, 0.55 * h)
        )
    say("a spout", "壶嘴")
    if draw.chance("electric", 0.3):
        say("a power base", "电源底座")
        model += solids.cylinder(r, 0.09, bevel=0.02).moved(0, 0, -0.12)
    return model


@subclass("pan", "07-02", ("cooking pot", "锅"), ("frying pan", "煎锅"), ("saucepan", "奶锅"))
def pan(draw: Draw, say: Say) -> Model:
    """Pots and pans."""
    r, h = draw.uniform("radius", 0.5, 0.9), draw.uniform("height", 0.15, 0.8)
    ring = outlines.ellipse(1, draw.choice("oval", (1.0, 1.0, 0.8)), 44)
    flare = draw.uniform("flare", 0.75, 1.0)
    model = solids.loft(
        [
            (ring * r * flare, 0),
            (ring * r, h),
            (ring * r * 1.04, h),
            (ring * r * 0.96, h),
            (ring * r * flare * 0.95, 0.04),
        ]
    )
    if draw.chance("long", 0.5):
        say("a long handle", "长柄")
        shaft = parts.grip(draw, draw.uniform("handle", 0.8, 1.4), 0.09, say)
        model += shaft.turned("y", 90 - draw.uniform("rise", 0, 20)).moved(0.97 * r, 0, 0.8 * h)
    else:
        say("two side handles", "双侧耳")
        ear = parts.loop_handle(draw, 0.5 * r, 0.28, 0.045).turned("x", -90).turned("z", -90)
        model += ear.moved(0.95 * r, 0, 0.8 * h).both("x")
    if draw.chance("lid", 0.5):
        say("a lid", "锅盖")
        lid = parts.dome(1.02 * r, draw.uniform("lid", 0.08, 0.35))
        model += (lid + parts.knob(draw, 0.11, 0.16).moved(0, 0, 0.2)).moved(0, 0, h)
    return model
