"""Locarno 07-03 and 08: cutlery, hand tools, hardware."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .. import outlines, parts, solids
from ..registry import subclass

if TYPE_CHECKING:
    from ..chance import Draw
    from ..mesh import Model
    from ..parts import Say


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
    shape = outlines.smooth(np.array(below + spine[::-1] + [[0.0, 1.0]]) * [length, w], 44, closed=True) if tip == "round" else \
        np.array([*below, *spine[::-1], [0.0, 1.0]]) * [length, w]  # fmt: skip
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
    shaft = shaft.dressed(parts.ornament(draw, 0.4, say, probability=0.25))
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
        say(f"{tines} tines", f"{'二三四五'[tines - 2]}齿")
        tine = solids.box(hw * draw.uniform("tine", 1.2, 2.2), 0.8 * hw / tines, flat)
        front = tine.row(tines, y=1.6 * hw / tines).moved(-1.6 * hw) + solids.extrude(
            outlines.superellipse(0.7 * hw, hw, 2.6), flat
        ).moved(-0.5 * hw)
    elif head == "spatula":
        say("a flat blade", "铲面")
        plate = solids.extrude(parts.outline(draw, hw * draw.uniform("plate", 1.0, 2.0), hw), flat)
        if draw.chance("slotted", 0.5):
            say("slots", "长槽")
            plate = plate.pierced(parts.piercing(draw, 3 * hw))
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
    handle = lever.dressed(parts.ornament(draw, 0.5, say, probability=0.4, fine=True))
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
    boss = solids.extrude(parts.outline(draw, 0.16, 0.2), 1.1 * t, bevel=0.02)
    model += boss + solids.cylinder(0.07, 1.3 * t, bevel=0.01)
    if draw.chance("spring", 0.3):
        say("a spring", "弹簧")
        model += solids.torus(0.1, 0.02).moved(0, -0.35, 0.5 * t)
    if draw.chance("teeth", 0.4):
        model += solids.box(0.05, 0.02, 0.82 * t).row(5, y=0.05).moved(0.03, 0.6 * jaw).both("x")
    return model.turned("x", 90).moved(0, 0.5 * t)


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
    ring = parts.outline(draw, a, b)
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
        face = solids.revolve(parts.profile(draw.part("face"), s, 0.45, pieces=3)).turned("y", 90)
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
    head = solids.revolve(parts.profile(draw.part("head"), 1.6 * s, 0.8)).moved(0, 0, -0.4)
    if form == "block":
        head = solids.extrude(parts.outline(draw, 1.3 * s, 1.3 * s), 0.8, bevel=0.05).moved(
            0, 0, -0.4
        )
    return model + head.turned("y", 90).moved(0, 0, z)


@subclass("wrench", "08-05", ("wrench", "扳手"), ("spanner", "扳子"), ("bottle opener", "开瓶器"))
def wrench(draw: Draw, say: Say) -> Model:
    """Flat tools with open or ring ends."""
    length, t = draw.uniform("length", 0.8, 1.8), draw.uniform("t", 0.06, 0.14)
    model = solids.extrude(outlines.thick(np.column_stack([np.linspace(0, length, 12), draw.uniform("bow", -0.1, 0.1) * np.sin(np.linspace(0, 3.14, 12))]),
                                          draw.uniform("w", 0.1, 0.25) * (1 - 0.25 * np.sin(np.linspace(0, 3.14, 12)))), t, bevel=0.15 * t)  # fmt: skip
    model = model.dressed(parts.ornament(draw, 0.4, say, probability=0.25))
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


@subclass(
    "hook",
    "08-08",
    ("hook", "挂钩"),
    ("hanger", "衣架"),
    ("coat rack", "衣帽架"),
    ("bracket", "支架"),
)
def hook(draw: Draw, say: Say) -> Model:
    """Hooks and hangers of strip or rod."""
    count = draw.choice("count", (1, 1, 1, 2, 3, 4, 6))
    h, reach = draw.uniform("h", 0.5, 1.2), draw.uniform("reach", 0.3, 0.7)
    points = [
        [0, 0, h],
        [0, 0, 0.3 * h],
        [0, -0.3 * reach, -0.15 * h],
        [0, -0.8 * reach, 0.0],
        [0, -reach, draw.uniform("tip", 0.1, 0.5) * h],
    ]
    if draw.chance("over", 0.35):
        say("an over-door bend", "门背弯折")
        points = [[0, 0.35, 0.75 * h], [0, 0.35, h], [0, 0.0, h], *points[1:]]
    path = (
        outlines.smooth(points, 40)
        if draw.chance("round", 0.6)
        else outlines.rounded(np.array(points)[:, 1:], 0.08) @ np.array([[0, 1, 0], [0, 0, 1.0]])
    )
    one = (
        solids.ribbon(path, draw.uniform("strip", 0.12, 0.5), draw.uniform("t", 0.02, 0.05))
        if draw.chance("flat", 0.5)
        else solids.tube(path, draw.uniform("rod", 0.025, 0.07))
    )
    if draw.chance("ball", 0.35):
        say("ball ends", "球头")
        one += solids.ellipsoid(0.09, 0.09, 0.09).moved(*path[-1])
    if count > 1:
        say(f"{count} hooks on a rail", f"横板{'二三四五六'[count - 2]}钩")
        step = draw.uniform("step", 0.4, 0.7)
        rail = solids.extrude(
            parts.outline(draw, 0.5 * step * (count + 0.3), draw.uniform("rail", 0.12, 0.3)),
            0.06,
            bevel=0.015,
        )
        rail = rail.dressed(parts.ornament(draw, step * count, say, probability=0.3))
        return one.row(count, x=step) + rail.turned("x", 90).moved(0, 0.06, 0.7 * h)
    if draw.chance("plate", 0.5):
        say("a mounting plate", "安装板")
        plate = solids.extrude(
            parts.outline(draw, draw.uniform("pw", 0.15, 0.35), draw.uniform("ph", 0.2, 0.5)),
            0.05,
            bevel=0.015,
        )
        one += plate.turned("x", 90).moved(0, 0.05, 0.6 * h) + parts.screws(draw, 0.3, 0.6).moved(
            0, 0, 0.6 * h
        )
    return one


@subclass("door handle", "08-06", ("door handle", "门把手"), ("handle", "拉手"), ("knob", "把手"))
def door_handle(draw: Draw, say: Say) -> Model:
    """Levers, pulls and knobs on roses or plates."""
    plate = solids.extrude(
        parts.outline(
            draw.part("rose"), draw.uniform("rw", 0.15, 0.35), draw.uniform("rh", 0.15, 0.9)
        ),
        0.06,
        bevel=0.015,
    )
    model = plate.dressed(parts.ornament(draw, 0.5, say, probability=0.25)).turned("x", 90)
    form = draw.choice("form", ("lever", "knob", "pull", "bar"), (5, 3, 4, 2))
    if form == "lever":
        say("a lever", "执手")
        path = outlines.smooth(
            [
                [0, 0, 0],
                [0, -0.3, 0],
                [0.2, -0.4, 0],
                [0.7, -0.4, draw.uniform("dip", -0.1, 0.1)],
                [1.1, draw.uniform("back", -0.45, -0.25), draw.uniform("end", -0.15, 0.15)],
            ],
            30,
        )
        section = outlines.superellipse(
            1, draw.uniform("flat", 0.4, 1.6), draw.choice("power", (2.0, 5.0)), 18
        )
        model += solids.tube(
            path, np.linspace(0.07, draw.uniform("tip", 0.04, 0.11), 30), section=section
        )
    elif form == "knob":
        say("a round knob", "球形把手")
        model += solids.revolve(parts.profile(draw, 0.35, 0.6, pieces=5)).turned("x", 90)
    else:
        say("a pull bar", "拉杆")
        span = draw.uniform("span", 0.6, 1.8)
        model = (
            model + model.moved(0, 0, span)
            if draw.chance("two", 0.6)
            else model.moved(0, 0, 0.5 * span)
        )
        bar = parts.loop_handle(
            draw, span, draw.uniform("out", 0.2, 0.4), draw.uniform("bar", 0.03, 0.07)
        )
        model += bar.turned("x", 90).turned("y", 90).moved(0, 0, 0.5 * span)
    if draw.chance("key", 0.3):
        say("a keyhole", "锁孔")
        model += solids.cylinder(0.05, 0.08).turned("x", 90).moved(0, 0.0, -0.25) + solids.box(
            0.02, 0.09, 0.09
        ).moved(0, -0.03, -0.3)
    return model
