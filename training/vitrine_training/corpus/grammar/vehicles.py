"""Locarno 12: cars, two-wheelers, aircraft, wheels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .. import forms, outlines, parts, solids
from ..mesh import Model, Pattern
from ..registry import subclass
from .vessels import section

if TYPE_CHECKING:
    from ..chance import Draw
    from ..forms import Say
    from ..mesh import Model


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
        body = solids.extrude(forms.outline(draw, 0.35, 0.3), 0.18, bevel=0.05)
        reach = draw.uniform("reach", 0.6, 0.9)
        arm = solids.tube([[0.2, 0, 0.1], [reach, 0, 0.14]], [0.06, 0.035]) + solids.cylinder(
            0.06, 0.15
        ).moved(reach, 0, 0.08)
        blade = solids.extrude(outlines.ellipse(0.3, 0.035), 0.015).moved(reach, 0, 0.23)
        arm += blade
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
    stations = [
        np.column_stack(
            [
                np.full(5, x * length),
                ring[:, 0] * beam * w,
                ring[:, 1] * 0.5 * (0.4 + 0.6 * w) + 0.15 * x * x,
            ]
        )
        for x, w in zip(
            t, np.sqrt(np.maximum(0.02, 1 - t ** draw.uniform("bow", 2, 5))), strict=True
        )
    ]
    hull = solids.skin(np.stack(stations), closed=False)
    return (
        hull
        + solids.loft(
            [(section(draw) * [0.4, 0.22], 0.1), (section(draw) * [0.3, 0.16], 0.5)]
        ).moved(0.4 * length)
        + solids.box(0.9 * length, 1.5 * beam, 0.02).moved(0.45 * length, 0, 0.05)
    )


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
            holes=[forms.outline(draw, 0.2, 0.2)],
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
    tyre = tyre.dressed(forms.ornament(draw.part("tread"), 0.6, say, probability=0.7))
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
