"""Filtered recall, searches during writes and merges, and restart, of one collection on disk.

    python benchmarks/live_index.py [--size 100k] [--index auto] [--folder DIR] [--seconds 5]

The collection holds the vectors of recall_sweep.py's mixture, written as a client writes them; with
--folder it is kept and used again. Four parts:

filters   recall@10 against exact search and milliseconds a query, for filters that accept 0.01 % to
          100 % of the rows, with the way that the server chooses and with each of the two ways: the
          accepted rows one by one, or the bitmap in the index. The field is independent of the
          vectors.
hydration milliseconds to read the records of 100 hits.
writes    latency of single searches (100 a second, by the clock) while nothing else happens, while
          500 items a second are written in batches of 10, and while a merge runs beside them; the
          three alternate. The figures are p50 and p99, and those under load over the quiet ones.
restart   from the call that opens the collection to the first answer; everything is verified.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from recall_sweep import DIMENSION, HERE, SIZES, mixture
from vitrine_server import maintenance
from vitrine_server.collection import (
    Collection,
    CollectionSettings,
    EncoderIdentity,
    IndexFamily,
    NewItem,
    SearchQuery,
)
from vitrine_server.index import exact, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from vitrine_server.collection import JsonValue

SELECTIVITY = (0.0001, 0.001, 0.01, 0.03, 0.06, 0.1, 0.2, 0.3, 0.6, 1.0)
# what a comparison is said to cost decides the way
WAYS = {"chosen": nearest.EXACT_VALUE_S, "rows": 0.0, "index": 1.0}
INDEX_FROM = 0.01  # below, a search of the index is a slow scan
ENCODER = EncoderIdentity("mixture", "0" * 64, DIMENSION)
QUERIES = 200
SEARCHES_S, WRITES_S, WRITE_BATCH = 100, 500, 10
_BATCH = 1024


def filled(
    folder: Path,
    settings: CollectionSettings,
    vectors: NDArray[np.float32],
    shares: NDArray[np.float64],
) -> Collection:
    """The collection with its index built."""
    if not folder.exists():
        folder.mkdir(parents=True)
        Collection.create(folder, settings, ENCODER)
    collection = Collection(folder, serving=ENCODER)
    started = time.perf_counter()
    for start in range(collection.describe().count, len(vectors), _BATCH):
        rows = range(start, min(start + _BATCH, len(vectors)))
        collection.upsert(
            [NewItem(f"i{row}", vectors[row], {"share": float(shares[row])}) for row in rows]
        ).result()
    written = time.perf_counter()
    settle(collection)
    print(
        f"{len(vectors)} items written in {written - started:.0f} s, index ready after "
        f"{time.perf_counter() - written:.0f} s: {collection.describe().index}"
    )
    return collection


def settle(collection: Collection) -> None:
    """Wait until no merge is under way or due."""
    calm = 0
    while calm < 5:
        time.sleep(0.2)
        index = collection.describe().index
        calm = 0 if index["merging"] or "not built yet" in str(index["reason"]) else calm + 1


def filters(
    collection: Collection,
    vectors: NDArray[np.float32],
    shares: NDArray[np.float64],
    queries: NDArray[np.float32],
) -> list[dict[str, float]]:
    found = []
    for share in SELECTIVITY:
        rows = np.flatnonzero(shares < share)
        best = rows[exact.search(queries, vectors[rows], 10, "cosine")[1]]
        point: dict[str, float] = {"share": share, "rows": len(rows)}
        for way in WAYS if INDEX_FROM <= share < 1 else ("chosen",):
            nearest.EXACT_VALUE_S = WAYS[way]
            point |= filtered(collection, share, queries, best, way)
        nearest.EXACT_VALUE_S = WAYS["chosen"]
        found.append(point)
        print(
            f"{share:8.2%} of the rows: "
            + "; ".join(
                f"{way} recall@10 {point[f'{way}_recall']:.4f}, {point[f'{way}_ms']:.2f} ms"
                for way in WAYS
                if f"{way}_ms" in point
            )
        )
    return found


def filtered(
    collection: Collection,
    share: float,
    queries: NDArray[np.float32],
    best: NDArray[np.int64],
    way: str,
) -> dict[str, float]:
    """Recall and median milliseconds of one way. best: the rows to be found, (Q, up to 10)."""
    accepted: dict[str, JsonValue] = {"share": {"lt": share}}
    hits, times = 0, []
    for query, truth in zip(queries, best, strict=True):
        started = time.perf_counter()
        [answer] = collection.search([SearchQuery(query, k=10, filter=accepted)])
        times.append(1000 * (time.perf_counter() - started))
        hits += len({f"i{row}" for row in truth.tolist()} & {hit.id for hit in answer.hits})
    return {f"{way}_recall": hits / best.size, f"{way}_ms": float(np.median(times))}


def hydration(collection: Collection, queries: NDArray[np.float32]) -> float:
    """Median milliseconds for 100 hits."""
    times = [
        1000 * collection.search([SearchQuery(query, k=100)])[0].hydrate_s for query in queries
    ]
    median = float(np.median(times))
    print(f"hydration of 100 hits: median {median:.2f} ms, least {min(times):.2f} ms")
    return median


def timed_searches(
    collection: Collection, queries: NDArray[np.float32], seconds: float
) -> list[float]:
    """Milliseconds of searches that begin by the clock, each from its intended beginning."""
    times = []
    began = time.perf_counter()
    for number in range(int(seconds * SEARCHES_S)):
        intended = began + number / SEARCHES_S
        time.sleep(max(0.0, intended - time.perf_counter()))
        collection.search([SearchQuery(queries[number % len(queries)], k=10)])
        times.append(1000 * (time.perf_counter() - intended))
    return times


@contextmanager
def written_to(
    collection: Collection,
    vectors: NDArray[np.float32],
    shares: NDArray[np.float64],
    *,
    merging: bool,
) -> Iterator[list[int]]:
    """Updates of stored items at a steady rate; one merge after the other, or none."""
    stop = threading.Event()
    done = [0]
    rng = np.random.default_rng(5)

    def write() -> None:
        began = time.perf_counter()
        while not stop.is_set():
            rows = rng.choice(len(vectors), WRITE_BATCH, replace=False).tolist()
            items = [
                NewItem(f"i{row}", vectors[row], {"share": float(shares[row])}) for row in rows
            ]
            collection.upsert(items).result()
            done[0] += WRITE_BATCH
            time.sleep(max(0.0, began + done[0] / WRITES_S - time.perf_counter()))

    usual = maintenance.MERGE_ROWS, maintenance.MERGE_SHARE
    maintenance.MERGE_ROWS = WRITES_S // 2 if merging else 10**9
    maintenance.MERGE_SHARE = 0.0
    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield done
    finally:
        stop.set()
        thread.join()
        maintenance.MERGE_ROWS, maintenance.MERGE_SHARE = usual


def writes(
    collection: Collection,
    vectors: NDArray[np.float32],
    shares: NDArray[np.float64],
    queries: NDArray[np.float32],
    *,
    seconds: float,
    rounds: int,
) -> dict[str, object]:
    phases: dict[str, list[list[float]]] = {"quiet": [], "writes": [], "writes and a merge": []}
    rates, merged = [], 0
    for _ in range(rounds):
        settle(collection)
        phases["quiet"].append(timed_searches(collection, queries, seconds))
        for name, merging in (("writes", False), ("writes and a merge", True)):
            with written_to(collection, vectors, shares, merging=merging) as done:
                time.sleep(1)  # until a merge is due
                before, started = done[0], time.perf_counter()
                merged += bool(collection.describe().index["merging"])
                phases[name].append(timed_searches(collection, queries, seconds))
                rates.append((done[0] - before) / (time.perf_counter() - started))
    ratios = {}
    for share in (50, 99):
        calm = np.array([np.percentile(times, share) for times in phases["quiet"]])
        for name, taken in phases.items():
            reached = np.array([np.percentile(times, share) for times in taken])
            ratio = ratios[f"p{share} {name}"] = float(np.median(reached / calm))
            print(
                f"p{share}, {name}: {np.median(reached):.2f} ms, {ratio:.2f} of the quiet one "
                f"(rounds: {', '.join(f'{value:.2f}' for value in reached / calm)})"
            )
    print(f"writes a second: {np.median(rates):.0f}; a merge ran in {merged} of {rounds} rounds")
    return {"ratios": ratios, "ms": phases, "writes_s": rates}


def restart(collection: Collection, folder: Path, query: NDArray[np.float32]) -> float:
    settle(collection)
    count = collection.describe().count
    collection.close()
    started = time.perf_counter()
    opened = Collection(folder, serving=ENCODER)
    opened.search([SearchQuery(query, k=10)])
    elapsed = time.perf_counter() - started
    print(f"restart with {count} items to the first answer: {elapsed:.2f} s")
    opened.close()
    return elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="100k")
    parser.add_argument("--index", default="auto", choices=get_args(IndexFamily))
    parser.add_argument("--folder", type=Path, help="keeps the collection; on the disk to measure")
    parser.add_argument("--seconds", type=float, default=5, help="of each phase of `writes`")
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    vectors, queries = mixture(SIZES[options.size], QUERIES)
    shares = np.random.default_rng(3).permutation(len(vectors)) / len(vectors)
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.folder or Path(scratch)) / f"live-{options.size}-{options.index}"
        settings = CollectionSettings(index=options.index, fields={"share": "number"})
        collection = filled(folder, settings, vectors, shares)
        description = collection.describe().index
        result = {
            "size": len(vectors),
            "index": description,
            "filters": filters(collection, vectors, shares, queries),
            "hydrate_100_ms": hydration(collection, queries),
            "writes": writes(
                collection,
                vectors,
                shares,
                queries,
                seconds=options.seconds,
                rounds=options.rounds,
            ),
            "restart_s": restart(collection, folder, queries[0]),
        }
    results = HERE / "results" / f"{time.strftime('%Y%m%d-%H%M%S')}-live-{options.size}"
    results.mkdir(parents=True)
    (results / "live.json").write_text(json.dumps(result))
    print(f"raw samples: {results / 'live.json'}")


if __name__ == "__main__":
    main()
