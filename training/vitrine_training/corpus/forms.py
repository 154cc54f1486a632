"""Forms that grammars draw from: surface patterns, outlines, profiles, caption phrases."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from . import outlines
from .mesh import Pattern

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .chance import Draw

    Floats = NDArray[np.float64]


# Pattern kinds of `kernels.cell_of` with their names.
ORNAMENTS: dict[int, tuple[str, str]] = {
    1: ("parallel lines", "平行线纹"),
    2: ("bands", "条带纹"),
    3: ("a grid", "方格纹"),
    4: ("bricks", "砖纹"),
    5: ("diamonds", "菱形纹"),
    6: ("hexagons", "六边形纹"),
    7: ("dots", "圆点纹"),
    8: ("staggered dots", "交错圆点"),
    9: ("slots", "长圆孔纹"),
    10: ("waves", "波浪纹"),
    11: ("chevrons", "人字纹"),
    12: ("triangles", "三角纹"),
    13: ("irregular cells", "不规则格纹"),
    14: ("scales", "鳞片纹"),
    15: ("rings", "同心圆纹"),
    16: ("rays", "放射纹"),
    17: ("flowers", "花朵图案"),
    18: ("stars", "星形图案"),
    19: ("squares", "方块纹"),
    20: ("basket weave", "编织纹"),
    21: ("plaid", "格子纹"),
    22: ("spots", "斑点"),
    23: ("lettering", "文字"),
    24: ("crosses", "十字纹"),
    25: ("interlaced arcs", "交织弧纹"),
}


_PIERCING = (2, 6, 7, 8, 9, 17, 18, 19, 24)


class Say:
    """Collects what a caption can mention, in English and Chinese."""

    def __init__(self) -> None:
        self.features: list[tuple[str, str]] = []

    def __call__(self, en: str, zh: str) -> None:
        self.features.append((en, zh))


def ornament(
    draw: Draw, size: float, say: Say | None = None, *, probability: float = 0.4, fine: bool = False
) -> Pattern | None:
    """Return a surface pattern for something of the given size, or None."""
    d = draw.part("ornament")
    if not d.chance("used", probability):
        return None
    kind = d.choice("kind", tuple(ORNAMENTS))
    low, high = (0.02, 0.06) if fine else (0.05, 0.22)
    period = size * math.exp(d.uniform("period", math.log(low), math.log(high)))
    if kind in (17, 18, 22, 25):
        period *= 1.6
    if say is not None:
        en, zh = ORNAMENTS[kind]
        say(f"a pattern of {en}", zh)
    stretch = math.exp(d.uniform("stretch", -0.6, 0.6))
    angle = d.choice(
        "angle", (0.0, 0.5 * math.pi, 0.25 * math.pi, d.uniform("any", 0, 3.1)), (6, 5, 2, 1)
    )
    return Pattern(
        kind, period * stretch, period / stretch, angle, d.uniform("proportion", 0.3, 0.85)
    )


def piercing(draw: Draw, size: float, say: Say | None = None) -> Pattern:
    """Return a pattern of holes for something of the given size."""
    d = draw.part("piercing")
    kind = d.choice("kind", _PIERCING)
    period = size * d.uniform("period", 0.06, 0.2)
    if say is not None:
        say(f"holes shaped as {ORNAMENTS[kind][0]}", f"{ORNAMENTS[kind][1]}镂空")
    return Pattern(
        kind,
        period * d.uniform("stretch", 0.7, 1.6),
        period,
        d.choice("angle", (0.0, 0.5 * math.pi, 0.25 * math.pi), (5, 4, 2)),
        d.uniform("part", 0.4, 0.75),
    )


def outline(draw: Draw, a: float, b: float, *, n: int = 48) -> Floats:
    """Return a closed outline with half sizes about a, b: from plain to free forms."""
    d = draw.part("outline")
    form = d.choice(
        "form",
        ("rectangle", "rounded", "ellipse", "super", "polygon", "egg", "blob", "lobed", "kidney"),
        (3, 8, 6, 5, 3, 3, 4, 2, 2),
    )
    size = min(a, b)
    if form == "rectangle":
        return outlines.rectangle(2 * a, 2 * b)
    if form == "rounded":
        return outlines.rounded_rectangle(2 * a, 2 * b, size * d.uniform("radius", 0.1, 0.95), 7)
    if form == "ellipse":
        return outlines.ellipse(a, b, n)
    if form == "super":
        return outlines.superellipse(a, b, d.uniform("power", 1.3, 5.0), n)
    if form == "polygon":
        sides = d.integer("sides", 3, 8)
        points = outlines.regular(sides, 1.0, turn=0.5 * math.pi) * [a, b]
        return outlines.rounded(points, size * d.uniform("corner", 0.02, 0.4))
    if form == "egg":
        return outlines.egg(a, b, d.uniform("skew", -0.35, 0.35), n)
    if form == "lobed":
        return outlines.lobed(1.0, d.integer("lobes", 3, 9), d.uniform("depth", 0.08, 0.35)) * [
            a,
            b,
        ]
    if form == "kidney":
        bean = outlines.ellipse(a, b, n)
        bean[:, 1] += d.uniform("bend", 0.2, 0.6) * b * (bean[:, 0] / a) ** 2
        return bean
    amplitudes = [d.uniform(f"a{k}", 0.0, 0.22 / (1 + 0.4 * k)) for k in range(4)]
    phases = [d.uniform(f"p{k}", 0.0, 6.28) for k in range(4)]
    return outlines.blob(1.0, amplitudes, phases, n + 24) * [a, b]


def profile(
    draw: Draw, radius: float, height: float, *, pieces: int = 4, closed: bool = True
) -> Floats:
    """Return a (N, 2) profile of (radius, height) built of straight, bulging and beaded pieces."""
    d = draw.part("profile")
    count = d.integer("pieces", 2, pieces)
    cuts = np.cumsum([d.uniform(f"h{i}", 0.3, 1.0) for i in range(count)])
    heights = np.concatenate([[0.0], cuts / cuts[-1]]) * height
    radii = [radius * d.uniform(f"r{i}", 0.45, 1.0) for i in range(count + 1)]
    points: list[list[float]] = [[0.0, 0.0]] if closed else []
    for i in range(count):
        r0, r1, z0, z1 = radii[i], radii[i + 1], heights[i], heights[i + 1]
        form = d.choice(
            f"form{i}", ("line", "bulge", "waist", "s", "step", "bead"), (5, 4, 3, 3, 3, 2)
        )
        t = np.linspace(0.0, 1.0, 9)
        line = r0 + (r1 - r0) * t
        amount = d.uniform(f"amount{i}", 0.05, 0.28) * radius
        if form == "bulge":
            line = line + amount * np.sin(math.pi * t)
        elif form == "waist":
            line = line - min(amount, 0.3 * min(r0, r1)) * np.sin(math.pi * t)
        elif form == "s":
            line = r0 + (r1 - r0) * (3 * t**2 - 2 * t**3)
        elif form == "step":
            line = np.array([r0, r0, r1])
            t = np.array([0.0, 1.0, 1.0])
            radii[i + 1] = r1
        elif form == "bead":
            beads = d.integer(f"beads{i}", 2, 5)
            t = np.linspace(0.0, 1.0, beads * 8 + 1)
            line = r0 + (r1 - r0) * t + 0.5 * amount * np.abs(np.sin(math.pi * beads * t))
        points.extend([float(r), float(z0 + (z1 - z0) * s)] for r, s in zip(line, t, strict=True))
    if closed:
        points.append([0.0, height])
    result: Floats = np.array(points, dtype=np.float64)
    keep = np.concatenate([[True], np.linalg.norm(np.diff(result, axis=0), axis=1) > 1e-6])
    kept: Floats = result[keep]
    return kept
