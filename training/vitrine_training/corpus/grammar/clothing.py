"""Locarno 02: hats, gloves, garments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import forms, outlines, parts, solids
from ..mesh import Model, Pattern
from ..registry import subclass

if TYPE_CHECKING:
    from ..chance import Draw
    from ..forms import Say
    from ..mesh import Model


@subclass("hat", "02-03", ("hat", "帽子"), ("cap", "棒球帽"), ("helmet", "头盔"))
def hat(draw: Draw, say: Say) -> Model:
    """Caps, brimmed hats, helmets, headbands."""
    form = draw.choice("form", ("cap", "brim", "helmet", "beanie", "band"))
    high = draw.uniform("high", 0.5, 0.9)
    if form == "band":
        say("an open band", "发带")
        band = [
            (outlines.ellipse(0.55, 0.65), 0),
            (outlines.ellipse(0.57, 0.67), 0.5 * draw.uniform("wide", 0.2, 0.7)),
        ]
        model = solids.loft(band, caps=False).dressed(
            forms.ornament(draw, 0.8, say, probability=0.6)
        )
        if draw.chance("device", 0.4):
            model += parts.buttons(draw, 0.3, 0.15).moved(0, -0.66, 0.15)
        return model
    crown = parts.dome(0.6, high).scaled(1, 1.15, 1)
    crown = crown.dressed(forms.ornament(draw, 1.0, say, probability=0.35))
    if form == "brim":
        say("a wide brim", "宽檐")
        brim = draw.uniform("brim", 0.8, 1.3)
        rise = draw.uniform("rise", -0.2, 0.3)
        curve = [[0.6, 0], [0.5 * (0.6 + brim), 0.3 * rise], [brim, rise]]
        model = crown + solids.revolve(outlines.smooth(curve, 8)).scaled(1, 1.15, 1)
        return model + solids.loft(
            [(outlines.ellipse(0.62, 0.71), 0.02), (outlines.ellipse(0.6, 0.69), 0.16)], caps=False
        )
    if form == "beanie":
        say("a turned-up cuff", "翻边")
        cuff = [
            (outlines.ellipse(0.64, 0.73), 0),
            (outlines.ellipse(0.66, 0.75), 0.15),
            (outlines.ellipse(0.64, 0.73), 0.3),
        ]
        model = crown + solids.loft(cuff, caps=False).dressed(Pattern(1, 0.06, 0.06))
        return model + (
            solids.ellipsoid(0.2, 0.2, 0.2).moved(0, 0, high)
            if draw.chance("ball", 0.5)
            else parts.NOTHING
        )
    if form == "helmet":
        say("air vents", "通风孔")
        slot = solids.ellipsoid(0.06, 0.25, 0.05, n=18).moved(0, -0.1, 0.96 * high)
        model = (
            crown
            + (slot + slot.turned("y", 35) + slot.turned("y", -35))
            + (slot.turned("y", 65).both("x"))
        )
        strap = outlines.smooth(
            [
                [0.58, 0, 0.05],
                [0.5, -0.1, -0.4],
                [0, -0.2, -0.7],
                [-0.5, -0.1, -0.4],
                [-0.58, 0, 0.05],
            ],
            24,
        )
        return model + solids.ribbon(strap, 0.06, 0.015)
    say("a visor", "帽舌")
    shape = outlines.ellipse(0.5, draw.uniform("visor", 0.4, 0.8))
    visor = solids.extrude(shape, 0.025).moved(0, -0.6, 0)
    visor = visor.mapped(
        lambda v: np.column_stack([v[:, 0], v[:, 1], v[:, 2] - 0.5 * v[:, 0] ** 2])
    )
    return crown + visor + solids.ellipsoid(0.04, 0.04, 0.03, n=10).moved(0, 0, high)


@subclass("glove", "02-06", ("glove", "手套"), ("mitten", "连指手套"), unseen=True)
def glove(draw: Draw, say: Say) -> Model:
    """Gloves and mittens."""
    t = draw.uniform("t", 0.12, 0.22)
    palm = solids.ellipsoid(0.42, t, 0.5, power_xy=3, power_z=3)
    model = palm
    if draw.chance("mitten", 0.35):
        say("a mitten shape", "连指")
        model += solids.ellipsoid(0.4, t, 0.75, power_xy=2.6, power_z=2.4).moved(0, 0, 0.3)
    else:
        say("four fingers", "四指")
        for i, long in enumerate((0.5, 0.62, 0.58, 0.42)):
            model += solids.tube(
                [[0.3 - 0.2 * i, 0, 0.3], [0.38 - 0.26 * i, 0, 0.45 + long]], [0.12, 0.1]
            ) + solids.ellipsoid(0.1, 0.1, 0.1, n=14).moved(0.38 - 0.26 * i, 0, 0.45 + long)
    thumb = outlines.smooth([[0.3, 0, -0.25], [0.55, 0, 0.05], [0.62, 0, 0.4]], 12)
    model += solids.tube(thumb, np.linspace(0.15, 0.1, 12)) + solids.ellipsoid(
        0.1, 0.1, 0.1, n=14
    ).moved(0.62, 0, 0.4)
    cuff = draw.uniform("cuff", 0.2, 0.7)
    model += solids.loft(
        [(outlines.ellipse(0.38, t * 1.1), -0.4 - cuff), (outlines.ellipse(0.34, t), -0.4)],
        caps=False,
    )
    pattern = forms.ornament(draw, 0.8, say, probability=0.5)
    return model.dressed(pattern) + solids.loft(
        [(outlines.ellipse(0.36, t * 1.15), -0.42), (outlines.ellipse(0.36, t * 1.15), -0.34)]
    )


@subclass(
    "garment",
    "02-02",
    ("garment", "服装"),
    ("shirt", "衬衫"),
    ("dress", "连衣裙"),
    ("jacket", "夹克"),
    ("vest", "背心"),
)
def garment(draw: Draw, say: Say) -> Model:
    """Shirts, jackets, dresses: a flattened body with sleeves."""
    flat = draw.uniform("flat", 0.12, 0.28)
    length = draw.uniform("length", 0.8, 2.0)
    waist, hem = draw.uniform("waist", 0.34, 0.5), draw.uniform("hem", 0.4, 0.85)
    z = np.linspace(-length, 0.0, 12)
    widths = np.interp(z, [-length, -0.5, -0.15, 0.0], [hem, waist, 0.5, 0.42])
    body = solids.loft(
        [
            (outlines.superellipse(w, flat * (w / 0.5) ** 0.5, 2.4), float(zi))
            for w, zi in zip(widths, z, strict=True)
        ]
    )
    shoulder = solids.loft(
        [
            (outlines.superellipse(0.42, flat * 0.9, 2.4), 0),
            (outlines.superellipse(0.16, flat * 0.6, 2.2), 0.1),
        ],
        caps=False,
    )
    pattern = forms.ornament(draw, 1.2, say, probability=0.4)
    model = (body + shoulder).dressed(pattern)
    sleeve = draw.choice("sleeve", ("none", "short", "long", "bell"), (2, 3, 4, 1))
    if sleeve != "none":
        say(f"{sleeve} sleeves", {"short": "短袖", "long": "长袖", "bell": "喇叭袖"}[sleeve])
        long = {"short": 0.4, "long": 1.0, "bell": 0.8}[sleeve]
        down = draw.uniform("down", 0.3, 0.9)
        path = outlines.smooth(
            [
                [0.36, 0, 0.0],
                [0.36 + 0.45 * long * (1 - 0.3 * down), 0, -0.5 * long * down],
                [0.36 + 0.8 * long * (1 - 0.5 * down), 0, -long * down - 0.1],
            ],
            14,
        )
        width = np.linspace(0.16, 0.3 if sleeve == "bell" else 0.1, 14)
        model += (
            solids.tube(path, width, section=outlines.ellipse(1, 0.7, 20), caps=False)
            .both("x")
            .dressed(pattern)
        )
    collar = draw.choice("collar", ("round", "hood", "stand", "none"))
    if collar == "hood":
        say("a hood", "帽兜")
        model += solids.ellipsoid(0.24, 0.22, 0.28).moved(0, 0.05, 0.22)
    elif collar == "stand":
        say("a stand collar", "立领")
        model += solids.loft(
            [(outlines.ellipse(0.18, 0.14), 0.05), (outlines.ellipse(0.16, 0.12), 0.22)], caps=False
        )
    elif collar == "round":
        model += solids.torus(0.17, 0.03).scaled(1, 0.7, 1).moved(0, 0, 0.08)
    if draw.chance("front", 0.5):
        say("a front opening with buttons", "门襟纽扣")
        front = flat * (widths.mean() / 0.5) ** 0.5
        model += solids.box(0.05, 0.02, length * 0.95).moved(0, -front - 0.01, -length)
        model += (
            solids.cylinder(0.025, 0.02)
            .turned("x", 90)
            .row(draw.integer("buttons", 3, 8), z=0.12 * length)
            .moved(0, -front - 0.03, -0.5 * length)
        )
    if draw.chance("pockets", 0.4):
        say("pockets", "口袋")
        model += (
            solids.box(0.22, 0.03, 0.22)
            .moved(0.24, -flat * 0.95, -0.8 * min(length, 0.9))
            .both("x")
        )
    return model
