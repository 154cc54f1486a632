"""Locarno 26: lamps and torches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import forms, outlines, parts, solids
from ..registry import subclass
from .vessels import section

if TYPE_CHECKING:
    from ..chance import Draw
    from ..forms import Say
    from ..mesh import Model


def shade(draw: Draw, radius: float, height: float, say: Say) -> Model:
    """Lamp shade, open below, from z = 0 to `height`."""
    p = draw.part("shade")
    form = p.choice(
        "form", ("cone", "drum", "dome", "globe", "free", "pleats", "panel"), (4, 3, 3, 3, 3, 2, 2)
    )
    pattern = forms.ornament(p, 2 * radius, say, probability=0.35)
    if form == "cone":
        say("a conical shade", "锥形灯罩")
        return solids.revolve([[radius, 0], [radius * p.uniform("top", 0.2, 0.7), height]]).dressed(
            pattern
        )
    if form == "drum":
        say("a drum shade", "鼓形灯罩")
        return solids.loft(
            [(section(p) * radius, 0), (section(p) * radius, height)], caps=False
        ).dressed(pattern)
    if form == "dome":
        say("a domed shade", "半球灯罩")
        return parts.dome(radius, height).dressed(pattern)
    if form == "globe":
        say("a globe", "球形灯罩")
        return (
            solids.ellipsoid(radius, radius, 0.5 * height, power_z=p.uniform("power", 1.7, 3.2))
            .moved(0, 0, 0.5 * height)
            .dressed(pattern)
        )
    if form == "pleats":
        say("a pleated shade", "褶皱灯罩")
        ring = outlines.lobed(1.0, p.integer("pleats", 12, 30), 0.08, 160)
        return solids.loft(
            [(ring * radius, 0), (ring * radius * p.uniform("top", 0.5, 1), height)], caps=False
        )
    if form == "panel":
        say("a flat panel head", "平板灯头")
        return solids.extrude(
            forms.outline(p, radius, radius * p.uniform("ratio", 0.25, 1)),
            0.25 * height,
            bevel=0.03,
        )
    say("a shaped shade", "异形灯罩")
    return solids.revolve(forms.profile(p, radius, height, pieces=5, closed=False)).dressed(pattern)


@subclass(
    "lamp",
    "26-05",
    ("table lamp", "台灯"),
    ("lamp", "灯具"),
    ("desk lamp", "书桌灯"),
    ("floor lamp", "落地灯"),
)
def lamp(draw: Draw, say: Say) -> Model:
    """Table and floor lamps: base, stem, head."""
    h = draw.uniform("height", 0.7, 2.2)
    base_r = draw.uniform("base", 0.2, 0.45)
    form = draw.choice(
        "base_form", ("disc", "turned", "block", "tripod", "clamp", "body"), (4, 4, 3, 2, 1, 3)
    )
    if form == "tripod":
        say("a tripod", "三脚架")
        model = solids.tube([[0, 0, 0.6 * h], [base_r * 1.3, 0, 0]], [0.03, 0.02]).ring(3)
    elif form == "clamp":
        say("a clamp", "夹座")
        jaw = np.array(
            [
                [-0.2, 0],
                [0.1, 0],
                [0.1, 0.3],
                [-0.2, 0.3],
                [-0.2, 0.25],
                [0.05, 0.25],
                [0.05, 0.05],
                [-0.2, 0.05],
            ]
        )
        model = solids.extrude(jaw, 0.12).turned("x", 90).moved(0.05, 0.06, -0.2)
    elif form == "turned":
        say("a turned base", "车削底座")
        model = solids.revolve(forms.profile(draw.part("base"), base_r, 0.5 * h, pieces=6))
    elif form == "body":
        model = solids.loft([(section(draw) * base_r, 0), (section(draw) * base_r * 0.8, 0.35 * h)])
        model = model.dressed(forms.ornament(draw, base_r * 2, say, probability=0.5))
    else:
        model = solids.extrude(forms.outline(draw.part("foot"), base_r, base_r), 0.08, bevel=0.02)
    stem = draw.choice("stem", ("straight", "arm", "arc", "gooseneck"), (5, 3, 3, 2))
    x = 0.0
    r = draw.uniform("stem_r", 0.015, 0.04)
    if stem == "straight":
        path = np.array([[0, 0, 0.03], [0, 0, h]], dtype=np.float64)
    elif stem == "arm":
        say("a jointed arm", "折臂")
        x = draw.uniform("reach", 0.2, 0.7)
        knee = draw.uniform("knee", 0.1, 0.5)
        path = np.array([[0, 0, 0.03], [-knee, 0, 0.6 * h], [x, 0, h]])
        model += solids.cylinder(0.06, 0.08).turned("x", 90).moved(-knee, 0.04, 0.6 * h)
    elif stem == "arc":
        say("an arched stem", "弧形灯杆")
        x = draw.uniform("reach", 0.4, 1.0)
        path = outlines.smooth(
            [[0, 0, 0.03], [0, 0, 0.8 * h], [0.5 * x, 0, 1.15 * h], [x, 0, h]], 24
        )
    else:
        say("a flexible neck", "软管")
        x = draw.uniform("reach", 0.2, 0.5)
        path = outlines.smooth(
            [
                [0, 0, 0.03],
                [-0.1, 0, 0.4 * h],
                [-0.1, 0, 0.8 * h],
                [0.3 * x, 0, h * 1.05],
                [x, 0, h],
            ],
            30,
        )
    model += solids.tube(path, r)
    size = draw.uniform("head", 0.18, 0.5)
    head = shade(draw, size, size * draw.uniform("deep", 0.6, 1.4), say)
    if stem != "straight":
        head = head.turned("y", draw.uniform("tilt", -50, 30))
    model += head.moved(x, 0, h - (0.5 * size if stem == "straight" else 0.3 * size))
    if draw.chance("cable", 0.2):
        model += parts.cable(draw, (0, base_r * 0.9, 0.05), 0.7, 0.015)
    return model


@subclass(
    "pendant",
    "26-05",
    ("pendant lamp", "吊灯"),
    ("chandelier", "枝形吊灯"),
    ("ceiling lamp", "吸顶灯"),
)
def pendant(draw: Draw, say: Say) -> Model:
    """Hanging lamps with one or several shades."""
    drop = draw.uniform("drop", 0.2, 1.2)
    model = solids.cylinder(draw.uniform("rose", 0.12, 0.3), 0.06, bevel=0.015).moved(0, 0, drop)
    heads = draw.choice("heads", (1, 1, 3, 4, 5, 6, 8))
    size = draw.uniform("size", 0.25, 0.6) / (1.0 if heads == 1 else 1.8)
    head = shade(draw, size, size * draw.uniform("deep", 0.5, 1.6), say)
    model += solids.tube([[0, 0, 0], [0, 0, drop]], 0.015)
    if heads == 1:
        return model + head.moved(0, 0, -size * 0.8)
    say(f"{heads} lights", f"{'三四五六七八'[heads - 3]}头")
    reach = draw.uniform("reach", 0.5, 1.0)
    arm = outlines.smooth(
        [[0, 0, 0.1], [0.5 * reach, 0, draw.uniform("dip", -0.35, 0.3)], [reach, 0, 0.1]], 18
    )
    one = solids.tube(arm, 0.02) + head.moved(reach, 0, 0.1 if draw.chance("up", 0.5) else -size)
    return (
        model + one.ring(heads) + solids.revolve(forms.profile(draw, 0.12, 0.4)).moved(0, 0, -0.1)
    )


@subclass(
    "torch", "26-02", ("flashlight", "手电筒"), ("torch", "手电"), ("lantern", "提灯"), unseen=True
)
def torch(draw: Draw, say: Say) -> Model:
    """Hand torches and lanterns."""
    if draw.chance("lantern", 0.4):
        say("a carrying handle", "提手")
        r, h = draw.uniform("r", 0.3, 0.5), draw.uniform("h", 0.6, 1.2)
        body = solids.revolve(forms.profile(draw.part("low"), r, 0.35 * h))
        body += solids.loft(
            [(section(draw) * r * 0.85, 0.3 * h), (section(draw) * r * 0.75, 0.8 * h)]
        )
        cage = solids.tube([[r * 0.9, 0, 0.3 * h], [r * 0.85, 0, 0.85 * h]], 0.02).ring(
            draw.integer("bars", 3, 8)
        )
        lid = solids.revolve(forms.profile(draw.part("lid"), r, 0.25 * h)).moved(0, 0, 0.8 * h)
        return body + cage + lid + parts.loop_handle(draw, 1.5 * r, 0.5, 0.025).moved(0, 0, h)
    length, r = draw.uniform("length", 1.0, 2.2), draw.uniform("radius", 0.1, 0.2)
    model = parts.grip(draw, length, r, say)
    head = solids.revolve(
        [
            [r, 0],
            [r * draw.uniform("head", 1.2, 2.2), 0.3],
            [r * draw.uniform("head", 1.2, 2.2), 0.5],
            [r * 1.1, 0.5],
            [0.5 * r, 0.4],
            [0, 0.4],
        ]
    )
    model += head.moved(0, 0, length)
    model += parts.knob(draw, 0.4 * r, 0.1).turned("x", 90).moved(0, -0.9 * r, 0.7 * length)
    if draw.chance("lanyard", 0.3):
        say("a wrist loop", "挂绳")
        model += solids.torus(0.2, 0.015).turned("x", 90).moved(0, 0, -0.2)
    return model.turned("y", 90)


@subclass("bulb", "26-04", ("light bulb", "灯泡"), ("led lamp", "LED灯"))
def bulb(draw: Draw, say: Say) -> Model:
    """Bulbs with screw bases, fins and shaped glass."""
    r = draw.uniform("r", 0.25, 0.5)
    neck = draw.uniform("neck", 0.12, 0.2)
    screw = np.array(
        [[0, -0.5], [0.05, -0.5], [0.08, -0.42]]
        + [[neck * (1 + 0.07 * (i % 2)), -0.4 + 0.05 * i] for i in range(8)]
    )
    model = solids.revolve(screw)
    if draw.chance("fins", 0.4):
        say("cooling fins", "散热鳍片")
        fin = solids.extrude(
            np.array([[neck * 0.6, 0], [neck, 0], [r * 0.9, 0.35], [neck * 0.6, 0.35]]), 0.015
        ).turned("x", 90)
        model += fin.ring(draw.integer("fin", 10, 24))
    form = draw.choice("glass", ("pear", "globe", "candle", "tube", "free"))
    t = np.linspace(0, 1, 20)
    h = draw.uniform("h", 0.8, 1.5)
    curve = {
        "pear": neck + (r - neck) * np.sin(np.pi * np.minimum(1, t * 0.9) ** 1.5) ** 0.8,
        "globe": np.sqrt(np.maximum(0, 1 - (2 * t - 1) ** 2)) * r + neck * (1 - t),
        "candle": neck + (0.6 * r) * np.sin(np.pi * t**0.7),
        "tube": np.full(20, max(neck, 0.6 * r)),
        "free": neck + r * np.abs(np.sin(np.pi * t)) * (1 + 0.2 * np.cos(9 * t)),
    }[form]
    curve[-1] = 0.0
    glass = solids.revolve(np.column_stack([np.maximum(curve, 0.0), h * t]), seams=False)
    return model + glass.dressed(forms.ornament(draw, r, say, probability=0.2))
