"""Parts that many designs share: wheels, knobs, handles, vents, feet, plugs, straps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from . import forms, outlines, solids
from .mesh import Model, Pattern, joined

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .chance import Draw
    from .forms import Say

    Floats = NDArray[np.float64]


NOTHING = Model()


def wheel(draw: Draw, radius: float, width: float) -> Model:
    """Wheel with its axle along x, centred on the origin."""
    d = draw.part("wheel")
    hub = d.uniform("hub", 0.12, 0.3) * radius
    rim = d.uniform("rim", 0.6, 0.85) * radius
    tyre = solids.revolve(
        [
            [rim, 0],
            [radius * 0.95, 0],
            [radius, 0.2 * width],
            [radius, 0.8 * width],
            [radius * 0.95, width],
            [rim, width],
            [rim, 0],
        ]
    )
    tread = d.choice("tread", (0, 1, 11, 3), (4, 2, 1, 1))
    if tread:
        tyre = tyre.dressed(Pattern(tread, radius * 0.16, width * 0.5, 0.0, 0.4))
    form = d.choice("form", ("disc", "spokes", "holes", "dish"), (3, 4, 2, 2))
    middle = solids.cylinder(hub, width * 1.1, bevel=0.1 * hub).moved(0, 0, -0.05 * width)
    disc = solids.cylinder(rim, 0.5 * width).moved(0, 0, 0.25 * width)
    if form == "spokes":
        spokes = d.integer("spokes", 3, 10)
        spoke = solids.box(rim, d.uniform("spoke", 0.08, 0.2) * radius, 0.4 * width)
        body = spoke.moved(0.5 * rim, 0, 0.3 * width).ring(spokes)
    elif form == "holes":
        holes = d.integer("holes", 3, 7)
        body = disc + solids.cylinder(0.18 * rim, 0.56 * width).moved(
            0.62 * rim, 0, 0.22 * width
        ).ring(holes)
    elif form == "dish":
        body = disc + solids.revolve(
            [[rim, 0.25 * width], [0.6 * rim, 0.1 * width], [hub, 0.05 * width]]
        )
    else:
        body = disc
    return (tyre + middle + body).moved(0, 0, -0.5 * width).turned("y", 90)


def knob(draw: Draw, radius: float, height: float) -> Model:
    """Turning knob or button standing on z = 0."""
    d = draw.part("knob")
    form = d.choice("form", ("plain", "fluted", "dome", "pointer", "cap"), (4, 3, 3, 2, 2))
    if form == "fluted":
        ring = outlines.lobed(radius, d.integer("flutes", 10, 28), 0.1)
        return solids.extrude(ring, height, bevel=0.08 * radius)
    if form == "dome":
        return solids.revolve(
            [[radius, 0], [radius, 0.4 * height], *_dome(radius, 0.4 * height, height)]
        )
    if form == "pointer":
        bar = solids.box(0.3 * radius, 1.8 * radius, height, bevel=0.05 * radius)
        return solids.cylinder(radius, 0.5 * height, bevel=0.05 * radius) + bar
    if form == "cap":
        return solids.cylinder(radius, 0.6 * height) + solids.cylinder(
            0.7 * radius, height, bevel=0.1 * radius
        )
    return solids.cylinder(radius, height, bevel=0.1 * min(radius, height))


def _dome(radius: float, low: float, high: float, n: int = 8) -> list[list[float]]:
    t = np.linspace(0.0, 0.5 * math.pi, n)
    return [[float(radius * math.cos(a)), float(low + (high - low) * math.sin(a))] for a in t]


def dome(radius: float, height: float) -> Model:
    """Half ellipsoid on z = 0."""
    return solids.revolve(_dome(radius, 0.0, height, 12))


def loop_handle(draw: Draw, width: float, reach: float, thickness: float) -> Model:
    """Handle in the plane y = 0 from (-width/2, 0, 0) over z = reach to (width/2, 0, 0)."""
    d = draw.part("handle")
    half = 0.5 * width
    form = d.choice("form", ("arch", "square", "ear", "slant"), (4, 4, 2, 1))
    shapes = {
        "arch": [
            [-half, 0, 0],
            [-0.85 * half, 0, 0.7 * reach],
            [0, 0, reach],
            [0.85 * half, 0, 0.7 * reach],
            [half, 0, 0],
        ],
        "square": [
            [-half, 0, 0],
            [-half, 0, 0.75 * reach],
            [-0.75 * half, 0, reach],
            [0, 0, reach],
            [0.75 * half, 0, reach],
            [half, 0, 0.75 * reach],
            [half, 0, 0],
        ],
        "ear": [
            [-half, 0, 0],
            [-0.6 * half, 0, 0.9 * reach],
            [0.4 * half, 0, reach],
            [half, 0, 0.5 * reach],
            [half, 0, 0],
        ],
        "slant": [[-half, 0, 0], [-half, 0, 0.6 * reach], [half, 0, reach], [half, 0, 0]],
    }
    path = outlines.smooth(shapes[form], 28)
    flat = d.uniform("flat", 0.5, 2.2)
    section = outlines.superellipse(1.0, flat, d.choice("power", (2.0, 4.0)), 16)
    r = np.full(28, thickness)
    if d.chance("swollen", 0.4):
        r = r * (0.8 + 0.5 * np.sin(np.linspace(0, math.pi, 28)))
    return solids.tube(path, r, section=section)


def grip(draw: Draw, length: float, radius: float, say: Say | None = None) -> Model:
    """Hand grip along z from 0 to `length`."""
    d = draw.part("grip")
    count = 12
    z = np.linspace(0, length, count)
    t = z / length
    fingers = d.integer("fingers", 0, 4)
    r = radius * (
        1.0
        + d.uniform("belly", -0.25, 0.3) * np.sin(math.pi * t)
        + d.uniform("flare", -0.2, 0.35) * t**2
    )
    if fingers > 1:
        z = np.linspace(0, length, 36)
        t = z / length
        r = np.interp(t, np.linspace(0, 1, count), r) * (
            1.0 + 0.07 * np.cos(2 * math.pi * fingers * t)
        )
    section = outlines.superellipse(
        1.0, d.uniform("flat", 0.6, 1.0), d.choice("power", (2.0, 3.0, 5.0)), 28
    )
    lean = d.uniform("lean", -0.15, 0.15) * length
    body = solids.loft(
        [
            (section * ri, float(zi), lean * float(ti) ** 2, 0.0)
            for ri, zi, ti in zip(r, z, t, strict=True)
        ]
    )
    pattern = forms.ornament(d, length, None, probability=0.45, fine=True)
    if pattern is not None and say is not None:
        say("a patterned grip", "带纹理的握把")
    body = body.dressed(pattern)
    if d.chance("rings", 0.3):
        ring = solids.torus(radius * 1.02, radius * 0.1)
        body += ring.row(d.integer("ring_count", 2, 7), z=length * 0.09).moved(0, 0, 0.5 * length)
    if d.chance("hole", 0.2):
        body += (
            solids.torus(radius * 0.7, radius * 0.15)
            .turned("x", 90)
            .moved(lean, 0, length + 0.6 * radius)
        )
    return body


def vent(draw: Draw, w: float, h: float) -> Model:
    """Ventilation field in the plane y = 0 facing the front, w by h, centred on the origin."""
    d = draw.part("vent")
    form = d.choice("form", ("slots", "holes", "louvres", "ring"), (4, 3, 3, 2))
    if form == "slots":
        count = d.integer("count", 3, 9)
        slot = solids.extrude(
            outlines.rounded_rectangle(0.9 * w, 0.4 * h / count, 0.2 * h / count), 0.03 * h
        )
        return slot.turned("x", 90).row(count, z=h / count)
    if form == "holes":
        plate = solids.face(outlines.rectangle(w, h)).turned("x", 90)
        step = min(w, h) / d.integer("count", 4, 9)
        return plate.dressed(Pattern(d.choice("lattice", (7, 8)), step, step, 0.0, 0.6)).moved(
            0, -0.01 * h
        )
    if form == "louvres":
        count = d.integer("count", 3, 8)
        blade = solids.box(w, 0.25 * h / count, 0.08 * h / count).turned("x", 40)
        frame = solids.extrude(
            outlines.rectangle(w * 1.08, h * 1.08), 0.04 * h, holes=[outlines.rectangle(w, h)]
        )
        return blade.row(count, z=h / count) + frame.turned("x", 90)
    size = 0.5 * min(w, h)
    rings = joined(solids.torus(size * (i + 1) / 4, size * 0.05, sides=8) for i in range(4))
    return (rings + solids.box(2 * size, 0.08 * size, 0.05 * size).ring(3)).turned("x", 90)


def buttons(draw: Draw, w: float, h: float) -> Model:
    """Buttons, lamps or a screen in the plane y = 0, facing the front, around the origin."""
    d = draw.part("buttons")
    form = d.choice(
        "form", ("row", "grid", "dpad", "screen", "single", "slider"), (4, 3, 1, 3, 3, 1)
    )
    depth = 0.06 * min(w, h)
    size = 0.5 * min(w, h)
    if form == "screen":
        glass = solids.extrude(outlines.rounded_rectangle(w, 0.6 * h, 0.1 * h), depth)
        key = solids.cylinder(0.12 * h, depth)
        return glass.turned("x", 90).moved(0, 0, 0.2 * h) + key.turned("x", 90).row(
            d.integer("keys", 1, 4), x=0.3 * h
        ).moved(0, 0, -0.35 * h)
    if form == "single":
        return knob(d, size, 3 * depth).turned("x", 90)
    if form == "dpad":
        cross = solids.box(1.6 * size, 0.5 * size, depth) + solids.box(
            0.5 * size, 1.6 * size, depth
        )
        return cross.seamless().turned("x", 90)
    if form == "slider":
        slot = solids.extrude(outlines.rounded_rectangle(w, 0.3 * h, 0.15 * h), 0.5 * depth)
        return (slot + solids.box(0.2 * w, 0.5 * h, 2 * depth).moved(0.2 * w)).turned("x", 90)
    columns = d.integer("columns", 2, 5)
    rows = 1 if form == "row" else d.integer("rows", 2, 4)
    r = 0.35 * min(w / columns, h / rows)
    key = (
        solids.cylinder(r, depth)
        if d.chance("round", 0.6)
        else solids.extrude(outlines.rounded_rectangle(2 * r, 1.4 * r, 0.4 * r), depth)
    ).turned("x", 90)
    return key.row(columns, x=w / columns).row(rows, z=h / rows)


def feet(draw: Draw, w: float, d: float, height: float) -> Model:
    """Four feet under z = 0 for a base of w by d."""
    f = draw.part("feet")
    r = f.uniform("radius", 0.03, 0.09) * min(w, d)
    foot = (
        solids.cylinder(r, height, top=r * f.uniform("flare", 1.0, 1.5))
        if f.chance("round", 0.6)
        else solids.box(2 * r, 2 * r, height)
    )
    return foot.moved(0.5 * w - 1.5 * r, 0.5 * d - 1.5 * r, -height).both("x").both("y")


def cable(draw: Draw, start: tuple[float, float, float], length: float, radius: float) -> Model:
    """Cable with strain relief that leaves `start` backwards and falls."""
    d = draw.part("cable")
    x, y, z = start
    end = z - d.uniform("fall", 0.0, 0.5) * length
    path = outlines.smooth(
        [
            [x, y, z],
            [x, y + 0.3 * length, z],
            [x + d.uniform("swing", -0.4, 0.4) * length, y + 0.6 * length, end],
            [x + d.uniform("end", -0.3, 0.3) * length, y + length, end],
        ],
        24,
    )
    relief = solids.tube([[x, y, z], [x, y + 0.12 * length, z]], [2.2 * radius, 1.2 * radius])
    plug = solids.box(4 * radius, 6 * radius, 3 * radius, bevel=0.3 * radius).moved(*path[-1])
    return solids.tube(path, radius, sides=8) + relief + plug


def screws(draw: Draw, w: float, h: float) -> Model:
    """Screw heads near the corners of a field w by h in the plane y = 0, facing the front."""
    d = draw.part("screws")
    r = d.uniform("radius", 0.025, 0.05) * min(w, h)
    head = solids.cylinder(r, 0.4 * r)
    slot = solids.box(1.5 * r, 0.3 * r, 0.5 * r)
    head += slot + slot.turned("z", 90) if d.chance("cross", 0.5) else slot
    return head.turned("x", 90).moved(0.42 * w, 0, 0.42 * h).both("x").both("z")


def bend(model: Model, amount: float, length: float) -> Model:
    """Bend along x into an arc upwards: a piece of `length` turns by `amount` radians."""
    if abs(amount) < 1e-3:
        return model
    radius = length / amount

    def arc(v: Floats) -> Floats:
        angle = v[:, 0] / radius
        r = radius - v[:, 2]
        return np.stack([r * np.sin(angle), v[:, 1], radius - r * np.cos(angle)], axis=1)

    return model.mapped(arc)


def twist(model: Model, radians_per_unit: float) -> Model:
    """Twist about z."""

    def turn(v: Floats) -> Floats:
        a = v[:, 2] * radians_per_unit
        c, s = np.cos(a), np.sin(a)
        return np.stack([c * v[:, 0] - s * v[:, 1], s * v[:, 0] + c * v[:, 1], v[:, 2]], axis=1)

    return model.mapped(turn)


def taper(model: Model, top: float, height: float) -> Model:
    """Scale x and y linearly with z, from 1 at z = 0 to `top` at `height`."""

    def shrink(v: Floats) -> Floats:
        f = 1.0 + (top - 1.0) * v[:, 2:] / height
        return np.concatenate([v[:, :2] * f, v[:, 2:]], axis=1)

    return model.mapped(shrink)


def gem(draw: Draw) -> Model:
    """Faceted stone in the plane y = 0, facing the front."""
    d = draw.part("gem")
    r = d.uniform("radius", 0.08, 0.28)
    ring = outlines.regular(d.choice("facets", (4, 6, 8, 12)), 1.0)
    stone = solids.loft([(ring * r, 0), (ring * r * 0.95, 0.2 * r), (ring * r * 0.55, 0.5 * r)])
    return stone.turned("x", 90).moved(0, -0.05, d.uniform("z", -0.15, 0.15))
