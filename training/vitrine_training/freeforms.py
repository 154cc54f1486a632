"""Designs of no class: random solids put together with symmetry, in a corpus's format.

`python -m vitrine_training.freeforms OUT --designs 4000`. Beside the corpus of nameable things they
add shapes that no grammar foresaw; they have no captions and belong to no class.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.progress import track

from vitrine_training.corpus import outlines, solids
from vitrine_training.corpus.chance import Draw, mix
from vitrine_training.corpus.mesh import Model, Pattern, joined, pack
from vitrine_training.corpus.sheet import compose
from vitrine_training.corpus.store import MANIFEST, sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from vitrine_training.corpus.sheet import Sheet

    Floats = NDArray[np.float64]

_SHARD_DESIGNS = 500
# Designs are sampled class by class; these have none, so they are grouped as they come.
_GROUP = 50


def _polygon(d: Draw, a: float) -> Floats:
    n = d.integer("n", 4, 9)
    turns = [(i + d.uniform(f"j{i}", -0.35, 0.35)) * 2 * math.pi / n for i in range(n)]
    radii = np.array([d.uniform(f"q{i}", 0.35, 1.0) for i in range(n)]) * a * 1.2
    flat = d.uniform("sq", 0.5, 1)
    points = np.stack([radii * np.cos(turns), radii * np.sin(turns) * flat], axis=1)
    return (
        outlines.rounded(points, d.uniform("r", 0.02, 0.25)) if d.chance("round", 0.6) else points
    )


def _blob(d: Draw, a: float) -> Floats:
    waves = d.integer("k", 2, 5)
    amplitudes = [d.uniform(f"am{i}", 0, 0.35 / (i + 1)) for i in range(waves)]
    phases = [d.uniform(f"ph{i}", 0, 6.28) for i in range(waves)]
    blob: Floats = outlines.blob(a, amplitudes, phases) * np.array([1, d.uniform("sq", 0.4, 1)])
    return blob


def outline(d: Draw) -> Floats:
    """A closed outline (N, 2) of about unit size."""
    a, b = d.uniform("a", 0.3, 1.0), d.uniform("b", 0.15, 1.0)
    kinds: dict[str, tuple[int, Callable[[], Floats]]] = {
        "ellipse": (8, lambda: outlines.ellipse(a, b)),
        "super": (8, lambda: outlines.superellipse(a, b, d.uniform("p", 1.2, 6))),
        "rect": (10, lambda: outlines.rectangle(2 * a, 2 * b)),
        "rounded": (
            14,
            lambda: outlines.rounded_rectangle(2 * a, 2 * b, d.uniform("r", 0.05, 0.9) * min(a, b)),
        ),
        "regular": (
            6,
            lambda: (
                outlines.regular(d.integer("n", 3, 8), a, turn=d.uniform("t", 0, 1))
                * np.array([1, d.uniform("sq", 0.5, 1)])
            ),
        ),
        "star": (2, lambda: outlines.star(d.integer("n", 4, 9), a, a * d.uniform("in", 0.4, 0.9))),
        "gear": (
            1,
            lambda: outlines.gear(d.integer("n", 6, 20), a, a * d.uniform("in", 0.7, 0.92)),
        ),
        "lobed": (
            5,
            lambda: (
                outlines.lobed(a, d.integer("n", 3, 12), d.uniform("dp", 0.05, 0.3))
                * np.array([1, d.uniform("sq", 0.5, 1)])
            ),
        ),
        "blob": (10, lambda: _blob(d, a)),
        "heart": (1, lambda: outlines.heart(a)),
        "egg": (5, lambda: outlines.egg(a, b, d.uniform("sk", -0.4, 0.4))),
        "polygon": (10, lambda: _polygon(d, a)),
    }
    kind = d.choice("outline", tuple(kinds), [weight for weight, _ in kinds.values()])
    return kinds[kind][1]()


def _revolved(d: Draw) -> Model:
    n = d.integer("n", 3, 8)
    radii = [d.uniform(f"r{i}", 0.08, 0.6) for i in range(n)]
    heights = np.cumsum([d.uniform(f"h{i}", 0.05, 0.5) for i in range(n)])
    profile = [[r, float(h)] for r, h in zip(radii, heights, strict=True)]
    if d.chance("smooth", 0.65):
        profile = outlines.smooth(profile, 32).tolist()
    points = np.array([[0, heights[0]], *profile, [0, heights[-1]]])
    points[:, 0] = np.maximum(points[:, 0], 0)
    return solids.revolve(points)


def _plate(d: Draw) -> Model:
    shape = outline(d)
    holes = [outlines.ellipse(0.08 + 0.06 * d.unit("hr"))] if d.chance("hole", 0.5) else []
    model = solids.extrude(shape, d.uniform("h", 0.03, 0.12), holes=holes)
    return model.turned("x", 90) if d.chance("up", 0.5) else model


def _lofted(d: Draw) -> Model:
    shape, n = outline(d), d.integer("n", 2, 5)
    z = np.cumsum([0.0] + [d.uniform(f"h{i}", 0.1, 0.6) for i in range(n - 1)])
    scale = np.array([d.uniform(f"s{i}", 0.3, 1.1) for i in range(n)])
    if d.chance("smooth", 0.6) and n > 2:
        curve = outlines.smooth(np.stack([scale, z], axis=1), 14)
        scale, z = np.maximum(curve[:, 0], 0.05), curve[:, 1]
    return solids.loft([(shape * float(s), float(h)) for s, h in zip(scale, z, strict=True)])


def _tube(d: Draw) -> Model:
    n = d.integer("n", 3, 5)
    path = np.array([[d.uniform(f"{axis}{i}", -0.8, 0.8) for axis in "xyz"] for i in range(n)])
    if d.chance("flat", 0.6):
        path[:, 1] = 0
    path = outlines.smooth(path, 24) if d.chance("smooth", 0.8) else path
    return solids.tube(path, d.uniform("r", 0.02, 0.14))


def _ellipsoid(d: Draw) -> Model:
    x, y, z = (d.uniform(axis, 0.2, 0.9) for axis in "xyz")
    return solids.ellipsoid(
        x, y, z, power_xy=d.uniform("pxy", 1.6, 5), power_z=d.uniform("pz", 1.6, 5)
    )


def _box(d: Draw) -> Model:
    w, depth, h = d.uniform("w", 0.2, 1.6), d.uniform("dd", 0.1, 1.2), d.uniform("h", 0.08, 1.4)
    radius, bevel = d.choice("rad", (0.0, 0.04, 0.12)), d.choice("bv", (0.0, 0.0, 0.03))
    return solids.box(w, depth, h, radius=radius, bevel=bevel)


def _ribbon(d: Draw) -> Model:
    flat = np.array([[d.uniform(f"{axis}{i}", -0.8, 0.8) for axis in "xz"] for i in range(4)])
    path = outlines.smooth(flat, 20)
    points = np.stack([path[:, 0], 0 * path[:, 0], path[:, 1]], axis=1)
    return solids.ribbon(points, d.uniform("w", 0.1, 0.6), d.uniform("t", 0.02, 0.06))


def _extruded(d: Draw) -> Model:
    return solids.extrude(
        outline(d), d.uniform("h", 0.1, 1.4), bevel=d.choice("bevel", (0.0, 0.02, 0.05))
    )


def _torus(d: Draw) -> Model:
    return solids.torus(d.uniform("R", 0.3, 0.8), d.uniform("r", 0.03, 0.2))


_SOLIDS: dict[str, tuple[int, Callable[[Draw], Model]]] = {
    "revolve": (16, _revolved),
    "extrude": (18, _extruded),
    "loft": (14, _lofted),
    "tube": (12, _tube),
    "ellipsoid": (8, _ellipsoid),
    "box": (14, _box),
    "plate": (10, _plate),
    "torus": (4, _torus),
    "ribbon": (4, _ribbon),
}


def _part(d: Draw) -> Model:
    kind = d.choice("solid", tuple(_SOLIDS), [weight for weight, _ in _SOLIDS.values()])
    model = _SOLIDS[kind][1](d)
    model = model.turned("x", d.choice("tx", (0.0, 90.0, 15.0, -15.0), (70, 20, 5, 5)))
    model = model.turned("y", d.choice("ty", (0.0, 90.0, 20.0, -20.0), (76, 14, 5, 5)))
    if d.chance("stretch", 0.3):
        model = model.scaled(1, 1, d.uniform("st", 0.5, 2.2))
    pattern = _pattern(d.part("p"))
    if pattern is not None:
        model = model.pierced(pattern) if d.chance("pierce", 0.12) else model.dressed(pattern)
    if d.chance("dark", 0.1):
        model = model.dark()
    return model.broken() if d.chance("broken", 0.05) else model


def _pattern(d: Draw) -> Pattern | None:
    if d.chance("bare", 0.62):
        return None
    period = d.uniform("period", 0.05, 0.35)
    kind, other = d.integer("kind", 1, 13), period * d.uniform("ratio", 0.5, 2)
    angle = d.choice("angle", (0.0, math.pi / 2, math.pi / 4))
    return Pattern(kind, period, other, angle, d.uniform("prop", 0.25, 0.75))


def _centred(model: Model) -> tuple[Model, Floats]:
    low, high = model.bounds()
    x, y, z = (low + high) / 2
    return model.moved(-x, -y, -z), high - low


def _attached(d: Draw, body: Floats) -> Model:
    """A part stacked on or placed in a body of size (3,), repeated by one symmetry."""
    model, size = _centred(_part(d))
    scale = d.uniform("size", 0.12, 0.75) / float(size.max())
    model, size = model.scaled(scale), size * scale
    axis = d.integer("axis", 0, 2)
    place = np.array([d.uniform(f"at{i}", -0.5, 0.5) * body[i] for i in range(3)])
    if d.chance("stack", 0.75):
        sign = 1 if d.chance("sign", 0.6) else -1
        place[axis] = sign * (body[axis] / 2 + size[axis] / 2 * d.uniform("sink", 0.5, 1.0))
    if d.chance("centre", 0.45):
        place[[i for i in range(3) if i != axis]] = 0
    model = model.moved(*(float(value) for value in place))
    symmetry = d.choice("sym", ("none", "x", "y", "xy", "ring", "row"), (30, 28, 8, 12, 12, 10))
    if symmetry in ("x", "xy"):
        model = model.both("x")
    if symmetry in ("y", "xy"):
        model = model.both("y")
    if symmetry == "ring":
        model = model.ring(d.integer("n", 3, 8))
    if symmetry == "row":
        step = float(size.max()) * d.uniform("step", 0.6, 1.3)
        along = d.choice("ra", ("x", "y", "z"))
        shift = {"x": 0.0, "y": 0.0, "z": 0.0} | {along: step}
        model = model.row(d.integer("n", 2, 6), **shift)
    return model


def design(seed: int) -> Model:
    """One design: a body and up to six parts."""
    d = Draw(seed)
    body, size = _centred(_part(d.part("body")))
    longest = float(size.max())
    models, size = [body.scaled(1 / longest)], size / longest
    count = d.choice("parts", (0, 1, 2, 3, 4, 5, 6), (6, 16, 22, 22, 16, 10, 8))
    models += [_attached(d.part(f"part{i}"), size) for i in range(count)]
    model = joined(models)
    if d.chance("squash", 0.5):
        model = model.scaled(*(d.uniform(f"s{axis}", 0.5, 1.5) for axis in "xyz"))
    return model


def sheets(seed: int, *, views: int, size: int) -> list[Sheet]:
    """The sheets of one free form."""
    packed = pack(design(seed))
    return [compose(packed, seed, view=view, size=size) for view in range(views)]


def generate(out: Path, *, count: int, views: int, size: int, seed: int) -> None:
    """Write a corpus of `count` designs into `out`, all of the split "train"."""
    out.mkdir(parents=True, exist_ok=True)
    shards = []
    for number, first in enumerate(range(0, count, _SHARD_DESIGNS)):
        last = min(count, first + _SHARD_DESIGNS)
        pixels = np.empty(((last - first) * views, size, size), np.uint8)
        lines: list[str] = []
        for index in track(range(first, last), f"free forms {first}-{last}"):
            for sheet in sheets(mix(seed, index), views=views, size=size):
                pixels[len(lines)] = sheet.pixels
                row = {
                    "design": index,
                    "subclass": index // _GROUP,
                    "name": "free form",
                    "split": "train",
                    "role": "gallery",
                    "view": sheet.view,
                    "style": sheet.style,
                    "near_copy_of": -1,
                    "caption_en": "",
                    "caption_zh": "",
                }
                lines.append(json.dumps(row) + "\n")
        array, table = out / f"views-{number:05d}.npy", out / f"views-{number:05d}.jsonl"
        np.save(array, pixels)
        table.write_text("".join(lines))
        shards.append(
            {
                "views": array.name,
                "sha256": sha256(array),
                "table": table.name,
                "table_sha256": sha256(table),
            }
        )
    names = [""] * -(-count // _GROUP)  # groups for the batches, but no classes
    manifest = {"seed": seed, "size": size, "subclass_names": names, "shards": shards}
    (out / MANIFEST).write_text(json.dumps(manifest, indent=1))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line entry point."""
    parser = argparse.ArgumentParser(prog="vitrine_training.freeforms", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--designs", type=int, default=4000)
    parser.add_argument("--views", type=int, default=6)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--seed", type=int, default=4242)
    options = parser.parse_args(arguments)
    generate(
        options.out,
        count=options.designs,
        views=options.views,
        size=options.size,
        seed=options.seed,
    )


if __name__ == "__main__":
    main()
