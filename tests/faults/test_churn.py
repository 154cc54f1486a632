"""Eight threads add, update, delete and search while the index grows, merges and swaps.

Each thread owns some sets of three items and writes a set in one transaction, so that what a search
may find is known: a set is there whole, in one version, and that is one that was current while the
search ran. A thread's own writes are found by its next search.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vitrine_server import maintenance
from vitrine_server.collection import (
    Collection,
    CollectionSettings,
    EncoderIdentity,
    NewItem,
    SearchQuery,
)
from vitrine_server.index import ann

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

# `make faults` sets this for the full length
SECONDS = 600 if os.environ.get("VITRINE_FAULTS") == "full" else 8
THREADS, SETS, MEMBERS = 8, 60, 3
DIMENSION = 16
ENCODER = EncoderIdentity("test", "d" * 64, DIMENSION)


def vector(name: str, version: int) -> NDArray[np.float32]:
    """A direction that no other version shares."""
    seed = [*name.encode(), version]
    return np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)


class History:
    """Versions of the sets with the times between which each was certainly or possibly current."""

    def __init__(self) -> None:
        # of each set: (version or None for deleted, asked at, answered at)
        self._writes: dict[str, list[tuple[int | None, float, float]]] = {}

    def asks(self, name: str, version: int | None, asked: float) -> None:
        writes = self._writes.get(name, [(None, 0.0, 0.0)])
        self._writes[name] = [*writes[-50:], (version, asked, float("inf"))]

    def answered(self, name: str) -> None:
        *before, (version, asked, _) = self._writes[name]
        self._writes[name] = [*before, (version, asked, time.monotonic())]

    def possible(self, name: str, began: float, ended: float) -> set[int | None]:
        """Versions that a search between two times may show."""
        writes = self._writes.get(name, [(None, 0.0, 0.0)])
        shown: set[int | None] = set()
        for number, (version, asked, _) in enumerate(writes):
            replaced = writes[number + 1][2] if number + 1 < len(writes) else float("inf")
            if asked <= ended and replaced >= began:
                shown.add(version)
        return shown


class Worker(threading.Thread):
    def __init__(
        self, number: int, collection: Collection, history: History, stop: threading.Event
    ) -> None:
        super().__init__(daemon=True)
        self._number = number
        self._collection = collection
        self._history = history
        self._stopping = stop
        self._current: dict[str, int | None] = {}
        self.problems: list[str] = []
        self.writes = self.searches = 0

    def run(self) -> None:
        try:
            rng = np.random.default_rng(self._number)
            version = 0
            for number in range(SETS):
                version += 1
                self._write(f"{self._number}-{number}", version, 1.0)
            while not self._stopping.is_set() and not self.problems:
                version += 1
                self._write(f"{self._number}-{rng.integers(SETS)}", version, rng.random())
                for _ in range(2):
                    self._search_other(
                        f"{rng.integers(THREADS)}-{rng.integers(SETS)}", rng.random() < 0.5
                    )
        except Exception as error:
            self.problems.append(repr(error))

    def _write(self, name: str, version: int, choice: float) -> None:
        there = self._current.get(name) is not None
        new = None if there and choice < 0.3 else version
        names = [f"{name}-{member}" for member in range(MEMBERS)]
        self._history.asks(name, new, time.monotonic())
        if new is None:
            assert all(self._collection.delete(names).result())
        else:
            self._collection.upsert(
                [NewItem(one, vector(one, new), {"set": name, "version": new}) for one in names]
            ).result()
        self._history.answered(name)
        self._current[name] = new
        self.writes += 1
        # read your own write, by its vector and by its set
        if new is not None:
            [hit] = self._ask(SearchQuery(vector(names[0], new), k=1))
            if (hit.id, (hit.metadata or {})["version"]) != (names[0], new):
                self.problems.append(f"{names[0]} in version {new} was not found: {hit}")
        found = self._ask(SearchQuery(vector(names[0], version), k=9, filter={"set": name}))
        if [(hit.metadata or {})["version"] for hit in found] != [new] * (MEMBERS if new else 0):
            self.problems.append(f"{name} should be {new}: {found}")

    def _search_other(self, name: str, by_filter: bool) -> None:
        began = time.monotonic()
        asked = SearchQuery(
            vector(f"{name}-0", 1), k=50, filter={"set": name} if by_filter else None
        )
        hits = self._ask(asked)
        ended = time.monotonic()
        versions: dict[str, list[int]] = {}
        for hit in hits:
            metadata: dict[str, Any] = hit.metadata or {}
            versions.setdefault(str(metadata["set"]), []).append(metadata["version"])
        if by_filter and len(hits) not in {0, MEMBERS}:
            self.problems.append(f"half of {name}: {hits}")
        for found, shown in versions.items():
            possible = self._history.possible(found, began, ended)
            if len(set(shown)) > 1 or shown[0] not in possible:
                self.problems.append(f"{found} shows {shown}, possible is {possible}")

    def _ask(self, query: SearchQuery) -> Any:
        self.searches += 1
        return self._collection.search([query])[0].hits


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
def test_churn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "MERGE_ROWS", 400)
    monkeypatch.setattr(maintenance, "ABSORB_ROWS", 100)
    monkeypatch.setattr(ann, "MIN_ROWS", 200)
    folder = tmp_path / "c"
    folder.mkdir()
    settings = CollectionSettings(index="hnsw", fields={"set": "keyword"}, target_recall=0.99)
    Collection.create(folder, settings, ENCODER)
    collection = Collection(folder, serving=ENCODER)
    history = History()
    stop = threading.Event()
    workers = [Worker(number, collection, history, stop) for number in range(THREADS)]
    for worker in workers:
        worker.start()
    started = time.monotonic()
    merged = set()
    while not any(worker.problems for worker in workers):
        merged.add(collection.describe().snapshot.split("@")[0])
        elapsed = time.monotonic() - started
        # a busy machine may take longer to the first merges
        if elapsed > SECONDS + 120 or (elapsed > SECONDS and len(merged) > 1):
            break
        time.sleep(0.02)
    stop.set()
    for worker in workers:
        worker.join()
    searches = sum(worker.searches for worker in workers)
    writes = sum(worker.writes for worker in workers)
    problems = [problem for worker in workers for problem in worker.problems]
    collection.close()
    print(f"{len(problems)} wrong of {searches} searches, {writes} writes, {len(merged)} layouts")
    assert problems == []
    assert searches > 10 * SECONDS
    assert len(merged) > 1, "no merge happened"
