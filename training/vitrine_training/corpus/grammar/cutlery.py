"""Locarno 07-03, 08-03: knives, cutlery, scissors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import forms, outlines, parts, solids
from ..mesh import Model
from ..registry import subclass

if TYPE_CHECKING:
    from ..chance import Draw
    from ..forms import Say
    from ..mesh import Model


@subclass("knife", "08-03", ("knife", "刀"), ("kitchen knife", "厨刀"), ("cutter", "刀具"))
def knife(draw: Draw, say: Say) -> Model:
    """Knives: a grip and a flat blade."""
    length, w = draw.uniform("blade", 0.8, 2.0), draw.uniform("wide", 0.12, 0.4)
    tip = draw.choice("tip", ("point", "clip", "round", "square", "hook"))
    edge = draw.uniform("belly", 0.0, 0.2)
    spine = {
        "point": [[0.7, 1.0], [1.0, 0.1]],
        "clip": [[0.6, 1.0], [0.8, 0.6], [1.0, 0.35]],
        "round": [[0.9, 1.0], [1.0, 0.6]],
        "square": [[1.0, 1.0], [1.0, 0.0]],
        "hook": [[0.85, 1.0], [1.05, 0.2], [0.95, 0.3]],
    }[tip]
    below = [[0.0, 0.0], [0.5, -edge]]
    shape = (
        outlines.smooth(np.array(below + spine[::-1] + [[0.0, 1.0]]) * [length, w], 44, closed=True)
        if tip == "round"
        else np.array([*below, *spine[::-1], [0.0, 1.0]]) * [length, w]
    )
    blade = solids.extrude(shape, 0.025, bevel=0.008).turned("x", 90).moved(0, 0.0125, -0.4 * w)
    if draw.chance("serrated", 0.2):
        say("a serrated edge", "锯齿刃")
        tooth = solids.extrude(outlines.regular(3, 0.03), 0.02).turned("x", 90)
        blade += tooth.row(16, x=length * 0.045).moved(0.45 * length, 0.01, -0.42 * w)
    if draw.chance("holes", 0.2):
        say("holes in the blade", "刀身开孔")
        blade += (
            solids.cylinder(0.15 * w, 0.04)
            .turned("x", 90)
            .row(draw.integer("hole", 2, 5), x=0.4 * w)
            .moved(0.5 * length, 0.02, 0.1 * w)
        )
    grip = parts.grip(draw, draw.uniform("grip", 0.7, 1.3), draw.uniform("grip_r", 0.07, 0.14), say)
    model = blade + grip.turned("y", -90)
    if draw.chance("guard", 0.4):
        say("a guard", "护手")
        model += solids.box(0.06, 0.16, w * 1.4, bevel=0.01).moved(0, 0, -0.7 * w)
    if draw.chance("rivets", 0.3):
        model += solids.cylinder(0.03, 0.26).turned("x", 90).row(3, x=0.22).moved(-0.45, 0.13, 0)
    return model


@subclass(
    "cutlery",
    "07-03",
    ("spoon", "勺子"),
    ("fork", "叉子"),
    ("cutlery", "餐具"),
    ("spatula", "锅铲"),
)
def cutlery(draw: Draw, say: Say) -> Model:
    """Spoons, forks, spatulas, ladles, tongs: a head on a shaft."""
    length = draw.uniform("length", 1.2, 2.4)
    head = draw.choice(
        "head", ("spoon", "fork", "spatula", "ladle", "whisk", "masher"), (5, 4, 3, 2, 2, 1)
    )
    hw = draw.uniform("head_w", 0.14, 0.32)
    flat = draw.uniform("flat", 0.015, 0.05)
    ends = draw.uniform("end", 0.03, 0.12)
    path = outlines.smooth(
        [[0, 0], [0.5 * length, draw.uniform("sway", -0.05, 0.05)], [length, 0]], 24
    )
    widths = np.interp(
        np.linspace(0, 1, 24), [0, 0.3, 1], [0.06, draw.uniform("neck", 0.03, 0.06), 2 * ends]
    )
    shaft = solids.extrude(outlines.thick(path, widths), flat, bevel=0.2 * flat)
    shaft = shaft.dressed(forms.ornament(draw, 0.4, say, probability=0.25))
    if draw.chance("round_shaft", 0.3):
        shaft = parts.grip(draw, length, ends * 0.9, say).turned("y", 90)
    if head in ("spoon", "ladle"):
        say("an oval bowl", "椭圆勺头")
        bowl = solids.ellipsoid(hw * draw.uniform("oval", 1.0, 1.7), hw, 0.5 * hw)
        cup = bowl.mapped(lambda v: np.column_stack([v[:, 0], v[:, 1], np.minimum(v[:, 2], 0.0)]))
        front = (
            cup.turned("y", -75).moved(-0.1, 0, -hw)
            if head == "ladle"
            else cup.moved(-hw * 1.2, 0, 0.02)
        )
    elif head == "fork":
        tines = draw.integer("tines", 2, 5)
        say(f"{tines} tines", f"{'两三四五'[tines - 2]}齿")
        tine = solids.box(hw * draw.uniform("tine", 1.2, 2.2), 0.8 * hw / tines, flat)
        front = tine.row(tines, y=1.6 * hw / tines).moved(-1.6 * hw) + solids.extrude(
            outlines.superellipse(0.7 * hw, hw, 2.6), flat
        ).moved(-0.5 * hw)
    elif head == "spatula":
        say("a flat blade", "铲面")
        plate = solids.extrude(forms.outline(draw, hw * draw.uniform("plate", 1.0, 2.0), hw), flat)
        if draw.chance("slotted", 0.5):
            say("slots", "长槽")
            plate = plate.pierced(forms.piercing(draw, 3 * hw))
        front = plate.moved(-1.3 * hw)
    elif head == "whisk":
        say("wire loops", "打蛋丝")
        loop = solids.tube(
            outlines.smooth(
                [
                    [0, 0.03, 0],
                    [-0.4, 0.5 * hw, 0],
                    [-0.9, hw, 0],
                    [-1.15, 0, 0],
                    [-0.9, -hw, 0],
                    [-0.4, -0.5 * hw, 0],
                    [0, -0.03, 0],
                ],
                30,
            ),
            0.012,
            sides=6,
        )
        front = loop.ring(draw.integer("wires", 3, 6), "x")
    else:
        say("a wavy masher", "压泥头")
        wave = outlines.smooth(
            [[-0.1, y, 0.12 * (-1) ** i] for i, y in enumerate(np.linspace(-hw, hw, 7))], 40
        )
        front = solids.tube(wave, 0.025)
    return shaft + front


@subclass("scissors", "08-03", ("scissors", "剪刀"), ("shears", "剪子"))
def scissors(draw: Draw, say: Say) -> Model:
    """Scissors with looped handles."""
    angle = draw.uniform("open", 3.0, 22.0)
    length = draw.uniform("blade", 0.7, 1.8)
    w = draw.uniform("wide", 0.08, 0.2)
    blade = solids.extrude(
        np.array([[0.0, -0.1], [w, 0.0], [0.7 * w, 0.6 * length], [0.0, length]]), 0.03
    )
    a, b = draw.uniform("loop_a", 0.14, 0.26), draw.uniform("loop_b", 0.2, 0.4)
    ring = forms.outline(draw, a, b)
    loop = solids.tube(
        np.column_stack([ring, np.zeros(len(ring))]),
        draw.uniform("rim", 0.03, 0.07),
        closed=True,
        sides=10,
    )
    shank = solids.tube(
        [[0, -0.05, 0.015], [-0.16, -0.5, 0.015]],
        [0.08, 0.05],
        section=outlines.superellipse(1, 0.5, 4, 16),
    )
    half = blade + shank + loop.moved(-0.16 - 0.6 * a, -0.5 - 0.9 * b, 0.015)
    model = half.turned("z", -angle) + half.mirrored("x").moved(0, 0, 0.03).turned("z", angle)
    say("two finger loops", "双指环")
    return (model + solids.cylinder(0.05, 0.1, bevel=0.01)).turned("x", 90)
