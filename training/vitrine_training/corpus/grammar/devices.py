"""Locarno 14, 16, 10: screens, controls, cameras, instruments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import forms, outlines, parts, solids
from ..mesh import Model, Pattern
from ..registry import subclass
from .generic import attach, attachment, body

if TYPE_CHECKING:
    from ..chance import Draw
    from ..forms import Say
    from ..mesh import Model


def slab(draw: Draw, w: float, h: float, t: float) -> Model:
    """Flat upright body facing the front: w by h in the plane y = 0, t deep, centred."""
    shape = forms.outline(draw.part("slab"), 0.5 * w, 0.5 * h)
    return (
        solids.extrude(shape, t, bevel=draw.uniform("edge", 0.0, 0.35) * t)
        .turned("x", 90)
        .moved(0, 0.5 * t)
    )


@subclass(
    "phone",
    "14-03",
    ("mobile phone", "手机"),
    ("tablet computer", "平板电脑"),
    ("display", "显示屏"),
)
def phone(draw: Draw, say: Say) -> Model:
    """Handheld screens."""
    w, h, t = (
        draw.uniform("w", 0.5, 1.3),
        draw.uniform("h", 0.9, 1.6),
        draw.uniform("t", 0.05, 0.16),
    )
    r = draw.uniform("r", 0.02, 0.2)
    model = (
        solids.extrude(
            outlines.rounded_rectangle(w, h, r), t, bevel=draw.uniform("edge", 0.05, 0.4) * t
        )
        .turned("x", 90)
        .moved(0, 0.5 * t)
    )
    border = draw.uniform("border", 0.02, 0.12)
    screen = outlines.rounded_rectangle(
        w - 2 * border, h - border * draw.uniform("chin", 2, 5), max(0.01, r - border)
    )
    model += solids.extrude(screen, 0.01).turned("x", 90).moved(0, -0.5 * t)
    if draw.chance("home", 0.4):
        say("a home button", "主页键")
        model += solids.cylinder(0.05, 0.02).turned("x", 90).moved(0, -0.5 * t, -0.5 * h + 0.07)
    lenses = draw.integer("lenses", 0, 4)
    if lenses:
        say(
            f"{lenses} camera lenses" if lenses > 1 else "a camera",
            f"{'一两三四'[lenses - 1]}个摄像头",
        )
        island = (
            solids.extrude(outlines.rounded_rectangle(0.3 * w, 0.3 * w, 0.06), 0.03)
            .turned("x", -90)
            .moved(0.28 * w, 0.5 * t, 0.38 * h)
        )
        lens = (solids.cylinder(0.05, 0.04) + solids.cylinder(0.03, 0.045)).turned("x", -90)
        spots = [(-0.07, 0.07), (0.07, -0.07), (0.07, 0.07), (-0.07, -0.07)]
        model += island
        for x, z in spots[:lenses]:
            model += lens.moved(0.28 * w + x * w, 0.5 * t, 0.38 * h + z * w)
    keys = solids.box(0.02, 0.4 * t, 0.12).row(draw.integer("keys", 1, 3), z=0.16)
    model += keys.moved(0.5 * w + 0.005, -0.2 * t, 0.2 * h)
    if draw.chance("icons", 0.3):
        say("icons on the screen", "屏幕图标")
        cell = 0.2 * w
        model += (
            solids.extrude(outlines.rounded_rectangle(0.13 * w, 0.13 * w, 0.03), 0.012)
            .turned("x", 90)
            .row(4, x=cell)
            .row(draw.integer("rows", 2, 5), z=cell)
            .moved(0, -0.5 * t - 0.01)
        )
    return model


@subclass(
    "remote",
    "14-03",
    ("remote control", "遥控器"),
    ("controller", "控制器"),
    ("game controller", "游戏手柄"),
)
def remote(draw: Draw, say: Say) -> Model:
    """Handheld controls with keys."""
    w, h, t = draw.uniform("w", 0.35, 0.8), draw.uniform("h", 0.8, 1.8), draw.uniform("t", 0.1, 0.3)
    model = slab(draw, w, h, t)
    if draw.chance("pad", 0.3):
        say("two grips", "双握把")
        horn = solids.ellipsoid(0.22, 0.2, 0.42).turned("y", draw.uniform("splay", 10, 35))
        model = slab(draw, 1.3, 0.7, t) + horn.moved(0.62, 0, -0.3).both("x")
        model += parts.knob(draw, 0.12, 0.1).turned("x", 90).moved(0.25, -0.5 * t, -0.1).both("x")
        model += (
            solids.cylinder(0.05, 0.04)
            .turned("x", 90)
            .moved(0.12, 0, 0)
            .ring(4, "y")
            .moved(0.5, -0.5 * t, 0.15)
        )
        model += parts.buttons(draw.part("left"), 0.3, 0.3).moved(-0.45, -0.5 * t, 0.15)
        return model
    rows = draw.integer("groups", 1, 4)
    for i in range(rows):
        p = draw.part(f"group{i}")
        model += parts.buttons(p, 0.7 * w, 0.7 * h / rows).moved(
            0, -0.5 * t, h * (0.4 - 0.8 * (i + 0.5) / rows)
        )
    if draw.chance("ring", 0.4):
        say("a navigation ring", "导航环")
        model += (
            (solids.torus(0.3 * w, 0.04) + solids.cylinder(0.12 * w, 0.04))
            .turned("x", 90)
            .moved(0, -0.5 * t, 0.25 * h)
        )
    return model


@subclass(
    "camera",
    "16-01",
    ("camera", "相机"),
    ("surveillance camera", "监控摄像头"),
    ("webcam", "摄像头"),
)
def camera(draw: Draw, say: Say) -> Model:
    """Cameras: a body and a lens."""
    w, d, h = draw.uniform("w", 0.5, 1.3), draw.uniform("d", 0.25, 0.7), draw.uniform("h", 0.4, 0.9)
    model = body(draw, say, w, d, h)
    front = float(model.bounds()[0][1])
    r = draw.uniform("lens", 0.3, 0.48) * min(w, h)
    barrel = forms.profile(draw, r, draw.uniform("barrel", 0.1, 0.8), pieces=5, closed=False)
    top = float(barrel[-1, 0])
    glass = [
        [0.8 * top, barrel[-1, 1]],
        [0.75 * top, barrel[-1, 1] - 0.06],
        [0.4 * top, barrel[-1, 1] - 0.02],
        [0, barrel[-1, 1]],
    ]
    lens = solids.revolve(np.concatenate([barrel, glass]))
    model += lens.turned("x", 90).moved(draw.uniform("x", -0.2, 0.2) * w, front + 0.03, 0.5 * h)
    if draw.chance("dials", 0.5):
        say("control dials", "拨盘")
        model += parts.knob(draw, 0.09, 0.08).moved(0.3 * w, 0, h) + solids.box(
            0.3 * w, 0.6 * d, 0.12 * h, bevel=0.02
        ).moved(0, 0, h)
    if draw.chance("stand", 0.35):
        say("a stand", "支架")
        model += solids.cylinder(0.05, 0.3).moved(0, 0, -0.3) + solids.cylinder(
            0.3, 0.05, bevel=0.01
        ).moved(0, 0, -0.35)
    if draw.chance("strap", 0.2):
        model += solids.torus(0.06, 0.015).turned("x", 90).moved(0.52 * w, 0, 0.8 * h).both("x")
    return model


@subclass(
    "laptop",
    "14-02",
    ("laptop computer", "笔记本电脑"),
    ("monitor", "显示器"),
    ("television", "电视机"),
)
def laptop(draw: Draw, say: Say) -> Model:
    """Screens on a keyboard or a stand."""
    w, h, t = (
        draw.uniform("w", 1.0, 1.8),
        draw.uniform("h", 0.6, 1.0),
        draw.uniform("t", 0.03, 0.08),
    )
    border = draw.uniform("border", 0.02, 0.08)
    panel = (
        solids.extrude(outlines.rounded_rectangle(w, h, draw.uniform("r", 0.01, 0.1)), t)
        .turned("x", 90)
        .moved(0, 0.5 * t, 0.5 * h)
    )
    panel += (
        solids.extrude(outlines.rectangle(w - 2 * border, h - 2 * border), 0.01)
        .turned("x", 90)
        .moved(0, -0.5 * t, 0.5 * h)
    )
    if draw.chance("keyboard", 0.5):
        say("a keyboard", "键盘")
        deck = solids.box(w, 0.75 * h, 1.2 * t, radius=0.03)
        keys = solids.face(outlines.rectangle(0.85 * w, 0.35 * h), 1.21 * t).dressed(
            Pattern(3, 0.06 * w, 0.07 * h)
        )
        pad = solids.extrude(outlines.rounded_rectangle(0.3 * w, 0.2 * h, 0.02), 0.008).moved(
            0, -0.24 * h, 1.2 * t
        )
        hinge = solids.cylinder(0.5 * t, 0.7 * w).turned("y", 90).moved(-0.35 * w, 0.37 * h, t)
        return (
            panel.turned("x", -draw.uniform("open", 0, 35)).moved(0, 0.37 * h, t)
            + deck
            + keys.moved(0, 0.12 * h)
            + pad
            + hinge
        )
    say("a stand", "底座")
    foot = draw.choice("foot", ("plate", "legs", "arc"))
    if foot == "plate":
        base = solids.extrude(forms.outline(draw, 0.25 * w, 0.15 * w), 0.03) + solids.box(
            0.12 * w, 0.04, 0.3
        ).moved(0, 0.05)
    elif foot == "legs":
        base = solids.tube(
            [[0.35 * w, -0.2, 0], [0.33 * w, 0, 0.28], [0.35 * w, 0.2, 0]], 0.02
        ).both("x")
    else:
        base = solids.ribbon(
            outlines.smooth(
                [[0.3 * w, 0, 0.3], [0.33 * w, 0, 0.02], [-0.33 * w, 0, 0.02], [-0.3 * w, 0, 0.3]],
                24,
            ),
            0.2,
            0.03,
        )
    return panel.moved(0, 0, 0.25) + base


@subclass(
    "router",
    "14-03",
    ("router", "路由器"),
    ("set-top box", "机顶盒"),
    ("air purifier", "空气净化器"),
)
def router(draw: Draw, say: Say) -> Model:
    """Network and air devices: vents, antennas, lamps, columns."""
    w, d, h = draw.uniform("w", 0.5, 1.4), draw.uniform("d", 0.4, 0.9), draw.uniform("h", 0.15, 1.4)
    model = body(draw, say, w, d, h)
    count = draw.choice("antennas", (0, 0, 2, 3, 4, 6))
    if count:
        say(f"{count} antennas", "天线")
        stick = solids.box(0.08, 0.03, draw.uniform("long", 0.5, 1.1), bevel=0.01).turned(
            "x", draw.uniform("tilt", -20, 10)
        )
        model += stick.row(count, x=0.85 * w / count).moved(0, 0.4 * d, 0.7 * h)
    model += attach(
        model,
        parts.vent(draw, 0.6 * w, 0.4 * d).turned("x", -90),
        draw.choice("vent_side", ("top", "front", "left")),
        (0.0, 0.0),
    )
    if draw.chance("lamps", 0.6):
        say("indicator lamps", "指示灯")
        model += attach(
            model,
            solids.cylinder(0.02, 0.01).row(draw.integer("lamp", 3, 7), x=0.1),
            "front",
            (0.0, -0.2),
        )
    return model


@subclass(
    "instrument",
    "10-04",
    ("measuring instrument", "测量仪器"),
    ("gauge", "仪表"),
    ("thermometer", "温度计"),
    unseen=True,
)
def instrument(draw: Draw, say: Say) -> Model:
    """Handheld meters: display, keys, probe."""
    w, h, t = draw.uniform("w", 0.4, 0.9), draw.uniform("h", 0.8, 1.6), draw.uniform("t", 0.15, 0.4)
    model = slab(draw, w, h, t)
    front = -0.5 * t
    say("a display", "显示屏")
    if draw.chance("dial", 0.35):
        model += (
            (
                solids.cylinder(0.4 * w, 0.06, bevel=0.02)
                + solids.box(0.04, 0.1, 0.02).moved(0, 0.3 * w, 0.06).ring(12)
                + solids.box(0.03, 0.5 * w, 0.02).moved(0, 0.1 * w, 0.06)
            )
            .turned("x", 90)
            .moved(0, front, 0.2 * h)
        )
    else:
        model += (
            solids.extrude(outlines.rounded_rectangle(0.7 * w, 0.25 * h, 0.04), 0.03)
            .turned("x", 90)
            .moved(0, front, 0.28 * h)
        )
    model += parts.buttons(draw, 0.6 * w, 0.3 * h).moved(0, front, -0.2 * h)
    if draw.chance("probe", 0.6):
        say("a probe", "探头")
        probe = attachment(draw.part("probe"), 0.4 * w)
        model += attach(model, probe, draw.choice("end", ("top", "bottom")), (0.0, 0.0))
    return model
