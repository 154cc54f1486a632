"""Which designs a corpus holds: subclass, split, near-copies, styles and roles, from its seed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from . import designs, sheet
from .chance import Draw, mix
from .registry import SUBCLASSES
from .style import STYLES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .sheet import Sheet

NEAR_COPY_SHARE = 0.24  # of the odd designs: each is compared with the even design before it
VALIDATION_SHARE = 0.06
UNSEEN_WEIGHT = 0.35  # held-out subclasses are for measuring only: fewer of them
GENERIC_WEIGHT = 2.5  # free compositions: the widest variety of forms
QUERY_VIEWS = 5  # of a held-out design, but never more than half of its sheets


@dataclass(frozen=True)
class Plan:
    """What design number `index` of a corpus is."""

    index: int
    seed: int
    subclass: str
    split: str
    near_copy_of: int


@lru_cache(maxsize=8)
def _shares(seed: int) -> tuple[float, ...]:
    return tuple(
        w
        * (UNSEEN_WEIGHT if SUBCLASSES[name].unseen else 1.0)
        * (GENERIC_WEIGHT if SUBCLASSES[name].locarno.endswith("-99") else 1.0)
        for name, w in zip(designs.NAMES, designs.weights(seed), strict=True)
    )


def plan(seed: int, index: int) -> Plan:
    """Return design `index` of a corpus; a near-copy shares its original's split."""
    draw = Draw(mix(seed, index, 31))
    copy = index % 2 == 1 and draw.chance("copy", NEAR_COPY_SHARE)
    original = index - 1 if copy else index
    own = mix(seed, original, 32)
    name = designs.subclass_of(own, _shares(seed))
    if SUBCLASSES[name].unseen:
        split = "unseen"
    else:
        held = Draw(mix(seed, index // 2, 33)).chance("held", VALIDATION_SHARE)
        split = "val" if held else "train"
    return Plan(index, own, name, split, original if copy else -1)


def build(item: Plan) -> designs.Design:
    """Build a planned design."""
    design = designs.build(item.seed, item.subclass)
    if item.near_copy_of < 0:
        return design
    return designs.near_copy(item.seed, item.subclass, design)


def sheets(
    item: Plan, design: designs.Design, views: int, size: int
) -> Iterator[tuple[Sheet, str, int]]:
    """Draw the sheets of a design: (sheet, role, view number).

    Queries of designs that are not trained on are drawn in one style that their gallery lacks.
    """
    seed = mix(item.seed, item.index)
    held = item.split != "train"
    first_query = views - min(QUERY_VIEWS, views // 2)
    query_style = Draw(mix(seed, 34)).choice("style", tuple(STYLES), tuple(STYLES.values()))
    for view in range(views):
        query = held and view >= first_query
        yield (
            sheet.compose(
                design.model, seed, view=view, size=size, style=query_style if query else None,
                avoid=(query_style,) if held else (),
            ),
            "query" if query else "gallery",
            view,
        )  # fmt: skip


def captions(item: Plan, design: designs.Design, view: int) -> tuple[str, str]:
    """Return an English and a Chinese caption: a synonym and some features, varied by view."""
    draw = Draw(mix(item.seed, item.index, view, 35))
    names = SUBCLASSES[item.subclass].names
    en, zh = draw.choice("name", names, [3.0, *[1.0] * (len(names) - 1)])
    features = [f for i, f in enumerate(design.features) if draw.chance(f"keep{i}", 0.75)]
    if draw.chance("bare", 0.15):
        features = []
    return english(en, [f[0] for f in features]), "，".join([zh, *(f[1] for f in features)])


def english(name: str, features: list[str]) -> str:
    """Join a name and its features: "chair with four legs, a slatted back and armrests"."""
    if not features:
        return name
    if len(features) == 1:
        return f"{name} with {features[0]}"
    return f"{name} with {', '.join(features[:-1])} and {features[-1]}"
