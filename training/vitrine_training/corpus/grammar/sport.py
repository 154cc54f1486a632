"""Locarno 17, 21: weights, rackets, tents, musical instruments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import forms, outlines, parts, solids
from ..mesh import Model, Pattern
from ..registry import subclass
from .generic import attachment

if TYPE_CHECKING:
    from ..chance import Draw
    from ..forms import Say
    from ..mesh import Model


@subclass(
    "kettlebell",
    "21-02",
    ("kettlebell", "壶铃"),
    ("dumbbell", "哑铃"),
    ("exercise device", "健身器材"),
    ("barbell collar", "杠铃卡扣"),
)
def kettlebell(draw: Draw, say: Say) -> Model:
    """Weights, rollers, push-up grips."""
    form = draw.choice("form", ("kettle", "dumbbell", "roller", "ring"))
    if form == "kettle":
        say("a loop handle", "环形把手")
        body = solids.ellipsoid(
            0.5,
            draw.uniform("flat", 0.35, 0.5),
            0.5,
            power_xy=draw.uniform("p", 1.9, 5),
            power_z=draw.uniform("q", 1.9, 4),
        )
        if draw.chance("stack", 0.35):
            say("stacked plates", "叠片")
            body = solids.cylinder(0.5, 0.16, bevel=0.03).row(draw.integer("plates", 3, 6), z=0.17)
        top = float(body.bounds()[1][2])
        return body.dressed(forms.ornament(draw, 0.8, say, probability=0.2)) + parts.loop_handle(
            draw, 0.7, 0.5, draw.uniform("t", 0.06, 0.1)
        ).moved(0, 0, top - 0.15)
    if form == "dumbbell":
        sides = draw.choice("sides", (6, 8, 12, 0))
        head = (
            solids.extrude(outlines.regular(sides, 0.35), 0.35, bevel=0.05)
            if sides
            else solids.revolve(forms.profile(draw, 0.38, 0.35))
        )
        bar = parts.grip(draw, 0.7, 0.09)
        return (head.moved(0, 0, 0.3).both("z") + bar.moved(0, 0, -0.35)).turned("y", 90)
    if form == "roller":
        say("a textured roller", "纹理滚轴")
        drum = solids.revolve([[0.15, 0], [0.3, 0], [0.3, 1.2], [0.15, 1.2]]).dressed(
            forms.ornament(draw, 1.0, say, probability=1.0)
        )
        return (drum + solids.cylinder(0.06, 1.9).moved(0, 0, -0.35)).turned("y", 90)
    ring = forms.outline(draw, 0.6, 0.6)
    model = solids.tube(
        np.column_stack([ring, np.zeros(len(ring))]), draw.uniform("t", 0.06, 0.14), closed=True
    ).dressed(forms.ornament(draw, 0.6, say, probability=0.4))
    pad = attachment(draw.part("pad"), 0.5)
    return (model + pad.turned("x", 90).moved(0, -0.55, 0)).turned("x", 90)


@subclass(
    "racket",
    "21-02",
    ("racket", "球拍"),
    ("paddle", "板拍"),
    ("golf club", "高尔夫球杆"),
    unseen=True,
)
def racket(draw: Draw, say: Say) -> Model:
    """Heads on shafts: strung, solid, clubs."""
    a, b = draw.uniform("a", 0.3, 0.5), draw.uniform("b", 0.35, 0.6)
    head = (
        outlines.egg(a, b, draw.uniform("skew", -0.2, 0.25))
        if draw.chance("egg", 0.6)
        else forms.outline(draw, a, b)
    )
    length = draw.uniform("shaft", 0.3, 0.9)
    if draw.chance("strung", 0.6):
        say("strings", "网线")
        frame = solids.tube(np.column_stack([head, np.zeros(len(head))]), 0.04, closed=True)
        model = frame + solids.face(head * 0.97).dressed(Pattern(3, 0.07, 0.07))
    else:
        model = solids.extrude(head, 0.08, bevel=0.02).dressed(
            forms.ornament(draw, a, say, probability=0.6)
        )
    shaft = solids.tube([[0, -b, 0.02], [0, -b - length, 0.02]], 0.05)
    if draw.chance("throat", 0.4):
        shaft += solids.tube(
            [[0.5 * a, -0.85 * b, 0.02], [0, -b - 0.5 * length, 0.02]], 0.035
        ).both("x")
    return (
        model + shaft + parts.grip(draw, 0.6, 0.08, say).turned("x", 90).moved(0, -b - length, 0.02)
    ).turned("x", 90)


@subclass(
    "tent", "21-04", ("tent", "帐篷"), ("umbrella", "雨伞"), ("canopy", "遮阳篷"), unseen=True
)
def tent(draw: Draw, say: Say) -> Model:
    """Covers on poles: umbrellas, tents, canopies."""
    sides = draw.integer("sides", 4, 10)
    say(f"{sides} panels", f"{sides}片")
    r, h = draw.uniform("r", 0.7, 1.1), draw.uniform("h", 0.2, 0.8)
    ring = outlines.regular(sides, 1.0)
    bow = draw.uniform("bow", 0.7, 1.6)
    cover = solids.loft(
        [(ring * r * (1 - s**bow) + ring * 0.01, h * s) for s in np.linspace(0, 1, 8)], caps=False
    )
    model = cover.dressed(forms.ornament(draw, r, say, probability=0.3))
    if draw.chance("umbrella", 0.55):
        say("a handle", "手柄")
        stick = outlines.smooth(
            [[0, 0, h + 0.1], [0, 0, -0.9], [0.02, 0, -1.1], [0.15, 0, -1.2], [0.26, 0, -1.05]], 26
        )
        return (
            model
            + solids.tube(stick, 0.025)
            + solids.tube([[0, 0, 0.4 * h], [0.6 * r, 0, 0.3 * h]], 0.01, sides=6).ring(sides)
        )
    pole = solids.cylinder(0.03, 1.0).moved(0.93 * r, 0, -1.0)
    model += pole.ring(sides)
    if draw.chance("walls", 0.5):
        say("side walls", "围布")
        model += solids.loft([(ring * r * 1.05, -0.9), (ring * r, 0)], caps=False)
    return model


@subclass(
    "musical instrument",
    "17-03",
    ("guitar", "吉他"),
    ("musical instrument", "乐器"),
    ("drum", "鼓"),
    unseen=True,
)
def instrument(draw: Draw, say: Say) -> Model:
    """Guitars and drums."""
    if draw.chance("drum", 0.35):
        r, h = draw.uniform("r", 0.4, 0.6), draw.uniform("h", 0.3, 0.9)
        say("tension rods", "拉杆")
        rod = solids.cylinder(0.02, 0.9 * h).moved(1.06 * r, 0, 0.05 * h) + solids.box(
            0.08, 0.06, 0.12
        ).moved(1.04 * r, 0, 0.45 * h)
        return (
            solids.cylinder(r, h).dressed(forms.ornament(draw, r, say))
            + solids.torus(1.03 * r, 0.03)
            + solids.torus(1.03 * r, 0.03).moved(0, 0, h)
            + rod.ring(draw.integer("rods", 5, 10))
        )
    waist, low, up = (
        draw.uniform("waist", 0.2, 0.4),
        draw.uniform("low", 0.4, 0.55),
        draw.uniform("up", 0.28, 0.45),
    )
    half = [[0.05, 0.95], [up, 0.75], [waist, 0.35], [low, -0.1], [0.3, -0.42], [0, -0.48]]
    horns = draw.uniform("horn", 0.0, 0.3)
    half[1][1] += horns
    shape = outlines.smooth(half + [[-x, y] for x, y in half[-2::-1]], 70, closed=True)[::-1]
    t = draw.uniform("t", 0.08, 0.25)
    neck = (
        solids.box(0.12, 1.2, 0.05).moved(0, 1.3, t - 0.02).dressed(Pattern(1, 0.09, 0.09, 1.5708))
    )
    head = solids.extrude(forms.outline(draw, 0.12, 0.22), 0.05, bevel=0.01).moved(
        0, 2.05, t - 0.03
    )
    pegs = (
        solids.cylinder(0.03, 0.12)
        .turned("y", 90)
        .moved(0.1, 0)
        .row(3, y=0.12)
        .moved(0, 2.05, t)
        .both("x")
    )
    strings = (
        solids.box(0.006, 2.0, 0.006)
        .row(draw.choice("strings", (4, 6)), x=0.018)
        .moved(0, 0.95, t + 0.04)
    )
    hole = solids.extrude(forms.outline(draw.part("hole"), 0.15, 0.15), 0.01).moved(0, 0.35, t)
    bridge = solids.box(0.3, 0.07, 0.04).moved(0, -0.05, t)
    return (
        solids.extrude(shape, t, bevel=0.02) + neck + head + pegs + strings + hole + bridge
    ).turned("x", 90)
