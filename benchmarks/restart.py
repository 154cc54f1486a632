"""Restart of a large collection: seconds from the start of a process to its first answer, memory.

    python benchmarks/restart.py [--rows 1000000] [--index sq8] [--folder DIR] [--rounds 3]

The store is filled directly with random vectors of 256 values, in transactions of 4,096 items; one
start without a snapshot then rebuilds the index from it and a merge writes the snapshot. `sq8` is
built in a minute and read back like a graph of the same size. Each round starts a process with the
files in the page cache, and one with them evicted from it (as after a reboot): the process verifies
every byte of the snapshot, loads it, replays what came after it and answers one search. With
--folder the collection is kept and used again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np

from vitrine_server import snapshot
from vitrine_server.collection import (
    Collection,
    CollectionSettings,
    EncoderIdentity,
    IndexFamily,
    SearchQuery,
)
from vitrine_server.store import FILE_NAME, Store
from vitrine_server.writes import Put

DIMENSION = 256
ENCODER = EncoderIdentity("random", "0" * 64, DIMENSION)
BATCH = 4096
TAIL = 1000  # items that come after the snapshot


def fill(folder: Path, rows: int) -> None:
    """Write items to the store of a collection that nobody has open."""
    store = Store(folder / FILE_NAME)
    rng = np.random.default_rng(store.sequence)
    for start in range(0, rows, BATCH):
        count = min(BATCH, rows - start)
        vectors = rng.standard_normal((count, DIMENSION), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        first = store.sequence
        store.write(
            [
                Put(f"item-{number}", vector.tobytes(), b'{"group":"g%d"}' % (number // 4))
                for number, vector in enumerate(vectors, first)
            ]
        )
        store.commit()
    store.close()


def build(folder: Path, rows: int, index: IndexFamily) -> None:
    folder.mkdir(parents=True)
    Collection.create(folder, CollectionSettings(index=index), ENCODER)
    started = time.perf_counter()
    fill(folder, rows)
    filled = time.perf_counter()
    collection = Collection(folder, serving=ENCODER)
    opened = time.perf_counter()
    while (
        not snapshot.newest_first(folder / snapshot.FOLDER)
        or collection.describe().index["merging"]
    ):
        time.sleep(0.2)
    print(
        f"{rows} items written in {filled - started:.0f} s; start without a snapshot "
        f"{opened - filled:.1f} s; snapshot after {time.perf_counter() - opened:.0f} s"
    )
    collection.close()
    fill(folder, TAIL)


def open_once(folder: Path) -> None:
    """In a process of its own: print what the first answer took."""
    started = time.perf_counter()
    collection = Collection(folder, serving=ENCODER)
    query = np.ones(DIMENSION, np.float32)
    hits = collection.search([SearchQuery(query, k=10)])[0].hits
    answered = time.perf_counter() - started
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    memory = {key: int(status[key].split()[0]) / 1e3 for key in ("RssAnon", "RssFile", "VmHWM")}
    index = collection.describe().index
    print(json.dumps({"s": answered, "hits": len(hits), "index": index, **memory}))
    collection.close()


def evict(folder: Path) -> None:
    """Take the files out of the page cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def restarted(folder: Path) -> dict[str, Any]:
    started = time.perf_counter()
    process = subprocess.run(
        [sys.executable, __file__, "--open", str(folder)], stdout=subprocess.PIPE, check=True
    )
    measured: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    return measured | {"process_s": time.perf_counter() - started}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--index", default="sq8", choices=get_args(IndexFamily))
    parser.add_argument("--folder", type=Path, help="keeps the collection; on the disk to measure")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open is not None:
        open_once(options.open)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.folder or Path(scratch)) / f"restart-{options.rows}-{options.index}"
        if not folder.exists():
            build(folder, options.rows, options.index)
        files = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        found: dict[str, list[dict[str, Any]]] = {"warm": [], "cold": []}
        for _ in range(options.rounds):
            found["warm"].append(restarted(folder))
            evict(folder)
            found["cold"].append(restarted(folder))
        print(f"files {files / 1e6:.0f} MB; index {found['warm'][0]['index']}")
        for name, rounds in found.items():
            taken = [entry["s"] for entry in rounds]
            whole = statistics.median(entry["process_s"] for entry in rounds)
            last = rounds[-1]
            print(
                f"{name}: {statistics.median(taken):.2f} s to the first answer "
                f"({min(taken):.2f} to {max(taken):.2f}), {whole:.1f} s for the whole process; "
                f"memory {last['RssAnon']:.0f} MB own, {last['RssFile']:.0f} MB mapped files"
            )


if __name__ == "__main__":
    main()
