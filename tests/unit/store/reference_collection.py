"""A collection as a dictionary, searched in float64 by the most obvious code."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_ORDER = {
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
}


def matches(
    metadata: Mapping[str, Any], filter: Mapping[str, Any], fields: Mapping[str, str]
) -> bool:
    """Whether a record is accepted, straight from the description of the filter language."""
    for name, wanted in filter.items():
        if name == "not":
            ok = not matches(metadata, wanted, fields)
        elif name == "any":
            ok = any(matches(metadata, part, fields) for part in wanted)
        else:
            held = metadata.get(name)
            values = held if isinstance(held, list) else [] if held is None else [held]
            kind = fields.get(name)
            if isinstance(wanted, dict):
                ok = any(
                    all(_in_order(value, op, bound, kind) for op, bound in wanted.items())
                    for value in values
                )
            else:
                listed = wanted if isinstance(wanted, list) else [wanted]
                ok = any(
                    (not values) if want is None else any(_same(v, want, kind) for v in values)
                    for want in listed
                )
        if not ok:
            return False
    return True


def _same(a: Any, b: Any, kind: str | None) -> bool:
    if kind == "date":
        return _date(a) == _date(b)
    return isinstance(a, bool) == isinstance(b, bool) and a == b


def _in_order(a: Any, op: str, b: Any, kind: str | None) -> bool:
    if kind == "date":
        return _ORDER[op](_date(a), _date(b))
    if isinstance(a, bool) or isinstance(a, str) != isinstance(b, str):
        return False
    return _ORDER[op](a, b)


def _date(text: str) -> datetime.datetime:
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)


def group_key(held: Any) -> tuple[Any, ...]:
    """Equal for equal values; empty for none. 1 is 1.0, but true is not 1."""
    values = held if isinstance(held, list) else [] if held is None else [held]
    return tuple((isinstance(value, bool), value) for value in values)


def score(query: NDArray[Any], vector: NDArray[Any], metric: str) -> float:
    q, v = query.astype(np.float64), vector.astype(np.float64)
    if metric == "cosine":
        return float(q @ v / np.linalg.norm(q) / np.linalg.norm(v))
    if metric == "inner_product":
        return float(q @ v)
    return -float(np.linalg.norm(q - v, ord=2 if metric == "l2" else 1))


def search(
    items: Mapping[str, tuple[NDArray[Any], Mapping[str, Any]]],
    query: NDArray[Any],
    *,
    k: int,
    metric: str,
    fields: Mapping[str, str],
    offset: int = 0,
    filter: Mapping[str, Any] | None = None,
    group_by: str | None = None,
    min_score: float | None = None,
    views: Sequence[NDArray[Any]] = (),
) -> list[tuple[str, float]]:
    """(id, score), best first, without any page limit applied twice."""
    if views:
        accepted = {
            name: item for name, item in items.items() if matches(item[1], filter or {}, fields)
        }
        ranked = _by_views(accepted, [query, *views], metric, group_by)
        page = ranked[offset : offset + k]
        return [hit for hit in page if min_score is None or hit[1] >= min_score]
    scored = sorted(
        (
            (-score(query, vector, metric), item_id)
            for item_id, (vector, metadata) in items.items()
            if matches(metadata, filter or {}, fields)
        )
    )
    hits: list[tuple[str, float]] = []
    seen: set[tuple[Any, ...]] = set()
    for negative, item_id in scored:
        if group_by is not None:
            key = group_key(items[item_id][1].get(group_by))
            if key:
                if key in seen:
                    continue
                seen.add(key)
        hits.append((item_id, -negative))
    page = hits[offset : offset + k]
    return [hit for hit in page if min_score is None or hit[1] >= min_score]


def _by_views(
    items: Mapping[str, tuple[NDArray[Any], Mapping[str, Any]]],
    views: Sequence[NDArray[Any]],
    metric: str,
    group_by: str | None,
) -> list[tuple[str, float]]:
    """Each group by the mean of its best score for each view, shown by its best item."""
    groups: dict[tuple[Any, ...], dict[str, list[float]]] = {}
    for item_id, (vector, metadata) in items.items():
        key = group_key(metadata.get(group_by or "")) or ("no group", item_id)
        groups.setdefault(key, {})[item_id] = [score(view, vector, metric) for view in views]
    ranked = []
    for members in groups.values():
        best = [max(scores[number] for scores in members.values()) for number in range(len(views))]
        shown = max(members, key=lambda item_id: max(members[item_id]))
        ranked.append((shown, sum(best) / len(best)))
    return sorted(ranked, key=lambda hit: -hit[1])
