"""Which items of a whole catalogue are copies of one another: pairs, scores, groups.

    hash and vector of every item → pairs of near hashes, pairs of nearest embeddings
                                  → the quick score of all of them at once
                                  → what it leaves open: alignment, where both have a picture
                                  → groups: what accepted pairs connect

Memory: 4 bytes for each number of a vector, and some 500 bytes an item.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from vitrine_server import alignment, hashes
from vitrine_server.evidence import Evidence
from vitrine_server.index.pairs import nearest_pairs

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from numpy.typing import NDArray

    from vitrine_server.collection import Collection
    from vitrine_server.evidence import Calibration

HASH_RADIUS = 10
NEIGHBOURS = 8
MAX_PAIRS = 2_000_000
# Refused alignments after which an item that resembles many others is left.
MAX_REFUSED = 6

_PAGE = 1024
_TOLD_EVERY = 8  # pages, blocks or handfuls
_HANDFUL = 64  # pairs that are aligned before the next are looked at
# below this quick score alignment would have to be overwhelming
_OPEN_FROM = 0.01

Event: TypeAlias = "dict[str, Any]"
Places: TypeAlias = "NDArray[np.int64]"  # positions in a catalogue


@dataclass(frozen=True, slots=True)
class Link:
    """Two items that are taken for copies. score: of the evidence."""

    first: str
    second: str
    score: float
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class _Catalogue:
    """A collection by position, in the order of its writes.

    vectors: (N, D) float32 of length 1. values: (N,) uint64, the hashes of those that are `hashed`.
    """

    ids: list[str]
    sequences: NDArray[np.int64]
    vectors: NDArray[np.float32]
    values: NDArray[np.uint64]
    hashed: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Pairs of positions with their evidence: arrays (M,). distance: -1 without hashes."""

    first: Places
    second: Places
    distance: NDArray[np.int64]
    cosine: NDArray[np.float32]
    score: NDArray[np.float64]

    def evidence(self, at: int) -> Evidence:
        distance = int(self.distance[at])
        return Evidence(None if distance < 0 else distance, float(self.cosine[at]))


def find(collection: Collection, calibration: Calibration) -> Iterator[Event]:
    """Progress, then a group after the other, largest first, then the end. Blocking.

    {"event": "progress", "stage": "reading" | "neighbours" | "pairs", "done": …, "total": …}
    {"event": "group", "items": [{"id", "sequence", "score", "copy_of", "evidence"}]}: the first is
    the one that was written first; each other names a member that it is a copy of
    {"event": "end", "groups", "items", "catalogue", "pairs", "decided", "seconds"}: pairs that were
    scored, and how many of them needed a closer look
    """
    started = time.perf_counter()
    catalogue = yield from _read(collection)
    total = len(catalogue.ids)
    near = yield from _near_embeddings(catalogue, calibration)
    scored = _scored(catalogue, [near, _near_hashes(collection, catalogue)], calibration)
    groups, links = _Groups(total), dict[int, Link]()
    decided = 0
    opened = np.flatnonzero(scored.score >= _OPEN_FROM)
    for done, found in _decided(collection, catalogue, scored, opened, calibration, groups):
        decided += len(found)
        for at, link in found:
            if link is not None:
                for place in (int(scored.first[at]), int(scored.second[at])):
                    links.setdefault(place, link)
        if done % (_TOLD_EVERY * _HANDFUL) == 0:
            yield _progress("pairs", done, len(opened))
    shown = members = 0
    for group in groups.larger_than_one():
        shown, members = shown + 1, members + len(group)
        yield {"event": "group", "items": _members(catalogue, group, links)}
    seconds = round(time.perf_counter() - started, 2)
    end: Event = {"event": "end", "groups": shown, "items": members, "catalogue": total}
    yield end | {"pairs": len(scored.score), "decided": decided, "seconds": seconds}


def _progress(stage: str, done: int, total: int) -> Event:
    return {"event": "progress", "stage": stage, "done": done, "total": total}


def _read(collection: Collection) -> Generator[Event, None, _Catalogue]:
    """What is there now; what is written meanwhile is left out."""
    total = collection.describe().count
    vectors = np.empty((total, collection.encoder.dimension), np.float32)
    ids: list[str] = []
    sequences: list[int] = []
    values: list[int] = []
    after = 0
    while len(ids) < total and (page := collection.written(after, min(_PAGE, total - len(ids)))):
        if len(ids) % (_TOLD_EVERY * _PAGE) == 0:
            yield _progress("reading", len(ids), total)
        rows = np.stack([vector for _, vector in page])
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)
        vectors[len(ids) : len(ids) + len(page)] = rows
        for record, _ in page:
            own = collection.hashes(record.sequence)
            ids.append(record.id)
            sequences.append(record.sequence)
            values.append(int(own[0]) if len(own) else -1)
        after = page[-1][0].sequence
    return _Catalogue(
        ids=ids,
        sequences=np.array(sequences, np.int64),
        vectors=vectors[: len(ids)],
        values=np.array([max(0, value) for value in values], np.uint64),
        hashed=np.array([value >= 0 for value in values], np.bool_),
    )


def _near_embeddings(
    catalogue: _Catalogue, calibration: Calibration
) -> Generator[Event, None, tuple[Places, Places]]:
    """Pairs where one is among the nearest of the other, near enough to be left open."""
    weights, total = calibration.quick.weights, len(catalogue.ids)
    # nearer hashes are found by themselves
    least = weights.least_cosine(_OPEN_FROM, distance=HASH_RADIUS + 1)
    running = nearest_pairs(catalogue.vectors, NEIGHBOURS, least=least)
    for blocks in range(total + 1):
        try:
            done = next(running)
        except StopIteration as stop:
            first, second, _ = stop.value
            return first.astype(np.int64), second.astype(np.int64)
        if blocks % _TOLD_EVERY == 0:
            yield _progress("neighbours", done, total)
    raise AssertionError("there are more blocks than items")


def _near_hashes(collection: Collection, catalogue: _Catalogue) -> tuple[Places, Places]:
    place = {item_id: at for at, item_id in enumerate(catalogue.ids)}
    found = [
        (place[pair.id], place[pair.other])
        for pair in collection.hash_pairs(max_distance=HASH_RADIUS, limit=MAX_PAIRS)
        if pair.id in place and pair.other in place
    ]
    rows = np.array(found, np.int64).reshape(-1, 2)
    return rows.min(axis=1), rows.max(axis=1)


def _scored(
    catalogue: _Catalogue, found: list[tuple[Places, Places]], calibration: Calibration
) -> _Pairs:
    """Each pair once, by the quick score, the best first."""
    total = max(1, len(catalogue.ids))
    keys = np.unique(np.concatenate([first * total + second for first, second in found]))
    first, second = np.divmod(keys, total)
    distance = np.bitwise_count(catalogue.values[first] ^ catalogue.values[second])
    known = catalogue.hashed[first] & catalogue.hashed[second]
    distance = np.where(known, distance.astype(np.int64), -1)
    cosine = np.empty(len(keys), np.float32)
    for start in range(0, len(keys), _PAGE):
        part = slice(start, start + _PAGE)
        a, b = catalogue.vectors[first[part]], catalogue.vectors[second[part]]
        cosine[part] = np.einsum("nd,nd->n", a, b)
    score = calibration.quick.weights.quick_scores(distance, cosine)
    order = np.argsort(-score, kind="stable")
    return _Pairs(first[order], second[order], distance[order], cosine[order], score[order])


def _decided(
    collection: Collection,
    catalogue: _Catalogue,
    scored: _Pairs,
    opened: Places,
    calibration: Calibration,
    groups: _Groups,
) -> Iterator[tuple[int, list[tuple[int, Link | None]]]]:
    """How many pairs are done, and (pair, its link) for those that were not known already.

    Pairs within a group need no decision, and neither do those of two items that have both been
    refused often: there the quick score sees a likeness that is none.
    """
    refused = np.zeros(len(catalogue.ids), np.int64)

    def decide(at: int) -> tuple[int, Link | None]:
        first, second = catalogue.ids[scored.first[at]], catalogue.ids[scored.second[at]]
        return at, _decide(collection, calibration, first, second, scored.evidence(at))

    with ThreadPoolExecutor(os.cpu_count() or 1, "duplicates") as pool:
        for start in range(0, len(opened), _HANDFUL):
            open_still = [
                at
                for at in opened[start : start + _HANDFUL].tolist()
                if not groups.joined(scored.first[at], scored.second[at])
                and min(refused[scored.first[at]], refused[scored.second[at]]) < MAX_REFUSED
            ]
            found = list(pool.map(decide, open_still))
            for at, link in found:
                ends = scored.first[at], scored.second[at]
                if link is not None:
                    groups.join(*ends)
                else:
                    refused[list(ends)] += 1
            yield start + _HANDFUL, found


def _decide(
    collection: Collection, calibration: Calibration, first: str, second: str, evidence: Evidence
) -> Link | None:
    model = calibration.quick
    one, other = collection.thumbnail(first), collection.thumbnail(second)
    if one is not None and other is not None:
        query = alignment.both_ways(hashes.open_thumbnail(one))
        found = alignment.align(query, alignment.thumbnail_points(other))
        evidence = replace(evidence, alignment=found)
        model = calibration.full
    score = model.weights.score(evidence)
    return Link(first, second, score, evidence) if score >= model.threshold else None


def _members(
    catalogue: _Catalogue, group: NDArray[np.int64], links: dict[int, Link]
) -> list[dict[str, Any]]:
    first, *rest = sorted(group.tolist(), key=lambda place: int(catalogue.sequences[place]))
    members: list[dict[str, Any]] = [
        {"id": catalogue.ids[first], "sequence": int(catalogue.sequences[first])}
    ]
    for place in rest:
        link, own = links[place], catalogue.ids[place]
        members.append(
            {
                "id": own,
                "sequence": int(catalogue.sequences[place]),
                "score": link.score,
                "copy_of": link.second if link.first == own else link.first,
                "evidence": link.evidence.shown(),
            }
        )
    return members


class _Groups:
    """Disjoint sets (Tarjan, 1975)."""

    def __init__(self, count: int) -> None:
        self._parent = np.arange(count)

    def joined(self, first: int, second: int) -> bool:
        return self._root(first) == self._root(second)

    def join(self, first: int, second: int) -> None:
        a, b = self._root(first), self._root(second)
        self._parent[max(a, b)] = min(a, b)

    def larger_than_one(self) -> list[NDArray[np.int64]]:
        """Members of each set, larger sets first."""
        roots = np.array([self._root(place) for place in range(len(self._parent))], np.int64)
        order = np.argsort(roots, kind="stable")
        starts = np.flatnonzero(np.diff(roots[order], prepend=-1))
        sets = [part for part in np.split(order, starts[1:]) if len(part) > 1]
        return sorted(sets, key=lambda part: (-len(part), int(part[0])))

    def _root(self, place: int) -> int:
        parent = self._parent
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = int(parent[place])
        return place
