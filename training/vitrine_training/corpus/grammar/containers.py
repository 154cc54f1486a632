"""Locarno 07 and 09: vessels, tableware, packaging, carrying."""

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
        path = [[0, 0, 2.4 * height], [p.uniform("reach", 1.2, 2.4) * radius, 0, 2.4 * height],
                [p.uniform("reach", 1.2, 2.4) * radius + 0.3 * radius, 0, 2.0 * height]]  # fmt: skip
        head = solids.cylinder(0.5 * radius, 0.5 * height, bevel=0.05 * height).moved(
            0, 0, 2.3 * height
        )
        return smooth + stem + head + solids.tube(outlines.smooth(path, 12), 0.18 * radius)
    if form == "spray":
        say("a trigger sprayer", "喷枪头")
        head = solids.extrude(outlines.rounded(np.array([[-1.6, 0], [-0.6, 0], [0.4, 0.3], [1.0, 0.3], [1.0, 1.2],
                                                         [-1.8, 1.1]]) * radius, 0.15 * radius), 0.8 * radius)  # fmt: skip
        head = head.turned("x", 90).moved(0, 0.4 * radius, height)
        trigger = solids.tube(outlines.smooth([[-1.0, 0, 0.4], [-1.3, 0, -0.3], [-1.2, 0, -1.1]], 10) * radius
                              + [0, 0, height], 0.15 * radius)  # fmt: skip
        return smooth + head + trigger
    if form == "cork":
        say("a stopper", "瓶塞")
        return solids.cylinder(0.75 * radius, height, top=0.95 * radius)
    if form == "tall":
        say("a tall cap", "高瓶盖")
        return solids.revolve(parts.profile(p, radius, 2.5 * height, pieces=3))
    say("a sports spout", "运动吸嘴")
    return lid + solids.revolve([[0.6 * radius, height], [0.4 * radius, 1.3 * height], [0.4 * radius, 1.7 * height],
                                 [0.5 * radius, 1.8 * height], [0.5 * radius, 2.1 * height], [0, 2.1 * height]])  # fmt: skip


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
    return parts.outline(p, 1.0, p.uniform("b", 0.6, 1.0), n=n)


def shell(
    draw: Draw, radius: float, height: float, *, neck: float | None = None, pieces: int = 4
) -> Model:
    """Vessel wall on z = 0 of any section and profile; `neck` is the radius it ends in."""
    ring = section(draw)
    line = parts.profile(draw, radius, height, pieces=pieces, closed=False)
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
    body = shell(draw, r, h, neck=neck).dressed(parts.ornament(draw, r * 2, say, probability=0.35))
    top = body.bounds()[1][2]
    model = body + cap(
        draw, neck * draw.uniform("cap", 1.05, 1.6), draw.uniform("cap_height", 0.1, 0.3), say
    ).moved(0, 0, top)
    if draw.chance("label", 0.25):
        say("a label", "标签")
        plate = solids.extrude(parts.outline(draw.part("label"), 0.4 * r, 0.25 * h), 0.03)
        model += (
            plate.turned("x", 90)
            .moved(0, -r * 0.9, 0.5 * h)
            .dressed(parts.ornament(draw.part("label"), r))
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
    body = shell(draw, r, h, pieces=3).dressed(parts.ornament(draw, r * 2, say))
    top = body.bounds()[1][2]
    lid_r = r * draw.uniform("lid", 0.6, 1.0)
    lid = solids.revolve(
        parts.profile(draw.part("lid"), lid_r, draw.uniform("lid_h", 0.12, 0.35), pieces=3)
    )
    model = body + lid.moved(0, 0, top)
    if draw.chance("knob", 0.45):
        say("a lid with a knob", "带钮盖")
        model += parts.knob(draw, 0.2 * lid_r, 0.2).moved(0, 0, top + 0.15)
    if draw.chance("clip", 0.2):
        say("a wire clasp", "卡扣")
        model += parts.loop_handle(draw, 0.4, 0.3, 0.02).turned("x", 90).moved(0, -r, top)
    return model


@subclass("cup", "07-01", ("cup", "杯子"), ("mug", "马克杯"), ("tumbler", "随行杯"))
def cup(draw: Draw, say: Say) -> Model:
    """Cups, mugs, tumblers, goblets."""
    r, h = draw.uniform("radius", 0.35, 0.55), draw.uniform("height", 0.5, 1.5)
    ring, line = section(draw), parts.profile(draw, r, h, pieces=3, closed=False)
    outer = [(ring * max(a, 0.02), z) for a, z in line]
    inner = [(ring * max(a - 0.04, 0.02), z) for a, z in line[::-1]]
    inner[-1] = (inner[-1][0], 0.04)
    model = solids.loft(outer + inner, caps=True)
    model = model.dressed(parts.ornament(draw, 2 * r, say, probability=0.4))
    if draw.chance("stem", 0.15):
        say("a stem", "高脚")
        stem = [
            [0, -0.6],
            [0.8 * r, -0.6],
            [0.8 * r, -0.57],
            [0.08, -0.5],
            [0.06, -0.3],
            [0.1, 0.0],
            [line[0, 0], 0.05],
        ]
        model += solids.revolve(outlines.smooth(stem[3:], 14)) + solids.revolve(stem[:4])
    if draw.chance("handle", 0.6):
        say("a handle", "杯把")
        side = float(np.interp(0.5 * h, line[:, 1], line[:, 0]))
        handle = parts.loop_handle(
            draw, h * draw.uniform("ear", 0.45, 0.8), draw.uniform("reach", 0.2, 0.4), 0.045
        )
        model += handle.turned("y", 90).moved(0.94 * side, 0, h * draw.uniform("at", 0.45, 0.58))
    if draw.chance("lid", 0.3):
        say("a lid", "杯盖")
        lid = parts.profile(
            draw.part("lid"), line[-1, 0] * 1.04, draw.uniform("lid_h", 0.08, 0.2), pieces=3
        )
        model += solids.revolve(lid).moved(0, 0, h)
        if draw.chance("straw", 0.5):
            say("a drinking straw", "吸管")
            model += solids.tube(
                outlines.smooth([[0.1, 0, h], [0.12, 0, h + 0.35], [0.3, 0, h + 0.5]], 14), 0.03
            )
    return model


@subclass(
    "bowl", "07-01", ("bowl", "碗"), ("dish", "盘子"), ("plate", "餐盘"), ("pet bowl", "宠物碗")
)
def bowl(draw: Draw, say: Say) -> Model:
    """Bowls and plates of any outline."""
    ring = section(draw)
    r, h = draw.uniform("radius", 0.6, 1.0), draw.uniform("height", 0.1, 0.7)
    base = draw.uniform("base", 0.25, 0.7) * r
    t = np.linspace(0, 1, 10)
    curve = base + (r - base) * t ** draw.uniform("curve", 0.35, 1.4)
    outer = [(ring * a, h * s) for a, s in zip(curve, t, strict=True)]
    if draw.chance("rim", 0.4):
        say("a flat rim", "宽平边")
        outer.append((ring * r * 1.18, h * 1.02))
    rim = outer[-1][0]
    inner = [(ring * (a - 0.05), h * s + 0.03) for a, s in zip(curve[::-1], t[::-1], strict=True)]
    model = solids.loft([*outer, (rim * 0.99, h * 1.05), *inner])
    model = model.dressed(parts.ornament(draw, 2 * r, say, probability=0.4))
    if draw.chance("divided", 0.25):
        say("compartments", "分格")
        count = draw.integer("walls", 1, 4)
        wall = solids.box(0.85 * r, 0.03, 0.8 * h).moved(0.4 * r, 0, 0.15 * h)
        model += wall.ring(count + 1)
    if draw.chance("ears", 0.2):
        say("two handles", "双耳")
        ear = parts.loop_handle(draw, 0.4 * r, 0.25 * r, 0.04).turned("x", -90).turned("z", -90)
        model += ear.moved(0.95 * r, 0, 0.8 * h).both("x")
    if draw.chance("slats", 0.12):
        model += solids.cylinder(base * 1.1, 0.15, top=base).moved(0, 0, -0.15)
    return model


@subclass(
    "kettle",
    "07-02",
    ("kettle", "水壶"),
    ("teapot", "茶壶"),
    ("coffee pot", "咖啡壶"),
    ("pitcher", "水罐"),
)
def kettle(draw: Draw, say: Say) -> Model:
    """Vessels that pour: spout, handle, lid."""
    r, h = draw.uniform("radius", 0.4, 0.65), draw.uniform("height", 0.5, 1.3)
    body = shell(draw, r, h, pieces=3).dressed(parts.ornament(draw, r * 2, say, probability=0.3))
    top = body.bounds()[1][2]
    z = draw.uniform("spout_z", 0.25, 0.7) * h
    tip = h * draw.uniform("tip", 0.8, 1.2)
    reach = r * draw.uniform("spout", 1.3, 2.2)
    neck = outlines.smooth([[-0.7 * r, 0, z], [-0.5 * (r + reach), 0, z + 0.1 * h], [-0.9 * reach, 0, tip - 0.1],
                            [-reach, 0, tip]], 18)  # fmt: skip
    model = body + solids.tube(neck, np.linspace(0.17, draw.uniform("spout_r", 0.04, 0.1), 18))
    lid = parts.profile(draw.part("lid"), 0.7 * r, draw.uniform("lid_h", 0.1, 0.3), pieces=3)
    model += solids.revolve(lid).moved(0, 0, top) + parts.knob(draw, 0.09, 0.12).moved(
        0, 0, top + 0.2
    )
    if draw.chance("bail", 0.35):
        say("a bail handle over the lid", "提梁")
        model += parts.loop_handle(draw, 1.6 * r, draw.uniform("bail_h", 0.4, 0.8), 0.04).moved(
            0, 0, 0.9 * h
        )
    else:
        say("a side handle", "侧把手")
        model += (
            parts.loop_handle(draw, 0.7 * h, draw.uniform("ear", 0.3, 0.5), 0.05)
            .turned("y", 90)
            .moved(0.8 * r, 0, 0.55 * h)
        )
    say("a spout", "壶嘴")
    if draw.chance("electric", 0.3):
        say("a power base", "电源底座")
        model += solids.cylinder(r, 0.09, bevel=0.02).moved(0, 0, -0.12)
    return model


@subclass("pan", "07-02", ("cooking pot", "锅"), ("frying pan", "煎锅"), ("saucepan", "奶锅"))
def pan(draw: Draw, say: Say) -> Model:
    """Pots and pans."""
    r, h = draw.uniform("radius", 0.5, 0.9), draw.uniform("height", 0.15, 0.8)
    ring = outlines.ellipse(1, draw.choice("oval", (1.0, 1.0, 0.8)), 44)
    flare = draw.uniform("flare", 0.75, 1.0)
    model = solids.loft([(ring * r * flare, 0), (ring * r, h), (ring * r * 1.04, h), (ring * r * 0.96, h),
                         (ring * r * flare * 0.95, 0.04)])  # fmt: skip
    if draw.chance("long", 0.5):
        say("a long handle", "长柄")
        shaft = parts.grip(draw, draw.uniform("handle", 0.8, 1.4), 0.09, say)
        model += shaft.turned("y", 90 - draw.uniform("rise", 0, 20)).moved(0.97 * r, 0, 0.8 * h)
    else:
        say("two side handles", "双侧耳")
        ear = parts.loop_handle(draw, 0.5 * r, 0.28, 0.045).turned("x", -90).turned("z", -90)
        model += ear.moved(0.95 * r, 0, 0.8 * h).both("x")
    if draw.chance("lid", 0.5):
        say("a lid", "锅盖")
        lid = parts.dome(1.02 * r, draw.uniform("lid", 0.08, 0.35))
        model += (lid + parts.knob(draw, 0.11, 0.16).moved(0, 0, 0.2)).moved(0, 0, h)
    return model


@subclass(
    "food container",
    "07-07",
    ("food container", "食品容器"),
    ("lunch box", "饭盒"),
    ("storage box", "收纳盒"),
)
def food_container(draw: Draw, say: Say) -> Model:
    """Shallow boxes with lids, rims, compartments and clips."""
    a, b, h = draw.uniform("w", 0.5, 0.9), draw.uniform("d", 0.35, 0.7), draw.uniform("h", 0.2, 0.8)
    shape = parts.outline(draw, a, b)
    small = shape * draw.uniform("draft", 0.78, 1.0)
    model = solids.loft([(small, 0), (shape, h)]) + solids.extrude(shape * 1.06, 0.05).moved(
        0, 0, h
    )
    lid = solids.extrude(shape * 0.9, draw.uniform("lid", 0.03, 0.2), bevel=0.02).moved(
        0, 0, h + 0.05
    )
    cells = draw.integer("cells", 0, 4)
    if cells > 1:
        say(f"{cells} compartments", f"{'一二三四'[cells - 1]}格")
        cell = solids.extrude(
            outlines.rounded_rectangle(1.5 * a / cells, 1.3 * b, 0.12), 0.05, bevel=0.015
        )
        model += cell.row(cells, x=1.65 * a / cells).moved(0, 0, h + 0.06)
    else:
        model += lid.dressed(parts.ornament(draw, 2 * a, say, probability=0.3))
    clips = draw.integer("clips", 0, 2)
    if clips:
        say("locking clips", "锁扣")
        clip = solids.box(0.3 * a, 0.05, 0.22, bevel=0.015)
        model += clip.row(clips, x=0.7 * a).moved(0, -1.02 * b, h - 0.12) + clip.moved(
            0, 1.02 * b, h - 0.12
        )
    if draw.chance("handle", 0.3):
        say("a carrying handle", "提手")
        model += parts.loop_handle(draw, 1.2 * a, 0.4, 0.05).moved(0, 0, h + 0.05)
    if draw.chance("ribs", 0.25):
        model += (
            solids.box(0.03, 0.04, 0.8 * h)
            .row(draw.integer("rib", 4, 12), x=0.14 * a)
            .moved(0, -b, 0.05)
        )
    return model


@subclass("carton", "09-03", ("box", "盒子"), ("carton", "纸盒"), ("package", "包装盒"))
def carton(draw: Draw, say: Say) -> Model:
    """Folding boxes and cartons with windows, tucks and print."""
    w, d, h = draw.uniform("w", 0.4, 1.2), draw.uniform("d", 0.2, 1.0), draw.uniform("h", 0.2, 1.4)
    form = draw.choice("form", ("box", "gable", "hex", "pillow", "sleeve"))
    if form == "hex":
        model = solids.extrude(outlines.regular(draw.integer("sides", 5, 8), 0.6 * w), h)
    elif form == "gable":
        say("a gable top with a handle", "屋顶提手")
        model = solids.box(w, d, h)
        top = [
            (outlines.rectangle(w, d), h),
            (outlines.rectangle(w, 0.06), h + 0.5 * d),
            (outlines.rectangle(w, 0.05), h + 0.8 * d),
        ]
        model += solids.loft(top)
    elif form == "pillow":
        say("a pillow shape", "枕形")
        model = solids.ellipsoid(0.5 * w, 0.2 * w, 0.5 * h, power_xy=2.2, power_z=6)
    else:
        model = solids.box(w, d, h)
    model = model.dressed(parts.ornament(draw, max(w, h), say, probability=0.5))
    face = draw.part("face")
    front = -0.5 * d - 0.005
    if form not in ("hex", "pillow"):
        if face.chance("window", 0.35):
            say("a window", "开窗")
            pane = solids.extrude(parts.outline(face, 0.35 * w, 0.3 * h), 0.02)
            model += pane.turned("x", 90).moved(0, front, 0.5 * h)
        if face.chance("print", 0.35):
            say("printed lettering", "印刷文字")
            text = solids.face(outlines.rectangle(0.8 * w, 0.25 * h)).turned("x", 90)
            model += text.dressed(Pattern(23, 0.08 * w, 0.06 * h)).moved(0, front, 0.85 * h)
        if face.chance("tuck", 0.5):
            model += (
                solids.box(0.9 * w, 0.01, 0.2 * d)
                .turned("x", face.uniform("open", -60, -5))
                .moved(0, front, h)
            )
    return model


@subclass(
    "bag",
    "03-01",
    ("bag", "包"),
    ("handbag", "手提包"),
    ("backpack", "背包"),
    ("tote bag", "手提袋"),
)
def bag(draw: Draw, say: Say) -> Model:
    """Bags with straps, flaps and pockets."""
    w, d, h = draw.uniform("w", 0.6, 1.1), draw.uniform("d", 0.2, 0.5), draw.uniform("h", 0.5, 1.2)
    shape = outlines.superellipse(0.5 * w, 0.5 * d, draw.uniform("power", 2.5, 8))
    top = draw.uniform("top", 0.55, 1.0)
    t = np.linspace(0, 1, 10)
    body = solids.loft([(shape * (1 + (top - 1) * s + draw.uniform("belly", 0, 0.15) * math.sin(math.pi * s))
                         * (0.93 if s == 0 else 1), h * s) for s in t.tolist()])  # fmt: skip
    model = body.dressed(parts.ornament(draw, w, say, probability=0.4))
    straps = draw.choice("straps", ("handles", "shoulder", "pack", "top"))
    if straps == "handles":
        say("two carrying handles", "双提手")
        model += (
            parts.loop_handle(draw, 0.5 * w, draw.uniform("drop", 0.2, 0.6), 0.025)
            .moved(0, 0.4 * d * top, h)
            .both("y")
        )
    elif straps == "shoulder":
        say("a shoulder strap", "肩带")
        path = outlines.smooth(
            [
                [-0.45 * w * top, 0, h],
                [-0.4 * w, 0, 1.8 * h],
                [0.4 * w, 0, 1.8 * h],
                [0.45 * w * top, 0, h],
            ],
            26,
        )
        model += solids.ribbon(path, 0.08, 0.015)
    elif straps == "pack":
        say("two back straps", "双肩背带")
        path = outlines.smooth(
            [[0, 0.45 * d, h], [0, d, 0.85 * h], [0, 0.9 * d, 0.4 * h], [0, 0.45 * d, 0.1 * h]], 22
        )
        model += solids.ribbon(path, 0.1, 0.02).moved(0.22 * w).both("x") + parts.loop_handle(
            draw, 0.2 * w, 0.12, 0.02
        ).moved(0, 0, h)
    else:
        say("a top handle", "提手")
        model += parts.loop_handle(draw, 0.35 * w, 0.2, 0.03).moved(0, 0, h)
    if draw.chance("flap", 0.4):
        say("a front flap", "翻盖")
        flap = solids.extrude(
            outlines.rounded(
                np.array([[-0.48, 0], [-0.4, -0.5], [0.4, -0.5], [0.48, 0]]) * [w * top, h], 0.1
            ),
            0.02,
        )
        model += flap.turned("x", 90).moved(0, -0.5 * d, h) + parts.knob(draw, 0.04, 0.03).turned(
            "x", 90
        ).moved(0, -0.52 * d, 0.6 * h)
    if draw.chance("pocket", 0.5):
        say("a front pocket", "前袋")
        pocket = solids.box(
            draw.uniform("pw", 0.4, 0.8) * w,
            0.2 * d,
            draw.uniform("ph", 0.25, 0.5) * h,
            radius=0.04,
            bevel=0.03,
        )
        zip_line = solids.box(0.35 * w, 0.02, 0.02).moved(0, -0.11 * d, 0.3 * h)
        model += (pocket + zip_line).moved(0, -0.5 * d, 0.06 * h)
    if draw.chance("wheels", 0.12):
        say("wheels", "滚轮")
        model += parts.wheel(draw, 0.08, 0.06).moved(0.35 * w, 0.3 * d, 0).both("x")
    return model


@subclass(
    "bucket",
    "09-02",
    ("bucket", "桶"),
    ("waste bin", "垃圾桶"),
    ("cooler", "保温箱"),
    ("basket", "篮子"),
)
def bucket(draw: Draw, say: Say) -> Model:
    """Open or lidded tubs, baskets, bins and coolers."""
    ring = section(draw)
    r, h = draw.uniform("radius", 0.4, 0.6), draw.uniform("height", 0.5, 1.3)
    low = draw.uniform("low", 0.65, 1.0)
    wall = solids.loft([(ring * r * low, 0), (ring * r, h)])
    if draw.chance("pierced", 0.3):
        say("perforated walls", "镂空壁")
        wall = wall.pierced(parts.piercing(draw, r * 2))
    else:
        wall = wall.dressed(parts.ornament(draw, r * 2, say, probability=0.4))
    model = wall + solids.loft(
        [(ring * r * 1.06, 0.94 * h), (ring * r * 1.06, h), (ring * r * 0.95, h)], caps=False
    )
    for i in range(draw.integer("bands", 0, 3)):
        z = h * draw.uniform(f"band{i}", 0.1, 0.8)
        s = low + (1 - low) * z / h
        model += solids.loft([(ring * r * s * 1.03, z), (ring * r * s * 1.03, z + 0.05)])
    if draw.chance("lid", 0.45):
        say("a lid", "盖子")
        rise = draw.uniform("rise", 0.05, 0.3)
        model += solids.loft(
            [(ring * r * 1.08, h), (ring * r * 1.08, h + 0.07), (ring * r * 0.6, h + rise + 0.07)]
        )
    elif draw.chance("bail", 0.6):
        say("a bail handle", "提梁")
        model += parts.loop_handle(draw, 2 * r, draw.uniform("bail_h", 0.3, 0.7), 0.025).moved(
            0, 0, 0.92 * h
        )
    if draw.chance("sides", 0.35):
        say("side grips", "侧提手")
        model += (
            parts.loop_handle(draw, 0.4, 0.14, 0.03)
            .turned("z", 90)
            .turned("y", 90)
            .moved(0.97 * r, 0, 0.8 * h)
            .both("x")
        )
    if draw.chance("wheels", 0.2):
        say("two wheels", "双轮")
        model += parts.wheel(draw, 0.15, 0.09).moved(0.5 * r, 0.7 * r, 0.1).both("x")
    if draw.chance("pedal", 0.12):
        model += solids.box(0.25, 0.2, 0.04).moved(0, -r, 0.05)
    return model


@subclass(
    "basin", "23-02", ("basin", "洗手盆"), ("sink", "水槽"), ("bathtub", "浴缸"), ("tray", "托盘")
)
def basin(draw: Draw, say: Say) -> Model:
    """Sinks, tubs and trays: a rim, a hollow, a drain."""
    a, b, h = draw.uniform("w", 0.6, 1.2), draw.uniform("d", 0.4, 0.8), draw.uniform("h", 0.08, 0.6)
    outer = parts.outline(draw, a, b)
    border = draw.uniform("border", 0.05, 0.2)
    inner = (
        parts.outline(draw.part("inner"), a - border, b - border)
        if draw.chance("other", 0.5)
        else outlines.inset(outer, border)
    )
    low = inner * draw.uniform("draft", 0.7, 0.95)
    inside = solids.loft([(inner, h), (inner * 0.97, 0.5 * h), (low, 0.15 * h)], caps=False)
    model = (
        solids.loft([(outer * draw.uniform("foot", 0.7, 1.0), 0), (outer, h)], caps=False) + inside
    )
    model += (
        solids.face(outer, h, [inner]) + solids.face(low, 0.15 * h) + solids.face(outer * 0.8, 0)
    )
    if draw.chance("drain", 0.6):
        say("a drain", "排水口")
        model += solids.torus(0.06, 0.012).moved(
            0, draw.uniform("drain_y", -0.2, 0.3) * b, 0.16 * h
        ) + solids.cylinder(0.05, 0.01).moved(0, 0.1 * b, 0.155 * h)
    if draw.chance("cells", 0.3):
        say("compartments", "分格")
        model += (
            solids.box(0.03, 1.7 * (b - border), 0.7 * h)
            .row(draw.integer("walls", 1, 4), x=0.5 * a)
            .moved(0, 0, 0.2 * h)
        )
    if draw.chance("ears", 0.3):
        say("end handles", "端部把手")
        model += (
            parts.loop_handle(draw, 0.6 * b, 0.12, 0.03)
            .turned("x", -90)
            .turned("z", -90)
            .moved(0.97 * a, 0, 0.9 * h)
            .both("x")
        )
    model += (
        parts.ornament(draw, a, say, probability=0.25)
        and solids.face(low * 0.97, 0.152 * h).dressed(
            parts.ornament(draw, a, None, probability=0.25)
        )
        or parts.NOTHING
    )
    return model
