"""Locarno 02-04: shoes and sandals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .. import forms, outlines, parts, solids
from ..mesh import Model, grid
from ..registry import subclass

if TYPE_CHECKING:
    from ..chance import Draw
    from ..forms import Say
    from ..mesh import Model


# Sole outline of a right foot, heel at y = 0, toe at y = 1 (half widths on both sides of the axis).
_SOLE = np.array(
    [
        [0.0, 0.0],
        [0.13, 0.03],
        [0.16, 0.15],
        [0.13, 0.38],
        [0.17, 0.6],
        [0.2, 0.74],
        [0.15, 0.92],
        [0.02, 1.0],
        [-0.1, 0.93],
        [-0.16, 0.74],
        [-0.12, 0.5],
        [-0.12, 0.3],
        [-0.15, 0.14],
        [-0.12, 0.03],
    ]
)


def sole(draw: Draw, say: Say) -> tuple[Model, np.ndarray, float]:
    """Sole on z = 0: model, its outline (N, 2), its height."""
    p = draw.part("sole")
    shape = outlines.smooth(_SOLE * [p.uniform("wide", 0.85, 1.2), 1.0], 56, closed=True)
    t = p.uniform("t", 0.05, 0.16)
    form = p.choice("form", ("flat", "wedge", "heel", "platform", "lugs"), (5, 3, 3, 2, 3))
    lift = p.uniform("lift", 0.05, 0.4) if form in ("wedge", "heel") else 0.0
    body = solids.extrude(shape, t, bevel=0.15 * t)
    rows = p.integer("grooves", 0, 3)
    for i in range(rows):
        ring = outlines.inset(shape, -0.008)
        body += solids.extrude(ring, 0.008).moved(0, 0, t * (i + 1) / (rows + 1))
    pattern = forms.ornament(p, 1.0, say, probability=0.6)
    tread = solids.face(outlines.inset(shape, 0.02), -0.002).dressed(pattern)
    body += tread
    if form == "lugs":
        say("a lugged sole", "齿纹鞋底")
        lug = solids.box(0.09, 0.045, 0.05).row(3, x=0.1).moved(0, 0, -0.05)
        body += lug.row(7, y=0.11).moved(0, 0.5, 0)
    if lift:

        def raise_heel(v: np.ndarray) -> np.ndarray:
            s = np.clip(1.0 - v[:, 1] / 0.75, 0, 1)
            return np.column_stack([v[:, 0], v[:, 1], v[:, 2] + lift * s * s * (3 - 2 * s)])

        body = body.mapped(raise_heel)
        if form == "heel":
            say("a heel", "高跟")
            heel = outlines.egg(0.1 * p.uniform("heel", 0.3, 1.1), 0.1, 0.1) + np.array([0, 0.1])
            body += solids.extrude(heel, lift + 0.01)
        else:
            say("a wedge sole", "坡跟")
            body += solids.extrude(shape, 0.02)
            wedge = outlines.inset(shape, 0.01)
            body += solids.loft([(wedge, 0.0), (wedge * [1, 0.6], 0.9 * lift)])
    return body, shape, t + lift


@subclass(
    "shoe", "02-04", ("shoe", "鞋"), ("sneaker", "运动鞋"), ("footwear", "鞋类"), ("boot", "靴子")
)
def shoe(draw: Draw, say: Say) -> Model:
    """Shoes and boots: a sole and a lofted upper."""
    body, shape, t = sole(draw, say)
    tall = draw.choice("cut", ("low", "mid", "boot", "knee"), (5, 3, 3, 1))
    ankle = {"low": 0.28, "mid": 0.42, "boot": 0.65, "knee": 1.1}[tall]
    toe = draw.uniform("toe", 0.12, 0.24)
    rows, columns = 16, 40
    s = np.linspace(0, 1, rows)
    ring0 = np.concatenate([shape, shape[:1]])[np.linspace(0, len(shape), columns + 1).astype(int)]
    turn = np.arctan2(ring0[:, 1] - 0.3, ring0[:, 0])
    opening = np.column_stack([0.105 * np.cos(turn), 0.18 + 0.15 * np.sin(turn)])
    points = np.empty((rows, columns + 1, 3))
    puff = draw.uniform("puff", 0.0, 0.12)
    for i, a in enumerate(s):
        mix = a ** draw.uniform("last", 0.8, 1.6)
        ring = ring0 * (1 - mix) + opening * mix
        points[i, :, :2] = ring * [1 + puff * math.sin(math.pi * a), 1.0]
        front = np.clip((ring0[:, 1] - 0.35) / 0.65, 0, 1)
        top = ankle * (1 - front) + toe * front
        points[i, :, 2] = t + a * (top * (1 - a) + ankle * a)
    flat = t * 0.85
    points[0, :, 2] = flat
    length = np.linspace(0, 2.4, columns + 1)
    model = body + grid(points, length, np.linspace(0, 1, rows)).dressed(
        forms.ornament(draw, 1.0, say, probability=0.3)
    )
    laces = draw.integer("laces", 0, 6)
    if laces > 1:
        say("laces", "鞋带")
        bar = solids.tube([[-0.07, 0, -0.01], [0, 0, 0.012], [0.07, 0, -0.01]], 0.012, sides=8)
        for i in range(laces):
            a = i / laces
            y = 0.62 - 0.28 * a
            z = t + toe + (ankle - toe) * (0.35 + 0.6 * a) * 0.9 + 0.02
            model += bar.moved(0, y, z - 0.03)
    if draw.chance("straps", 0.25):
        say("straps", "搭带")
        strap = outlines.smooth(
            [
                [0.17, 0.5, t],
                [0.12, 0.5, t + 0.17],
                [0, 0.5, t + 0.24],
                [-0.12, 0.5, t + 0.17],
                [-0.16, 0.5, t],
            ],
            20,
        )
        model += solids.ribbon(strap, 0.08, 0.015).row(draw.integer("strap", 1, 3), y=0.13)
    if draw.chance("counter", 0.4):
        model += solids.tube(
            np.column_stack([outlines.inset(shape, -0.004), np.full(len(shape), flat + 0.03)]),
            0.008,
            closed=True,
            sides=6,
        )
    if draw.chance("collar", 0.5):
        model += solids.tube(points[-1, :-1], 0.018, closed=True, sides=8)
    if draw.chance("wheels", 0.06):
        say("wheels", "滚轮")
        model += (
            parts.wheel(draw, 0.09, 0.06)
            .row(draw.choice("count", (2, 4)), y=0.24)
            .moved(0, 0.5, -0.08)
        )
    return model.turned("z", 90)


@subclass("sandal", "02-04", ("sandal", "凉鞋"), ("slipper", "拖鞋"), ("flip-flop", "人字拖"))
def sandal(draw: Draw, say: Say) -> Model:
    """Soles with straps."""
    body, _, t = sole(draw, say)
    model = body
    form = draw.choice("form", ("bands", "thong", "cover", "cross"))
    arch = np.array([[0.19, 0, 0], [0.17, 0, 0.12], [0.0, 0, 0.2], [-0.15, 0, 0.12], [-0.17, 0, 0]])
    if form == "bands":
        count = draw.integer("bands", 1, 5)
        say(f"{count} bands" if count > 1 else "a band", "条带")
        width = draw.uniform("width", 0.06, 0.16)
        model += (
            solids.ribbon(outlines.smooth(arch, 22), width, draw.uniform("t", 0.01, 0.05))
            .row(count, y=width * 1.15)
            .moved(0, 0.62, t - 0.03)
        )
    elif form == "thong":
        say("a toe post", "夹脚带")
        strap = outlines.smooth([[0.02, 0.8, t], [0.05, 0.72, t + 0.12], [0.16, 0.4, t]], 18)
        model += solids.tube(strap, 0.025).both("x")
    elif form == "cover":
        say("a closed toe", "包头")
        model += solids.ellipsoid(0.2, 0.34, 0.22, power_z=2.2).moved(0, 0.68, t)
    else:
        say("crossed straps", "交叉带")
        strap = outlines.smooth(
            [[0.18, 0.75, t], [0.05, 0.68, t + 0.17], [-0.08, 0.58, t + 0.17], [-0.16, 0.48, t]], 20
        )
        model += solids.tube(strap, 0.05, section=outlines.ellipse(1, 0.3, 12)).both("x")
    if draw.chance("back", 0.4):
        say("a heel strap", "后跟带")
        back = outlines.smooth(
            [
                [0.16, 0.4, t],
                [0.15, 0.1, t + 0.16],
                [0, -0.04, t + 0.2],
                [-0.14, 0.1, t + 0.16],
                [-0.14, 0.4, t],
            ],
            24,
        )
        model += solids.tube(back, 0.03, section=outlines.ellipse(1, 0.4, 12))
    return model.turned("z", 90)
