"""Locarno 13, 14-01, 23-04: loudspeakers, headphones, chargers, fans."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .. import forms, outlines, parts, solids
from ..mesh import Model, Pattern
from ..registry import subclass
from .generic import attach, body

if TYPE_CHECKING:
    from ..chance import Draw
    from ..forms import Say
    from ..mesh import Model


@subclass("speaker", "14-01", ("speaker", "音箱"), ("loudspeaker", "扬声器"), ("radio", "收音机"))
def speaker(draw: Draw, say: Say) -> Model:
    """Loudspeakers with grilles, cones, knobs."""
    w, d, h = draw.uniform("w", 0.4, 1.4), draw.uniform("d", 0.35, 0.7), draw.uniform("h", 0.4, 1.4)
    model = body(draw, say, w, d, h)
    front = float(model.bounds()[0][1])
    grille = draw.choice("grille", ("cones", "cloth", "all", "slots"))
    if grille == "all":
        say("an all-over grille", "整体网罩")
        model = model.dressed(Pattern(draw.choice("net", (7, 8, 6, 3, 5)), 0.07, 0.07, 0.0, 0.5))
    elif grille == "cones":
        count = draw.integer("cones", 1, 3)
        say(f"{count} cone{'s' if count > 1 else ''}", f"{'一两三'[count - 1]}个喇叭单元")
        z = 0.0
        size = min(0.42 * w, 0.45 * h / count)
        for i in range(count):
            r = size * (1 - 0.2 * i)
            cone = solids.revolve(
                [
                    [r, 0],
                    [r * 0.95, 0.04],
                    [r * 0.85, 0.05],
                    [r * 0.4, 0.0],
                    [r * 0.3, 0.03],
                    [0, 0.06],
                ]
            )
            model += cone.turned("x", 90).moved(0, front + 0.02, z + r * 1.08)
            z += 2.15 * r
    else:
        model += parts.vent(draw, 0.8 * w, 0.6 * h).moved(0, front - 0.01, 0.45 * h)
    if draw.chance("controls", 0.5):
        say("controls", "按键")
        model += attach(
            model,
            parts.buttons(draw, 0.5 * w, 0.15 * h).turned("x", -90),
            "top" if draw.chance("top", 0.5) else "front",
            (0.0, 0.5),
        )
    if draw.chance("handle", 0.3):
        say("a handle", "提手")
        model += parts.loop_handle(draw, 0.7 * w, 0.25 * h, 0.03).moved(0, 0, 0.97 * h)
    if draw.chance("antenna", 0.15):
        say("an antenna", "天线")
        model += solids.tube([[0.4 * w, 0.3 * d, h], [0.7 * w, 0.3 * d, 1.7 * h]], 0.015)
    return model


@subclass(
    "headphones", "14-01", ("headphones", "耳机"), ("headset", "头戴耳机"), ("earphones", "耳塞")
)
def headphones(draw: Draw, say: Say) -> Model:
    """Headbands with cups, neckbands, earbuds."""
    if draw.chance("buds", 0.35):
        say("ear buds", "入耳式")
        r = draw.uniform("r", 0.15, 0.25)
        bud = solids.revolve(forms.profile(draw, r, 0.3)).turned("y", 90) + solids.ellipsoid(
            0.1, 0.1, 0.1
        ).moved(0.36)
        stem = solids.box(0.1, 0.12, draw.uniform("stem", 0.3, 0.7), radius=0.04).moved(
            0.1, 0, -draw.uniform("stem", 0.3, 0.7)
        )
        model = (bud + stem).moved(0.3)
        if draw.chance("case", 0.4):
            say("a charging case", "充电盒")
            model += solids.extrude(forms.outline(draw, 0.5, 0.35), 0.5, bevel=0.1).moved(
                0.0, 0.7, -0.4
            )
        return model.both("x") if not draw.chance("one", 0.2) else model
    h = draw.uniform("h", 0.7, 1.0)
    path = outlines.smooth(
        [[-0.65, 0, 0], [-0.6, 0, 0.55 * h], [0, 0, h], [0.6, 0, 0.55 * h], [0.65, 0, 0]], 36
    )
    band = solids.ribbon(path, draw.uniform("band", 0.08, 0.3), draw.uniform("t", 0.02, 0.08))
    a, b = draw.uniform("cup_a", 0.2, 0.35), draw.uniform("cup_b", 0.25, 0.42)
    shape = forms.outline(draw, a, b)
    cup = solids.extrude(shape, 0.2, bevel=0.06) + solids.extrude(
        outlines.inset(shape, 0.05), 0.1
    ).moved(0, 0, 0.18)
    pad = solids.tube(np.column_stack([shape * 0.85, np.zeros(len(shape))]), 0.07, closed=True)
    side = (
        (cup.dressed(forms.ornament(draw, a, say, probability=0.3)) + pad)
        .turned("z", 90)
        .turned("y", 90)
        .moved(0.58, 0, -0.1)
    )
    model = band + side.both("x")
    if draw.chance("mic", 0.3):
        say("a microphone arm", "麦克风")
        model += solids.tube(
            outlines.smooth([[0.7, 0, -0.2], [0.65, -0.4, -0.45], [0.4, -0.75, -0.5]], 16), 0.025
        )
    return model


@subclass(
    "charger",
    "13-02",
    ("charger", "充电器"),
    ("adapter", "适配器"),
    ("hub", "集线器"),
    ("power strip", "插线板"),
)
def charger(draw: Draw, say: Say) -> Model:
    """Power and data adapters: sockets, ports, prongs, cables."""
    w, d, h = draw.uniform("w", 0.4, 0.9), draw.uniform("d", 0.25, 0.7), draw.uniform("h", 0.5, 2.0)
    model = solids.box(
        w,
        d,
        h,
        radius=draw.uniform("r", 0.02, 0.48) * min(w, d),
        bevel=draw.uniform("bevel", 0, 0.06),
    )
    outlets = draw.integer("outlets", 0, 5)
    front = -0.5 * d
    if outlets:
        say(f"{outlets} socket{'s' if outlets > 1 else ''}", f"{'一两三四五'[outlets - 1]}个插孔")
        size = min(0.35 * w, 0.4 * h / outlets)
        plate = solids.extrude(outlines.rounded_rectangle(2 * size, 1.9 * size, 0.3 * size), 0.02)
        slot = solids.box(0.12 * size, 0.5 * size, 0.03)
        socket = (
            plate
            + slot.moved(0.35 * size, 0.2 * size).both("x")
            + solids.cylinder(0.16 * size, 0.03).moved(0, -0.5 * size)
        )
        model += socket.turned("x", 90).row(outlets, z=0.92 * h / outlets).moved(0, front, 0.5 * h)
    ports = draw.integer("ports", 0, 4)
    if ports:
        say(f"{ports} port{'s' if ports > 1 else ''}", f"{'一两三四'[ports - 1]}个接口")
        port = solids.extrude(
            outlines.rounded_rectangle(0.16, 0.07, draw.choice("port", (0.005, 0.034))), 0.02
        )
        port += solids.extrude(outlines.rounded_rectangle(0.12, 0.03, 0.005), 0.024)
        spot = draw.choice("spot", ("top", "right", "front"))
        model += attach(
            model, port.row(ports, x=0.2), spot, (0.0, 0.0 if spot != "front" else -0.7)
        )
    if draw.chance("prongs", 0.4):
        say("prongs", "插脚")
        pin = (
            solids.box(0.03, 0.14, 0.35)
            if draw.chance("flat", 0.5)
            else solids.cylinder(0.04, 0.35, bevel=0.01)
        )
        model += attach(
            model,
            pin.moved(0.14).both("x"),
            draw.choice("side", ("back", "top", "bottom")),
            (0.0, 0.0),
        )
    elif draw.chance("cable", 0.6):
        say("a cable", "电线")
        model += parts.cable(draw, (0.0, 0.45 * d, 0.1 * h), 0.9, 0.04)
    if draw.chance("light", 0.3):
        model += solids.cylinder(0.03, 0.02).turned("x", 90).moved(0, front, 0.95 * h)
    if draw.chance("base", 0.25):
        model += solids.box(1.2 * w, 1.2 * d, 0.1, bevel=0.02)
    return model if draw.chance("upright", 0.5) else model.turned("y", 90)


@subclass("fan", "23-04", ("fan", "风扇"), ("electric fan", "电风扇"), ("blower", "鼓风机"))
def fan(draw: Draw, say: Say) -> Model:
    """Fans with guards on stands, handles or neckbands."""
    r = draw.uniform("r", 0.35, 0.6)
    blades = draw.integer("blades", 3, 9)
    say(f"{blades} blades", f"{'三四五六七八九'[blades - 3]}片扇叶")
    blade = solids.extrude(forms.outline(draw.part("blade"), 0.33 * r, 0.16 * r), 0.02).turned(
        "x", draw.uniform("pitch", 10, 35)
    )
    rotor = blade.moved(0.5 * r).ring(blades) + solids.cylinder(0.2 * r, 0.12, bevel=0.02)
    depth = draw.uniform("depth", 0.15, 0.35)
    wires = draw.integer("wires", 12, 36)
    guard_form = draw.choice("guard", ("rays", "rings", "spiral", "solid"), (4, 3, 2, 1))
    rim = solids.revolve(
        [[r, -0.5 * depth], [r * 1.05, -0.2 * depth], [r * 1.05, 0.3 * depth], [r, 0.5 * depth]]
    )
    if guard_form == "rings":
        guard = parts.NOTHING
        for i in range(1, 7):
            guard += solids.torus(r * i / 7, 0.008, sides=6).moved(0, 0, 0.5 * depth)
        guard += solids.tube([[0, 0, 0.5 * depth], [r, 0, 0.45 * depth]], 0.008, sides=6).ring(6)
    else:
        swirl = draw.uniform("swirl", 0.3, 0.9) if guard_form == "spiral" else 0.0
        path = [
            [
                s * r * math.cos(swirl * s),
                s * r * math.sin(swirl * s),
                0.5 * depth * (1.25 - 0.35 * s),
            ]
            for s in np.linspace(0.15, 1, 8)
        ]
        guard = solids.tube(path, 0.008, sides=5).ring(wires) + solids.cylinder(
            0.18 * r, 0.02
        ).moved(0, 0, 0.6 * depth)
    head = (
        rotor + rim + guard + solids.cylinder(0.25 * r, depth, top=0.15 * r).turned("x", 180)
    ).turned("x", 90)
    stand = draw.choice("stand", ("pole", "hand", "yoke", "box", "clip"), (4, 3, 3, 2, 2))
    h = draw.uniform("h", 0.3, 1.4)
    if stand == "box":
        say("a square frame", "方形外框")
        return head + solids.extrude(
            outlines.rounded_rectangle(2.3 * r, 2.3 * r, 0.1),
            depth,
            holes=[outlines.ellipse(1.02 * r)],
        ).turned("x", 90).moved(0, 0.5 * depth)
    if stand == "hand":
        say("a handle", "手柄")
        return head + parts.grip(draw, 0.9, 0.13, say).turned("x", 180).moved(0, 0, -r)
    base = solids.extrude(forms.outline(draw.part("base"), 0.4, 0.4), 0.1, bevel=0.03).moved(
        0, 0, -r - h
    )
    if stand == "yoke":
        say("a yoke", "U形支架")
        half = 1.12 * r
        yoke = outlines.smooth(
            [
                [-half, 0, 0],
                [-half, 0, -0.8 * r],
                [0, 0, -1.3 * r],
                [half, 0, -0.8 * r],
                [half, 0, 0],
            ],
            30,
        )
        return (
            head
            + solids.tube(yoke, 0.04, section=outlines.superellipse(1, 1.6, 4, 14))
            + base.moved(0, 0, h - 0.35 * r)
        )
    if stand == "clip":
        say("a clip", "夹子")
        return (
            head
            + solids.tube([[0, 0, -r], [0, 0, -r - 0.3]], 0.04)
            + solids.box(0.3, 0.6, 0.08, bevel=0.02).moved(0, 0, -r - 0.4).row(2, z=0.14)
        )
    say("a pole stand", "立杆")
    return head + solids.cylinder(0.04, h).moved(0, 0.05, -r - h) + base
