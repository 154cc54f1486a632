"""Locarno 08: hand tools."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .. import forms, outlines, parts, solids
from ..mesh import Model
from ..registry import subclass

if TYPE_CHECKING:
    from ..chance import Draw
    from ..forms import Say
    from ..mesh import Model


@subclass("pliers", "08-05", ("pliers", "钳子"), ("crimping tool", "压线钳"), ("tongs", "夹子"))
def pliers(draw: Draw, say: Say) -> Model:
    """Two levers on a pivot."""
    spread = draw.uniform("spread", 0.1, 0.35)
    length, jaw = draw.uniform("length", 1.0, 1.8), draw.uniform("jaw", 0.3, 0.8)
    bend = draw.uniform("bend", -0.12, 0.12)
    path = outlines.smooth(
        [
            [0.05, 0],
            [spread * 0.8, -0.4 * length],
            [spread + bend, -0.75 * length],
            [spread * 0.8, -length],
        ],
        20,
    )
    widths = draw.uniform("width", 0.08, 0.16) * (1 + 0.4 * np.sin(np.linspace(0, 2.6, 20)))
    t = draw.uniform("thick", 0.08, 0.16)
    lever = solids.extrude(outlines.thick(path, widths), t, bevel=0.02)
    handle = lever.dressed(forms.ornament(draw, 0.5, say, probability=0.4, fine=True))
    nose = draw.uniform("nose", 0.03, 0.12)
    shape = np.array(
        [[0.01, 0.1], [0.14, 0.08], [0.12 + bend, 0.4 * jaw], [nose, jaw], [0.01, jaw]]
    )
    if draw.chance("curved", 0.3):
        shape = np.array(
            [
                [0.01, 0.1],
                [0.16, 0.1],
                [0.26, 0.5 * jaw],
                [0.05, jaw],
                [0.0, jaw],
                [0.13, 0.5 * jaw],
            ]
        )
    jaw_part = solids.extrude(shape, 0.8 * t)
    model = (handle + jaw_part).both("x")
    boss = solids.extrude(forms.outline(draw, 0.16, 0.2), 1.1 * t, bevel=0.02)
    model += boss + solids.cylinder(0.07, 1.3 * t, bevel=0.01)
    if draw.chance("spring", 0.3):
        say("a spring", "弹簧")
        model += solids.torus(0.1, 0.02).moved(0, -0.35, 0.5 * t)
    if draw.chance("teeth", 0.4):
        model += solids.box(0.05, 0.02, 0.82 * t).row(5, y=0.05).moved(0.03, 0.6 * jaw).both("x")
    return model.turned("x", 90).moved(0, 0.5 * t)


@subclass(
    "screwdriver",
    "08-05",
    ("screwdriver", "螺丝刀"),
    ("hand tool", "手动工具"),
    ("awl", "锥子"),
    unseen=True,
)
def screwdriver(draw: Draw, say: Say) -> Model:
    """A grip with a shaft and a small tip."""
    grip = parts.grip(draw, draw.uniform("grip", 0.7, 1.2), draw.uniform("r", 0.12, 0.22), say)
    length = draw.uniform("shaft", 0.5, 1.6)
    shaft = solids.cylinder(draw.uniform("shaft_r", 0.03, 0.06), length)
    tip = (
        solids.cylinder(0.07, 0.15, top=0.02)
        if draw.chance("tip", 0.6)
        else solids.box(0.14, 0.03, 0.15)
    )
    model = grip + (shaft + tip.moved(0, 0, length)).turned("x", 180)
    if draw.chance("cross", 0.25):
        say("a T handle", "T形手柄")
        model += (
            parts.grip(draw.part("t"), 0.8, 0.1).turned("y", 90).moved(-0.4, 0, grip.bounds()[1][2])
        )
    if draw.chance("collar", 0.5):
        model += solids.cylinder(0.14, 0.1, bevel=0.02).moved(0, 0, -0.05)
    return model.turned("y", 90)


@subclass("hammer", "08-02", ("hammer", "锤子"), ("axe", "斧头"), ("mallet", "木槌"))
def hammer(draw: Draw, say: Say) -> Model:
    """Striking tools: a head across a handle."""
    length = draw.uniform("length", 1.2, 2.2)
    model = parts.grip(draw, length, draw.uniform("r", 0.06, 0.11), say)
    form = draw.choice("head", ("claw", "ball", "block", "axe", "pick", "sledge"))
    s = draw.uniform("size", 0.12, 0.25)
    z = length - 0.05
    if form in ("claw", "ball"):
        face = solids.revolve(forms.profile(draw.part("face"), s, 0.45, pieces=3)).turned("y", 90)
        if form == "claw":
            say("a claw", "羊角")
            path = outlines.smooth([[0, 0.04, 0], [-0.3, 0.06, 0.03], [-0.6, 0.1, -0.15]], 14)
            back = solids.tube(path, np.linspace(0.8 * s, 0.02, 14)).both("y")
        else:
            back = solids.ellipsoid(s, s, s).moved(-0.35) + solids.cylinder(0.6 * s, 0.4).turned(
                "y", -90
            )
        return model + (face + back).moved(0, 0, z)
    if form == "axe":
        say("an axe blade", "斧刃")
        w = draw.uniform("edge", 0.3, 0.6)
        shape = outlines.smooth(
            [
                [-0.15, 0.1],
                [-0.15, -0.1],
                [0.2, -0.12],
                [0.6, -w],
                [0.68, 0],
                [0.6, 0.8 * w],
                [0.2, 0.12],
            ],
            50,
            closed=True,
        )
        return model + solids.extrude(shape, 0.12, bevel=0.03).turned("x", 90).moved(0, 0.06, z)
    if form == "pick":
        path = outlines.smooth([[-0.8, 0, -0.2], [0, 0, 0], [0.8, 0, -0.2]], 24)
        return model + solids.tube(path, 0.02 + 0.1 * np.sin(np.linspace(0, math.pi, 24))).moved(
            0, 0, z
        )
    head = solids.revolve(forms.profile(draw.part("head"), 1.6 * s, 0.8)).moved(0, 0, -0.4)
    if form == "block":
        head = solids.extrude(forms.outline(draw, 1.3 * s, 1.3 * s), 0.8, bevel=0.05).moved(
            0, 0, -0.4
        )
    return model + head.turned("y", 90).moved(0, 0, z)


@subclass("wrench", "08-05", ("wrench", "扳手"), ("spanner", "扳子"), ("bottle opener", "开瓶器"))
def wrench(draw: Draw, say: Say) -> Model:
    """Flat tools with open or ring ends."""
    length, t = draw.uniform("length", 0.8, 1.8), draw.uniform("t", 0.06, 0.14)
    model = solids.extrude(
        outlines.thick(
            np.column_stack(
                [
                    np.linspace(0, length, 12),
                    draw.uniform("bow", -0.1, 0.1) * np.sin(np.linspace(0, 3.14, 12)),
                ]
            ),
            draw.uniform("w", 0.1, 0.25) * (1 - 0.25 * np.sin(np.linspace(0, 3.14, 12))),
        ),
        t,
        bevel=0.15 * t,
    )
    model = model.dressed(forms.ornament(draw, 0.4, say, probability=0.25))
    for i, x in enumerate((0.0, length)):
        p = draw.part(f"end{i}")
        r = p.uniform("r", 0.15, 0.32)
        form = p.choice("form", ("ring", "open", "plain", "hook"), (4, 4, 2, 1))
        if form == "ring":
            say("a ring end", "梅花端")
            hole = outlines.regular(p.choice("hole", (6, 12, 24)), 0.6 * r)
            end = solids.extrude(outlines.ellipse(r, r), 1.2 * t, holes=[hole], bevel=0.1 * t)
        elif form == "open":
            say("an open end", "开口端")
            gap = p.uniform("gap", 0.3, 0.5) * r
            a = np.linspace(math.asin(gap / r), 2 * math.pi - math.asin(gap / r), 28)
            jaw = np.concatenate(
                [
                    np.column_stack([r * np.cos(a), r * np.sin(a)]),
                    [[-0.1 * r, -gap], [-0.1 * r, gap]],
                ]
            )
            end = solids.extrude(jaw, 1.2 * t, bevel=0.1 * t).turned(
                "z", p.uniform("turn", -25, 25)
            )
        elif form == "hook":
            end = solids.extrude(outlines.crescent(r, 0.7), 1.2 * t).turned(
                "z", p.uniform("turn", 0, 90)
            )
        else:
            end = solids.extrude(outlines.ellipse(0.7 * r), 1.1 * t) + solids.torus(
                0.3 * r, 0.02
            ).moved(0, 0, 1.1 * t)
        model += (end if i else end.turned("z", 180)).moved(x, 0, -0.1 * t)
    return model.turned("x", 90)
