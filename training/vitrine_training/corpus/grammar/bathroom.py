"""Locarno 04, 23, 24, 28: taps, dispensers, brushes, care and medical devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import forms, outlines, parts, solids
from ..mesh import Model, Pattern
from ..registry import subclass
from .generic import body
from .vessels import cap, section

if TYPE_CHECKING:
    from ..chance import Draw
    from ..forms import Say
    from ..mesh import Model


@subclass(
    "faucet",
    "23-01",
    ("faucet", "水龙头"),
    ("tap", "龙头"),
    ("shower head", "花洒"),
    ("valve", "阀门"),
)
def faucet(draw: Draw, say: Say) -> Model:
    """Taps and showers."""
    if draw.chance("shower", 0.3):
        say("a spray plate", "喷水面板")
        a, b = draw.uniform("a", 0.25, 0.5), draw.uniform("b", 0.25, 0.5)
        head = solids.extrude(forms.outline(draw, a, b), draw.uniform("t", 0.06, 0.2), bevel=0.02)
        holes = solids.face(outlines.ellipse(0.8 * a, 0.8 * b), -0.005).dressed(
            Pattern(draw.choice("holes", (7, 8, 15)), 0.08, 0.08, 0, 0.4)
        )
        arm = solids.tube(
            outlines.smooth(
                [
                    [0, 0, 0.08],
                    [0, 0.1, 0.3],
                    [0, 0.6, 0.45],
                    [0, 1.0, draw.uniform("fall", -0.6, 0.5)],
                ],
                24,
            ),
            draw.uniform("arm", 0.05, 0.1),
        )
        return head + holes + arm
    h, reach = draw.uniform("h", 0.5, 1.5), draw.uniform("reach", 0.5, 1.0)
    shapes: dict[str, list[list[float]]] = {
        "arch": [
            [0, 0, 0],
            [0, 0, 0.7 * h],
            [0, -0.5 * reach, h],
            [0, -reach, 0.7 * h],
            [0, -reach, 0.5 * h],
        ],
        "square": [[0, 0, 0], [0, 0, h], [0, -reach, h], [0, -reach, 0.8 * h]],
        "low": [[0, 0, 0], [0, 0, 0.4 * h], [0, -0.6 * reach, 0.6 * h], [0, -reach, 0.45 * h]],
    }
    spout = shapes[draw.choice("spout", ("arch", "square", "low"))]
    path = outlines.smooth(spout, 36)
    ring = outlines.superellipse(
        1, draw.uniform("flat", 0.5, 1.3), draw.choice("power", (2.0, 2.0, 6.0)), 20
    )
    model = solids.tube(path, np.linspace(0.11, draw.uniform("tip", 0.06, 0.12), 36), section=ring)
    model += solids.revolve(forms.profile(draw, 0.22, draw.uniform("base", 0.1, 0.4), pieces=3))
    handles = draw.choice("handles", (1, 1, 2))
    lever = parts.knob(draw, 0.1, 0.16)
    if draw.chance("lever", 0.6):
        say("a lever", "把手")
        lever += solids.tube([[0, 0, 0.12], [0, -0.05, 0.2], [0, -0.35, 0.25]], [0.05, 0.04, 0.03])
    else:
        say("cross handles", "十字把手")
        lever += solids.tube([[-0.16, 0, 0.12], [0.16, 0, 0.12]], 0.03).ring(2)
    if handles == 2:
        return (
            model
            + (lever + solids.cylinder(0.12, 0.08)).moved(0.45).both("x")
            + solids.box(1.0, 0.2, 0.05, radius=0.08)
        )
    if draw.chance("side", 0.5):
        return model + lever.turned("y", 90).moved(0.08, 0, 0.3 * h)
    return model + lever.moved(0, 0.02, 0.75 * h if spout[1][2] > 0.6 * h else 0.45 * h)


@subclass(
    "dispenser", "23-02", ("soap dispenser", "皂液器"), ("dispenser", "分配器"), ("holder", "支架")
)
def dispenser(draw: Draw, say: Say) -> Model:
    """Table and wall dispensers and holders."""
    h = draw.uniform("h", 0.6, 1.3)
    model = body(draw, say, draw.uniform("w", 0.4, 0.7), draw.uniform("d", 0.3, 0.6), h)
    form = draw.choice("form", ("pump", "wall", "fork"))
    if form == "pump":
        model += cap(draw, 0.14, 0.12, say).moved(0, 0, h)
    elif form == "wall":
        say("a push plate", "按压板")
        model += solids.extrude(forms.outline(draw, 0.15, 0.12), 0.12, bevel=0.02).turned(
            "x", 90
        ).moved(0, -0.25, 0.25 * h) + solids.cylinder(0.04, 0.1).moved(0, -0.15, -0.08)
    else:
        say("an open tray", "敞口托架")
        model += solids.loft(
            [(section(draw) * 0.3, h), (section(draw) * 0.4, h + 0.25)], caps=False
        )
    if draw.chance("window", 0.3):
        model += (
            solids.extrude(outlines.rounded_rectangle(0.08, 0.5 * h, 0.04), 0.02)
            .turned("x", 90)
            .moved(0, -0.3, 0.5 * h)
        )
    return model


@subclass(
    "brush",
    "04-02",
    ("brush", "刷子"),
    ("toothbrush", "牙刷"),
    ("comb", "梳子"),
    ("razor", "剃须刀"),
)
def brush(draw: Draw, say: Say) -> Model:
    """Brushes, combs, razors: a head with bristles or teeth on a handle."""
    grip = parts.grip(
        draw, draw.uniform("grip", 0.8, 1.5), draw.uniform("r", 0.06, 0.13), say
    ).turned("y", -90)
    a, b = draw.uniform("a", 0.2, 0.6), draw.uniform("b", 0.07, 0.3)
    head = solids.extrude(forms.outline(draw.part("head"), a, b), 0.1, bevel=0.025).moved(
        0.9 * a, 0, -0.05
    )
    form = draw.choice("form", ("tufts", "block", "teeth", "blade", "round"), (4, 2, 3, 2, 2))
    long = draw.uniform("long", 0.1, 0.4)
    if form == "tufts":
        say("bristles in tufts", "簇状刷毛")
        tuft = solids.cylinder(0.03, long, top=0.035)
        fill = (
            tuft.row(draw.integer("nx", 4, 9), x=1.7 * a / draw.integer("nx", 4, 9))
            .row(draw.integer("ny", 2, 5), y=1.4 * b / draw.integer("ny", 2, 5))
            .moved(0.9 * a, 0, 0.04)
        )
    elif form == "block":
        say("a block of bristles", "块状刷毛")
        fill = (
            solids.extrude(forms.outline(draw.part("head"), 0.85 * a, 0.85 * b), long)
            .dressed(Pattern(1, 0.03, 0.03))
            .moved(0.9 * a, 0, 0.05)
        )
    elif form == "teeth":
        teeth = draw.integer("teeth", 10, 26)
        say("comb teeth", "梳齿")
        fill = (
            solids.box(1.1 * a / teeth, 0.05, long)
            .row(teeth, x=1.8 * a / teeth)
            .moved(0.9 * a, 0, 0.03)
        )
    elif form == "blade":
        say("a blade head", "刀头")
        fill = solids.box(0.12, 0.5, 0.14, bevel=0.02).turned("y", 30).moved(
            1.7 * a, 0, 0.02
        ) + solids.box(0.02, 0.46, 0.16).row(3, x=0.03).moved(1.72 * a, 0, 0.06)
    else:
        say("radial bristles", "放射刷毛")
        drum = solids.revolve([[0.06, 0], [0.25, 0.02], [0.25, 1.6 * a], [0.06, 1.62 * a]])
        fill = drum.dressed(Pattern(24, 0.07, 0.07)).turned("y", 90)
    return grip + head + fill


@subclass(
    "massager",
    "28-03",
    ("massager", "按摩器"),
    ("hair curler", "卷发器"),
    ("shaver", "剃须器"),
    ("facial device", "美容仪"),
)
def massager(draw: Draw, say: Say) -> Model:
    """Handheld care devices: a grip body with a working head."""
    length, r = draw.uniform("length", 1.0, 1.8), draw.uniform("r", 0.13, 0.24)
    model = parts.grip(draw, length, r, say)
    form = draw.choice("head", ("ball", "rollers", "plate", "fingers", "barrel", "ring"))
    if form == "ball":
        say("a ball head", "球形头")
        size = draw.uniform("ball", 1.1, 2.0) * r
        model += (
            solids.ellipsoid(size, size, size)
            .dressed(forms.ornament(draw, r, None, probability=0.4))
            .moved(0, 0, length + 0.5 * size)
        )
    elif form == "rollers":
        say("two rollers", "双滚轮")
        roll = solids.ellipsoid(1.1 * r, 1.1 * r, 1.1 * r).dressed(
            Pattern(draw.choice("facet", (5, 12, 3)), 0.09, 0.09)
        )
        model += (
            (roll.moved(1.5 * r, 0, 0.2) + solids.tube([[0, 0, -0.1], [1.5 * r, 0, 0.2]], 0.05))
            .both("x")
            .moved(0, 0, length)
        )
    elif form == "plate":
        head = solids.extrude(forms.outline(draw, 1.6 * r, 1.4 * r), 0.15, bevel=0.03).dressed(
            forms.ornament(draw, r * 2, say, probability=0.5)
        )
        model += head.turned("x", 90 - draw.uniform("tilt", 0, 60)).moved(0, 0, length + r)
    elif form == "fingers":
        count = draw.integer("fingers", 3, 6)
        say(f"{count} fingers", f"{'三四五六'[count - 3]}爪")
        finger = outlines.smooth([[0.3 * r, 0, 0], [1.3 * r, 0, 0.2], [1.1 * r, 0, 0.45]], 14)
        model += (
            solids.tube(finger, np.linspace(0.07, 0.05, 14)).ring(count) + solids.cylinder(r, 0.08)
        ).moved(0, 0, length)
    elif form == "barrel":
        say("a barrel", "卷筒")
        model += solids.cylinder(0.7 * r, 0.9, bevel=0.03).moved(0, 0, length) + solids.box(
            0.2 * r, 0.1, 0.85
        ).moved(0, -0.75 * r, length)
    else:
        model += solids.torus(1.5 * r, 0.4 * r).turned("x", 90).moved(0, 0, length + 1.4 * r)
    model += parts.buttons(draw, 0.7 * r, 0.3).moved(0, -0.85 * r, 0.65 * length)
    return model


@subclass(
    "syringe",
    "24-02",
    ("syringe", "注射器"),
    ("injector", "注射装置"),
    ("medical device", "医疗器械"),
    unseen=True,
)
def syringe(draw: Draw, say: Say) -> Model:
    """Barrels with plungers, needles, flanges."""
    r, length = draw.uniform("r", 0.1, 0.3), draw.uniform("length", 0.9, 1.6)
    barrel = (
        solids.cylinder(r, length)
        + solids.cylinder(r, 0.15, top=0.06).turned("x", 180)
        + solids.cylinder(0.05, 0.2).turned("x", 180).moved(0, 0, -0.12)
    )
    barrel = (
        barrel.dressed(Pattern(1, length / 12, length / 12, 1.5708))
        if draw.chance("scale", 0.5)
        else barrel
    )
    out = draw.uniform("out", 0.2, 0.9)
    plunger = solids.box(0.05, 1.4 * r, out).moved(0, 0, length) + solids.box(
        1.4 * r, 0.05, out
    ).moved(0, 0, length)
    flange = solids.extrude(forms.outline(draw, 2.2 * r, 1.3 * r), 0.05).moved(0, 0, length)
    top = (
        solids.torus(1.2 * r, 0.05).turned("x", 90).moved(0, 0, length + out + 1.2 * r)
        if draw.chance("ring", 0.4)
        else solids.cylinder(1.2 * r, 0.05).moved(0, 0, length + out)
    )
    model = barrel + plunger + flange + top
    if draw.chance("needle", 0.6):
        say("a needle", "针头")
        model += (
            solids.cylinder(0.02, draw.uniform("needle", 0.3, 0.9), top=0.005)
            .turned("x", 180)
            .moved(0, 0, -0.3)
        )
    if draw.chance("pair", 0.2):
        say("finger rings", "指环")
        model += solids.torus(0.2, 0.05).turned("x", 90).moved(2 * r + 0.15, 0, length).both("x")
    return model.turned("y", draw.choice("pose", (0.0, 90.0)))
