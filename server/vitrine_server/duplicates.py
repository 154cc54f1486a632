"""Which items of a whole catalogue are copies of one another: pairs, scores, groups.

Candidate pairs have near hashes, or one is among the nearest embeddings of the other. A pair that
the quick score leaves open is decided by alignment, where both items have a picture. Groups are
what accepted pairs connect. Memory: about 150 bytes an item, and the accepted pairs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from vitrine_server import alignment, hashes
from vitrine_server.errors import ItemNotFound
from vitrine_server.evidence import Evidence
from vitrine_server.records import SearchQuery

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from vitrine_server.collection import Collection
    from vitrine_server.evidence import Calibration

HASH_RADIUS = 10
NEIGHBOURS = 8
MAX_PAIRS = 2_000_000

_PAGE = 512
_BATCH = 64
# below this quick score alignment would have to be overwhelming
_OPEN_FROM = 0.01

Event: TypeAlias = "dict[str, Any]"


@dataclass(frozen=True, slots=True)
class Link:
    """Two items that are taken for copies. score: of the evidence."""

    first: str
    second: str
    score: float
    evidence: Evidence


class _Catalogue:
    """Ids, sequence numbers and hashes of a collection, by position."""

    def __init__(self, collection: Collection) -> None:
        self.ids: list[str] = []
        self.position: dict[str, int] = {}
        sequences: list[int] = []
        values: list[int] = []
        after = 0
        while page := collection.written(after, _PAGE):
            for record, _ in page:
                self.position[record.id] = len(self.ids)
                self.ids.append(record.id)
                sequences.append(record.sequence)
                own = collection.hashes(record.sequence)
                values.append(int(own[0]) if len(own) else -1)
            after = page[-1][0].sequence
        self.sequences = np.array(sequences, np.int64)
        self._values = values

    def distance(self, first: int, second: int) -> int | None:
        a, b = self._values[first], self._values[second]
        return None if a < 0 or b < 0 else hashes.distance(a, b)


def find(collection: Collection, calibration: Calibration) -> Iterator[Event]:
    """Progress, then a group after the other, largest first, then the end. Blocking.

    {"event": "progress", "stage": "hashes" | "neighbours", "done": …, "total": …}
    {"event": "group", "items": [{"id", "sequence", "score", "copy_of", "evidence"}]}: the first is
    the one that was written first; each other names the member it is most surely a copy of
    {"event": "end", "groups": …, "items": …, "catalogue": …, "seconds": …}
    """
    started = time.perf_counter()
    catalogue = _Catalogue(collection)
    total = len(catalogue.ids)
    groups = _Groups(total)
    links: dict[int, Link] = {}

    def accept(link: Link | None) -> None:
        if link is None:
            return
        ends = catalogue.position[link.first], catalogue.position[link.second]
        groups.join(*ends)
        for end in ends:
            if end not in links or links[end].score < link.score:
                links[end] = link

    yield {"event": "progress", "stage": "hashes", "done": 0, "total": total}
    for pair in collection.hash_pairs(max_distance=HASH_RADIUS, limit=MAX_PAIRS):
        if pair.id in catalogue.position and pair.other in catalogue.position:
            accept(_near_hashes(collection, calibration, pair.id, pair.other, pair.distance))
    after = done = 0
    while page := collection.written(after, _BATCH):
        for link in _near_embeddings(collection, calibration, catalogue, page):
            accept(link)
        after = page[-1][0].sequence
        done += len(page)
        if done % (16 * _BATCH) < _BATCH:
            yield {"event": "progress", "stage": "neighbours", "done": done, "total": total}
    shown = members = 0
    for group in groups.larger_than_one():
        shown, members = shown + 1, members + len(group)
        yield {"event": "group", "items": _members(catalogue, group, links)}
    seconds = round(time.perf_counter() - started, 2)
    end: Event = {"event": "end", "groups": shown, "items": members}
    yield end | {"catalogue": total, "seconds": seconds}


def _near_hashes(
    collection: Collection, calibration: Calibration, first: str, second: str, distance: int
) -> Link | None:
    try:
        cosine = _cosine(collection.vector(first), collection.vector(second))
    except ItemNotFound:
        return None
    return _decide(collection, calibration, first, second, Evidence(distance, cosine))


def _near_embeddings(
    collection: Collection,
    calibration: Calibration,
    catalogue: _Catalogue,
    page: list[tuple[Any, NDArray[np.float32]]],
) -> Iterator[Link | None]:
    queries = [SearchQuery(vector=vector, k=NEIGHBOURS, with_vector=True) for _, vector in page]
    for (record, vector), result in zip(page, collection.search(queries), strict=True):
        place = catalogue.position.get(record.id)
        for hit in result.hits:
            other = catalogue.position.get(hit.id)
            if place is None or other is None or other == place or hit.vector is None:
                continue
            distance = catalogue.distance(place, other)
            if distance is not None and distance <= HASH_RADIUS:
                continue  # seen among the hashes
            evidence = Evidence(distance, _cosine(vector, hit.vector))
            yield _decide(collection, calibration, record.id, hit.id, evidence)


def _decide(
    collection: Collection, calibration: Calibration, first: str, second: str, evidence: Evidence
) -> Link | None:
    model = calibration.quick
    score = model.weights.score(evidence)
    if score >= _OPEN_FROM:
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


def _cosine(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    norms = float(np.linalg.norm(first)) * float(np.linalg.norm(second))
    return float(first @ second) / max(norms, 1e-30)
