"""One thread searches for all: with indexes of a CPU, which answer the same calls as a GPU's."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vitrine_server.filters import OneOf
from vitrine_server.index import ann, choice
from vitrine_server.index.faiss_api import FaissIndex
from vitrine_server.index.generation import Generation
from vitrine_server.index.gpu import GpuIndex, Owner
from vitrine_server.index.live import LiveIndex
from vitrine_server.index.search import Question, search_state
from vitrine_server.records import CollectionSettings

if TYPE_CHECKING:
    from pathlib import Path

ROWS, DIMENSION = 3000, 32


class Recorded(FaissIndex):
    """Notes how many queries each call brought, and from which thread."""

    def __init__(self, index: Any) -> None:
        super().__init__(index)
        self.calls: list[tuple[int, str]] = []

    def search(self, queries: Any, *rest: Any) -> Any:
        self.calls.append((len(queries), threading.current_thread().name))
        return super().search(queries, *rest)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray[Any, Any]:
    return np.random.default_rng(3).standard_normal((ROWS, DIMENSION)).astype(np.float32)


def flat(vectors: np.ndarray[Any, Any]) -> Recorded:
    index = Recorded(FaissIndex.create(DIMENSION, "Flat", "l2").raw)
    index.add(vectors)
    return index


def best(queries: Any, vectors: Any, k: int, allowed: Any = None) -> list[list[int]]:
    distances = ((queries[:, None].astype(np.float64) - vectors[None]) ** 2).sum(-1)
    if allowed is not None:
        distances[:, ~allowed] = np.inf
    return [row[:k].tolist() for row in np.argsort(distances, axis=1)]


def test_searches_that_wait_together_are_one_call(vectors: np.ndarray[Any, Any]) -> None:
    owner, held = Owner(), flat(vectors)
    index = GpuIndex(held, owner)
    queries = vectors[:16] + np.float32(0.01)
    entered, go_on = threading.Event(), threading.Event()
    with ThreadPoolExecutor(17) as pool:
        busy = pool.submit(owner.call, lambda: (entered.set(), go_on.wait(10)))
        assert entered.wait(10)
        asked = [pool.submit(index.search, queries[n : n + 1], 5, 1) for n in range(16)]
        while owner._waiting.qsize() < 16:
            pass
        go_on.set()
        busy.result()
        found = [answer.result()[0].tolist() for answer in asked]
    assert held.calls == [(16, "gpu")]
    assert [sorted(rows) for rows in found] == [sorted(row) for row in best(queries, vectors, 5)]


def test_different_questions_are_not_mixed(vectors: np.ndarray[Any, Any]) -> None:
    owner = Owner()
    whole, half = GpuIndex(flat(vectors), owner), GpuIndex(flat(vectors[:1000]), owner)
    queries = vectors[2000:2040] + np.float32(0.01)

    def ask(number: int) -> bool:
        index, stored = ((whole, vectors), (half, vectors[:1000]))[number % 2]
        query, k = queries[number][None], 3 + number % 3
        return sorted(index.search(query, k, 1)[0].tolist()) == sorted(best(query, stored, k)[0])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(40)))


def test_rows_that_are_not_allowed_are_dropped(vectors: np.ndarray[Any, Any]) -> None:
    index = GpuIndex(flat(vectors), Owner())
    allowed = np.random.default_rng(4).random(ROWS) < 0.5
    queries = vectors[:20]
    rows = index.search(queries, 60, 1, np.packbits(allowed, bitorder="little"))
    for found, expected in zip(rows, best(queries, vectors, 10, allowed), strict=True):
        assert [row for row in found.tolist() if row >= 0][:10] == expected


def test_an_error_reaches_its_callers_and_the_thread_goes_on(
    vectors: np.ndarray[Any, Any],
) -> None:
    owner = Owner()
    index = GpuIndex(flat(vectors), owner)
    with pytest.raises(RuntimeError):
        index.search(vectors[:1], 0, 1)
    with pytest.raises(ZeroDivisionError):
        owner.call(lambda: 1 // 0)
    assert index.search(vectors[:1], 1, 1).tolist() == [[0]]


def test_an_index_is_freed_by_its_owner(vectors: np.ndarray[Any, Any]) -> None:
    owner = Owner()
    index = GpuIndex(flat(vectors), owner)
    freed_in: list[str] = []
    weakref.finalize(index._held[0], lambda: freed_in.append(threading.current_thread().name))
    index.search(vectors[:1], 1, 1)
    del index
    gc.collect()
    owner.call(lambda: None)
    assert freed_in == ["gpu"]


def test_a_gpu_index_is_searched_on_the_cpu_where_there_is_no_gpu(
    vectors: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    flat(vectors).write(tmp_path / "index")
    index = ann.opened(tmp_path / "index", "gpu_flat")
    assert isinstance(index, FaissIndex)
    tuning = ann.Tuning(effort=1, candidates=1, recall=1, query_s=1e-3)
    proposed = ann.Ann("gpu_flat", index, tuning).propose(vectors[:5], 3)
    assert [sorted(row) for row in proposed.tolist()] == [
        sorted(row) for row in best(vectors[:5], vectors, 3)
    ]


@pytest.mark.parametrize("group_by", [None, "group"])
@pytest.mark.parametrize(
    ("colour", "k", "kind", "fell_back"),
    [
        (None, 10, GpuIndex, False),
        ("white", 10, GpuIndex, False),  # most rows: enough of the longer answer are left
        ("black", 10, GpuIndex, True),  # few rows: comparing them costs less
        ("white", 2500, GpuIndex, True),  # more than a GPU answers with
        ("black", 10, FaissIndex, False),  # read on a machine without a GPU
    ],
)
def test_an_answer_says_when_a_gpu_could_not_filter(
    vectors: np.ndarray[Any, Any],
    colour: str | None,
    k: int,
    kind: type,
    fell_back: bool,
    group_by: str | None,
) -> None:
    colours = np.where(np.random.default_rng(5).random(ROWS) < 0.02, "black", "white")
    settings = CollectionSettings(metric="l2", fields={"colour": "keyword"})
    live = LiveIndex(Generation.empty(settings, DIMENSION))
    live.add(range(1, ROWS + 1), vectors, [{"colour": name} for name in colours.tolist()])
    live.publish(ROWS)
    tuning = ann.Tuning(effort=1, candidates=1, recall=1, query_s=1e-5)
    held = flat(vectors)
    segment = ann.Ann("gpu_flat", GpuIndex(held, Owner()) if kind is GpuIndex else held, tuning)
    assert live.show_segments((segment,), instead_of=())
    accepted = None if colour is None else OneOf("colour", (colour,))
    question = Question(vectors[:1], k, 0, accepted, group_by, None)
    (found,) = search_state(live.state, [question], "l2")
    assert found.fell_back is fell_back
    allowed = None if colour is None else colours == colour
    assert found.rows.tolist() == best(vectors[:1], vectors, k, allowed)[0]


@pytest.mark.parametrize(
    ("rows", "gpu_bytes", "family"),
    [
        (10_000, 80e9, "exact"),
        (1_000_000, 80e9, "gpu_flat"),
        (20_000_000, 80e9, "gpu_ivf"),
        (100_000_000, 80e9, "gpu_ivf_pq"),
        (1_000_000, 1e9, "gpu_ivf_pq"),
        (1_000_000, 1e7, "hnsw"),
        (1_000_000, 0, "hnsw"),
    ],
)
def test_auto_with_a_gpu(rows: int, gpu_bytes: float, family: str) -> None:
    made = choice.choose(CollectionSettings(), rows, 256, int(64e9), int(gpu_bytes))
    if ann.supported("gpu_cagra", 256, "cosine") and family == "gpu_ivf":
        family = "gpu_cagra"
    assert made.family == family


def test_asking_for_a_gpu_where_there_is_none_says_so() -> None:
    settings = CollectionSettings(index="gpu_ivf")
    made = choice.choose(settings, 1_000_000, 256, int(8e9), 0)
    assert made.family == "exact"
    assert "needs a GPU" in made.reason
