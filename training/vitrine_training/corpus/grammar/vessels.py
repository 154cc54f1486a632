"""Locarno 09-01: bottles and jars, and the walls and closures of vessels."""

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


def cap(draw: Draw, radius: float, height: float, say: Say) -> Model:
    """Closure on z = 0: screw cap, flip top, pump, spray head, dropper, cork."""
    p = draw.part("cap")
    form = p.choice(
        "form", ("screw", "flip", "pump", "spray", "cork", "tall", "sport"), (5, 2, 2, 2, 1, 2, 2)
    )
    lid = solids.extrude(
        outlines.lobed(radius, p.integer("ribs", 18, 36), 0.04, 144), height, bevel=0.1 * height
    )
    smooth = solids.cylinder(radius, height, bevel=0.12 * height)
    if form == "screw":
        say("a screw cap", "螺旋盖")
        return lid if p.chance("ribbed", 0.6) else smooth
    if form == "flip":
        say("a flip-top cap", "翻盖")
        return smooth + solids.box(0.5 * radius, 0.5 * radius, 0.15 * height).moved(
            0, -0.8 * radius, 0.8 * height
        )
    if form == "pump":
        say("a pump dispenser", "按压泵头")
        stem = solids.cylinder(0.25 * radius, 1.5 * height).moved(0, 0, height)
        path = [
            [0, 0, 2.4 * height],
            [p.uniform("reach", 1.2, 2.4) * radius, 0, 2.4 * height],
            [p.uniform("reach", 1.2, 2.4) * radius + 0.3 * radius, 0, 2.0 * height],
        ]
        head = solids.cylinder(0.5 * radius, 0.5 * height, bevel=0.05 * height).moved(
            0, 0, 2.3 * height
        )
        return smooth + stem + head + solids.tube(outlines.smooth(path, 12), 0.18 * radius)
    if form == "spray":
        say("a trigger sprayer", "喷枪头")
        head = solids.extrude(
            outlines.rounded(
                np.array([[-1.6, 0], [-0.6, 0], [0.4, 0.3], [1.0, 0.3], [1.0, 1.2], [-1.8, 1.1]])
                * radius,
                0.15 * radius,
            ),
            0.8 * radius,
        )
        head = head.turned("x", 90).moved(0, 0.4 * radius, height)
        trigger = solids.tube(
            outlines.smooth([[-1.0, 0, 0.4], [-1.3, 0, -0.3], [-1.2, 0, -1.1]], 10) * radius
            + [0, 0, height],
            0.15 * radius,
        )
        return smooth + head + trigger
    if form == "cork":
        say("a stopper", "瓶塞")
        return solids.cylinder(0.75 * radius, height, top=0.95 * radius)
    if form == "tall":
        say("a tall cap", "高瓶盖")
        return solids.revolve(forms.profile(p, radius, 2.5 * height, pieces=3))
    say("a sports spout", "运动吸嘴")
    return lid + solids.revolve(
        [
            [0.6 * radius, height],
            [0.4 * radius, 1.3 * height],
            [0.4 * radius, 1.7 * height],
            [0.5 * radius, 1.8 * height],
            [0.5 * radius, 2.1 * height],
            [0, 2.1 * height],
        ]
    )


def section(draw: Draw, n: int = 48) -> np.ndarray:
    """Unit cross-section of a vessel."""
    p = draw.part("section")
    form = p.choice(
        "form", ("round", "square", "oval", "facets", "lobes", "free"), (8, 3, 3, 3, 2, 2)
    )
    if form == "round":
        return outlines.ellipse(1, 1, n)
    if form == "square":
        return outlines.superellipse(1, p.uniform("ratio", 0.5, 1.0), p.uniform("power", 3, 9), n)
    if form == "oval":
        return outlines.ellipse(1, p.uniform("ratio", 0.4, 0.85), n)
    if form == "facets":
        return outlines.regular(p.integer("sides", 5, 12), 1.0)
    if form == "lobes":
        return outlines.lobed(1.0, p.integer("lobes", 5, 24), p.uniform("depth", 0.04, 0.14))
    return forms.outline(p, 1.0, p.uniform("b", 0.6, 1.0), n=n)


def shell(
    draw: Draw, radius: float, height: float, *, neck: float | None = None, pieces: int = 4
) -> Model:
    """Vessel wall on z = 0 of any section and profile; `neck` is the radius it ends in."""
    ring = section(draw)
    line = forms.profile(draw, radius, height, pieces=pieces, closed=False)
    if neck is not None:
        shoulder = draw.uniform("shoulder", 0.08, 0.35) * height
        t = np.linspace(0, 1, 9)
        r0 = line[-1, 0]
        bend = draw.choice("bend", (t, 1 - (1 - t) ** 2, t**2, 3 * t**2 - 2 * t**3))
        neckline = np.column_stack([r0 + (neck - r0) * bend, height + shoulder * t])
        line = np.concatenate([line, neckline[1:], [[neck, height + 1.25 * shoulder]]])
    if draw.chance("foot", 0.6):
        line = np.concatenate([[[0.9 * line[0, 0], -0.02 * height]], line])
    body = solids.loft([(ring * max(r, 1e-3), z) for r, z in line])
    if draw.chance("twisted", 0.08):
        body = parts.twist(body, draw.uniform("twist", -1.0, 1.0) / height)
    return body


@subclass("bottle", "09-01", ("bottle", "瓶子"), ("flask", "壶瓶"), ("water bottle", "水瓶"))
def bottle(draw: Draw, say: Say) -> Model:
    """Bottles of glass and plastic."""
    r, h = draw.uniform("radius", 0.25, 0.6), draw.uniform("height", 0.8, 2.4)
    neck = r * draw.uniform("neck", 0.25, 0.6)
    body = shell(draw, r, h, neck=neck).dressed(forms.ornament(draw, r * 2, say, probability=0.35))
    top = body.bounds()[1][2]
    model = body + cap(
        draw, neck * draw.uniform("cap", 1.05, 1.6), draw.uniform("cap_height", 0.1, 0.3), say
    ).moved(0, 0, top)
    if draw.chance("label", 0.25):
        say("a label", "标签")
        plate = solids.extrude(forms.outline(draw.part("label"), 0.4 * r, 0.25 * h), 0.03)
        model += (
            plate.turned("x", 90)
            .moved(0, -r * 0.9, 0.5 * h)
            .dressed(forms.ornament(draw.part("label"), r))
        )
    if draw.chance("handle", 0.2):
        say("a side handle", "侧把手")
        model += (
            parts.loop_handle(draw, 0.5 * h, 0.5 * r, 0.08 * r)
            .turned("y", 90)
            .moved(0.8 * r, 0, 0.55 * h)
        )
    return model


@subclass(
    "jar", "09-01", ("jar", "罐子"), ("canister", "储物罐"), ("container with lid", "带盖容器")
)
def jar(draw: Draw, say: Say) -> Model:
    """Wide jars and cosmetic pots with lids."""
    r, h = draw.uniform("radius", 0.4, 0.8), draw.uniform("height", 0.4, 1.4)
    body = shell(draw, r, h, pieces=3).dressed(forms.ornament(draw, r * 2, say))
    top = body.bounds()[1][2]
    lid_r = r * draw.uniform("lid", 0.6, 1.0)
    lid = solids.revolve(
        forms.profile(draw.part("lid"), lid_r, draw.uniform("lid_h", 0.12, 0.35), pieces=3)
    )
    model = body + lid.moved(0, 0, top)
    if draw.chance("knob", 0.45):
        say("a lid with a knob", "带钮盖")
        model += parts.knob(draw, 0.2 * lid_r, 0.2).moved(0, 0, top + 0.15)
    if draw.chance("clip", 0.2):
        say("a wire clasp", "卡扣")
        model += parts.loop_handle(draw, 0.4, 0.3, 0.02).turned("x", 90).moved(0, -r, top)
    return model
