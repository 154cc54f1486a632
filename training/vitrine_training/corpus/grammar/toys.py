"""Locarno 21, 22, 30: figures, balls, toy guns, houses for pets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import forms, outlines, parts, solids
from ..mesh import Model
from ..registry import subclass
from .generic import attach, attachment

if TYPE_CHECKING:
    from ..chance import Draw
    from ..forms import Say
    from ..mesh import Model


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
            forms.ornament(draw, 1.0, say, probability=0.25)
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
            forms.profile(draw, draw.uniform("body", 0.25, 0.45), 0.9, pieces=5)
        ).dressed(forms.ornament(draw, 0.8, say, probability=0.3))
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
        foot = solids.cylinder(0.12, 0.4, bevel=0.03).moved(0.16, 0, -0.35) + solids.ellipsoid(
            0.13, 0.2, 0.09
        ).moved(0.16, -0.08, -0.35)
        model = (
            body + arm.both("x") + (foot.both("x") if draw.chance("legs", 0.7) else parts.NOTHING)
        )
        hx, hz = 0.0, 0.9 + 0.8 * head_r
        head = solids.ellipsoid(
            head_r, head_r, head_r * draw.uniform("tall", 0.85, 1.3), power_xy=power
        )
    front = head
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
        say(
            {
                "round": "round ears",
                "long": "long ears",
                "pointed": "pointed ears",
                "horns": "horns",
            }[ears],
            {"round": "圆耳", "long": "长耳", "pointed": "尖耳", "horns": "角"}[ears],
        )
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


@subclass("ball", "21-02", ("ball", "球"), ("puzzle", "拼图"), ("building block", "积木"))
def ball(draw: Draw, say: Say) -> Model:
    """Balls with cut patterns, cubes, blocks with studs."""
    if draw.chance("block", 0.4):
        nx, ny = draw.integer("nx", 1, 4), draw.integer("ny", 1, 3)
        say(f"{nx * ny} studs", f"{nx * ny}个凸点")
        block = solids.extrude(
            forms.outline(draw, 0.25 * nx, 0.25 * ny), draw.uniform("h", 0.2, 0.9), bevel=0.02
        )
        stud = solids.cylinder(0.12, 0.1, bevel=0.02).row(nx, x=0.4).row(ny, y=0.4)
        return block.dressed(forms.ornament(draw, 0.8, say, probability=0.2)) + stud.moved(
            0, 0, float(block.bounds()[1][2])
        )
    model = solids.ellipsoid(
        0.6,
        0.6,
        0.6 * draw.uniform("egg", 0.8, 1.4),
        power_xy=draw.choice("p", (2.0, 2.0, 3.5)),
        n=40,
    )
    model = model.dressed(forms.ornament(draw, 1.2, say, probability=0.85))
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
    "gun", "22-01", ("toy gun", "玩具枪"), ("bubble machine", "泡泡机"), ("water gun", "水枪")
)
def gun(draw: Draw, say: Say) -> Model:
    """Pistol and box shaped toys with nozzles and tanks."""
    length = draw.uniform("l", 0.8, 1.6)
    body = (
        solids.extrude(
            forms.outline(draw, 0.5 * length, draw.uniform("h", 0.15, 0.35)),
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
            forms.profile(
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
        model += solids.revolve(forms.profile(draw.part("tank"), 0.22, 0.5)).moved(0, 0, 0.15)
    extra = attachment(draw.part("extra"), 0.3)
    return model + attach(body, extra, draw.choice("spot", ("top", "front", "right")), (0.0, 0.0))


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
    walls = solids.box(w, d, h).dressed(forms.ornament(draw, w, say, probability=0.4))
    roof = draw.choice("roof", ("gable", "flat", "cone", "arch"))
    eave = draw.uniform("eave", 1.05, 1.3)
    if roof == "gable":
        say("a gable roof", "双坡屋顶")
        gable = np.array(
            [[-0.5 * eave * w, 0], [0.5 * eave * w, 0], [0, draw.uniform("pitch", 0.25, 0.7)]]
        )
        top = solids.extrude(gable, d * eave).turned("x", 90).moved(0, 0.5 * d * eave)
    elif roof == "cone":
        walls = solids.cylinder(0.5 * w, h).dressed(forms.ornament(draw, w, None))
        top = solids.cylinder(0.5 * w * eave, draw.uniform("pitch", 0.3, 0.8), top=0.02)
        d = w
    elif roof == "arch":
        top = solids.revolve([[0.5 * w, 0], [0.5 * w, d]]).turned("x", 90).moved(0, 0.5 * d)
    else:
        top = solids.box(w * eave, d * eave, 0.08, bevel=0.02)
    door = (
        solids.extrude(forms.outline(draw, 0.2 * w, 0.25 * h), 0.03)
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
