"""Caches hold what they say, and the allocator gives large blocks back."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import subprocess
import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest

from vitrine_server.cache import EmbeddingCache
from vitrine_server.records import Hit, SearchQuery, SearchResult
from vitrine_server.results import KnownResults, key_of
from vitrine_server.shown import ShownItems, shown
from vitrine_server.writes import Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

BOUND = 2_000_000
CHANCE = np.random.default_rng(1)


def vectors(count: int, dimension: int = 192) -> NDArray[np.float32]:
    return CHANCE.normal(size=(count, dimension)).astype(np.float32)


def row(number: int, *, long: int = 1) -> Row:
    group = f"group {number:09d} " * long
    text = orjson.dumps({"group": group, "price": number})
    return Row(number + 10**6, f"item {number:09d} " * long, text, 0, 0, None)


def search(number: int, *, k: int = 10, views: int = 0, **options: Any) -> SearchQuery:
    return SearchQuery(vectors(1)[0], k, views=tuple(vectors(views)), **options)


def answer(query: SearchQuery, number: int) -> SearchResult:
    """Of items that no other answer has."""
    rows = [row(number * query.k + at) for at in range(query.k)]
    items = [shown(each.id, f"group {each.label}", each.metadata_json) for each in rows]
    found = vectors(query.k) if query.with_vector else [None] * query.k
    hits = zip(items, CHANCE.random(query.k).tolist(), found, strict=True)
    return SearchResult(tuple(Hit(*hit) for hit in hits), "s@1", 0.1, 0.2)


# Kind of a query → how many are more than fit, and the query.
QUERIES: dict[str, tuple[int, Callable[[int], SearchQuery]]] = {
    "one hit": (1400, lambda number: search(number, k=1)),
    "ten hits": (450, search),
    "vectors": (250, lambda number: search(number, with_vector=True)),
    "views": (200, lambda number: search(number, k=1, views=20)),
    "a long filter": (60, lambda number: search(number, filter={"a": [f"{number:06d}" * 9999]})),
    "a wide filter": (60, lambda number: search(number, filter={"a": f"{number}" + "🙂" * 19999})),
}


def held(fill: Callable[[], object]) -> int:
    """Bytes of Python and NumPy that a call leaves behind."""
    gc.collect()
    tracemalloc.start()
    fill()
    gc.collect()
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{grown / BOUND:.2f} of the bound")
    return grown


@pytest.mark.parametrize("kind", QUERIES)
def test_answers_take_what_they_count(kind: str) -> None:
    count, make = QUERIES[kind]
    kept = KnownResults(BOUND)

    def fill() -> None:
        for number in range(count):
            query = make(number)
            kept.put(key_of(query), query, answer(query, number))

    assert 0.7 * BOUND < held(fill) < 1.15 * BOUND


@pytest.mark.parametrize("long", [1, 30])
def test_items_take_what_they_count(long: int) -> None:
    kept = ShownItems(BOUND)

    def fill() -> None:
        for number in range(9000 // long + 2000):
            kept.add([row(number, long=long)])

    assert 0.45 * BOUND < held(fill) < 1.15 * BOUND  # the younger generation may be empty


@pytest.mark.parametrize("dimension", [64, 384, 1024])
def test_embeddings_take_what_they_count(dimension: int) -> None:
    kept = EmbeddingCache(max_bytes=BOUND, remote=None, count=lambda *_: None)

    async def compute() -> NDArray[np.float32]:
        return np.ones(dimension, np.float32)

    async def fill() -> None:
        for number in range(BOUND // dimension // 2):
            await kept.get("image", number.to_bytes(32, "big"), compute, deadline=float("inf"))

    assert 0.7 * BOUND < held(lambda: asyncio.run(fill())) < 1.15 * BOUND


# Large blocks come and go, and something small is allocated after each, in a thread.
_DECODES = """
import sys, threading
import numpy as np
from vitrine_server import memory

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6

def work():
    for size in (28, 14, 20, 9, 25, 12):
        large = np.ones(size * 10**6, np.uint8)
        kept.append(np.ones(10_000, np.uint8))
        del large

if sys.argv[1] == "bound":
    memory.bound()
kept = []
before = resident()
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(resident() - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not the C library of GNU")
def test_large_blocks_are_given_back() -> None:
    def left_mb(how: str) -> float:
        command = [sys.executable, "-c", _DECODES, how]
        return float(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)

    kept, usual = left_mb("bound"), left_mb("usual")
    print(f"{kept:.1f} MB left, {usual:.1f} MB with the library's own bounds")
    assert kept < 5
    assert usual > 15, "the bounds are not needed any more"
