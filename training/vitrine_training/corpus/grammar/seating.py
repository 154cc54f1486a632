"""Locarno 06-01, 06-02: seats and beds, and their legs and backs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .. import forms, outlines, parts, solids
from ..mesh import Model, Pattern
from ..registry import subclass

if TYPE_CHECKING:
    from ..chance import Draw
    from ..forms import Say
    from ..mesh import Model


def legs(draw: Draw, w: float, d: float, height: float, say: Say) -> Model:
    """Supports between z = 0 and `height` for a top of w by d."""
    p = draw.part("legs")
    form = p.choice(
        "form",
        (
            "straight",
            "tapered",
            "turned",
            "sled",
            "pedestal",
            "splayed",
            "cross",
            "panel",
            "swivel",
        ),
        (5, 5, 2, 3, 3, 4, 2, 2, 2),
    )
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
            solids.revolve(forms.profile(p, 1.6 * r, height, pieces=6))
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
        return solids.tube(
            outlines.rounded(np.array(path)[:, 1:], 3 * r) @ np.array([[0, 1, 0], [0, 0, 1]])
            + [x, 0, 0],
            0.6 * r,
        ).both("x")
    if form == "pedestal":
        say("a pedestal", "单柱底座")
        foot = p.uniform("foot", 0.25, 0.42) * min(w, d)
        column = forms.profile(p, 0.3 * foot, height * 0.9, closed=False)
        return solids.revolve(
            [[0, 0], [foot, 0], [foot, 0.03 * height], *(column + np.array([0, 0.06 * height]))]
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
        panel = panel.pierced(forms.piercing(p, d))
    return panel.moved(x, 0).both("x")


def under(draw: Draw, top: np.ndarray, height: float, say: Say) -> Model:
    """Supports for a top of the given outline: the rounder it is, the further inside they stand."""
    w, d = (float(v) for v in np.ptp(top, axis=0))
    fill = abs(outlines.area(top)) / (w * d)
    inset = 0.97 * min(1.0, max(0.55, fill)) ** 0.75
    return legs(draw, w * inset, d * inset, height, say)


def _back(draw: Draw, w: float, height: float, thickness: float, say: Say) -> Model:
    """Chair back standing on z = 0 in the plane y = 0."""
    p = draw.part("back")
    form = p.choice(
        "form",
        ("slats", "spindles", "panel", "ladder", "shell", "mesh", "splat", "hoop"),
        (4, 3, 4, 3, 4, 2, 2, 2),
    )
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
        rung = rail.scaled(1, 1, 0.8)
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
        path = outlines.smooth(
            [
                [-0.5 * w, 0, 0],
                [-0.5 * w, 0, 0.6 * height],
                [0, 0, height],
                [0.5 * w, 0, 0.6 * height],
                [0.5 * w, 0, 0],
            ],
            30,
        )
        stick = solids.tube([[0, 0, 0], [0, 0, 0.8 * height]], 0.4 * thickness, sides=8)
        return solids.tube(path, thickness) + stick.row(p.integer("count", 1, 7), x=0.12 * w)
    if form == "splat":
        say("a shaped splat", "异形背板")
        plate = solids.extrude(forms.outline(p, 0.16 * w, 0.45 * height), thickness)
        return (
            post
            + rail.moved(0, 0, 0.85 * height)
            + plate.turned("x", 90).moved(0, 0, 0.45 * height)
        )
    say(
        "a panel back" if form == "panel" else "a curved shell back",
        "板式靠背" if form == "panel" else "弧形靠背",
    )
    shape = forms.outline(p, 0.52 * w, 0.5 * height)
    panel = solids.extrude(shape, 1.5 * thickness, bevel=0.3 * thickness)
    panel = panel.dressed(forms.ornament(p, w, say, probability=0.25))
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
    shape = forms.outline(draw.part("seat"), 0.5 * w, 0.5 * d)
    model = under(draw, shape, height, say)
    seat = solids.extrude(shape, t, bevel=0.3 * t).moved(0, 0, height)
    if draw.chance("cushion", 0.35):
        say("a cushioned seat", "软垫座面")
        seat += solids.ellipsoid(0.46 * w, 0.46 * d, 0.06, power_xy=4, power_z=2.5).moved(
            0, 0, height + t
        )
    model += seat.dressed(forms.ornament(draw.part("weave"), w, None, probability=0.12))
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
    shape = forms.outline(draw.part("seat"), 0.5 * w, 0.5 * d)
    model = under(draw, shape, height, say)
    seat = solids.extrude(shape, t, bevel=0.35 * t)
    seat = seat.dressed(forms.ornament(draw, w, say, probability=0.3))
    if draw.chance("saddle", 0.25):
        say("a saddle seat", "鞍形座面")
        seat = parts.bend(seat, draw.uniform("curve", 0.3, 0.9), w)
    if draw.chance("ring", 0.3):
        say("a foot ring", "脚踏圈")
        model += solids.torus(0.36 * min(w, d), 0.012).moved(0, 0, 0.35 * height)
    return model + seat.moved(0, 0, height)


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
    pattern = forms.ornament(draw, cw, say, probability=0.2)
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
            draw.part("foot"), w, draw.uniform("foot", 0.3, 0.6), 0.03, forms.Say()
        ).moved(0, -0.5 * d, 0.15)
    pillow = solids.ellipsoid(0.2 * w, 0.16 * d * 0.6, 0.08, power_xy=4)
    if draw.chance("pillows", 0.6):
        model += pillow.row(2 if w > 1.3 else 1, x=0.45 * w).moved(0, 0.36 * d, 0.64)
    return model + legs(draw, w, d, 0.15, say)
