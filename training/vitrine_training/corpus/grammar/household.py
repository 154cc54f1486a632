"""Locarno 04, 07, 15, 23, 24, 28: appliances, bathroom, care, garden, medical."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .. import outlines, parts, solids
from ..mesh import Pattern
from ..registry import subclass
from .containers import cap, section, shell
from .generic import attach, body

if TYPE_CHECKING:
    from ..chance import Draw
    from ..mesh import Model
    from ..parts import Say


@subclass(
    "hair dryer", "28-03", ("hair dryer", "吹风机"), ("heat gun", "热风枪"), ("power drill", "电钻")
)
def hair_dryer(draw: Draw, say: Say) -> Model:
    """Pistol-shaped appliances: barrel, grip, nozzle."""
    r, length = draw.uniform("r", 0.2, 0.34), draw.uniform("length", 0.8, 1.5)
    barrel = solids.revolve(parts.profile(draw, r, length, pieces=5)).turned("y", 90)
    barrel = barrel.dressed(parts.ornament(draw, r, say, probability=0.15))
    at = draw.uniform("at", 0.3, 0.6) * length
    grip = parts.grip(draw, draw.uniform("grip", 0.7, 1.1), draw.uniform("grip_r", 0.11, 0.17), say)
    model = barrel + grip.turned("x", 180).turned("y", draw.uniform("rake", -20, 25)).moved(
        at, 0, -0.5 * r
    )
    tip = draw.choice("nozzle", ("flat", "cone", "chuck", "diffuser"))
    if tip == "flat":
        say("a flat nozzle", "扁风嘴")
        nozzle = solids.loft(
            [
                (outlines.ellipse(0.7 * r, 0.7 * r), 0),
                (outlines.superellipse(1.2 * r, 0.2 * r, 3, 40), 0.4),
            ]
        )
    elif tip == "cone":
        nozzle = solids.cylinder(0.7 * r, 0.35, top=0.4 * r)
    elif tip == "chuck":
        say("a chuck", "夹头")
        nozzle = solids.extrude(outlines.lobed(0.5 * r, 6, 0.12), 0.25) + solids.cylinder(
            0.08, 0.7, top=0.03
        )
    else:
        say("a diffuser", "扩散风罩")
        nozzle = solids.cylinder(0.6 * r, 0.3, top=1.5 * r) + solids.cylinder(0.05, 0.15).moved(
            r
        ).ring(8).moved(0, 0, 0.3)
    model += nozzle.turned("y", 90).moved(length)
    model += (
        parts.vent(draw, r, r).turned("z", -90).moved(-0.01, 0, 0)
        if draw.chance("vent", 0.5)
        else parts.NOTHING
    )
    model += parts.buttons(draw, 0.1, 0.3).turned("z", 90).moved(at + 0.14, 0, -0.7 * r - 0.2)
    if draw.chance("battery", 0.25):
        say("a battery foot", "电池底座")
        model += solids.box(0.5, 0.3, 0.25, bevel=0.03).moved(at, 0, -0.5 * r - 1.15)
    elif draw.chance("cable", 0.3):
        model += solids.tube([[at, 0, -1.1], [at - 0.1, 0, -1.6], [at + 0.2, 0, -2.0]], 0.03)
    return model


@subclass(
    "blender", "31-00", ("blender", "搅拌机"), ("juicer", "榨汁机"), ("coffee machine", "咖啡机")
)
def blender(draw: Draw, say: Say) -> Model:
    """Kitchen machines: a base, a vessel, a head or lid."""
    base = body(
        draw.part("base"),
        say,
        draw.uniform("w", 0.5, 0.9),
        draw.uniform("d", 0.5, 0.8),
        draw.uniform("h", 0.3, 0.8),
    )
    low, high = base.bounds()
    model = base
    form = draw.choice("form", ("jar", "arch", "press"))
    if form == "jar":
        say("a jar on the base", "搅拌杯")
        jar = shell(draw, 0.35, draw.uniform("jar", 0.6, 1.2), pieces=3)
        top = jar.bounds()[1][2]
        model += (jar + solids.cylinder(0.36, 0.12, bevel=0.03).moved(0, 0, top)).moved(
            0, 0, high[2]
        )
        if draw.chance("handle", 0.6):
            model += (
                parts.loop_handle(draw, 0.5, 0.25, 0.04)
                .turned("y", 90)
                .moved(0.33, 0, high[2] + 0.4)
            )
    elif form == "arch":
        say("an overhanging head", "悬臂机头")
        column = solids.box(0.5, 0.25, 1.0, radius=0.05).moved(0, 0.25, high[2] - 0.05)
        head = solids.box(0.55, 0.8, 0.35, radius=0.1, bevel=0.04).moved(0, 0.0, high[2] + 0.8)
        cup = solids.revolve(parts.profile(draw, 0.22, 0.35, closed=True)).moved(0, -0.15, high[2])
        model += column + head + cup + solids.cylinder(0.08, 0.15).moved(0, -0.15, high[2] + 0.66)
    else:
        model += solids.revolve(parts.profile(draw.part("tower"), 0.3, 0.9, pieces=5)).moved(
            0, 0, high[2]
        )
    model += attach(base, parts.buttons(draw, 0.3, 0.2).turned("x", -90), "front", (0.0, 0.1))
    return model + (parts.feet(draw, 0.5, 0.5, 0.06) if draw.chance("feet", 0.5) else parts.NOTHING)


@subclass(
    "toaster", "07-02", ("toaster", "烤面包机"), ("oven", "烤箱"), ("grill", "烤架"), unseen=True
)
def toaster(draw: Draw, say: Say) -> Model:
    """Heating boxes with slots, doors, grates."""
    w, d, h = draw.uniform("w", 0.8, 1.3), draw.uniform("d", 0.4, 0.8), draw.uniform("h", 0.5, 0.8)
    model = solids.box(
        w, d, h, radius=draw.uniform("r", 0.02, 0.18), bevel=draw.uniform("bevel", 0, 0.12)
    )
    model = model.dressed(parts.ornament(draw, w, say, probability=0.15))
    if draw.chance("slots", 0.5):
        slots = draw.choice("count", (1, 2, 2, 4))
        say(f"{slots} bread slots", "面包槽")
        model += (
            solids.extrude(outlines.rounded_rectangle(0.7 * w, 0.1, 0.02), 0.02)
            .row(slots, y=0.16)
            .moved(0, 0, h)
        )
        model += solids.box(0.06, 0.12, 0.06).moved(0.5 * w, 0, 0.6 * h) + solids.box(
            0.02, 0.04, 0.4
        ).moved(0.5 * w, 0, 0.2 * h)
    else:
        say("a glass door", "玻璃门")
        door = solids.box(0.68 * w, 0.03, 0.75 * h).moved(-0.12 * w, -0.5 * d, 0.1 * h)
        model += door + solids.extrude(
            outlines.rounded_rectangle(0.55 * w, 0.45 * h, 0.04), 0.02
        ).turned("x", 90).moved(-0.12 * w, -0.5 * d - 0.02, 0.42 * h)
        model += (
            parts.loop_handle(draw, 0.5 * w, 0.08, 0.02)
            .turned("x", 90)
            .moved(-0.12 * w, -0.5 * d, 0.8 * h)
        )
    knob = parts.knob(draw, 0.07, 0.07).turned("x", 90)
    model += knob.row(draw.integer("knobs", 1, 4), z=0.2 * h).moved(0.36 * w, -0.5 * d, 0.5 * h)
    return model + parts.feet(draw, 0.9 * w, 0.9 * d, 0.07)


@subclass(
    "faucet",
    "23-01",
    ("faucet", "水龙头"),
    ("tap", "龙头"),
    ("shower head", "花洒"),
    ("valve", "阀门"),
)
def faucet(draw: Draw, say: Say) -> Model:
    """Taps and showers."""
    if draw.chance("shower", 0.3):
        say("a spray plate", "喷水面板")
        a, b = draw.uniform("a", 0.25, 0.5), draw.uniform("b", 0.25, 0.5)
        head = solids.extrude(parts.outline(draw, a, b), draw.uniform("t", 0.06, 0.2), bevel=0.02)
        holes = solids.face(outlines.ellipse(0.8 * a, 0.8 * b), -0.005).dressed(
            Pattern(draw.choice("holes", (7, 8, 15)), 0.08, 0.08, 0, 0.4)
        )
        arm = solids.tube(
            outlines.smooth(
                [
                    [0, 0, 0.08],
                    [0, 0.1, 0.3],
                    [0, 0.6, 0.45],
                    [0, 1.0, draw.uniform("fall", -0.6, 0.5)],
                ],
                24,
            ),
            draw.uniform("arm", 0.05, 0.1),
        )
        return head + holes + arm
    h, reach = draw.uniform("h", 0.5, 1.5), draw.uniform("reach", 0.5, 1.0)
    spout = {
        "arch": [
            [0, 0, 0],
            [0, 0, 0.7 * h],
            [0, -0.5 * reach, h],
            [0, -reach, 0.7 * h],
            [0, -reach, 0.5 * h],
        ],
        "square": [[0, 0, 0], [0, 0, h], [0, -reach, h], [0, -reach, 0.8 * h]],
        "low": [[0, 0, 0], [0, 0, 0.4 * h], [0, -0.6 * reach, 0.6 * h], [0, -reach, 0.45 * h]],
    }[draw.choice("spout", ("arch", "square", "low"))]
    path = outlines.smooth(spout, 36)
    ring = outlines.superellipse(
        1, draw.uniform("flat", 0.5, 1.3), draw.choice("power", (2.0, 2.0, 6.0)), 20
    )
    model = solids.tube(path, np.linspace(0.11, draw.uniform("tip", 0.06, 0.12), 36), section=ring)
    model += solids.revolve(parts.profile(draw, 0.22, draw.uniform("base", 0.1, 0.4), pieces=3))
    handles = draw.choice("handles", (1, 1, 2))
    lever = parts.knob(draw, 0.1, 0.16)
    if draw.chance("lever", 0.6):
        say("a lever", "把手")
        lever += solids.tube([[0, 0, 0.12], [0, -0.05, 0.2], [0, -0.35, 0.25]], [0.05, 0.04, 0.03])
    else:
        say("cross handles", "十字把手")
        lever += solids.tube([[-0.16, 0, 0.12], [0.16, 0, 0.12]], 0.03).ring(2)
    if handles == 2:
        return (
            model
            + (lever + solids.cylinder(0.12, 0.08)).moved(0.45).both("x")
            + solids.box(1.0, 0.2, 0.05, radius=0.08)
        )
    if draw.chance("side", 0.5):
        return model + lever.turned("y", 90).moved(0.08, 0, 0.3 * h)
    return model + lever.moved(0, 0.02, 0.75 * h if spout[1][2] > 0.6 * h else 0.45 * h)


@subclass(
    "dispenser", "23-02", ("soap dispenser", "皂液器"), ("dispenser", "分配器"), ("holder", "支架")
)
def dispenser(draw: Draw, say: Say) -> Model:
    """Table and wall dispensers and holders."""
    h = draw.uniform("h", 0.6, 1.3)
    model = body(draw, say, draw.uniform("w", 0.4, 0.7), draw.uniform("d", 0.3, 0.6), h)
    form = draw.choice("form", ("pump", "wall", "fork"))
    if form == "pump":
        model += cap(draw, 0.14, 0.12, say).moved(0, 0, h)
    elif form == "wall":
        say("a push plate", "按压板")
        model += solids.extrude(parts.outline(draw, 0.15, 0.12), 0.12, bevel=0.02).turned(
            "x", 90
        ).moved(0, -0.25, 0.25 * h) + solids.cylinder(0.04, 0.1).moved(0, -0.15, -0.08)
    else:
        say("an open tray", "敞口托架")
        model += solids.loft(
            [(section(draw) * 0.3, h), (section(draw) * 0.4, h + 0.25)], caps=False
        )
    if draw.chance("window", 0.3):
        model += (
            solids.extrude(outlines.rounded_rectangle(0.08, 0.5 * h, 0.04), 0.02)
            .turned("x", 90)
            .moved(0, -0.3, 0.5 * h)
        )
    return model


@subclass(
    "brush",
    "04-02",
    ("brush", "刷子"),
    ("toothbrush", "牙刷"),
    ("comb", "梳子"),
    ("razor", "剃须刀"),
)
def brush(draw: Draw, say: Say) -> Model:
    """Brushes, combs, razors: a head with bristles or teeth on a handle."""
    grip = parts.grip(
        draw, draw.uniform("grip", 0.8, 1.5), draw.uniform("r", 0.06, 0.13), say
    ).turned("y", -90)
    a, b = draw.uniform("a", 0.2, 0.6), draw.uniform("b", 0.07, 0.3)
    head = solids.extrude(parts.outline(draw.part("head"), a, b), 0.1, bevel=0.025).moved(
        0.9 * a, 0, -0.05
    )
    form = draw.choice("form", ("tufts", "block", "teeth", "blade", "round"), (4, 2, 3, 2, 2))
    long = draw.uniform("long", 0.1, 0.4)
    if form == "tufts":
        say("bristles in tufts", "簇状刷毛")
        tuft = solids.cylinder(0.03, long, top=0.035)
        fill = (
            tuft.row(draw.integer("nx", 4, 9), x=1.7 * a / draw.integer("nx", 4, 9))
            .row(draw.integer("ny", 2, 5), y=1.4 * b / draw.integer("ny", 2, 5))
            .moved(0.9 * a, 0, 0.04)
        )
    elif form == "block":
        say("a block of bristles", "块状刷毛")
        fill = (
            solids.extrude(parts.outline(draw.part("head"), 0.85 * a, 0.85 * b), long)
            .dressed(Pattern(1, 0.03, 0.03))
            .moved(0.9 * a, 0, 0.05)
        )
    elif form == "teeth":
        teeth = draw.integer("teeth", 10, 26)
        say("comb teeth", "梳齿")
        fill = (
            solids.box(1.1 * a / teeth, 0.05, long)
            .row(teeth, x=1.8 * a / teeth)
            .moved(0.9 * a, 0, 0.03)
        )
    elif form == "blade":
        say("a blade head", "刀头")
        fill = solids.box(0.12, 0.5, 0.14, bevel=0.02).turned("y", 30).moved(
            1.7 * a, 0, 0.02
        ) + solids.box(0.02, 0.46, 0.16).row(3, x=0.03).moved(1.72 * a, 0, 0.06)
    else:
        say("radial bristles", "放射刷毛")
        drum = solids.revolve([[0.06, 0], [0.25, 0.02], [0.25, 1.6 * a], [0.06, 1.62 * a]])
        fill = drum.dressed(Pattern(24, 0.07, 0.07)).turned("y", 90)
    return grip + head + fill


@subclass(
    "massager",
    "28-03",
    ("massager", "按摩器"),
    ("hair curler", "卷发器"),
    ("shaver", "剃须器"),
    ("facial device", "美容仪"),
)
def massager(draw: Draw, say: Say) -> Model:
    """Handheld care devices: a grip body with a working head."""
    length, r = draw.uniform("length", 1.0, 1.8), draw.uniform("r", 0.13, 0.24)
    model = parts.grip(draw, length, r, say)
    form = draw.choice("head", ("ball", "rollers", "plate", "fingers", "barrel", "ring"))
    if form == "ball":
        say("a ball head", "球形头")
        size = draw.uniform("ball", 1.1, 2.0) * r
        model += (
            solids.ellipsoid(size, size, size)
            .dressed(parts.ornament(draw, r, None, probability=0.4))
            .moved(0, 0, length + 0.5 * size)
        )
    elif form == "rollers":
        say("two rollers", "双滚轮")
        roll = solids.ellipsoid(1.1 * r, 1.1 * r, 1.1 * r).dressed(
            Pattern(draw.choice("facet", (5, 12, 3)), 0.09, 0.09)
        )
        model += (
            (roll.moved(1.5 * r, 0, 0.2) + solids.tube([[0, 0, -0.1], [1.5 * r, 0, 0.2]], 0.05))
            .both("x")
            .moved(0, 0, length)
        )
    elif form == "plate":
        head = solids.extrude(parts.outline(draw, 1.6 * r, 1.4 * r), 0.15, bevel=0.03).dressed(
            parts.ornament(draw, r * 2, say, probability=0.5)
        )
        model += head.turned("x", 90 - draw.uniform("tilt", 0, 60)).moved(0, 0, length + r)
    elif form == "fingers":
        count = draw.integer("fingers", 3, 6)
        say(f"{count} fingers", f"{'三四五六'[count - 3]}爪")
        finger = outlines.smooth([[0.3 * r, 0, 0], [1.3 * r, 0, 0.2], [1.1 * r, 0, 0.45]], 14)
        model += (
            solids.tube(finger, np.linspace(0.07, 0.05, 14)).ring(count) + solids.cylinder(r, 0.08)
        ).moved(0, 0, length)
    elif form == "barrel":
        say("a barrel", "卷筒")
        model += solids.cylinder(0.7 * r, 0.9, bevel=0.03).moved(0, 0, length) + solids.box(
            0.2 * r, 0.1, 0.85
        ).moved(0, -0.75 * r, length)
    else:
        model += solids.torus(1.5 * r, 0.4 * r).turned("x", 90).moved(0, 0, length + 1.4 * r)
    model += parts.buttons(draw, 0.7 * r, 0.3).moved(0, -0.85 * r, 0.65 * length)
    return model


@subclass(
    "vacuum cleaner",
    "15-05",
    ("vacuum cleaner", "吸尘器"),
    ("cleaning robot", "扫地机器人"),
    ("iron", "熨斗"),
)
def vacuum(draw: Draw, say: Say) -> Model:
    """Cleaning machines: upright, handheld, robot."""
    form = draw.choice("form", ("robot", "upright", "hand", "iron"))
    if form == "robot":
        say("a disc body", "圆盘机身")
        shape = (
            outlines.ellipse(0.6) if draw.chance("round", 0.6) else parts.outline(draw, 0.6, 0.6)
        )
        model = solids.extrude(shape, 0.18, bevel=0.03) + solids.cylinder(
            0.15, 0.1, bevel=0.02
        ).moved(0, draw.uniform("tower", -0.2, 0.2), 0.17)
        model += solids.box(0.3, 0.03, 0.02).row(3, y=0.08).moved(0, 0.35, 0.18) + parts.wheel(
            draw, 0.1, 0.06
        ).moved(0.35, 0, 0.03).both("x")
        brush = (
            solids.tube([[0, 0, 0], [0.25, 0.05, 0]], 0.012, sides=6).ring(3).moved(0.4, -0.4, 0.0)
        )
        return model + brush
    if form == "iron":
        say("a sole plate", "底板")
        plate = outlines.smooth(
            [
                [-0.6, -0.3],
                [-0.6, 0.3],
                [0, 0.32],
                [0.5, 0.15],
                [0.75, 0],
                [0.5, -0.15],
                [0, -0.32],
            ],
            40,
            closed=True,
        )
        model = solids.extrude(plate, 0.05) + solids.loft(
            [
                (plate * 0.95, 0.05),
                (plate * 0.8, 0.25),
                (plate * 0.5, draw.uniform("rise", 0.35, 0.5)),
            ]
        )
        handle = parts.loop_handle(draw, 0.9, 0.35, 0.08)
        return model + handle.moved(-0.1, 0, 0.35) + parts.knob(draw, 0.12, 0.06).moved(0, 0, 0.4)
    tank = solids.revolve(parts.profile(draw, 0.28, 0.7, pieces=4))
    grip = parts.loop_handle(draw, 0.5, 0.3, 0.06).turned("y", 90).moved(-0.2, 0, 0.35)
    motor = (
        solids.revolve(parts.profile(draw.part("motor"), 0.25, 0.5))
        .turned("y", 90)
        .moved(-0.1, 0, 0.6)
    )
    model = tank + grip + motor
    length = draw.uniform("length", 0.5, 2.0) if form == "upright" else 0.3
    pipe = solids.tube([[0.2, 0, 0.2], [0.5, 0, -length]], 0.07)
    foot = solids.extrude(parts.outline(draw.part("foot"), 0.2, 0.45), 0.14, bevel=0.03).moved(
        0.55, 0, -length - 0.1
    )
    say(
        "a floor nozzle" if form == "upright" else "a short nozzle",
        "地刷" if form == "upright" else "短吸嘴",
    )
    return model + pipe + foot


@subclass(
    "syringe",
    "24-02",
    ("syringe", "注射器"),
    ("injector", "注射装置"),
    ("medical device", "医疗器械"),
    unseen=True,
)
def syringe(draw: Draw, say: Say) -> Model:
    """Barrels with plungers, needles, flanges."""
    r, length = draw.uniform("r", 0.1, 0.3), draw.uniform("length", 0.9, 1.6)
    barrel = (
        solids.cylinder(r, length)
        + solids.cylinder(r, 0.15, top=0.06).turned("x", 180)
        + solids.cylinder(0.05, 0.2).turned("x", 180).moved(0, 0, -0.12)
    )
    barrel = (
        barrel.dressed(Pattern(1, length / 12, length / 12, 1.5708))
        if draw.chance("scale", 0.5)
        else barrel
    )
    out = draw.uniform("out", 0.2, 0.9)
    plunger = solids.box(0.05, 1.4 * r, out).moved(0, 0, length) + solids.box(
        1.4 * r, 0.05, out
    ).moved(0, 0, length)
    flange = solids.extrude(parts.outline(draw, 2.2 * r, 1.3 * r), 0.05).moved(0, 0, length)
    top = (
        solids.torus(1.2 * r, 0.05).turned("x", 90).moved(0, 0, length + out + 1.2 * r)
        if draw.chance("ring", 0.4)
        else solids.cylinder(1.2 * r, 0.05).moved(0, 0, length + out)
    )
    model = barrel + plunger + flange + top
    if draw.chance("needle", 0.6):
        say("a needle", "针头")
        model += (
            solids.cylinder(0.02, draw.uniform("needle", 0.3, 0.9), top=0.005)
            .turned("x", 180)
            .moved(0, 0, -0.3)
        )
    if draw.chance("pair", 0.2):
        say("finger rings", "指环")
        model += solids.torus(0.2, 0.05).turned("x", 90).moved(2 * r + 0.15, 0, length).both("x")
    return model.turned("y", draw.choice("pose", (0.0, 90.0)))


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
    model = model.dressed(parts.ornament(draw, 0.9, say, probability=0.6))
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
