"""Compositions that are no particular product, so that form counts and not only the category."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .. import forms, outlines, parts, solids
from ..registry import subclass

if TYPE_CHECKING:
    from ..chance import Draw
    from ..forms import Say
    from ..mesh import Model

_SPOTS = ("top", "bottom", "left", "right", "front", "back")


def body(draw: Draw, say: Say, w: float, d: float, h: float) -> Model:
    """Return a main body of about w by d by h on z = 0, of any of the usual kinds."""
    p = draw.part("body")
    form = p.choice(
        "form", ("box", "prism", "turned", "loft", "pod", "slab", "drum"), (4, 4, 4, 4, 3, 3, 2)
    )
    if form == "box":
        say("a box-shaped body", "方形主体")
        size = min(w, d, h)
        return solids.box(
            w,
            d,
            h,
            radius=p.uniform("radius", 0, 0.45) * min(w, d),
            bevel=p.uniform("bevel", 0, 0.12) * size,
        )
    if form == "prism":
        say("a prismatic body", "柱状主体")
        return solids.extrude(
            forms.outline(p, 0.5 * w, 0.5 * d), h, bevel=p.uniform("bevel", 0, 0.1) * h
        )
    if form == "turned":
        say("a turned body", "回转体主体")
        return solids.revolve(forms.profile(p, 0.5 * w, h, pieces=6)).scaled(1, d / w, 1)
    if form == "pod":
        say("a rounded body", "圆润主体")
        return solids.ellipsoid(
            0.5 * w,
            0.5 * d,
            0.5 * h,
            power_xy=p.uniform("pxy", 1.7, 5),
            power_z=p.uniform("pz", 1.6, 5),
        ).moved(0, 0, 0.5 * h)
    if form == "slab":
        say("a flat body", "扁平主体")
        plate = solids.extrude(
            forms.outline(p, 0.5 * w, 0.5 * h), 0.4 * d, bevel=p.uniform("bevel", 0, 0.12) * d
        )
        return plate.turned("x", 90).moved(0, 0.2 * d, 0.5 * h)
    if form == "drum":
        say("a cylindrical body", "圆柱主体")
        return (
            solids.cylinder(0.5 * min(w, h), d, bevel=p.uniform("bevel", 0, 0.1) * d)
            .turned("x", 90)
            .moved(0, 0.5 * d, 0.5 * h)
        )
    say("a tapering body", "渐变主体")
    low = forms.outline(p.part("low"), 0.5 * w, 0.5 * d)
    sections = []
    steps = 9
    bulge, top = p.uniform("bulge", -0.2, 0.35), p.uniform("top", 0.35, 1.0)
    lean = p.uniform("lean", -0.2, 0.2) * w
    for i in range(steps):
        t = i / (steps - 1)
        s = 1 + (top - 1) * t + bulge * math.sin(math.pi * t)
        sections.append((low * s, t * h, lean * t * t, 0.0))
    return solids.loft(sections)


def attachment(draw: Draw, size: float) -> Model:
    """Return a part of about `size` to stick on a surface: it stands on z = 0 and points up."""
    form = draw.choice(
        "form",
        (
            "knob",
            "handle",
            "tube",
            "box",
            "cone",
            "hook",
            "ring",
            "fins",
            "plate",
            "wheel",
            "nozzle",
            "antenna",
            "dome",
        ),
    )
    if form == "knob":
        return parts.knob(draw, 0.4 * size, 0.4 * size)
    if form == "handle":
        return parts.loop_handle(
            draw, 1.4 * size, draw.uniform("reach", 0.4, 0.9) * size, 0.08 * size
        )
    if form == "tube":
        path = outlines.smooth(
            [
                [0, 0, 0],
                [0, 0, 0.6 * size],
                [draw.uniform("x", -0.8, 0.8) * size, 0, draw.uniform("z", 0.7, 1.6) * size],
            ],
            18,
        )
        return solids.tube(path, draw.uniform("r", 0.08, 0.25) * size)
    if form == "box":
        return solids.box(
            size,
            draw.uniform("d", 0.3, 1) * size,
            draw.uniform("h", 0.1, 0.9) * size,
            bevel=0.04 * size,
        )
    if form == "cone":
        return solids.cylinder(
            0.4 * size,
            draw.uniform("h", 0.3, 1.2) * size,
            top=draw.uniform("top", 0.02, 0.3) * size,
        )
    if form == "hook":
        path = outlines.smooth(
            [
                [0, 0, 0],
                [0, 0, 0.5 * size],
                [0.35 * size, 0, 0.9 * size],
                [0.7 * size, 0, 0.5 * size],
            ],
            22,
        )
        return solids.tube(path, 0.09 * size)
    if form == "ring":
        return solids.torus(0.4 * size, 0.09 * size).turned("x", 90).moved(0, 0, 0.4 * size)
    if form == "fins":
        count = draw.integer("fins", 3, 9)
        return solids.box(0.05 * size, 0.9 * size, draw.uniform("h", 0.2, 0.6) * size).row(
            count, x=size / count
        )
    if form == "plate":
        return solids.extrude(
            forms.outline(draw, 0.6 * size, 0.5 * size), 0.1 * size, bevel=0.02 * size
        )
    if form == "wheel":
        return parts.wheel(draw, 0.45 * size, 0.25 * size).moved(0, 0, 0.2 * size)
    if form == "nozzle":
        return solids.revolve(forms.profile(draw, 0.35 * size, size, closed=True))
    if form == "antenna":
        return solids.cylinder(0.05 * size, 1.6 * size, top=0.03 * size) + solids.ellipsoid(
            0.08 * size, 0.08 * size, 0.08 * size, n=14
        ).moved(0, 0, 1.6 * size)
    return parts.dome(0.45 * size, draw.uniform("h", 0.2, 0.5) * size)


def attach(model: Model, part: Model, spot: str, at: tuple[float, float]) -> Model:
    """Put a part on a side of a model's bounding box, at (-1..1, -1..1) of that side."""
    low, high = model.bounds()
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    a, b = at
    if spot in ("top", "bottom"):
        turned = part if spot == "top" else part.turned("x", 180)
        z = high[2] - 0.03 * half[2] if spot == "top" else low[2] + 0.03 * half[2]
        return turned.moved(middle[0] + a * half[0], middle[1] + b * half[1], z)
    if spot in ("left", "right"):
        sign = -1.0 if spot == "left" else 1.0
        turned = part.turned("y", 90 * sign)
        return turned.moved(
            middle[0] + sign * 0.93 * half[0], middle[1] + a * half[1], middle[2] + b * half[2]
        )
    sign = -1.0 if spot == "front" else 1.0
    turned = part.turned("x", -90 * sign)
    return turned.moved(
        middle[0] + a * half[0], middle[1] + sign * 0.93 * half[1], middle[2] + b * half[2]
    )


def _compose(draw: Draw, say: Say, low: int, high: int) -> Model:
    w, d, h = draw.uniform("w", 0.3, 1.5), draw.uniform("d", 0.3, 1.0), draw.uniform("h", 0.25, 1.6)
    model = body(draw, say, w, d, h)
    model = model.dressed(forms.ornament(draw, max(w, h), say, probability=0.22))
    whole = model
    for i in range(draw.integer("attachments", low, high)):
        p = draw.part(f"attachment{i}")
        spot = p.choice("spot", _SPOTS, (4, 1, 2, 2, 4, 1))
        size = p.uniform("size", 0.15, 0.7) * min(w, d, h)
        part = attachment(p, size)
        if p.chance("dressed", 0.15):
            part = part.dressed(forms.ornament(p, size, None, probability=1.0))
        at = (p.choice("a", (0.0, 0.0, -0.5, 0.5)), p.choice("b", (0.0, 0.0, -0.5, 0.5, 0.7)))
        placed = attach(model, part, spot, at)
        whole += (
            placed.both("x")
            if p.chance("pair", 0.35) and abs(at[0]) + (spot in ("left", "right")) > 0
            else placed
        )
    p = draw.part("face")
    if p.chance("panel", 0.35):
        say("a control panel", "控制面板")
        whole += attach(
            model,
            parts.buttons(p, 0.5 * w, 0.3 * h).turned("x", -90),
            "front",
            (0.0, p.uniform("z", -0.4, 0.5)),
        )
    if p.chance("vent", 0.3):
        say("ventilation openings", "通风口")
        whole += attach(
            model,
            parts.vent(p, 0.5 * w, 0.35 * h).turned("x", -90),
            "front",
            (0.0, p.uniform("v", -0.5, 0.5)),
        )
    return whole


@subclass("device", "14-99", ("device", "装置"), ("apparatus", "设备"), ("appliance", "器具"))
def device(draw: Draw, say: Say) -> Model:
    """A body with several attachments."""
    return _compose(draw, say, 2, 6)


@subclass("housing", "13-99", ("housing", "外壳"), ("enclosure", "壳体"), ("case", "壳套"))
def housing(draw: Draw, say: Say) -> Model:
    """A body with few or no attachments and feet."""
    model = _compose(draw, say, 0, 2)
    low, high = model.bounds()
    if draw.chance("feet", 0.5):
        say("feet", "支脚")
        w, d, h = high - low
        model += parts.feet(draw, 0.8 * w, 0.8 * d, 0.08 * h).moved(0, 0, low[2] + 0.01)
    return model


@subclass("component", "08-99", ("component", "零件"), ("fitting", "配件"), ("connector", "接头"))
def component(draw: Draw, say: Say) -> Model:
    """Several bodies joined: pipe fittings, joints, brackets of free form."""
    count = draw.integer("bodies", 2, 4)
    model = body(
        draw.part("b0"),
        say,
        draw.uniform("w0", 0.5, 1),
        draw.uniform("d0", 0.4, 1),
        draw.uniform("h0", 0.3, 1),
    )
    for i in range(1, count):
        p = draw.part(f"b{i}")
        s = p.uniform("s", 0.3, 0.9)
        other = body(
            p,
            forms.Say(),
            s * p.uniform("w", 0.4, 1),
            s * p.uniform("d", 0.4, 1),
            s * p.uniform("h", 0.4, 1.2),
        )
        spot = p.choice("spot", _SPOTS)
        placed = attach(
            model, other, spot, (p.choice("a", (0.0, 0.0, 0.5)), p.choice("b", (0.0, 0.0, -0.5)))
        )
        model += placed.both("x") if p.chance("pair", 0.3) else placed
    say(f"{count} joined bodies", f"{'两三四'[count - 2]}个相连体")
    return model
