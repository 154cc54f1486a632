"""Durable writes a second, in batches of 64, against SQLite's own ceiling in the same run.

    python benchmarks/store_writes.py [--folder DIR] [--seconds 5] [--rounds 5]

Ceiling: one connection with the same settings and tables, rows of the same bytes and the counters
beside them, written as fast as the sqlite3 module can, one commit a batch, nothing else: no look
whether the ids are there, no checksums. Vitrine: `Collection.upsert`, checks, group commit, index
and visibility included, by one caller that waits for each batch, and by four. Rounds are
interleaved.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import orjson

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


def vitrine(folder: Path, seconds: float, callers: int) -> float:
    """Items a second through a collection."""
    place = folder / f"collection-{callers}"
    place.mkdir()
    encoder = EncoderIdentity("none", "0" * 64, DIMENSION)
    Collection.create(place, CollectionSettings(index="exact"), encoder)
    collection = Collection(place, serving=encoder)
    vectors = np.random.default_rng(0).standard_normal((BATCH, DIMENSION)).astype(np.float32)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to measure")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
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
