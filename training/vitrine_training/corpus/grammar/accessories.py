"""Locarno 10, 11, 16-06: glasses, watches, jewellery."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .. import forms, outlines, parts, solids
from ..mesh import Model, Pattern
from ..registry import subclass

if TYPE_CHECKING:
    from ..chance import Draw
    from ..forms import Say
    from ..mesh import Model


@subclass(
    "glasses", "16-06", ("eyeglasses", "眼镜"), ("sunglasses", "太阳镜"), ("goggles", "护目镜")
)
def glasses(draw: Draw, say: Say) -> Model:
    """Frames with lenses and temples."""
    a, b = draw.uniform("lens_w", 0.22, 0.34), draw.uniform("lens_h", 0.14, 0.3)
    shape = forms.outline(draw, a, b)
    rim = draw.uniform("rim", 0.01, 0.06)
    gap = draw.uniform("bridge", 0.04, 0.12)
    lens = solids.extrude(shape, 0.02)
    ring = solids.tube(
        np.column_stack([shape, np.full(len(shape), 0.01)]), rim, closed=True, sides=8
    )
    eye = (lens + (ring if draw.chance("rimmed", 0.8) else parts.NOTHING)).turned("x", 90)
    eye = eye.turned("y", draw.uniform("cant", -12, 12)).moved(a + gap)
    z = draw.uniform("bridge_z", 0.0, 0.6) * b
    bridge = solids.tube(
        outlines.smooth([[-gap - 0.02, 0, z], [0, -0.02, z + 0.04], [gap + 0.02, 0, z]], 12),
        max(0.015, rim * 0.8),
    )
    if draw.chance("double", 0.15):
        say("a double bridge", "双梁")
        bridge += bridge.moved(0, 0, 0.5 * b)
    x, zt = 2 * a + gap, draw.uniform("temple_z", 0.2, 0.8) * b
    length = draw.uniform("temple", 0.9, 1.2)
    path = outlines.smooth(
        [
            [x, 0, zt],
            [x + 0.03, 0.08, zt],
            [x + 0.02, 0.6 * length, zt + 0.02],
            [x, 0.85 * length, zt],
            [x - 0.02, length, zt - 0.25],
        ],
        34,
    )
    thick = draw.uniform("temple_t", 0.02, 0.1)
    taper = np.linspace(thick, draw.uniform("tip", 0.02, 0.06), 34)
    temple = solids.tube(
        path,
        taper,
        section=outlines.superellipse(1.0, 0.3, 4, 14) if draw.chance("flat", 0.6) else None,
    )
    temple = temple.dressed(forms.ornament(draw, 0.3, say, probability=0.15))
    model = (eye + temple).both("x") + bridge
    if draw.chance("shield", 0.15):
        say("a wrap-around shield", "一体镜片")
        model += solids.extrude(outlines.superellipse(x, b * 1.1, 3), 0.03).turned("x", 90)
    if draw.chance("wrapped", 0.3):
        curve = draw.uniform("curve", 0.1, 0.5)
        model = model.mapped(
            lambda v: np.column_stack([v[:, 0], v[:, 1] + curve * v[:, 0] ** 2, v[:, 2]])
        )
    return model


def dial(draw: Draw, radius: float, say: Say) -> Model:
    """Face with hour marks and hands in the plane z = 0, facing up."""
    p = draw.part("dial")
    model = solids.cylinder(radius, 0.02).dressed(forms.ornament(p, radius, say, probability=0.3))
    mark = p.choice("mark", ("bar", "dot", "wedge", "none"), (5, 3, 2, 1))
    count = p.choice("marks", (12, 12, 12, 4, 60))
    size = p.uniform("size", 0.02, 0.06)
    if mark == "bar":
        model += (
            solids.box(p.uniform("long", 0.08, 0.25) * radius, size, 0.03)
            .moved(0.82 * radius)
            .ring(count)
        )
    elif mark == "dot":
        model += solids.cylinder(size, 0.03).moved(0.82 * radius).ring(count)
    elif mark == "wedge":
        model += (
            solids.extrude(outlines.regular(3, 1.6 * size), 0.03).moved(0.82 * radius).ring(count)
        )
    for i, long in enumerate((0.5, 0.75)):
        hand = solids.extrude(
            np.array(
                [[-0.02, -0.1], [0.02, -0.1], [0.03, 0.4 * long], [0.0, long], [-0.03, 0.4 * long]]
            )
            * radius
            * 1.2,
            0.01,
        )
        model += hand.turned("z", p.uniform(f"hand{i}", 0, 360)).moved(0, 0, 0.03 + 0.01 * i)
    model += solids.cylinder(0.05 * radius, 0.06)
    for i in range(p.choice("subdials", (0, 0, 0, 1, 2, 3))):
        angle = p.uniform("sub_at", 0, 6.28) + 2.1 * i
        model += (
            solids.torus(0.2 * radius, 0.012, segments=28) + solids.box(0.3 * radius, 0.02, 0.02)
        ).moved(0.45 * radius * math.cos(angle), 0.45 * radius * math.sin(angle), 0.03)
    if p.chance("minutes", 0.4):
        model += solids.torus(0.93 * radius, 0.01).moved(0, 0, 0.02) + solids.box(
            0.04 * radius, 0.008, 0.025
        ).moved(0.94 * radius).ring(60)
    return model


@subclass(
    "watch",
    "10-02",
    ("watch", "手表"),
    ("wristwatch", "腕表"),
    ("smartwatch", "智能手表"),
    ("watch dial", "表盘"),
)
def watch(draw: Draw, say: Say) -> Model:
    """Watches with straps, or their dials alone."""
    r = draw.uniform("radius", 0.4, 0.6)
    shape = (
        outlines.ellipse(r)
        if draw.chance("round", 0.6)
        else forms.outline(draw, r, r * draw.uniform("ratio", 0.9, 1.3))
    )
    h = draw.uniform("h", 0.1, 0.25)
    model = solids.extrude(shape, h, bevel=0.03)
    model += solids.extrude(outlines.inset(shape, 0.05), 0.02).moved(0, 0, h)
    if draw.chance("digital", 0.25):
        say("a display", "显示屏")
        model += solids.extrude(outlines.rounded_rectangle(r, 0.7 * r, 0.08), 0.03).moved(
            0, 0, h + 0.01
        )
    else:
        model += dial(draw, 0.8 * r, say).moved(0, 0, h + 0.01)
    if draw.chance("bezel", 0.4):
        say("a notched bezel", "齿形表圈")
        ring = outlines.lobed(r * 0.98, draw.integer("notches", 12, 40), 0.06, 160)
        model += solids.extrude(ring, 0.05, holes=[outlines.ellipse(0.84 * r)]).moved(0, 0, h)
    for i in range(draw.integer("crowns", 1, 3)):
        model += (
            parts.knob(draw, 0.06, 0.08)
            .turned("y", 90)
            .moved(r * 0.96, 0.22 * (i - (i > 1) * 3), 0.5 * h)
        )
    if draw.chance("strap", 0.75):
        say("a strap", "表带")
        w = draw.uniform("strap_w", 0.5, 0.9) * r
        path = outlines.smooth(
            [
                [0, 0.9 * r, 0.5 * h],
                [0, 1.4 * r, 0.2 * h],
                [0, 1.8 * r, -0.8 * r],
                [0, 1.2 * r, -1.9 * r],
                [0, 0, -2.2 * r],
            ],
            30,
        )
        if draw.chance("links", 0.4):
            say("links", "链节")
            strap = solids.ribbon(path, 2 * w, 0.05).dressed(
                Pattern(
                    draw.choice("link", (1, 3, 4)),
                    0.3 * w,
                    0.12,
                    0.0 if draw.chance("o", 0.5) else 1.5708,
                )
            )
        else:
            strap = solids.ribbon(path, 2 * w, 0.05).dressed(
                forms.ornament(draw, w, None, probability=0.3)
            )
        return (model + strap.both("y")).turned("x", 60)
    return model.turned("x", 90)


@subclass(
    "jewellery",
    "11-01",
    ("ring", "戒指"),
    ("pendant", "吊坠"),
    ("earring", "耳环"),
    ("bracelet", "手镯"),
)
def jewellery(draw: Draw, say: Say) -> Model:
    """Rings, bracelets, pendants, earrings."""
    form = draw.choice("form", ("ring", "pendant", "bracelet", "earring"))
    stone = forms.ornament(draw, 0.3, None, probability=0.3)
    if form in ("ring", "bracelet"):
        section = forms.outline(draw, 0.12, draw.uniform("band", 0.08, 0.3), n=20)
        model = solids.tube(
            np.column_stack([outlines.ellipse(0.6, 0.6, 56), np.zeros(56)]),
            1.0,
            section=section,
            closed=True,
        )
        model = model.dressed(forms.ornament(draw, 0.6, say, probability=0.5))
        count = draw.choice("stones", (0, 1, 1, 3, 12))
        if count:
            say("set stones", "镶石")
            r = draw.uniform("stone", 0.1, 0.3) if count < 4 else 0.1
            gem = solids.loft(
                [
                    (outlines.regular(8, 0.3 * r), 0),
                    (outlines.regular(8, r), 0.6 * r),
                    (outlines.regular(8, 0.6 * r), r),
                ]
            )
            gem = gem.turned("y", 90).moved(0.62)
            for i in range(count):
                model += gem.turned("z", -90 + (i - (count - 1) / 2) * (25 if count < 4 else 30))
        return model.turned("x", 90)
    say("a loop", "吊环")
    plate = solids.extrude(
        forms.outline(draw, draw.uniform("w", 0.3, 0.6), draw.uniform("h", 0.3, 0.7)),
        0.1,
        bevel=0.03,
    ).dressed(forms.ornament(draw, 0.6, say))
    if draw.chance("heart", 0.25):
        say("a heart", "心形")
        plate = solids.extrude(outlines.heart(0.5), 0.12, bevel=0.04)
    elif draw.chance("star", 0.25):
        say("a star", "星形")
        plate = solids.extrude(
            outlines.star(draw.integer("points", 4, 9), 0.6, draw.uniform("inner", 0.2, 0.4)),
            0.12,
            bevel=0.02,
        )
    model = plate.turned("x", 90) + parts.gem(draw).dressed(stone)
    model += solids.torus(0.12, 0.025).turned("x", 90).moved(0, 0, 0.7)
    if draw.chance("chain", 0.4):
        say("a chain", "链子")
        path = outlines.smooth(
            [
                [0, 0, 0.75],
                [0.4, 0, 1.4],
                [0.3, 0, 2.2],
                [-0.3, 0, 2.2],
                [-0.4, 0, 1.4],
                [0, 0, 0.75],
            ],
            60,
        )
        for i in range(0, 58, 2):
            model += (
                solids.torus(0.045, 0.012, sides=6, segments=12)
                .turned("x", 90 if i % 4 else 0)
                .moved(*path[i])
            )
    return model
