"""Designs from seeds: subclass, parameters, model, and what a caption can say about it."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from . import grammar
from .chance import Draw, mix
from .forms import Say
from .mesh import Model, Packed, new_group, pack
from .registry import SUBCLASSES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Raised when a change makes old seeds draw other designs.
GRAMMAR_VERSION = 3

# importing the families registers their subclasses
_FAMILIES = grammar.FAMILIES
NAMES: tuple[str, ...] = tuple(sorted(SUBCLASSES))


@dataclass(frozen=True)
class Design:
    """A built design. `features` are (English, Chinese) phrases, `names` the draws it asked for."""

    subclass: str
    model: Packed
    features: tuple[tuple[str, str], ...]
    names: Mapping[str, tuple[float, ...]]


def weights(seed: int) -> list[float]:
    """Return the share of each of `NAMES`: Zipf (exponent 0.6) in an order drawn from the seed."""
    order = sorted(range(len(NAMES)), key=lambda i: mix(seed, i, 5))
    share = [0.0] * len(NAMES)
    for rank, i in enumerate(order):
        share[i] = 1.0 / (rank + 2.0) ** 0.6
    return share


def subclass_of(seed: int, share: Sequence[float] | None = None) -> str:
    """Return the subclass of design `seed`."""
    return Draw(mix(seed, 1)).choice("subclass", NAMES, share)


def build(seed: int, subclass: str, overrides: Mapping[str, float] | None = None) -> Design:
    """Build a design; `overrides` replace named draws (see `near_copy`)."""
    draw = Draw(mix(seed, 2), overrides)
    say = Say()
    model = SUBCLASSES[subclass].build(draw, say)
    whole = draw.part("whole")
    if whole.chance("stretched", 0.5):
        model = model.scaled(*(math.exp(whole.uniform(f"stretch_{a}", -0.18, 0.18)) for a in "xyz"))
    if whole.chance("disclaimed", 0.10):
        model = _disclaim(model, whole)
    return Design(
        subclass, pack(model, _seams(draw.part("seams"))), tuple(say.features), draw.names
    )


def _seams(draw: Draw) -> list[Callable[[Floats], Floats]]:
    """Parting lines and panel borders: planes, waves and ovals whose zero lines are drawn."""
    fields: list[Callable[[Floats], Floats]] = []
    if not draw.chance("used", 0.5):
        return fields
    form = draw.choice("form", ("plane", "tilted", "wave", "oval"), (5, 3, 3, 3))
    axis = draw.choice("axis", (2, 0, 1), (5, 2, 2))
    level = draw.uniform("level", -0.4, 0.4)
    tilt, size, count = (
        draw.uniform("tilt", -0.9, 0.9),
        draw.uniform("size", 0.04, 0.2),
        draw.uniform("count", 2, 9),
    )
    a, b = draw.uniform("a", 0.15, 0.7), draw.uniform("b", 0.15, 0.7)
    band = draw.uniform("band", 0.02, 0.09)

    def field(v: Floats, shift: float) -> Floats:
        along = v[:, (axis + 1) % 3]
        if form == "plane":
            return v[:, axis] - level + shift
        if form == "tilted":
            return v[:, axis] - level + tilt * along + shift
        if form == "wave":
            return v[:, axis] - level + size * np.sin(count * along) + shift
        other = v[:, (axis + 2) % 3]
        return np.sqrt((along / a) ** 2 + (other / b) ** 2) - 1.0 + shift

    fields.append(lambda v: field(v, 0.0))
    if draw.chance("double", 0.5):
        fields.append(lambda v: field(v, band))
    return fields


def _disclaim(model: Model, draw: Draw) -> Model:
    """Show the patches on one side of a plane in broken lines, as environment."""
    low, high = model.bounds()
    axis = draw.choice("disclaimed_axis", (0, 1, 2), (2, 1, 3))
    cut = low[axis] + draw.uniform("disclaimed_cut", 0.25, 0.5) * (high[axis] - low[axis])
    above = draw.chance("disclaimed_side", 0.4)
    patches = [
        replace(p, broken=True, group=new_group())
        if (p.vertices[:, axis].mean() > high[axis] + low[axis] - cut if above
            else p.vertices[:, axis].mean() < cut)
        else p
        for p in model.patches
    ]  # fmt: skip
    if all(p.broken for p in patches):
        return model
    return Model(patches)


def near_copy(seed: int, subclass: str, original: Design) -> Design:
    """Build a copy of a design with one parameter changed by a bounded amount that can be seen.

    A continuous parameter moves by 0.2 to 0.4 of its range; a discrete one takes another value.
    Parameters are tried in an order drawn from the seed until one changes the model.
    """
    keys = sorted(
        (k for k in original.names if not k.startswith(("whole.", "seams."))),
        key=lambda k: Draw(mix(seed, 3)).unit(k),
    )
    for key in keys:
        copy = build(seed, subclass, {key: _edited(seed, key, original.names[key])})
        if _visibly_different(original.model, copy.model):
            return copy
    return original


def _edited(seed: int, key: str, cuts: tuple[float, ...]) -> float:
    value = Draw(mix(seed, 2)).unit(key)
    draw = Draw(mix(seed, 4)).part(key)
    if not cuts:
        step = draw.uniform("step", 0.2, 0.4)
        return value + step if value < 0.5 else value - step
    edges = (0.0, *cuts, 1.0)
    now = bisect_right(cuts, value)
    others = [i for i in range(len(edges) - 1) if i != now]
    other = draw.choice("other", others)
    return 0.5 * (edges[other] + edges[other + 1])


def _visibly_different(a: Packed, b: Packed) -> bool:
    """Whether a surface moved by a hundredth of the model's radius, or its patterns changed."""
    if a.vertices.shape != b.vertices.shape or a.table.shape != b.table.shape:
        return True
    return bool(
        np.abs(a.vertices - b.vertices).max() > 0.01
        or np.abs(a.table[:, :10] - b.table[:, :10]).max() > 0.02
    )
