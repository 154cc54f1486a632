"""Locarno 12, 17, 19, 21, 22, 25, 30: vehicles, toys, sport, stationery, building, pets."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .. import outlines, parts, solids
from ..mesh import Pattern
from ..registry import subclass
from .containers import section
from .generic import attach, attachment

if TYPE_CHECKING:
    from ..chance import Draw
    from ..mesh import Model
    from ..parts import Say


@subclass(
    "car", "12-08", ("car", "汽车"), ("vehicle", "车辆"), ("toy car", "玩具车"), ("truck", "卡车")
)
def car(draw: Draw, say: Say) -> Model:
    """Cars and trucks: a side profile with width, wheels, windows."""
    length, h, w = (
        draw.uniform("l", 1.8, 2.8),
        draw.uniform("h", 0.45, 0.8),
        draw.uniform("w", 0.7, 1.0),
    )
    hood, roof = draw.uniform("hood", 0.5, 0.75), draw.uniform("roof", 0.35, 0.6)
    a, b, c, d = (
        draw.uniform(k, lo, hi)
        for k, lo, hi in (("a", 0.1, 0.3), ("b", 0.3, 0.45), ("c", 0.6, 0.85), ("d", 0.75, 0.98))
    )
    c = min(c, d)
    side = np.array(
        [
            [0, 0.15],
            [0.02, hood * h * 0.8],
            [a, hood * h],
            [b, h + roof * 0.6],
            [c, h + roof * 0.6],
            [d, hood * h * draw.uniform("tail", 0.9, 1.4)],
            [1, hood * h * 0.9],
            [1, 0.15],
        ]
    ) * [length, 1]
    if draw.chance("truck", 0.25):
        say("a load bed", "货厢")
        side = np.array(
            [
                [0, 0.15],
                [0, h * 0.9],
                [0.08, h + roof],
                [0.32, h + roof],
                [0.35, h * 0.6],
                [0.36, h],
                [1, h],
                [1, 0.15],
            ]
        ) * [length, 1]
    shape = outlines.rounded(side[::-1], draw.uniform("r", 0.04, 0.22))
    body = (
        solids.extrude(shape, w, bevel=draw.uniform("bevel", 0.02, 0.14))
        .turned("x", 90)
        .moved(-0.5 * length, 0.5 * w)
    )
    tuck = draw.uniform("tuck", 0.55, 1.0)

    def narrow(v: np.ndarray) -> np.ndarray:
        s = np.clip((v[:, 2] - hood * h) / (roof + 0.1), 0, 1)
        return np.column_stack([v[:, 0], v[:, 1] * (1 - (1 - tuck) * s), v[:, 2]])

    model = body.mapped(narrow)
    pane = outlines.rounded(
        np.array(
            [
                [b + 0.02, h * 0.75],
                [b + 0.05, h + roof * 0.5],
                [c - 0.02, h + roof * 0.5],
                [min(d, c + 0.08), h * 0.75],
            ]
        )[::-1]
        * [length, 1],
        0.06,
    )
    window = (
        solids.extrude(pane, 0.02).turned("x", 90).moved(-0.5 * length, -0.5 * w * (tuck + 1) / 2)
    )
    model += window.both("y")
    r = draw.uniform("wheel", 0.2, 0.34)
    for i in range(draw.choice("axles", (2, 2, 2, 3))):
        x = (-0.31 + 0.62 * i) * length if i < 2 else 0.14 * length
        model += parts.wheel(draw, r, 0.2).turned("z", 90).moved(x, -0.46 * w, 0.18).both("y")
    lamp = solids.ellipsoid(0.06, 0.14, 0.08, n=16).moved(-0.49 * length, 0.33 * w, hood * h * 0.75)
    model += lamp.both("y") + parts.vent(draw, 0.45 * w, 0.15).turned("z", -90).moved(
        -0.505 * length, 0, hood * h * 0.5
    )
    if draw.chance("spoiler", 0.25):
        say("a spoiler", "扰流板")
        model += solids.box(0.2, 0.9 * w, 0.03).moved(0.47 * length, 0, hood * h + 0.25)
    return model


@subclass(
    "two-wheeler", "12-11", ("bicycle", "自行车"), ("scooter", "滑板车"), ("motorcycle", "摩托车")
)
def two_wheeler(draw: Draw, say: Say) -> Model:
    """Bicycles and kick scooters."""
    r, base = draw.uniform("r", 0.15, 0.4), draw.uniform("base", 0.9, 1.2)
    wheel = parts.wheel(draw, r, draw.uniform("tyre", 0.05, 0.16)).turned("z", 90)
    model = wheel.moved(-0.5 * base, 0, r) + wheel.moved(0.5 * base, 0, r)
    t = draw.uniform("tube", 0.02, 0.05)
    top = draw.uniform("top", 0.7, 1.1)
    steer = [[-0.5 * base, 0, r], [-0.36 * base, 0, top]]
    model += solids.tube(steer, t)
    bar = outlines.smooth(
        [
            [-0.3 * base, -0.28, top + 0.06],
            [-0.36 * base, -0.15, top + 0.05],
            [-0.36 * base, 0, top],
            [-0.36 * base, 0.15, top + 0.05],
            [-0.3 * base, 0.28, top + 0.06],
        ],
        24,
    )
    model += solids.tube(bar, t)
    if r < 0.24:
        say("a standing deck", "踏板")
        model += solids.box(0.75 * base, 0.2, 0.05, radius=0.05).moved(0.02, 0, r) + solids.tube(
            [[-0.42 * base, 0, r + 0.1], [-0.3 * base, 0, r]], t
        )
        return model
    say("a frame with a saddle", "车架与车座")
    seat, crank = [0.2 * base, 0, top * 0.85], [0.02, 0, r * 0.8]
    head = [-0.38 * base, 0, top * 0.85]
    for a, b in (
        (head, crank),
        (crank, seat),
        (crank, [0.5 * base, 0, r]),
        (seat, [0.5 * base, 0, r]),
    ):
        model += solids.tube([a, b], t)
    if draw.chance("bar", 0.7):
        model += solids.tube([head, seat], t)
    saddle = solids.ellipsoid(0.18, 0.1, 0.05, power_z=3).moved(0.2 * base, 0, top * 0.95)
    ring = (
        solids.cylinder(0.13, 0.02)
        .dressed(Pattern(16, 0.1, 0.1))
        .turned("x", 90)
        .moved(0.02, -0.04, r * 0.8)
    )
    if draw.chance("motor", 0.3):
        say("a fuel tank", "油箱")
        model += solids.ellipsoid(0.25, 0.12, 0.14).moved(-0.1, 0, top * 0.75) + solids.box(
            0.35, 0.2, 0.3, bevel=0.03
        ).moved(0, 0, r * 0.8)
    return model + saddle + ring


@subclass(
    "aircraft", "12-07", ("aircraft", "飞行器"), ("drone", "无人机"), ("boat", "船"), unseen=True
)
def aircraft(draw: Draw, say: Say) -> Model:
    """Drones, planes, boats."""
    form = draw.choice("form", ("drone", "plane", "boat"))
    if form == "drone":
        arms = draw.choice("arms", (3, 4, 4, 6))
        say(f"{arms} rotors", f"{arms}旋翼")
        body = solids.extrude(parts.outline(draw, 0.35, 0.3), 0.18, bevel=0.05)
        reach = draw.uniform("reach", 0.6, 0.9)
        arm = solids.tube([[0.2, 0, 0.1], [reach, 0, 0.14]], [0.06, 0.035]) + solids.cylinder(
            0.06, 0.15
        ).moved(reach, 0, 0.08)
        blade = solids.extrude(outlines.ellipse(0.3, 0.035), 0.015).moved(reach, 0, 0.23)
        arm += blade.turned("z", 0)
        if draw.chance("guard", 0.4):
            say("rotor guards", "桨叶护罩")
            arm += solids.torus(0.32, 0.02).moved(reach, 0, 0.2)
        legs = (
            parts.loop_handle(draw, 0.5, 0.25, 0.02)
            .turned("x", 180)
            .turned("z", 90)
            .moved(0.25, 0, 0.02)
            .both("x")
        )
        return body + arm.ring(arms, start_deg=180.0 / arms) + legs
    length = draw.uniform("l", 1.6, 2.4)
    t = np.linspace(0, 1, 18)
    if form == "plane":
        say("wings", "机翼")
        width = 0.16 * np.sin(math.pi * np.minimum(1, t * 1.1 + 0.06)) ** 0.6 + 0.02
        hull = solids.tube(np.column_stack([t * length, np.zeros(18), np.zeros(18)]), width)
        sweep, span = draw.uniform("sweep", -0.1, 0.6), draw.uniform("span", 0.7, 1.3)
        wing = solids.extrude(
            np.array([[0, 0], [0.45, 0], [0.25 + sweep, span], [0.05 + sweep, span]]), 0.03
        )
        tail = solids.extrude(np.array([[0, 0], [0.22, 0], [0.22, 0.35], [0.12, 0.35]]), 0.02)
        return (
            hull
            + wing.moved(0.35 * length).both("y")
            + tail.moved(0.85 * length).both("y")
            + tail.turned("x", 90).moved(0.85 * length)
        )
    say("a hull", "船体")
    beam = draw.uniform("beam", 0.25, 0.45)
    ring = np.array([[-1, 0.4], [-0.8, -0.2], [0, -0.5], [0.8, -0.2], [1, 0.4]])
    stations = [np.column_stack([np.full(5, x * length), ring[:, 0] * beam * w, ring[:, 1] * 0.5 * (0.4 + 0.6 * w) + 0.15 * x * x])
                for x, w in zip(t, np.sqrt(np.maximum(0.02, 1 - t**draw.uniform("bow", 2, 5))), strict=True)]  # fmt: skip
    hull = solids.skin(np.stack(stations), closed=False)
    return (
        hull
        + solids.loft(
            [(section(draw) * [0.4, 0.22], 0.1), (section(draw) * [0.3, 0.16], 0.5)]
        ).moved(0.4 * length)
        + solids.box(0.9 * length, 1.5 * beam, 0.02).moved(0.45 * length, 0, 0.05)
    )


@subclass(
    "figurine",
    "21-01",
    ("toy figure", "玩偶"),
    ("animal toy", "动物玩具"),
    ("doll", "公仔"),
    ("pet toy", "宠物玩具"),
)
def figurine(draw: Draw, say: Say) -> Model:
    """Standing animals and people of rounded parts."""
    animal = draw.chance("animal", 0.55)
    head_r = draw.uniform("head", 0.22, 0.42)
    power = draw.uniform("soft", 1.8, 3.5)
    if animal:
        say("four legs", "四足")
        length, thick, leg = (
            draw.uniform("l", 0.4, 0.8),
            draw.uniform("thick", 0.22, 0.42),
            draw.uniform("leg", 0.1, 0.6),
        )
        model = solids.ellipsoid(length, thick, thick, power_xy=power, power_z=power).dressed(
            parts.ornament(draw, 1.0, say, probability=0.25)
        )
        limb = solids.cylinder(draw.uniform("limb", 0.06, 0.14), leg + thick * 0.8, top=0.12).moved(
            0.65 * length, 0.5 * thick, -leg - 0.8 * thick
        )
        model += limb.both("x").both("y")
        neck = draw.uniform("neck", 0.0, 0.6)
        hx, hz = -length - 0.4 * head_r, 0.4 * thick + neck
        if neck > 0.25:
            model += solids.tube(
                [[-0.7 * length, 0, 0.2 * thick], [hx, 0, hz]], [0.7 * thick, 0.5 * head_r]
            )
        tail = outlines.smooth(
            [
                [length * 0.9, 0, 0.1],
                [length + 0.25, 0, draw.uniform("t1", -0.2, 0.3)],
                [length + draw.uniform("t2", 0.2, 0.6), 0, draw.uniform("t3", -0.3, 0.6)],
            ],
            14,
        )
        model += solids.tube(tail, np.linspace(0.09, 0.03, 14))
        head = solids.ellipsoid(
            head_r * draw.uniform("snout", 0.9, 1.5), head_r * 0.9, head_r, power_xy=power
        )
    else:
        body = solids.revolve(
            parts.profile(draw, draw.uniform("body", 0.25, 0.45), 0.9, pieces=5)
        ).dressed(parts.ornament(draw, 0.8, say, probability=0.3))
        arm = solids.tube(
            outlines.smooth(
                [
                    [0.25, 0, 0.75],
                    [0.5, draw.uniform("fwd", -0.3, 0.1), 0.5],
                    [
                        draw.uniform("hand", 0.3, 0.7),
                        draw.uniform("out", -0.4, 0),
                        draw.uniform("up", 0.2, 1.1),
                    ],
                ],
                12,
            ),
            0.09,
        )
        leg = solids.cylinder(0.12, 0.4, bevel=0.03).moved(0.16, 0, -0.35) + solids.ellipsoid(
            0.13, 0.2, 0.09
        ).moved(0.16, -0.08, -0.35)
        model = (
            body + arm.both("x") + (leg.both("x") if draw.chance("legs", 0.7) else parts.NOTHING)
        )
        hx, hz = 0.0, 0.9 + 0.8 * head_r
        head = solids.ellipsoid(
            head_r, head_r, head_r * draw.uniform("tall", 0.85, 1.3), power_xy=power
        )
    front = head.turned("z", 0)
    eye = solids.ellipsoid(0.05, 0.05, 0.06, n=12)
    x0 = -head_r * 0.85 if animal else 0.0
    if animal:
        front += eye.moved(-0.7 * head_r, 0.5 * head_r, 0.3 * head_r).both("y") + solids.ellipsoid(
            0.06, 0.07, 0.05, n=12
        ).moved(x0 * 1.25)
    else:
        front += eye.moved(0.4 * head_r, -0.85 * head_r, 0.2 * head_r).both("x") + solids.ellipsoid(
            0.05, 0.06, 0.05, n=12
        ).moved(0, -head_r)
    ears = draw.choice("ears", ("round", "long", "pointed", "horns", "hat", "none"))
    if ears in ("round", "long", "pointed", "horns"):
        say({"round": "round ears", "long": "long ears", "pointed": "pointed ears", "horns": "horns"}[ears],
            {"round": "圆耳", "long": "长耳", "pointed": "尖耳", "horns": "角"}[ears])  # fmt: skip
        if ears == "round":
            ear = solids.ellipsoid(0.05, 0.13, 0.13)
        elif ears == "long":
            ear = solids.ellipsoid(0.05, 0.1, draw.uniform("ear", 0.25, 0.45)).moved(0, 0, 0.2)
        elif ears == "pointed":
            ear = solids.cylinder(0.11, 0.28, top=0.01)
        else:
            ear = solids.tube(
                outlines.smooth([[0, 0, 0], [0, 0.12, 0.15], [0, 0.1, 0.35]], 10),
                np.linspace(0.06, 0.01, 10),
            )
        ear = ear if animal else ear.turned("z", 90)
        at = (0.0, 0.55 * head_r) if animal else (0.55 * head_r, 0.0)
        front += ear.moved(at[0], at[1], 0.75 * head_r).both("y" if animal else "x")
    elif ears == "hat":
        say("a pointed hat", "尖帽")
        front += solids.cylinder(head_r * 0.95, draw.uniform("hat", 0.4, 1.0), top=0.03).moved(
            0, 0, 0.4 * head_r
        )
    return model + front.moved(hx, 0, hz)


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
        return body.dressed(parts.ornament(draw, 0.8, say, probability=0.2)) + parts.loop_handle(
            draw, 0.7, 0.5, draw.uniform("t", 0.06, 0.1)
        ).moved(0, 0, top - 0.15)
    if form == "dumbbell":
        sides = draw.choice("sides", (6, 8, 12, 0))
        head = (
            solids.extrude(outlines.regular(sides, 0.35), 0.35, bevel=0.05)
            if sides
            else solids.revolve(parts.profile(draw, 0.38, 0.35))
        )
        bar = parts.grip(draw, 0.7, 0.09)
        return (head.moved(0, 0, 0.3).both("z") + bar.moved(0, 0, -0.35)).turned("y", 90)
    if form == "roller":
        say("a textured roller", "纹理滚轴")
        drum = solids.revolve([[0.15, 0], [0.3, 0], [0.3, 1.2], [0.15, 1.2]]).dressed(
            parts.ornament(draw, 1.0, say, probability=1.0)
        )
        return (drum + solids.cylinder(0.06, 1.9).moved(0, 0, -0.35)).turned("y", 90)
    ring = parts.outline(draw, 0.6, 0.6)
    model = solids.tube(
        np.column_stack([ring, np.zeros(len(ring))]), draw.uniform("t", 0.06, 0.14), closed=True
    ).dressed(parts.ornament(draw, 0.6, say, probability=0.4))
    pad = attachment(draw.part("pad"), 0.5)
    return (model + pad.turned("x", 90).moved(0, -0.55, 0)).turned("x", 90)


@subclass("ball", "21-02", ("ball", "球"), ("puzzle", "拼图"), ("building block", "积木"))
def ball(draw: Draw, say: Say) -> Model:
    """Balls with cut patterns, cubes, blocks with studs."""
    if draw.chance("block", 0.4):
        nx, ny = draw.integer("nx", 1, 4), draw.integer("ny", 1, 3)
        say(f"{nx * ny} studs", f"{nx * ny}个凸点")
        block = solids.extrude(
            parts.outline(draw, 0.25 * nx, 0.25 * ny), draw.uniform("h", 0.2, 0.9), bevel=0.02
        )
        stud = solids.cylinder(0.12, 0.1, bevel=0.02).row(nx, x=0.4).row(ny, y=0.4)
        return block.dressed(parts.ornament(draw, 0.8, say, probability=0.2)) + stud.moved(
            0, 0, float(block.bounds()[1][2])
        )
    model = solids.ellipsoid(
        0.6,
        0.6,
        0.6 * draw.uniform("egg", 0.8, 1.4),
        power_xy=draw.choice("p", (2.0, 2.0, 3.5)),
        n=40,
    )
    model = model.dressed(parts.ornament(draw, 1.2, say, probability=0.85))
    spikes = draw.choice("spikes", (0, 0, 6, 10))
    if spikes:
        say("spikes", "凸刺")
        cone = (
            solids.cylinder(0.09, 0.2, top=draw.uniform("tip", 0.01, 0.08))
            .turned("y", 90)
            .moved(0.57)
        )
        for tilt in (-50, 0, 50):
            model += cone.turned("y", tilt).ring(spikes)
    if draw.chance("cord", 0.35):
        say("a cord", "绳子")
        model += solids.tube(
            outlines.smooth([[0, 0, 0.55], [0.1, 0, 0.9], [-0.1, 0, 1.3], [0.15, 0, 1.8]], 30), 0.03
        ) + solids.torus(0.15, 0.03).turned("x", 90).moved(0.15, 0, 1.95)
    return model


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
        else parts.outline(draw, a, b)
    )
    length = draw.uniform("shaft", 0.3, 0.9)
    if draw.chance("strung", 0.6):
        say("strings", "网线")
        frame = solids.tube(np.column_stack([head, np.zeros(len(head))]), 0.04, closed=True)
        model = frame + solids.face(head * 0.97).dressed(Pattern(3, 0.07, 0.07))
    else:
        model = solids.extrude(head, 0.08, bevel=0.02).dressed(
            parts.ornament(draw, a, say, probability=0.6)
        )
    shaft = solids.tube([[0, -b, 0.02], [0, -b - length, 0.02]], 0.05)
    if draw.chance("throat", 0.4):
        shaft += solids.tube(
            [[0.5 * a, -0.85 * b, 0.02], [0, -b - 0.5 * length, 0.02]], 0.035
        ).both("x")
    return (
        model + shaft + parts.grip(draw, 0.6, 0.08, say).turned("x", 90).moved(0, -b - length, 0.02)
    ).turned("x", 90)


@subclass("pen", "19-06", ("pen", "笔"), ("marker", "记号笔"), ("electronic cigarette", "电子烟"))
def pen(draw: Draw, say: Say) -> Model:
    """Slim turned or prismatic bodies with clips and tips."""
    h, r = draw.uniform("h", 1.4, 2.6), draw.uniform("r", 0.07, 0.16)
    ring = section(draw)
    line = parts.profile(draw, r, h, pieces=6, closed=False)
    model = solids.loft([(ring * max(a, 0.6 * r), z) for a, z in line]).dressed(
        parts.ornament(draw, 0.3, say, probability=0.3)
    )
    model += solids.cylinder(0.7 * r, 0.35, top=0.02).turned("x", 180)
    if draw.chance("clip", 0.6):
        say("a clip", "笔夹")
        model += solids.box(0.4 * r, 0.05, draw.uniform("clip_l", 0.4, 0.8), bevel=0.01).moved(
            0, -1.2 * r, h - 0.85
        ) + solids.box(0.4 * r, 0.6 * r, 0.06).moved(0, -0.9 * r, h - 0.1)
    if draw.chance("button", 0.5):
        say("a push button", "按钮")
        model += solids.cylinder(0.4 * r, 0.2, bevel=0.02).moved(0, 0, h)
    return model


@subclass(
    "stationery",
    "19-02",
    ("desk organizer", "收纳架"),
    ("napkin holder", "纸巾架"),
    ("book end", "书立"),
    ("stapler", "订书机"),
)
def stationery(draw: Draw, say: Say) -> Model:
    """Holders for desks and tables: bent wire, plates, cells."""
    form = draw.choice("form", ("wire", "plates", "cells", "lever"))
    w, h = draw.uniform("w", 0.6, 1.2), draw.uniform("h", 0.4, 1.0)
    if form == "wire":
        say("bent wire sides", "弯丝框架")
        side = parts.outline(draw, 0.5 * w, 0.5 * h)
        loop = (
            solids.tube(np.column_stack([side, np.zeros(len(side))]), 0.03, closed=True)
            .turned("x", 90)
            .moved(0, 0, 0.5 * h)
        )
        depth = draw.uniform("depth", 0.25, 0.5)
        bars = solids.tube([[0, -depth, 0], [0, depth, 0]], 0.02).row(
            draw.integer("bars", 3, 8), x=0.11 * w
        )
        upright = (
            solids.tube([[0, 0, 0], [0, 0, h]], 0.02)
            .row(draw.integer("upright", 0, 5), x=0.15 * w)
            .moved(0, -depth)
        )
        return loop.moved(0, -depth) + loop.moved(0, depth) + bars + upright
    if form == "plates":
        plate = (
            solids.extrude(parts.outline(draw, 0.5 * w, 0.5 * h), 0.04)
            .turned("x", 90)
            .moved(0, 0, 0.5 * h)
        )
        plate = (
            plate.pierced(parts.piercing(draw, w, say))
            if draw.chance("pierced", 0.4)
            else plate.dressed(parts.ornament(draw, w, say))
        )
        gap = draw.uniform("gap", 0.15, 0.4)
        return plate.row(draw.integer("plates", 2, 4), y=gap) + solids.box(w, gap * 2.2, 0.05)
    if form == "lever":
        say("a hinged arm", "铰接臂")
        base = solids.box(1.4, 0.3, 0.12, radius=0.1, bevel=0.03)
        arm = (
            solids.extrude(parts.outline(draw, 0.65, 0.12), 0.28, bevel=0.04)
            .turned("x", 90)
            .moved(0, 0.14, 0.2)
        )
        return (
            base
            + arm.turned("y", draw.uniform("open", 3, 18)).moved(0, 0, 0.12)
            + solids.cylinder(0.06, 0.36).turned("x", 90).moved(0.6, 0.18, 0.2)
        )
    nx, ny = draw.integer("nx", 1, 4), draw.integer("ny", 1, 2)
    say(f"{nx * ny} cells", f"{nx * ny}格")
    shape = section(draw)
    model = parts.NOTHING
    for i in range(nx):
        for j in range(ny):
            tall = h * draw.uniform(f"h{i}{j}", 0.5, 1.0)
            model += solids.loft(
                [
                    (shape * 0.24, 0),
                    (shape * 0.24, tall),
                    (shape * 0.21, tall),
                    (shape * 0.21, 0.1),
                ],
                caps=False,
            ).moved(0.46 * i, 0.46 * j)
    return model + solids.box(0.46 * nx + 0.1, 0.46 * ny + 0.1, 0.05).moved(
        0.23 * (nx - 1), 0.23 * (ny - 1)
    )


@subclass("panel", "25-01", ("panel", "面板"), ("tile", "瓷砖"), ("fence", "围栏"), ("brick", "砖"))
def panel(draw: Draw, say: Say) -> Model:
    """Tiles, boards, grilles, blocks with relief."""
    a, b, t = draw.uniform("a", 0.4, 0.9), draw.uniform("b", 0.4, 0.9), draw.uniform("t", 0.04, 0.3)
    shape = parts.outline(draw, a, b)
    model = solids.extrude(shape, t, bevel=0.1 * t)
    if draw.chance("pierced", 0.3):
        model = model.pierced(parts.piercing(draw, a, say)) + solids.extrude(
            shape, t * 1.2, holes=[outlines.inset(shape, 0.08)]
        )
    else:
        model = model.dressed(parts.ornament(draw, 2 * a, say, probability=0.6))
        relief = attachment(draw.part("relief"), 0.3)
        nx, ny = draw.integer("nx", 0, 4), draw.integer("ny", 1, 4)
        if nx:
            say("a raised relief", "凸起浮雕")
            model += (
                relief.scaled(1, 1, 0.4)
                .row(nx, x=1.5 * a / nx)
                .row(ny, y=1.5 * b / ny)
                .moved(0, 0, t)
            )
    return model.turned("x", 90) if draw.chance("upright", 0.5) else model


@subclass(
    "profile",
    "25-01",
    ("extruded profile", "型材"),
    ("rail", "导轨"),
    ("moulding", "线条"),
    ("pipe", "管材"),
)
def profile(draw: Draw, say: Say) -> Model:
    """Long bodies of one section."""
    form = draw.choice("form", ("slots", "angle", "free", "ribbed", "tube"))
    length = draw.uniform("l", 0.8, 2.6)
    if form == "slots":
        say("T slots", "T形槽")
        arm = np.array(
            [
                [0.12, -0.12],
                [0.35, -0.3],
                [0.35, -0.1],
                [0.45, -0.1],
                [0.45, 0.1],
                [0.35, 0.1],
                [0.35, 0.3],
            ]
        ) * draw.uniform("s", 0.8, 1.1)
        quarter = [
            arm @ np.array([[math.cos(k), math.sin(k)], [-math.sin(k), math.cos(k)]])
            for k in np.arange(4) * math.pi / 2
        ]
        body = solids.extrude(np.concatenate(quarter), length, holes=[outlines.ellipse(0.08, n=16)])
    elif form == "angle":
        say("an angle section", "角形截面")
        t = draw.uniform("t", 0.04, 0.12)
        w, d = draw.uniform("w", 0.4, 0.8), draw.uniform("d", 0.3, 0.8)
        path = np.array([[0, d], [0, 0], [w, 0], [w, draw.uniform("lip", 0.0, 0.5)]])
        body = solids.extrude(
            outlines.thick(
                outlines.rounded(path[:3], 0.05)
                if draw.chance("l", 0.5)
                else outlines.smooth(path, 24),
                t,
                round_ends=False,
            ),
            length,
        )
    elif form == "tube":
        outer = parts.outline(draw, 0.4, 0.35)
        body = solids.extrude(
            outer, length, holes=[outlines.inset(outer, draw.uniform("wall", 0.04, 0.12))]
        )
    elif form == "ribbed":
        say("ribs", "筋条")
        body = solids.extrude(
            outlines.lobed(0.4, draw.integer("ribs", 6, 20), draw.uniform("deep", 0.08, 0.25)),
            length,
        )
    else:
        body = solids.extrude(parts.outline(draw, 0.5, 0.3), length)
    if draw.chance("holes", 0.3):
        say("mounting holes", "安装孔")
        body += (
            solids.torus(0.08, 0.015)
            .turned("x", 90)
            .row(draw.integer("hole", 2, 5), z=0.4)
            .moved(0, -0.3, 0.5 * length)
        )
    return body.turned("y", 90) if draw.chance("lying", 0.7) else body


@subclass(
    "wheel", "12-16", ("wheel", "车轮"), ("vehicle rim", "轮毂"), ("tyre", "轮胎"), ("gear", "齿轮")
)
def wheel(draw: Draw, say: Say) -> Model:
    """Wheels and gears."""
    r, w = 0.7, draw.uniform("w", 0.15, 0.5)
    if draw.chance("gear", 0.2):
        say("teeth", "轮齿")
        return solids.extrude(
            outlines.gear(draw.integer("teeth", 10, 36), r, r * 0.88),
            w,
            holes=[parts.outline(draw, 0.2, 0.2)],
        ).turned("x", 90)
    rim = solids.revolve([[0.62 * r, 0], [0.85 * r, 0], [0.85 * r, w], [0.62 * r, w]])
    tyre = solids.revolve(
        outlines.smooth(
            [
                [0.85 * r, 0.05 * w],
                [0.95 * r, 0],
                [r, 0.15 * w],
                [r, 0.85 * w],
                [0.95 * r, w],
                [0.85 * r, 0.95 * w],
            ],
            20,
        )
    )
    tyre = tyre.dressed(parts.ornament(draw.part("tread"), 0.6, say, probability=0.7))
    spokes = draw.integer("spokes", 3, 12)
    say(f"{spokes} spokes", f"{spokes}根轮辐")
    path = outlines.smooth(
        [
            [0, 0],
            [0.3 * r, draw.uniform("bow", -0.1, 0.1)],
            [0.72 * r, draw.uniform("rake", -0.15, 0.15)],
        ],
        12,
    )
    spoke = solids.extrude(
        outlines.thick(
            path,
            np.interp(
                np.linspace(0, 1, 12),
                [0, 0.5, 1],
                [
                    draw.uniform("w0", 0.08, 0.2),
                    draw.uniform("w1", 0.05, 0.14),
                    draw.uniform("w2", 0.06, 0.24),
                ],
            ),
        ),
        0.25 * w,
        bevel=0.02,
    )
    if draw.chance("split", 0.35):
        spoke = spoke.turned("z", 8) + spoke.turned("z", -8)
    hub = solids.cylinder(draw.uniform("hub", 0.1, 0.2), 0.3 * w, bevel=0.02)
    nuts = solids.cylinder(0.02, 0.32 * w).moved(0.08).ring(5)
    model = (
        rim
        + (tyre if draw.chance("tyred", 0.7) else parts.NOTHING)
        + (spoke.ring(spokes) + hub + nuts).moved(0, 0, 0.65 * w)
    )
    return model.turned("x", 90)


@subclass(
    "pet house",
    "30-07",
    ("pet house", "宠物屋"),
    ("bird feeder", "喂鸟器"),
    ("dog bed", "狗窝"),
    ("birdcage", "鸟笼"),
)
def pet_house(draw: Draw, say: Say) -> Model:
    """Houses, feeders, cages for animals."""
    w, d, h = draw.uniform("w", 0.6, 1.0), draw.uniform("d", 0.5, 1.0), draw.uniform("h", 0.4, 0.9)
    if draw.chance("cage", 0.3):
        say("bars", "栅条")
        bar = solids.tube(
            [[0.45 * w, 0, 0], [0.45 * w, 0, h], [0.2 * w, 0, 1.35 * h], [0, 0, 1.45 * h]],
            0.012,
            sides=6,
        )
        return (
            bar.ring(draw.integer("bars", 12, 28))
            + solids.torus(0.45 * w, 0.02).moved(0, 0, h)
            + solids.cylinder(0.5 * w, 0.12, bevel=0.02)
            + solids.torus(0.08, 0.015).turned("x", 90).moved(0, 0, 1.53 * h)
        )
    walls = solids.box(w, d, h).dressed(parts.ornament(draw, w, say, probability=0.4))
    roof = draw.choice("roof", ("gable", "flat", "cone", "arch"))
    eave = draw.uniform("eave", 1.05, 1.3)
    if roof == "gable":
        say("a gable roof", "双坡屋顶")
        gable = np.array(
            [[-0.5 * eave * w, 0], [0.5 * eave * w, 0], [0, draw.uniform("pitch", 0.25, 0.7)]]
        )
        top = solids.extrude(gable, d * eave).turned("x", 90).moved(0, 0.5 * d * eave)
    elif roof == "cone":
        walls = solids.cylinder(0.5 * w, h).dressed(parts.ornament(draw, w, None))
        top = solids.cylinder(0.5 * w * eave, draw.uniform("pitch", 0.3, 0.8), top=0.02)
        d = w
    elif roof == "arch":
        top = solids.revolve([[0.5 * w, 0], [0.5 * w, d]]).turned("x", 90).moved(0, 0.5 * d)
    else:
        top = solids.box(w * eave, d * eave, 0.08, bevel=0.02)
    door = (
        solids.extrude(parts.outline(draw, 0.2 * w, 0.25 * h), 0.03)
        .turned("x", 90)
        .moved(0, -0.5 * d - 0.01, 0.35 * h)
    )
    model = walls + top.moved(0, 0, h) + door
    if draw.chance("perch", 0.5):
        say("a perch", "栖杆")
        model += solids.cylinder(0.02, 0.25).turned("x", 90).moved(0, -0.5 * d, 0.12 * h)
    if draw.chance("base", 0.5):
        model += solids.box(w * 1.25, d * 1.25, 0.06)
    return model


@subclass(
    "gun", "22-01", ("toy gun", "玩具枪"), ("bubble machine", "泡泡机"), ("water gun", "水枪")
)
def gun(draw: Draw, say: Say) -> Model:
    """Pistol and box shaped toys with nozzles and tanks."""
    length = draw.uniform("l", 0.8, 1.6)
    body = (
        solids.extrude(
            parts.outline(draw, 0.5 * length, draw.uniform("h", 0.15, 0.35)),
            draw.uniform("t", 0.2, 0.4),
            bevel=0.05,
        )
        .turned("x", 90)
        .moved(0, 0.15)
    )
    grip = (
        parts.grip(draw, 0.7, 0.13, say)
        .turned("x", 180)
        .turned("y", draw.uniform("rake", -5, 25))
        .moved(0.25 * length, 0, -0.1)
    )
    muzzle = (
        solids.revolve(
            parts.profile(
                draw, draw.uniform("mr", 0.08, 0.25), draw.uniform("ml", 0.2, 0.8), pieces=5
            )
        )
        .turned("y", -90)
        .moved(-0.45 * length)
    )
    trigger = solids.torus(0.1, 0.02, segments=20).turned("x", 90).moved(0.08 * length, 0, -0.28)
    model = body + grip + muzzle + trigger
    if draw.chance("tank", 0.4):
        say("a tank", "储液罐")
        model += solids.revolve(parts.profile(draw.part("tank"), 0.22, 0.5)).moved(0, 0, 0.15)
    extra = attachment(draw.part("extra"), 0.3)
    return model + attach(body, extra, draw.choice("spot", ("top", "front", "right")), (0.0, 0.0))


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
    model = cover.dressed(parts.ornament(draw, r, say, probability=0.3))
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
    "mould",
    "07-04",
    ("ice mould", "冰格"),
    ("baking mould", "烤模"),
    ("cookie cutter", "饼干模"),
    ("tray", "托盘"),
)
def mould(draw: Draw, say: Say) -> Model:
    """Plates of cavities, and cutters of bent strip."""
    if draw.chance("cutter", 0.35):
        say("a bent strip outline", "带状轮廓")
        shape = parts.outline(draw, 0.6, 0.5)
        if draw.chance("star", 0.3):
            shape = outlines.rounded(outlines.star(draw.integer("points", 4, 8), 0.6, 0.35), 0.05)
        wall = solids.extrude(
            shape, draw.uniform("h", 0.15, 0.5), holes=[outlines.inset(shape, 0.03)]
        )
        bridge = solids.box(1.0, 0.1, 0.03).row(draw.integer("bars", 1, 3), y=0.2).moved(0, 0, 0.05)
        return (
            wall
            + solids.extrude(
                outlines.inset(shape, -0.05), 0.03, holes=[outlines.inset(shape, 0.03)]
            )
            + bridge
        )
    nx, ny = draw.integer("nx", 2, 6), draw.integer("ny", 1, 4)
    say(f"{nx * ny} cavities", f"{nx * ny}个模腔")
    s = 0.3
    plate = solids.extrude(
        outlines.rounded_rectangle(s * nx + 0.15, s * ny + 0.15, 0.1), 0.06, bevel=0.015
    )
    hollow = parts.outline(draw, 0.42 * s, 0.42 * s)
    cup = solids.loft([(hollow * 0.7, -draw.uniform("deep", 0.1, 0.3)), (hollow, 0.0)], caps=True)
    rim = solids.tube(
        np.column_stack([hollow, np.full(len(hollow), 0.06)]), 0.012, closed=True, sides=6
    )
    inner = solids.extrude(hollow * 0.75, 0.005).moved(0, 0, 0.062)
    one = cup + rim + inner.dressed(parts.ornament(draw, s, say, probability=0.3))
    model = plate + one.row(nx, x=s).row(ny, y=s)
    if draw.chance("handle", 0.3):
        model += (
            parts.loop_handle(draw, 0.4, 0.15, 0.03)
            .turned("z", 90)
            .turned("y", 90)
            .moved(0.5 * s * nx + 0.06, 0, 0.03)
        )
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
            solids.cylinder(r, h).dressed(parts.ornament(draw, r, say))
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
    half[0][1] += 0.0
    half[1][1] += horns
    shape = outlines.smooth(half + [[-x, y] for x, y in half[-2::-1]], 70, closed=True)[::-1]
    t = draw.uniform("t", 0.08, 0.25)
    neck = (
        solids.box(0.12, 1.2, 0.05).moved(0, 1.3, t - 0.02).dressed(Pattern(1, 0.09, 0.09, 1.5708))
    )
    head = solids.extrude(parts.outline(draw, 0.12, 0.22), 0.05, bevel=0.01).moved(
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
    hole = solids.extrude(parts.outline(draw.part("hole"), 0.15, 0.15), 0.01).moved(0, 0.35, t)
    bridge = solids.box(0.3, 0.07, 0.04).moved(0, -0.05, t)
    return (
        solids.extrude(shape, t, bevel=0.02) + neck + head + pegs + strings + hole + bridge
    ).turned("x", 90)


@subclass(
    "fabric",
    "05-05",
    ("fabric pattern", "面料图案"),
    ("textile", "纺织品"),
    ("wallpaper", "壁纸"),
    ("blanket", "毯子"),
)
def fabric(draw: Draw, say: Say) -> Model:
    """Flat sheets that are all pattern; blankets with shaped outlines."""
    shape = (
        outlines.rectangle(1.6, 2.0) if draw.chance("plain", 0.5) else parts.outline(draw, 0.8, 1.0)
    )
    model = solids.extrude(shape, 0.02).dressed(parts.ornament(draw, 1.6, say, probability=1.0))
    for i in range(draw.integer("motifs", 0, 3)):
        p = draw.part(f"motif{i}")
        motif = solids.extrude(
            parts.outline(p, p.uniform("a", 0.08, 0.4), p.uniform("b", 0.08, 0.4)), 0.012
        )
        model += motif.dressed(parts.ornament(p, 0.4, None, probability=0.5)).moved(
            p.uniform("x", -0.5, 0.5), p.uniform("y", -0.7, 0.7), 0.02
        )
    if draw.chance("fringe", 0.3):
        say("a fringe", "流苏")
        model += solids.box(0.012, 0.12, 0.01).row(24, x=0.066).moved(0, -1.05).both("y")
    if draw.chance("draped", 0.25):
        say("folds", "褶皱")
        k, amount = draw.uniform("folds", 4, 9), draw.uniform("fold", 0.03, 0.12)
        strip = [[x, amount * math.sin(k * x)] for x in np.linspace(-0.9, 0.9, 50)]
        return solids.extrude(outlines.thick(np.array(strip), 0.02, round_ends=False), 1.6).dressed(
            parts.ornament(draw, 1.6, None, probability=1.0)
        )
    return model.turned("x", 90)
