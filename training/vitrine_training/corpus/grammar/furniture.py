"""Locarno 06: seats, tables, storage, soft furnishing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .. import outlines, parts, solids
from ..mesh import Model, Pattern
from ..registry import subclass

if TYPE_CHECKING:
    from ..chance import Draw
    from ..parts import Say


def legs(draw: Draw, w: float, d: float, height: float, say: Say) -> Model:
    """Supports between z = 0 and `height` for a top of w by d."""
    p = draw.part("legs")
    form = p.choice(
        "form", ("straight", "tapered", "turned", "sled", "pedestal", "splayed", "cross", "panel", "swivel"),
        (5, 5, 2, 3, 3, 4, 2, 2, 2),
    )  # fmt: skip
    r = p.uniform("thickness", 0.02, 0.06) * max(w, d)
    x, y = 0.5 * w - 1.4 * r, 0.5 * d - 1.4 * r
    if form == "straight":
        say("four straight legs", "四条直腿")
        leg = (
            solids.box(2 * r, 2 * r, height)
            if p.chance("square", 0.6)
            else solids.cylinder(r, height)
        )
        return leg.moved(x, y).both("x").both("y")
    if form == "tapered":
        say("four tapered legs", "四条锥形腿")
        return solids.cylinder(0.5 * r, height, top=1.3 * r).moved(x, y).both("x").both("y")
    if form == "turned":
        say("four turned legs", "四条车削腿")
        return (
            solids.revolve(parts.profile(p, 1.6 * r, height, pieces=6))
            .moved(x, y)
            .both("x")
            .both("y")
        )
    if form == "splayed":
        say("four splayed legs", "四条外撇腿")
        out = p.uniform("out", 0.05, 0.2) * w
        leg = solids.tube([[x + out, y + out, 0], [0.7 * x, 0.7 * y, height]], [0.6 * r, 1.2 * r])
        rail = solids.tube([[-x, y, 0.4 * height], [x, y, 0.4 * height]], 0.4 * r)
        return leg.both("x").both("y") + (
            rail.both("y") if p.chance("rail", 0.4) else parts.NOTHING
        )
    if form == "sled":
        say("a sled base", "雪橇式底架")
        back = p.uniform("back", 0.7, 1.1)
        path = [[x, -y, height], [x, -y, r], [x, y * back, r], [x, y * back, height]]
        if p.chance("open", 0.3):
            path = path[:3]
        return solids.tube(outlines.rounded(np.array(path)[:, 1:], 3 * r) @ np.array([[0, 1, 0], [0, 0, 1]])
                           + [x, 0, 0], 0.6 * r).both("x")  # fmt: skip
    if form == "pedestal":
        say("a pedestal", "单柱底座")
        foot = p.uniform("foot", 0.25, 0.42) * min(w, d)
        column = parts.profile(p, 0.3 * foot, height * 0.9, closed=False)
        return solids.revolve(
            [[0, 0], [foot, 0], [foot, 0.03 * height], *(column + [0, 0.06 * height])]
        )
    if form == "swivel":
        arms = p.integer("arms", 4, 5)
        say(f"a swivel base with {arms} arms on castors", f"{'四五'[arms - 4]}星脚转轮底座")
        reach = 0.48 * min(w, d)
        arm = solids.tube([[0, 0, 0.2 * height], [reach, 0, 0.1 * height]], [1.2 * r, 0.7 * r])
        castor = parts.wheel(p, 0.09 * height, 0.06 * height).moved(reach, 0, 0.05 * height)
        return (arm + castor).ring(arms) + solids.cylinder(r, height * 0.85).moved(
            0, 0, 0.15 * height
        )
    if form == "cross":
        say("crossed legs", "交叉腿")
        leg = solids.tube([[-x, y, 0], [x, y, height]], r, section=outlines.rectangle(2, 1.2))
        other = solids.tube(
            [[x, y - r, 0], [-x, y - r, height]], r, section=outlines.rectangle(2, 1.2)
        )
        return (leg + other).both("y")
    say("two panel legs", "两块板腿")
    panel = solids.box(1.2 * r, d * p.uniform("depth", 0.6, 1.0), height)
    if p.chance("pierced", 0.3):
        panel = panel.pierced(parts.piercing(p, d))
    return panel.moved(x, 0).both("x")


def under(draw: Draw, top: np.ndarray, height: float, say: Say) -> Model:
    """Supports for a top of the given outline: nearer to its middle the less it fills its rectangle."""
    w, d = (float(v) for v in np.ptp(top, axis=0))
    fill = abs(outlines.area(top)) / (w * d)
    inset = 0.97 * min(1.0, max(0.55, fill)) ** 0.75
    return legs(draw, w * inset, d * inset, height, say)


def _back(draw: Draw, w: float, height: float, thickness: float, say: Say) -> Model:
    """Chair back standing on z = 0 in the plane y = 0."""
    p = draw.part("back")
    form = p.choice(
        "form", ("slats", "spindles", "panel", "ladder", "shell", "mesh", "splat", "hoop"),
        (4, 3, 4, 3, 4, 2, 2, 2),
    )  # fmt: skip
    post = solids.tube([[0.5 * w, 0, 0], [0.5 * w, 0, height]], thickness).both("x")
    rail = solids.box(w, 1.6 * thickness, height * p.uniform("rail", 0.08, 0.2))
    if form == "slats":
        count = p.integer("count", 2, 7)
        say("a slatted back", "板条靠背")
        slat = solids.box(0.5 * w / count, 0.8 * thickness, 0.85 * height).row(
            count, x=w / (count + 0.3)
        )
        return post + rail.moved(0, 0, 0.85 * height) + slat
    if form == "spindles":
        count = p.integer("count", 4, 10)
        say("a spindle back", "细杆靠背")
        spindle = solids.tube([[0, 0, 0], [0, 0, 0.9 * height]], 0.4 * thickness, sides=8)
        return post + rail.moved(0, 0, 0.85 * height) + spindle.row(count, x=w / (count + 0.5))
    if form == "ladder":
        count = p.integer("count", 2, 5)
        say("a ladder back", "梯形靠背")
        rung = parts.bend(rail.scaled(1, 1, 0.8), 0.0, w)
        return post + rung.row(count, z=0.8 * height / count).moved(0, 0, 0.5 * height)
    if form == "mesh":
        say("a mesh back", "网眼靠背")
        frame = outlines.rounded_rectangle(w, height, 0.2 * w)
        panel = (
            solids.extrude(frame, thickness).turned("x", 90).moved(0, 0.5 * thickness, 0.5 * height)
        )
        inner = solids.face(outlines.inset(frame, 0.08 * w)).turned("x", 90)
        return panel + inner.moved(0, -0.55 * thickness, 0.5 * height).dressed(
            Pattern(p.choice("weave", (3, 5, 6, 20)), 0.07 * w, 0.07 * w, 0.0, 0.6)
        )
    if form == "hoop":
        say("a hoop back", "圆环靠背")
        path = outlines.smooth([[-0.5 * w, 0, 0], [-0.5 * w, 0, 0.6 * height], [0, 0, height],
                                [0.5 * w, 0, 0.6 * height], [0.5 * w, 0, 0]], 30)  # fmt: skip
        stick = solids.tube([[0, 0, 0], [0, 0, 0.8 * height]], 0.4 * thickness, sides=8)
        return solids.tube(path, thickness) + stick.row(p.integer("count", 1, 7), x=0.12 * w)
    if form == "splat":
        say("a shaped splat", "异形背板")
        plate = solids.extrude(parts.outline(p, 0.16 * w, 0.45 * height), thickness)
        return (
            post
            + rail.moved(0, 0, 0.85 * height)
            + plate.turned("x", 90).moved(0, 0, 0.45 * height)
        )
    say(
        "a panel back" if form == "panel" else "a curved shell back",
        "板式靠背" if form == "panel" else "弧形靠背",
    )
    shape = parts.outline(p, 0.52 * w, 0.5 * height)
    panel = solids.extrude(shape, 1.5 * thickness, bevel=0.3 * thickness)
    panel = panel.dressed(parts.ornament(p, w, say, probability=0.25))
    panel = panel.turned("x", 90).moved(0, 0.7 * thickness, 0.5 * height)
    if form == "shell":
        depth = p.uniform("depth", 0.1, 0.3) * w

        def curve(v: np.ndarray) -> np.ndarray:
            return np.column_stack([v[:, 0], v[:, 1] - depth * (2 * v[:, 0] / w) ** 2, v[:, 2]])

        panel = panel.mapped(curve)
    return panel


@subclass("chair", "06-01", ("chair", "椅子"), ("seat", "座椅"), ("dining chair", "餐椅"))
def chair(draw: Draw, say: Say) -> Model:
    """Chairs, armchairs and bar chairs."""
    w, d = draw.uniform("width", 0.42, 0.62), draw.uniform("depth", 0.42, 0.6)
    high = draw.chance("bar", 0.15)
    height = draw.uniform("height", 0.38, 0.5) * (1.6 if high else 1.0)
    t = draw.uniform("seat", 0.02, 0.09)
    shape = parts.outline(draw.part("seat"), 0.5 * w, 0.5 * d)
    model = under(draw, shape, height, say)
    seat = solids.extrude(shape, t, bevel=0.3 * t).moved(0, 0, height)
    if draw.chance("cushion", 0.35):
        say("a cushioned seat", "软垫座面")
        seat += solids.ellipsoid(0.46 * w, 0.46 * d, 0.06, power_xy=4, power_z=2.5).moved(
            0, 0, height + t
        )
    model += seat.dressed(parts.ornament(draw.part("weave"), w, None, probability=0.12))
    thick = draw.uniform("post", 0.012, 0.028)
    if not draw.chance("stool", 0.06):
        back = _back(
            draw,
            w * draw.uniform("back_width", 0.75, 1.0),
            draw.uniform("back", 0.25, 0.65),
            thick,
            say,
        )
        model += back.turned("x", -draw.uniform("recline", 0.0, 22.0)).moved(
            0, 0.47 * d, height + 0.5 * t
        )
    if draw.chance("arms", 0.4):
        say("armrests", "扶手")
        rise = draw.uniform("arm", 0.16, 0.26)
        arm = parts.loop_handle(draw.part("arm"), d * 0.85, rise, 0.6 * thick + 0.006)
        model += arm.turned("z", 90).moved(0.5 * w, 0, height).both("x")
    return model


@subclass("stool", "06-01", ("stool", "凳子"), ("bench", "长凳"), ("footstool", "脚凳"))
def stool(draw: Draw, say: Say) -> Model:
    """Stools and benches without backs."""
    w = draw.uniform("width", 0.3, 1.3)
    d = draw.uniform("depth", 0.28, 0.45)
    height = draw.uniform("height", 0.2, 0.75)
    t = draw.uniform("seat", 0.02, 0.12)
    shape = parts.outline(draw.part("seat"), 0.5 * w, 0.5 * d)
    model = under(draw, shape, height, say)
    seat = solids.extrude(shape, t, bevel=0.35 * t)
    seat = seat.dressed(parts.ornament(draw, w, say, probability=0.3))
    if draw.chance("saddle", 0.25):
        say("a saddle seat", "鞍形座面")
        seat = parts.bend(seat, draw.uniform("curve", 0.3, 0.9), w)
    if draw.chance("ring", 0.3):
        say("a foot ring", "脚踏圈")
        model += solids.torus(0.36 * min(w, d), 0.012).moved(0, 0, 0.35 * height)
    return model + seat.moved(0, 0, height)


@subclass("table", "06-03", ("table", "桌子"), ("desk", "书桌"), ("coffee table", "茶几"))
def table(draw: Draw, say: Say) -> Model:
    """Tables and desks."""
    w, d = draw.uniform("width", 0.5, 1.8), draw.uniform("depth", 0.45, 0.9)
    height, t = draw.uniform("height", 0.35, 0.8), draw.uniform("top", 0.015, 0.07)
    shape = parts.outline(draw.part("top"), 0.5 * w, 0.5 * d)
    top = solids.extrude(shape, t, bevel=0.25 * t)
    top = top.dressed(parts.ornament(draw, w, say, probability=0.2))
    model = under(draw, shape, height, say) + top.moved(0, 0, height)
    if draw.chance("shelf", 0.3):
        say("a lower shelf", "下层搁板")
        model += solids.box(0.8 * w, 0.8 * d, 0.02).moved(
            0, 0, height * draw.uniform("low", 0.2, 0.5)
        )
    if draw.chance("drawers", 0.35):
        count = draw.integer("count", 1, 3)
        say(f"{count} drawers" if count > 1 else "a drawer", f"{'一两三'[count - 1]}个抽屉")
        front = solids.box(0.8 * w / count, 0.02, 0.1 * height)
        pull = parts.knob(draw, 0.02, 0.03).turned("x", 90).moved(0, -0.01, 0.05 * height)
        model += solids.box(0.84 * w, 0.7 * d, 0.14 * height).moved(0, 0, 0.86 * height)
        model += (front + pull).row(count, x=0.82 * w / count).moved(0, -0.36 * d, 0.88 * height)
    return model


@subclass(
    "cabinet", "06-04", ("cabinet", "柜子"), ("sideboard", "餐边柜"), ("chest of drawers", "斗柜")
)
def cabinet(draw: Draw, say: Say) -> Model:
    """Cabinets with doors, drawers and open compartments."""
    w, d, h = draw.uniform("w", 0.4, 1.5), draw.uniform("d", 0.3, 0.5), draw.uniform("h", 0.5, 1.8)
    body = solids.box(w, d, h, radius=draw.choice("corner", (0.0, 0.0, 0.04)))
    base = draw.uniform("base", 0.03, 0.25)
    if draw.chance("legged", 0.5):
        model = body + legs(draw, w, d, base, say).moved(0, 0, -base)
    else:
        model = body + solids.box(0.95 * w, 0.93 * d, 0.06).moved(0, 0, -0.06)
    columns, rows = draw.integer("columns", 1, 4), draw.integer("rows", 1, 5)
    if columns * rows == 1:
        rows = 2
    cw, ch = w / columns, h / rows
    p = draw.part("front")
    pattern = parts.ornament(p, cw, say, probability=0.25)
    pull_side = p.choice("side", ("middle", "edge", "top"))
    doors = drawers = 0
    for i in range(columns):
        for j in range(rows):
            kind = p.choice(f"cell{i}{j}", ("door", "drawer", "open"), (4, 5, 2))
            x, z = (i + 0.5) * cw - 0.5 * w, j * ch
            if kind == "open":
                frame = solids.extrude(outlines.rectangle(0.96 * cw, 0.96 * ch), 0.01,
                                       holes=[outlines.rectangle(0.88 * cw, 0.85 * ch)])  # fmt: skip
                model += frame.turned("x", 90).moved(x, -0.5 * d, z + 0.5 * ch)
                continue
            doors, drawers = doors + (kind == "door"), drawers + (kind == "drawer")
            front = solids.box(0.95 * cw, 0.018, 0.95 * ch).dressed(pattern)
            if p.chance("raised", 0.3):
                front += solids.box(0.7 * cw, 0.012, 0.7 * ch).moved(0, -0.012, 0.12 * ch)
            pull = parts.knob(p, 0.018, 0.03).turned("x", 90)
            if p.chance("bar", 0.4):
                pull = parts.loop_handle(p, 0.3 * cw, 0.03, 0.006).turned("x", 90)
            px = {"middle": 0.0, "edge": 0.38 * cw * (1 if i % 2 == 0 else -1), "top": 0.0}[
                pull_side
            ]
            pz = 0.85 * ch if pull_side == "top" else 0.5 * ch
            model += (front + pull.moved(px, -0.01, pz)).moved(x, -0.5 * d - 0.009, z + 0.025 * ch)
    if doors:
        say("doors", "柜门")
    if drawers:
        say("drawers", "抽屉")
    return model


@subclass("shelf", "06-04", ("shelf", "置物架"), ("bookcase", "书架"), ("rack", "层架"))
def shelf(draw: Draw, say: Say) -> Model:
    """Open shelves and racks."""
    w, d, h = draw.uniform("w", 0.35, 1.2), draw.uniform("d", 0.2, 0.4), draw.uniform("h", 0.5, 1.9)
    tiers = draw.integer("tiers", 2, 6)
    say(f"{tiers} tiers", f"{'二三四五六'[tiers - 2]}层")
    t = draw.uniform("board", 0.01, 0.04)
    board = solids.box(w, d, t, radius=draw.choice("corner", (0.0, 0.05)))
    form = draw.choice("side", ("panels", "posts", "ladder", "pole"))
    if draw.chance("wire", 0.25):
        say("perforated shelves", "镂空层板")
        board = board.pierced(parts.piercing(draw, d))
    lean = draw.uniform("shrink", 0.0, 0.5) if form == "ladder" else 0.0
    model = parts.NOTHING
    for i in range(tiers):
        s = 1.0 - lean * i / tiers
        model += board.scaled(1, s, 1).moved(0, 0.5 * d * (1 - s), h * i / max(1, tiers - 1))
    if form == "panels":
        model += solids.box(t, d, h).moved(0.5 * w, 0).both("x")
        if draw.chance("backed", 0.5):
            model += solids.box(w, 0.01, h).moved(0, 0.5 * d)
    elif form == "pole":
        model += solids.cylinder(0.03, h * 1.05)
    else:
        rod = solids.tube([[0.48 * w, -0.48 * d, -0.08], [0.48 * w, (0.48 - lean) * d if lean else -0.48 * d, h * 1.05]],
                          draw.uniform("rod", 0.008, 0.02))  # fmt: skip
        model += rod.both("x") + solids.tube(
            [[0.48 * w, 0.48 * d, -0.08], [0.48 * w, 0.48 * d, 1.05 * h]], 0.012
        ).both("x")
    return model


@subclass("sofa", "06-01", ("sofa", "沙发"), ("couch", "长沙发"), ("armchair", "扶手沙发"))
def sofa(draw: Draw, say: Say) -> Model:
    """Upholstered seats."""
    seats = draw.integer("seats", 1, 4)
    say(f"{seats} seat cushion{'s' if seats > 1 else ''}", f"{'一两三四'[seats - 1]}个坐垫")
    cw, d = draw.uniform("seat", 0.5, 0.75), draw.uniform("depth", 0.7, 0.95)
    w = cw * seats
    h = draw.uniform("height", 0.3, 0.45)
    soft = draw.uniform("soft", 2.6, 7.0)
    cushion = solids.ellipsoid(0.5 * cw, 0.45 * d, 0.1, power_xy=soft, power_z=soft - 0.4)
    back = solids.ellipsoid(
        0.5 * cw, 0.13, 0.5 * draw.uniform("back", 0.35, 0.6), power_xy=soft, power_z=soft
    )
    base = solids.box(w, d, 0.6 * h, bevel=0.02)
    model = base + cushion.row(seats, x=cw).moved(0, -0.05 * d, 0.75 * h)
    model += back.turned("x", -10).row(seats, x=cw).moved(0, 0.36 * d, h + 0.2)
    pattern = parts.ornament(draw, cw, say, probability=0.2)
    model = model.dressed(pattern)
    form = draw.choice("arm", ("box", "roll", "none", "low"), (4, 3, 1, 2))
    aw, ah = draw.uniform("arm_width", 0.1, 0.24), draw.uniform("arm_height", 0.45, 0.7)
    if form == "roll":
        say("rolled arms", "卷边扶手")
        roll = solids.cylinder(0.6 * aw, d).turned("x", -90).moved(0, -0.5 * d, ah)
        model += (solids.box(aw, d, ah) + roll).moved(0.5 * w + 0.5 * aw).both("x")
    elif form != "none":
        arm = solids.box(aw, d, ah if form == "box" else 0.8 * ah, radius=0.03, bevel=0.03)
        model += arm.moved(0.5 * w + 0.5 * aw).both("x")
    return model + legs(draw, w, d, draw.uniform("leg", 0.06, 0.2), say).moved(0, 0, -0.1)


@subclass("bed", "06-02", ("bed", "床"), ("bed frame", "床架"))
def bed(draw: Draw, say: Say) -> Model:
    """Beds with head and foot boards."""
    w, d = draw.uniform("w", 0.9, 1.9), draw.uniform("d", 1.8, 2.1)
    model = solids.box(w, d, 0.25, bevel=0.02).moved(0, 0, 0.15)
    model += solids.ellipsoid(0.49 * w, 0.49 * d, 0.12, power_xy=8, power_z=5).moved(0, 0, 0.48)
    head = _back(draw.part("head"), w, draw.uniform("head", 0.6, 1.2), 0.03, say)
    model += head.moved(0, 0.5 * d, 0.15)
    if draw.chance("foot", 0.5):
        say("a footboard", "床尾板")
        model += _back(
            draw.part("foot"), w, draw.uniform("foot", 0.3, 0.6), 0.03, parts.Say()
        ).moved(0, -0.5 * d, 0.15)
    pillow = solids.ellipsoid(0.2 * w, 0.16 * d * 0.6, 0.08, power_xy=4)
    if draw.chance("pillows", 0.6):
        model += pillow.row(2 if w > 1.3 else 1, x=0.45 * w).moved(0, 0.36 * d, 0.64)
    return model + legs(draw, w, d, 0.15, say)


@subclass("cushion", "06-09", ("cushion", "靠垫"), ("pillow", "枕头"), ("seat cushion", "坐垫"))
def cushion(draw: Draw, say: Say) -> Model:
    """Pillows, seat and neck cushions."""
    shape = parts.outline(draw, draw.uniform("w", 0.6, 1.0), draw.uniform("d", 0.5, 0.9))
    t = draw.uniform("t", 0.12, 0.35)
    layers = [(outlines.inset(shape, 0.18 * (1 - math.sqrt(max(0.0, 1 - s * s)))), s * t)
              for s in np.linspace(-1, 1, 11)]  # fmt: skip
    model = solids.loft(layers, seams=False).dressed(
        parts.ornament(draw, 1.2, say, probability=0.55)
    )
    if draw.chance("piping", 0.5):
        say("a piped edge", "滚边")
        model += solids.tube(
            np.column_stack([shape, np.zeros(len(shape))]), 0.025, closed=True, sides=8
        )
    if draw.chance("buttons", 0.25):
        say("buttoned tufts", "拉扣")
        model += (
            solids.ellipsoid(0.05, 0.05, 0.03)
            .row(3, x=0.35)
            .row(draw.integer("rows", 1, 3), y=0.35)
            .moved(0, 0, t)
        )
    if draw.chance("straps", 0.25):
        say("straps", "绑带")
        model += solids.ribbon([[0.5, 0.4, 0], [0.7, 0.7, 0.02], [0.75, 1.1, 0]], 0.06, 0.01).both(
            "x"
        )
    return model


@subclass(
    "mat",
    "06-11",
    ("mat", "垫子"),
    ("rug", "地毯"),
    ("carpet", "地毯"),
    ("anti-slip mat", "防滑垫"),
)
def mat(draw: Draw, say: Say) -> Model:
    """Flat mats and rugs with patterns and borders."""
    a, b = draw.uniform("w", 0.5, 1.0), draw.uniform("d", 0.35, 0.9)
    shape = parts.outline(draw, a, b)
    t = draw.uniform("t", 0.015, 0.08)
    pattern = parts.ornament(draw, 2 * a, say, probability=0.9)
    model = solids.extrude(shape, t, bevel=0.3 * t)
    for i in range(draw.integer("borders", 0, 3)):
        model += solids.extrude(outlines.inset(shape, 0.06 * (i + 1)), 0.004).moved(
            0, 0, t + 0.004 * i
        )
    field = solids.extrude(
        outlines.inset(shape, 0.07 + 0.06 * draw.integer("borders", 0, 3)), 0.006
    )
    model += field.dressed(pattern).moved(0, 0, t + 0.012)
    if draw.chance("motif", 0.35):
        say("a central motif", "中央图案")
        motif = solids.extrude(parts.outline(draw.part("motif"), 0.25 * a, 0.25 * b), 0.01)
        model += motif.dressed(parts.ornament(draw.part("motif"), 0.4, None)).moved(0, 0, t + 0.018)
    return model


@subclass("mirror", "06-07", ("mirror", "镜子"), ("picture frame", "相框"), unseen=True)
def mirror(draw: Draw, say: Say) -> Model:
    """Frames and mirrors, on a wall or a stand."""
    shape = parts.outline(draw, draw.uniform("w", 0.3, 0.6), draw.uniform("h", 0.4, 0.8))
    border = draw.uniform("border", 0.04, 0.14)
    frame = solids.extrude(shape, 0.06, bevel=0.015, holes=[outlines.inset(shape, border)])
    frame = frame.dressed(parts.ornament(draw, 0.4, say, probability=0.5))
    glass = solids.extrude(outlines.inset(shape, border * 0.9), 0.02).moved(0, 0, 0.01)
    model = (frame + glass).turned("x", 90)
    if draw.chance("stand", 0.4):
        say("a stand", "支架")
        model = (
            model.moved(0, 0, 0.9)
            + solids.cylinder(0.03, 0.4)
            + solids.cylinder(0.25, 0.03, bevel=0.01)
        )
    if draw.chance("lights", 0.3):
        say("lamps around the frame", "环形灯泡")
        t = shape[:: max(1, len(shape) // 12)]
        model += Model([p for x, y in t for p in solids.ellipsoid(0.03, 0.03, 0.03, n=12)
                        .moved(float(x) * 0.93, -0.06, float(y) * 0.93).patches])  # fmt: skip
    return model
