"""Locarno 08: hooks and handles."""

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
        say(f"{count} hooks on a rail", f"横板{'两三四五六'[count - 2]}钩")
        step = draw.uniform("step", 0.4, 0.7)
        rail = solids.extrude(
            forms.outline(draw, 0.5 * step * (count + 0.3), draw.uniform("rail", 0.12, 0.3)),
            0.06,
            bevel=0.015,
        )
        rail = rail.dressed(forms.ornament(draw, step * count, say, probability=0.3))
        return one.row(count, x=step) + rail.turned("x", 90).moved(0, 0.06, 0.7 * h)
    if draw.chance("plate", 0.5):
        say("a mounting plate", "安装板")
        plate = solids.extrude(
            forms.outline(draw, draw.uniform("pw", 0.15, 0.35), draw.uniform("ph", 0.2, 0.5)),
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
        forms.outline(
            draw.part("rose"), draw.uniform("rw", 0.15, 0.35), draw.uniform("rh", 0.15, 0.9)
        ),
        0.06,
        bevel=0.015,
    )
    model = plate.dressed(forms.ornament(draw, 0.5, say, probability=0.25)).turned("x", 90)
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
        model += solids.revolve(forms.profile(draw, 0.35, 0.6, pieces=5)).turned("x", 90)
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
