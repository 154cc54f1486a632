"""What `rerank` adds to a search: CPU milliseconds a query, of one collection on disk.

    python benchmarks/reranking.py [--size 100k] [--index auto] [--folder DIR] [--rounds 5]

The collection is that of live_index.py, without its filters. Each round asks every query three
ways: for 10 hits, for as many as are re-ranked, and for 10 re-ranked ones. The figures are medians
of the rounds' means, with all threads of the process counted.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np

from live_index import filled
from recall_sweep import SIZES, mixture
from vitrine_server.collection import CollectionSettings, IndexFamily, SearchQuery
from vitrine_server.rerank import CANDIDATES

QUERIES = 100
WAYS: dict[str, dict[str, Any]] = {
    "10 hits": {"k": 10},
    f"{CANDIDATES} hits": {"k": CANDIDATES},
    "10 hits, re-ranked": {"k": 10, "rerank": True},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="100k")
    parser.add_argument("--index", default="auto", choices=get_args(IndexFamily))
    parser.add_argument("--folder", type=Path, help="keeps the collection")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    vectors, queries = mixture(SIZES[options.size], QUERIES)
    settings = CollectionSettings(index=options.index, fields={"share": "number"})
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.folder or Path(scratch)) / f"rerank-{options.size}-{options.index}"
        collection = filled(folder, settings, vectors, np.zeros(len(vectors)))
        taken: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(options.rounds):
            for way, asked in WAYS.items():
                started = time.process_time()
                for query in queries:
                    collection.search([SearchQuery(query, **asked)])
                taken[way].append(1000 * (time.process_time() - started) / len(queries))
        collection.close()
    for way, times in taken.items():
        each = ", ".join(f"{one:.2f}" for one in times)
        print(f"{way:20} {statistics.median(times):6.2f} CPU ms a query (rounds: {each})")


if __name__ == "__main__":
    main()
