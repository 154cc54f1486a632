"""Locarno 02, 10, 11, 16-06: footwear, garments, watches, glasses, jewellery."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .. import outlines, parts, solids
from ..mesh import Pattern, grid
from ..registry import subclass

if TYPE_CHECKING:
    from ..chance import Draw
    from ..mesh import Model
    from ..parts import Say

# Sole outline of a right foot, heel at y = 0, toe at y = 1 (half widths on both sides of the axis).
_SOLE = np.array([[0.0, 0.0], [0.13, 0.03], [0.16, 0.15], [0.13, 0.38], [0.17, 0.6], [0.2, 0.74], [0.15, 0.92],
                  [0.02, 1.0], [-0.1, 0.93], [-0.16, 0.74], [-0.12, 0.5], [-0.12, 0.3], [-0.15, 0.14], [-0.12, 0.03]])  # fmt: skip


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
    pattern = parts.ornament(p, 1.0, say, probability=0.6)
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
            heel = outlines.egg(0.1 * p.uniform("heel", 0.3, 1.1), 0.1, 0.1) + [0, 0.1]
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
        parts.ornament(draw, 1.0, say, probability=0.3)
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


@subclass(
    "glasses", "16-06", ("eyeglasses", "眼镜"), ("sunglasses", "太阳镜"), ("goggles", "护目镜")
)
def glasses(draw: Draw, say: Say) -> Model:
    """Frames with lenses and temples."""
    a, b = draw.uniform("lens_w", 0.22, 0.34), draw.uniform("lens_h", 0.14, 0.3)
    shape = parts.outline(draw, a, b)
    rim = draw.uniform("rim", 0.01, 0.06)
    gap = draw.uniform("bridge", 0.04, 0.12)
    lens = solids.extrude(shape, 0.02).dressed(None)
    ring = solids.tube(
        np.column_stack([shape, np.full(len(shape), 0.01)]), rim, closed=True, sides=8
    )
    eye = (lens + (ring if draw.chance("rimmed", 0.8) else parts.NOTHING)).turned("x", 90)
    eye = eye.turned("y", draw.uniform("cant", -12, 12)).moved(a + gap)
    z = draw.uniform("bridge_z", 0.0, 0.6) * b
    bridge = solids.tube(
        outlines.smooth([[-gap - 0.02, 0, z], [0, -0.02, z + 0.04], [gap + 0.02, 0, z]], 12),
        max(0.015, rim * 0.8),
    )
    if draw.chance("double", 0.15):
        say("a double bridge", "双梁")
        bridge += bridge.moved(0, 0, 0.5 * b)
    x, zt = 2 * a + gap, draw.uniform("temple_z", 0.2, 0.8) * b
    length = draw.uniform("temple", 0.9, 1.2)
    path = outlines.smooth(
        [
            [x, 0, zt],
            [x + 0.03, 0.08, zt],
            [x + 0.02, 0.6 * length, zt + 0.02],
            [x, 0.85 * length, zt],
            [x - 0.02, length, zt - 0.25],
        ],
        34,
    )
    thick = draw.uniform("temple_t", 0.02, 0.1)
    taper = np.linspace(thick, draw.uniform("tip", 0.02, 0.06), 34)
    temple = solids.tube(
        path,
        taper,
        section=outlines.superellipse(1.0, 0.3, 4, 14) if draw.chance("flat", 0.6) else None,
    )
    temple = temple.dressed(parts.ornament(draw, 0.3, say, probability=0.15))
    model = (eye + temple).both("x") + bridge
    if draw.chance("shield", 0.15):
        say("a wrap-around shield", "一体镜片")
        model += parts.bend(
            solids.extrude(outlines.superellipse(x, b * 1.1, 3), 0.03).turned("x", 90), 0.0, 1.0
        )
    if draw.chance("wrapped", 0.3):
        curve = draw.uniform("curve", 0.1, 0.5)
        model = model.mapped(
            lambda v: np.column_stack([v[:, 0], v[:, 1] + curve * v[:, 0] ** 2, v[:, 2]])
        )
    return model


def dial(draw: Draw, radius: float, say: Say) -> Model:
    """Face with hour marks and hands in the plane z = 0, facing up."""
    p = draw.part("dial")
    model = solids.cylinder(radius, 0.02).dressed(parts.ornament(p, radius, say, probability=0.3))
    mark = p.choice("mark", ("bar", "dot", "wedge", "none"), (5, 3, 2, 1))
    count = p.choice("marks", (12, 12, 12, 4, 60))
    size = p.uniform("size", 0.02, 0.06)
    if mark == "bar":
        model += (
            solids.box(p.uniform("long", 0.08, 0.25) * radius, size, 0.03)
            .moved(0.82 * radius)
            .ring(count)
        )
    elif mark == "dot":
        model += solids.cylinder(size, 0.03).moved(0.82 * radius).ring(count)
    elif mark == "wedge":
        model += (
            solids.extrude(outlines.regular(3, 1.6 * size), 0.03).moved(0.82 * radius).ring(count)
        )
    for i, long in enumerate((0.5, 0.75)):
        hand = solids.extrude(
            np.array(
                [[-0.02, -0.1], [0.02, -0.1], [0.03, 0.4 * long], [0.0, long], [-0.03, 0.4 * long]]
            )
            * radius
            * 1.2,
            0.01,
        )
        model += hand.turned("z", p.uniform(f"hand{i}", 0, 360)).moved(0, 0, 0.03 + 0.01 * i)
    model += solids.cylinder(0.05 * radius, 0.06)
    for i in range(p.choice("subdials", (0, 0, 0, 1, 2, 3))):
        angle = p.uniform("sub_at", 0, 6.28) + 2.1 * i
        model += (
            solids.torus(0.2 * radius, 0.012, segments=28) + solids.box(0.3 * radius, 0.02, 0.02)
        ).moved(0.45 * radius * math.cos(angle), 0.45 * radius * math.sin(angle), 0.03)
    if p.chance("minutes", 0.4):
        model += solids.torus(0.93 * radius, 0.01).moved(0, 0, 0.02) + solids.box(
            0.04 * radius, 0.008, 0.025
        ).moved(0.94 * radius).ring(60)
    return model


@subclass(
    "watch",
    "10-02",
    ("watch", "手表"),
    ("wristwatch", "腕表"),
    ("smartwatch", "智能手表"),
    ("watch dial", "表盘"),
)
def watch(draw: Draw, say: Say) -> Model:
    """Watches with straps, or their dials alone."""
    r = draw.uniform("radius", 0.4, 0.6)
    shape = (
        outlines.ellipse(r)
        if draw.chance("round", 0.6)
        else parts.outline(draw, r, r * draw.uniform("ratio", 0.9, 1.3))
    )
    h = draw.uniform("h", 0.1, 0.25)
    model = solids.extrude(shape, h, bevel=0.03)
    model += solids.extrude(outlines.inset(shape, 0.05), 0.02).moved(0, 0, h)
    if draw.chance("digital", 0.25):
        say("a display", "显示屏")
        model += solids.extrude(outlines.rounded_rectangle(r, 0.7 * r, 0.08), 0.03).moved(
            0, 0, h + 0.01
        )
    else:
        model += dial(draw, 0.8 * r, say).moved(0, 0, h + 0.01)
    if draw.chance("bezel", 0.4):
        say("a notched bezel", "齿形表圈")
        ring = outlines.lobed(r * 0.98, draw.integer("notches", 12, 40), 0.06, 160)
        model += solids.extrude(ring, 0.05, holes=[outlines.ellipse(0.84 * r)]).moved(0, 0, h)
    for i in range(draw.integer("crowns", 1, 3)):
        model += (
            parts.knob(draw, 0.06, 0.08)
            .turned("y", 90)
            .moved(r * 0.96, 0.22 * (i - (i > 1) * 3), 0.5 * h)
        )
    if draw.chance("strap", 0.75):
        say("a strap", "表带")
        w = draw.uniform("strap_w", 0.5, 0.9) * r
        path = outlines.smooth(
            [
                [0, 0.9 * r, 0.5 * h],
                [0, 1.4 * r, 0.2 * h],
                [0, 1.8 * r, -0.8 * r],
                [0, 1.2 * r, -1.9 * r],
                [0, 0, -2.2 * r],
            ],
            30,
        )
        if draw.chance("links", 0.4):
            say("links", "链节")
            strap = solids.ribbon(path, 2 * w, 0.05).dressed(
                Pattern(
                    draw.choice("link", (1, 3, 4)),
                    0.3 * w,
                    0.12,
                    0.0 if draw.chance("o", 0.5) else 1.5708,
                )
            )
        else:
            strap = solids.ribbon(path, 2 * w, 0.05).dressed(
                parts.ornament(draw, w, None, probability=0.3)
            )
        return (model + strap.both("y")).turned("x", 60)
    return model.turned("x", 90)


@subclass(
    "jewellery",
    "11-01",
    ("ring", "戒指"),
    ("pendant", "吊坠"),
    ("earring", "耳环"),
    ("bracelet", "手镯"),
)
def jewellery(draw: Draw, say: Say) -> Model:
    """Rings, bracelets, pendants, earrings."""
    form = draw.choice("form", ("ring", "pendant", "bracelet", "earring"))
    stone = parts.ornament(draw, 0.3, None, probability=0.3)
    if form in ("ring", "bracelet"):
        section = parts.outline(draw, 0.12, draw.uniform("band", 0.08, 0.3), n=20)
        model = solids.tube(
            np.column_stack([outlines.ellipse(0.6, 0.6, 56), np.zeros(56)]),
            1.0,
            section=section,
            closed=True,
        )
        model = model.dressed(parts.ornament(draw, 0.6, say, probability=0.5))
        count = draw.choice("stones", (0, 1, 1, 3, 12))
        if count:
            say("set stones", "镶石")
            r = draw.uniform("stone", 0.1, 0.3) if count < 4 else 0.1
            gem = solids.loft(
                [
                    (outlines.regular(8, 0.3 * r), 0),
                    (outlines.regular(8, r), 0.6 * r),
                    (outlines.regular(8, 0.6 * r), r),
                ]
            )
            gem = gem.turned("y", 90).moved(0.62)
            for i in range(count):
                model += gem.turned("z", -90 + (i - (count - 1) / 2) * (25 if count < 4 else 30))
        return model.turned("x", 90)
    say("a loop", "吊环")
    plate = solids.extrude(
        parts.outline(draw, draw.uniform("w", 0.3, 0.6), draw.uniform("h", 0.3, 0.7)),
        0.1,
        bevel=0.03,
    ).dressed(parts.ornament(draw, 0.6, say))
    if draw.chance("heart", 0.25):
        say("a heart", "心形")
        plate = solids.extrude(outlines.heart(0.5), 0.12, bevel=0.04)
    elif draw.chance("star", 0.25):
        say("a star", "星形")
        plate = solids.extrude(
            outlines.star(draw.integer("points", 4, 9), 0.6, draw.uniform("inner", 0.2, 0.4)),
            0.12,
            bevel=0.02,
        )
    model = plate.turned("x", 90) + parts.gem(draw).dressed(stone)
    model += solids.torus(0.12, 0.025).turned("x", 90).moved(0, 0, 0.7)
    if draw.chance("chain", 0.4):
        say("a chain", "链子")
        path = outlines.smooth(
            [
                [0, 0, 0.75],
                [0.4, 0, 1.4],
                [0.3, 0, 2.2],
                [-0.3, 0, 2.2],
                [-0.4, 0, 1.4],
                [0, 0, 0.75],
            ],
            60,
        )
        for i in range(0, 58, 2):
            model += (
                solids.torus(0.045, 0.012, sides=6, segments=12)
                .turned("x", 90 if i % 4 else 0)
                .moved(*path[i])
            )
    return model


@subclass("hat", "02-03", ("hat", "帽子"), ("cap", "棒球帽"), ("helmet", "头盔"))
def hat(draw: Draw, say: Say) -> Model:
    """Caps, brimmed hats, helmets, headbands."""
    form = draw.choice("form", ("cap", "brim", "helmet", "beanie", "band"))
    high = draw.uniform("high", 0.5, 0.9)
    if form == "band":
        say("an open band", "发带")
        band = [
            (outlines.ellipse(0.55, 0.65), 0),
            (outlines.ellipse(0.57, 0.67), 0.5 * draw.uniform("wide", 0.2, 0.7)),
        ]
        model = solids.loft(band, caps=False).dressed(
            parts.ornament(draw, 0.8, say, probability=0.6)
        )
        if draw.chance("device", 0.4):
            model += parts.buttons(draw, 0.3, 0.15).moved(0, -0.66, 0.15)
        return model
    crown = parts.dome(0.6, high).scaled(1, 1.15, 1)
    crown = crown.dressed(parts.ornament(draw, 1.0, say, probability=0.35))
    if form == "brim":
        say("a wide brim", "宽檐")
        brim = draw.uniform("brim", 0.8, 1.3)
        rise = draw.uniform("rise", -0.2, 0.3)
        curve = [[0.6, 0], [0.5 * (0.6 + brim), 0.3 * rise], [brim, rise]]
        model = crown + solids.revolve(outlines.smooth(curve, 8)).scaled(1, 1.15, 1)
        return model + solids.loft(
            [(outlines.ellipse(0.62, 0.71), 0.02), (outlines.ellipse(0.6, 0.69), 0.16)], caps=False
        )
    if form == "beanie":
        say("a turned-up cuff", "翻边")
        cuff = [
            (outlines.ellipse(0.64, 0.73), 0),
            (outlines.ellipse(0.66, 0.75), 0.15),
            (outlines.ellipse(0.64, 0.73), 0.3),
        ]
        model = crown + solids.loft(cuff, caps=False).dressed(Pattern(1, 0.06, 0.06))
        return model + (
            solids.ellipsoid(0.2, 0.2, 0.2).moved(0, 0, high)
            if draw.chance("ball", 0.5)
            else parts.NOTHING
        )
    if form == "helmet":
        say("air vents", "通风孔")
        slot = solids.ellipsoid(0.06, 0.25, 0.05, n=18).moved(0, -0.1, 0.96 * high)
        model = (
            crown
            + (slot + slot.turned("y", 35) + slot.turned("y", -35))
            + (slot.turned("y", 65).both("x"))
        )
        strap = outlines.smooth(
            [
                [0.58, 0, 0.05],
                [0.5, -0.1, -0.4],
                [0, -0.2, -0.7],
                [-0.5, -0.1, -0.4],
                [-0.58, 0, 0.05],
            ],
            24,
        )
        return model + solids.ribbon(strap, 0.06, 0.015)
    say("a visor", "帽舌")
    visor = outlines.ellipse(0.5, draw.uniform("visor", 0.4, 0.8))
    visor = solids.extrude(visor, 0.025).moved(0, -0.6, 0)
    visor = visor.mapped(
        lambda v: np.column_stack([v[:, 0], v[:, 1], v[:, 2] - 0.5 * v[:, 0] ** 2])
    )
    return crown + visor + solids.ellipsoid(0.04, 0.04, 0.03, n=10).moved(0, 0, high)


@subclass("glove", "02-06", ("glove", "手套"), ("mitten", "连指手套"), unseen=True)
def glove(draw: Draw, say: Say) -> Model:
    """Gloves and mittens."""
    t = draw.uniform("t", 0.12, 0.22)
    palm = solids.ellipsoid(0.42, t, 0.5, power_xy=3, power_z=3)
    model = palm
    if draw.chance("mitten", 0.35):
        say("a mitten shape", "连指")
        model += solids.ellipsoid(0.4, t, 0.75, power_xy=2.6, power_z=2.4).moved(0, 0, 0.3)
    else:
        say("four fingers", "四指")
        for i, long in enumerate((0.5, 0.62, 0.58, 0.42)):
            model += solids.tube(
                [[0.3 - 0.2 * i, 0, 0.3], [0.38 - 0.26 * i, 0, 0.45 + long]], [0.12, 0.1]
            ) + solids.ellipsoid(0.1, 0.1, 0.1, n=14).moved(0.38 - 0.26 * i, 0, 0.45 + long)
    thumb = outlines.smooth([[0.3, 0, -0.25], [0.55, 0, 0.05], [0.62, 0, 0.4]], 12)
    model += solids.tube(thumb, np.linspace(0.15, 0.1, 12)) + solids.ellipsoid(
        0.1, 0.1, 0.1, n=14
    ).moved(0.62, 0, 0.4)
    cuff = draw.uniform("cuff", 0.2, 0.7)
    model += solids.loft(
        [(outlines.ellipse(0.38, t * 1.1), -0.4 - cuff), (outlines.ellipse(0.34, t), -0.4)],
        caps=False,
    )
    pattern = parts.ornament(draw, 0.8, say, probability=0.5)
    return model.dressed(pattern) + solids.loft(
        [(outlines.ellipse(0.36, t * 1.15), -0.42), (outlines.ellipse(0.36, t * 1.15), -0.34)]
    )


@subclass(
    "garment",
    "02-02",
    ("garment", "服装"),
    ("shirt", "衬衫"),
    ("dress", "连衣裙"),
    ("jacket", "夹克"),
    ("vest", "背心"),
)
def garment(draw: Draw, say: Say) -> Model:
    """Shirts, jackets, dresses: a flattened body with sleeves."""
    flat = draw.uniform("flat", 0.12, 0.28)
    length = draw.uniform("length", 0.8, 2.0)
    waist, hem = draw.uniform("waist", 0.34, 0.5), draw.uniform("hem", 0.4, 0.85)
    z = np.linspace(-length, 0.0, 12)
    widths = np.interp(z, [-length, -0.5, -0.15, 0.0], [hem, waist, 0.5, 0.42])
    body = solids.loft(
        [
            (outlines.superellipse(w, flat * (w / 0.5) ** 0.5, 2.4), float(zi))
            for w, zi in zip(widths, z, strict=True)
        ]
    )
    shoulder = solids.loft(
        [
            (outlines.superellipse(0.42, flat * 0.9, 2.4), 0),
            (outlines.superellipse(0.16, flat * 0.6, 2.2), 0.1),
        ],
        caps=False,
    )
    pattern = parts.ornament(draw, 1.2, say, probability=0.4)
    model = (body + shoulder).dressed(pattern)
    sleeve = draw.choice("sleeve", ("none", "short", "long", "bell"), (2, 3, 4, 1))
    if sleeve != "none":
        say(f"{sleeve} sleeves", {"short": "短袖", "long": "长袖", "bell": "喇叭袖"}[sleeve])
        long = {"short": 0.4, "long": 1.0, "bell": 0.8}[sleeve]
        down = draw.uniform("down", 0.3, 0.9)
        path = outlines.smooth(
            [
                [0.36, 0, 0.0],
                [0.36 + 0.45 * long * (1 - 0.3 * down), 0, -0.5 * long * down],
                [0.36 + 0.8 * long * (1 - 0.5 * down), 0, -long * down - 0.1],
            ],
            14,
        )
        width = np.linspace(0.16, 0.3 if sleeve == "bell" else 0.1, 14)
        model += (
            solids.tube(path, width, section=outlines.ellipse(1, 0.7, 20), caps=False)
            .both("x")
            .dressed(pattern)
        )
    collar = draw.choice("collar", ("round", "hood", "stand", "none"))
    if collar == "hood":
        say("a hood", "帽兜")
        model += solids.ellipsoid(0.24, 0.22, 0.28).moved(0, 0.05, 0.22)
    elif collar == "stand":
        say("a stand collar", "立领")
        model += solids.loft(
            [(outlines.ellipse(0.18, 0.14), 0.05), (outlines.ellipse(0.16, 0.12), 0.22)], caps=False
        )
    elif collar == "round":
        model += solids.torus(0.17, 0.03).scaled(1, 0.7, 1).moved(0, 0, 0.08)
    if draw.chance("front", 0.5):
        say("a front opening with buttons", "门襟纽扣")
        front = flat * (widths.mean() / 0.5) ** 0.5
        model += solids.box(0.05, 0.02, length * 0.95).moved(0, -front - 0.01, -length)
        model += (
            solids.cylinder(0.025, 0.02)
            .turned("x", 90)
            .row(draw.integer("buttons", 3, 8), z=0.12 * length)
            .moved(0, -front - 0.03, -0.5 * length)
        )
    if draw.chance("pockets", 0.4):
        say("pockets", "口袋")
        model += (
            solids.box(0.22, 0.03, 0.22)
            .moved(0.24, -flat * 0.95, -0.8 * min(length, 0.9))
            .both("x")
        )
    return model
