"""Durable writes a second, in batches of 64, against SQLite's own ceiling in the same run.

    python benchmarks/store_writes.py [--folder DIR] [--seconds 5] [--rounds 5]
    python benchmarks/store_writes.py [--folder DIR] --parts

Ceiling: one connection with the same settings and tables, rows of the same bytes and the counters
beside them, written as fast as the sqlite3 module can, one commit a batch, nothing else: no look
whether the ids are there, no checksums. Vitrine: `Collection.upsert`, checks, group commit, index
and visibility included, by one caller that waits for each batch, and by four. Rounds are
interleaved. `--parts` says instead where the time of a batch goes, in one thread; a folder on a
tmpfs leaves out the wait for the disk.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import orjson

from vitrine_server import maintenance
from vitrine_server.collection import (
    Collection,
    CollectionSettings,
    EncoderIdentity,
    Metadata,
    NewItem,
)
from vitrine_server.store import Store, connect, insert
from vitrine_server.writes import Counters

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

BATCH = 64
DIMENSION = 256
METADATA: Metadata = {
    "group": "a group",
    "title": "a title of some length",
    "price": 12.5,
    "locarno": "06-01",
}


def ceiling(folder: Path, seconds: float) -> float:
    """Items a second by SQLite alone."""
    path = folder / "ceiling.db"
    Store.create(path, {}).close()
    connection = connect(path)
    metadata = orjson.dumps(METADATA)
    vector = np.ones(DIMENSION, np.float32).tobytes()
    crc = zlib.crc32(vector)
    label = 0
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        labels = range(label + 1, label + BATCH + 1)
        label += BATCH
        connection.execute("BEGIN IMMEDIATE")
        now = time.time_ns() // 1000
        ids = [f"0-{n}" for n in labels]
        same = [[value] * BATCH for value in (metadata, now, now, None, crc)]
        insert(connection, "items", (labels, ids, *same))
        insert(connection, "vectors", (labels, [vector] * BATCH, [crc] * BATCH))
        counters = Counters(label, label, label * (label + 1) // 2)
        connection.executemany("UPDATE meta SET value = ? WHERE key = ?", counters.rows())
        connection.execute("COMMIT")
    elapsed = time.perf_counter() - started
    connection.close()
    return label / elapsed


def opened(place: Path) -> Collection:
    """A new, empty collection."""
    place.mkdir()
    encoder = EncoderIdentity("none", "0" * 64, DIMENSION)
    Collection.create(place, CollectionSettings(index="exact"), encoder)
    return Collection(place, serving=encoder)


def some_vectors() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((BATCH, DIMENSION)).astype(np.float32)


def vitrine(folder: Path, seconds: float, callers: int) -> float:
    """Items a second through a collection."""
    collection = opened(folder / f"collection-{callers}")
    vectors = some_vectors()
    stop = time.perf_counter() + seconds
    done = [0] * callers

    def write(caller: int) -> None:
        number = 0
        while time.perf_counter() < stop:
            items = [NewItem(f"{caller}-{number + n}", vectors[n], METADATA) for n in range(BATCH)]
            number += BATCH
            done[caller] += len(collection.upsert(items).result())

    threads = [threading.Thread(target=write, args=(caller,)) for caller in range(callers)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - started
    collection.close()
    return sum(done) / elapsed


class Timed:
    """An object whose named methods add what they took to `spent`."""

    def __init__(self, watched: object, spent: dict[str, float], methods: dict[str, str]) -> None:
        """methods: for each its name in `spent`."""
        self._watched, self._spent, self._methods = watched, spent, methods

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._watched, name)
        if name not in self._methods:
            return call

        def timed(*arguments: object) -> object:
            started = time.perf_counter()
            try:
                return call(*arguments)
            finally:
                self._spent[self._methods[name]] += time.perf_counter() - started

        return timed


def parts(folder: Path, batches: int = 1000) -> dict[str, float]:
    """Microseconds an item of each part of a write: medians over the batches."""
    maintenance.MERGE_ROWS = batches * BATCH + 1
    collection = opened(folder / "parts")
    names = ("SQLite: statements", "SQLite: commit", "versions, rows, checksums")
    spent = dict.fromkeys(names, 0.0)
    statements, commit, rows = names
    store: Any = collection._store
    store._writer = Timed(store._writer, spent, {"execute": statements, "executemany": statements})
    collection._store = cast("Store", Timed(store, spent, {"write": rows, "commit": commit}))
    vectors = some_vectors()
    found: dict[str, list[float]] = {}
    for first in range(0, batches * BATCH, BATCH):
        spent.update(dict.fromkeys(names, 0.0))
        clock = [time.perf_counter()]
        items = [NewItem(f"0-{first + n}", vectors[n], METADATA) for n in range(BATCH)]
        clock.append(time.perf_counter())
        writes = collection._checked(items)
        clock.append(time.perf_counter())
        collection._commit([*writes])
        clock.append(time.perf_counter())
        objects, checks, committed = np.diff(clock).tolist()
        # COMMIT is a statement too, and the statements are part of `write`
        of_batch = {
            "the caller's objects": objects,
            "checks, JSON": checks,
            rows: spent[rows] + spent[commit] - spent[statements],
            statements: spent[statements] - spent[commit],
            commit: spent[commit],
            "index, columns, visibility": committed - spent[rows] - spent[commit],
        }
        for name, seconds in of_batch.items():
            found.setdefault(name, []).append(seconds)
    collection.close()
    return {name: 1e6 * statistics.median(values) / BATCH for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to measure")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--parts", action="store_true", help="where the time of a batch goes")
    options = parser.parse_args()
    if options.parts:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            for name, microseconds in parts(Path(folder)).items():
                print(f"{name:28} {microseconds:5.1f} us an item")
        return
    kinds: dict[str, Callable[[Path], float]] = {
        "SQLite alone": lambda folder: ceiling(folder, options.seconds),
        "Vitrine, 1 caller": lambda folder: vitrine(folder, options.seconds, 1),
        "Vitrine, 4 callers": lambda folder: vitrine(folder, options.seconds, 4),
    }
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(options.rounds):
        for name, run in kinds.items():
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                found[name].append(run(Path(folder)))
    alone = statistics.median(found["SQLite alone"])
    for name, rates in found.items():
        middle = statistics.median(rates)
        print(
            f"{name:20} {middle:8.0f} items/s ({min(rates):.0f} to {max(rates):.0f})"
            f"  {middle / alone:.2f} of SQLite"
        )


if __name__ == "__main__":
    main()
