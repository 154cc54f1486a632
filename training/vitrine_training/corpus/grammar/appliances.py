"""Locarno 07, 15, 28, 31: electric machines of the house."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import forms, outlines, parts, solids
from ..mesh import Model
from ..registry import subclass
from .generic import attach, body
from .vessels import shell

if TYPE_CHECKING:
    from ..chance import Draw
    from ..forms import Say
    from ..mesh import Model


@subclass(
    "hair dryer", "28-03", ("hair dryer", "吹风机"), ("heat gun", "热风枪"), ("power drill", "电钻")
)
def hair_dryer(draw: Draw, say: Say) -> Model:
    """Pistol-shaped appliances: barrel, grip, nozzle."""
    r, length = draw.uniform("r", 0.2, 0.34), draw.uniform("length", 0.8, 1.5)
    barrel = solids.revolve(forms.profile(draw, r, length, pieces=5)).turned("y", 90)
    barrel = barrel.dressed(forms.ornament(draw, r, say, probability=0.15))
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
    high = base.bounds()[1]
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
        cup = solids.revolve(forms.profile(draw, 0.22, 0.35, closed=True)).moved(0, -0.15, high[2])
        model += column + head + cup + solids.cylinder(0.08, 0.15).moved(0, -0.15, high[2] + 0.66)
    else:
        model += solids.revolve(forms.profile(draw.part("tower"), 0.3, 0.9, pieces=5)).moved(
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
    model = model.dressed(forms.ornament(draw, w, say, probability=0.15))
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
            outlines.ellipse(0.6) if draw.chance("round", 0.6) else forms.outline(draw, 0.6, 0.6)
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
    tank = solids.revolve(forms.profile(draw, 0.28, 0.7, pieces=4))
    grip = parts.loop_handle(draw, 0.5, 0.3, 0.06).turned("y", 90).moved(-0.2, 0, 0.35)
    motor = (
        solids.revolve(forms.profile(draw.part("motor"), 0.25, 0.5))
        .turned("y", 90)
        .moved(-0.1, 0, 0.6)
    )
    model = tank + grip + motor
    length = draw.uniform("length", 0.5, 2.0) if form == "upright" else 0.3
    pipe = solids.tube([[0.2, 0, 0.2], [0.5, 0, -length]], 0.07)
    foot = solids.extrude(forms.outline(draw.part("foot"), 0.2, 0.45), 0.14, bevel=0.03).moved(
        0.55, 0, -length - 0.1
    )
    say(
        "a floor nozzle" if form == "upright" else "a short nozzle",
        "地刷" if form == "upright" else "短吸嘴",
    )
    return model + pipe + foot
