"""Time and memory that finding the duplicates of a large catalogue takes.

    python benchmarks/duplicates.py    # 100,000 items: some 3 minutes of one core

Vectors and hashes are drawn at random, without pictures; one item in twenty is a near copy of
another: a little noise on the vector, up to six bits of the hash. Every such pair must be found.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vitrine_server import copies, duplicates
from vitrine_server.catalogue import Catalogue
from vitrine_server.records import EncoderIdentity, NewItem

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

_BATCH = 1000
_NOISE = 0.2
_MAX_BITS = 6


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        identity = EncoderIdentity("synthetic", "0" * 64, options.dimension)
        catalogue = Catalogue(Path(folder), encoder=identity)
        collection = catalogue.get("default")
        expected = _fill(collection.upsert, options.items, options.dimension)
        before_mb, cpu_s = _peak_mb(), time.process_time()
        events = duplicates.find(collection, copies.DEFAULT)
        *groups, end = [event for event in events if event["event"] != "progress"]
        cpu_s = time.process_time() - cpu_s
        catalogue.close()
    found = {frozenset(item["id"] for item in group["items"]) for group in groups}
    report = {
        **end,
        "cpu_seconds": round(cpu_s, 1),
        "planted": len(expected),
        "found": len(expected & found),
        "peak_mb_before": before_mb,
        "peak_mb": _peak_mb(),
    }
    print(json.dumps(report, indent=1))


def _fill(
    upsert: Callable[[list[NewItem]], Future[list[int]]], items: int, dimension: int
) -> set[frozenset[str]]:
    """Store the items; the pairs that are copies."""
    rng = np.random.default_rng(0)
    planted = items // 20
    copied = items - planted
    vectors = rng.standard_normal((items, dimension), np.float32)
    values = rng.integers(0, 2**64, items, np.uint64, endpoint=False)
    for at in range(planted):
        noise = rng.standard_normal(dimension).astype(np.float32)
        vectors[copied + at] = vectors[at] + _NOISE * noise
        flipped = rng.choice(64, int(rng.integers(0, _MAX_BITS + 1)), replace=False)
        values[copied + at] = values[at] ^ np.uint64(sum(1 << int(bit) for bit in flipped))
    for start in range(0, items, _BATCH):
        part = range(start, min(start + _BATCH, items))
        upsert(
            [NewItem(str(at), vectors[at], {}, hashes=(int(values[at]),)) for at in part]
        ).result()
    return {frozenset({str(at), str(copied + at)}) for at in range(planted)}


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=256)
    return parser.parse_args()


if __name__ == "__main__":
    main()
