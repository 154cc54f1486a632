"""Locarno 08, 11: planters and watering cans."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .. import forms, outlines, parts, solids
from ..mesh import Model, Pattern
from ..registry import subclass
from .vessels import shell

if TYPE_CHECKING:
    from ..chance import Draw
    from ..forms import Say
    from ..mesh import Model


@subclass(
    "planter",
    "11-02",
    ("planter", "花盆"),
    ("vase", "花瓶"),
    ("candle holder", "烛台"),
    ("wax warmer", "融蜡灯"),
)
def planter(draw: Draw, say: Say) -> Model:
    """Ornamental vessels and stands."""
    model = shell(draw, draw.uniform("r", 0.3, 0.7), draw.uniform("h", 0.4, 1.6), pieces=6)
    model = model.dressed(forms.ornament(draw, 0.9, say, probability=0.6))
    low, high = model.bounds()
    if draw.chance("rim", 0.4):
        r = 0.5 * float(high[0] - low[0])
        model += solids.torus(r * draw.uniform("rim_r", 0.5, 0.9), 0.05).moved(0, 0, high[2])
    if draw.chance("dish", 0.3):
        say("a dish on top", "顶部碟盘")
        model += solids.revolve(
            [[0, 0], [0.4, 0.02], [0.5, 0.15], [0.45, 0.15], [0.35, 0.06], [0, 0.06]]
        ).moved(0, 0, high[2])
    if draw.chance("stand", 0.3):
        say("a three-legged stand", "三脚架")
        model += solids.tube([[0.35, 0, 0.2], [0.45, 0, -0.5]], 0.03).ring(
            draw.integer("legs", 3, 4)
        ) + solids.torus(0.37, 0.02)
    if draw.chance("plant", 0.2):
        say("leaves", "叶片")
        leaf = outlines.smooth([[0, 0, 0], [0.15, 0, 0.4], [0.5, 0, 0.6]], 12)
        model += (
            solids.tube(
                leaf,
                0.02 + 0.07 * np.sin(np.linspace(0, math.pi, 12)),
                section=outlines.ellipse(1, 0.15, 10),
            )
            .ring(draw.integer("leaves", 4, 9))
            .moved(0, 0, high[2])
            .broken()
        )
    return model


@subclass("watering can", "08-03", ("watering can", "喷壶"), ("sprayer", "喷雾器"))
def watering_can(draw: Draw, say: Say) -> Model:
    """Cans with long spouts."""
    model = shell(draw, draw.uniform("r", 0.35, 0.5), draw.uniform("h", 0.5, 0.9), pieces=3)
    high = model.bounds()[1]
    reach = draw.uniform("reach", 0.8, 1.4)
    path = outlines.smooth(
        [
            [0.25, 0, 0.15],
            [0.5 * reach + 0.2, 0, 0.5],
            [reach, 0, high[2] * draw.uniform("rise", 0.8, 1.4)],
        ],
        20,
    )
    model += solids.tube(path, np.linspace(0.12, 0.05, 20))
    if draw.chance("rose", 0.6):
        say("a sprinkling rose", "莲蓬头")
        rose = solids.cylinder(0.06, 0.2, top=0.2) + solids.face(
            outlines.ellipse(0.18), 0.205
        ).dressed(Pattern(7, 0.07, 0.07))
        model += rose.turned("y", draw.uniform("turn", 10, 60)).moved(*path[-1])
    model += parts.loop_handle(draw, 0.7, 0.45, 0.04).moved(0, 0, high[2] * 0.9)
    if draw.chance("back", 0.5):
        say("a back handle", "后把手")
        model += (
            parts.loop_handle(draw.part("back"), 0.6 * high[2], 0.35, 0.04)
            .turned("y", -90)
            .moved(-0.35, 0, 0.5 * high[2])
        )
    return model
