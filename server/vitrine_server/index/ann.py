"""Approximate families: what they are made of, how they are tuned, how they prove their recall.

An approximate index only proposes rows; their scores are computed from the exact vectors. So a
family decides which neighbours are found, never what a hit scores.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np

from vitrine_server.index import exact, gpu
from vitrine_server.index.faiss_api import FaissIndex
from vitrine_server.index.vectors import Vectors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from vitrine_server.index.faiss_api import Metric

CpuFamily = Literal["hnsw", "ivf", "ivf_pq", "ivf_rabitq", "sq8", "fp16"]
GpuFamily = Literal["gpu_flat", "gpu_ivf", "gpu_ivf_pq", "gpu_cagra"]
AnnFamily = Literal[CpuFamily, GpuFamily]
AnyIndex: TypeAlias = "FaissIndex | gpu.GpuIndex"

MIN_ROWS = 1000  # fewer are no training set
TUNING_QUERIES = 128
TUNING_K = 10
_ADD_ROWS = 4096
_TRAIN_ROWS_PER_LIST = 40
SEED = 20
# of a score, between one kernel and another
_ROUNDING = 2e-6


@dataclass(frozen=True, slots=True)
class Tuning:
    """How hard to search. effort: lists probed, efSearch or itopk for k = 10. candidates: rows
    proposed for each of the k. recall: measured at k = 10. query_s: measured time of one query.
    """

    effort: int
    candidates: int
    recall: float
    query_s: float


@dataclass(frozen=True, slots=True)
class _Family:
    efforts: tuple[int, ...]
    candidates: tuple[int, ...]
    # bytes of codes and links a vector, for dimension d
    bytes: Callable[[int], int]


_PROBES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_EF = (20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 128, 192, 256, 384, 512, 768, 1024)
_FAMILIES: dict[AnnFamily, _Family] = {
    "hnsw": _Family(_EF, (2, 4), lambda d: d // 2 + 18 * 2 * 4 + 20),
    "ivf": _Family(_PROBES, (2,), lambda d: 4 * d + 8),
    "ivf_pq": _Family(_PROBES, (5, 10, 20, 40), lambda d: d // 4 + 8),
    "ivf_rabitq": _Family(_PROBES, (5, 10, 20, 40), lambda d: d // 8 + 16),
    "sq8": _Family((1,), (2, 4), lambda d: d),
    "fp16": _Family((1,), (2,), lambda d: 2 * d),
    "gpu_flat": _Family((1,), (1,), lambda d: 4 * d),
    "gpu_ivf": _Family(_PROBES, (1,), lambda d: 4 * d + 8),
    "gpu_ivf_pq": _Family(_PROBES, (5, 10, 20, 40), lambda d: _product_codes(d) + 8),
    "gpu_cagra": _Family(_EF, (2,), lambda d: 4 * d + 64 * 4),
}
# what FAISS's kernels take: codes a vector, and values a code
_GPU_CODES = (64, 56, 48, 40, 32, 28, 24, 20, 16, 12, 8, 4, 3, 2, 1)
_GPU_CODE_VALUES = (4, 6, 8, 10, 12, 16, 20, 24, 28, 32)


class TooLowRecall(Exception):
    """No effort reaches the target; the message says what was reached."""


def bytes_per_vector(family: AnnFamily, dimension: int) -> int:
    """Memory of the index for one vector, without the exact vectors, which are a mapped file."""
    return _FAMILIES[family].bytes(dimension)


def supported(family: AnnFamily, dimension: int, metric: Metric) -> bool:
    """Whether FAISS has this family: no graph or list under L1, codes in steps of 16 values."""
    if metric == "l1" or dimension % 16:
        return False
    return {
        "gpu_ivf_pq": _product_codes(dimension) > 0,
        "gpu_cagra": gpu.has_cagra(),
    }.get(family, True)


def on_gpu(family: AnnFamily) -> bool:
    return family in get_args(GpuFamily)


def _product_codes(dimension: int) -> int:
    """Codes of 8 bits a vector that a GPU has a kernel for; 0 when it has none."""
    fitting = (m for m in _GPU_CODES if dimension / m in _GPU_CODE_VALUES)
    return next(fitting, 0)


def _factory(family: AnnFamily, dimension: int, rows: int) -> str:
    # FAISS's guideline is 4 to 16 times the root of the number of vectors
    lists = max(16, min(2 ** round(np.log2(4 * np.sqrt(rows))), rows // _TRAIN_ROWS_PER_LIST))
    return {
        "hnsw": "HNSW18_SQ4",
        "ivf": f"IVF{lists}_HNSW16,Flat",
        "ivf_pq": f"IVF{lists}_HNSW16,PQ{dimension // 2}x4fs",
        "ivf_rabitq": f"IVF{lists}_HNSW16,RaBitQfs",
        "sq8": "SQ8",
        "fp16": "SQfp16",
        "gpu_flat": "Flat",
        "gpu_ivf": f"IVF{lists},Flat",
        "gpu_ivf_pq": f"IVF{lists},PQ{_product_codes(dimension)}",
    }[family]


class Ann:
    """An approximate index over rows 0 ≤ r < count. Immutable once it is shown to searches."""

    def __init__(
        self, family: AnnFamily, index: AnyIndex, tuning: Tuning, tuned_rows: int | None = None
    ) -> None:
        """tuned_rows: how many rows it had when it was tuned; all of them by default."""
        self.family = family
        self.index = index
        self.tuning = tuning
        self.tuned_rows = index.count if tuned_rows is None else tuned_rows

    @property
    def count(self) -> int:
        return self.index.count

    @property
    def filters(self) -> bool:
        """Whether the index itself leaves out rows; one on a GPU does not."""
        return isinstance(self.index, FaissIndex)

    def propose(
        self,
        queries: NDArray[np.float32],
        k: int,
        share: float = 1,
        bits: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.int64]:
        """Likely neighbours (B, M) int64 of queries (B, D), unordered, -1 where there is none.

        bits: rows allowed, packed as `Selection.bits`; share: the part of all rows that they are.
        The search widens by 1 / share, so that it meets as many allowed rows as without a filter.
        """
        fetch = min(k * self.tuning.candidates, self.count)
        wider = max(1.0, k / TUNING_K) ** 0.5 / share
        effort = max(1, min(round(self.tuning.effort * wider), self.count))
        if self.family == "hnsw":
            effort = max(effort, fetch, round(fetch / share))
        elif on_gpu(self.family):
            # a GPU drops what is not allowed from its answer
            fetch = min(round(fetch / share), self.count, gpu.MAX_ROWS)
            effort = min(max(effort, fetch if self.family == "gpu_cagra" else 0), gpu.MAX_ROWS)
        return self.index.search(queries, fetch, effort, bits)

    def extended(self, vectors: NDArray[np.float32]) -> Ann:
        """A copy that covers further rows; this one, which is on the CPU, stays as it is."""
        if not isinstance(self.index, FaissIndex):
            raise TypeError(f"{self.family} takes no further rows")
        index = self.index.clone()
        index.add(vectors)
        return Ann(self.family, index, self.tuning, self.tuned_rows)


def build(
    family: AnnFamily,
    vectors: NDArray[np.float32],
    metric: Metric,
    target_recall: float,
    *,
    stop: Callable[[], None],
) -> Ann:
    """Train, fill and tune an index over vectors (N, D).

    stop: called often; raises to give up. Raises TooLowRecall.
    """
    index: AnyIndex
    if family == "gpu_cagra":
        index = gpu.cagra(vectors, euclidean=metric != "inner_product")
    else:
        index = trained(family, vectors, metric)
        fill(index, vectors, stop=stop)
    return tuned(family, index, vectors, metric, target_recall, stop=stop)


def opened(path: Path, family: AnnFamily) -> AnyIndex:
    """Read a verified file. Without its GPU, an index of a GPU is searched on the CPU."""
    index = FaissIndex.read(path)
    return gpu.on_gpu(index) if on_gpu(family) and gpu.present() else index


def trained(family: AnnFamily, vectors: NDArray[np.float32], metric: Metric) -> AnyIndex:
    """An empty index whose quantisers are trained on a sample of vectors (N, D)."""
    rows, dimension = vectors.shape
    empty = FaissIndex.create(dimension, _factory(family, dimension, rows), metric)
    index: AnyIndex = gpu.on_gpu(empty) if on_gpu(family) else empty
    chance = np.random.default_rng(SEED)
    sample = min(rows, max(20_000, index.lists * _TRAIN_ROWS_PER_LIST))
    index.train(vectors[np.sort(chance.choice(rows, sample, replace=False))])
    return index


def fill(index: AnyIndex, vectors: NDArray[np.float32], *, stop: Callable[[], None]) -> None:
    """Add vectors (N, D) to an empty index in steps; `stop` is called between them.

    A graph takes them in random order and is put in theirs afterwards: when neighbours follow each
    other, the first links never leave a cluster, and a search gets stuck in it. At 100,000 x 256
    and effort 24, recall@10 is 0.963 instead of 0.948.
    """
    graph = index if isinstance(index, FaissIndex) and index.is_graph else None
    order = np.arange(len(vectors))
    if graph is not None:
        order = np.random.default_rng(SEED).permutation(order)
    for start in range(0, len(vectors), _ADD_ROWS):
        stop()
        index.add(vectors[order[start : start + _ADD_ROWS]])
    if graph is not None:
        graph.reorder(np.argsort(order))


def tuned(
    family: AnnFamily,
    index: AnyIndex,
    vectors: NDArray[np.float32],
    metric: Metric,
    target_recall: float,
    *,
    stop: Callable[[], None],
) -> Ann:
    """The cheapest way to search that reaches the target on stored vectors as queries.

    A graph finds its own vectors with ease: queries that it does not hold miss up to three times as
    many neighbours, so three quarters of the allowed misses are kept as a margin. A row that is as
    near as the last of the true neighbours is one of them: equal pictures have equal vectors.
    """
    aim = target_recall + 0.75 * (1 - target_recall)
    chance = np.random.default_rng(SEED)
    chosen = chance.choice(len(vectors), min(TUNING_QUERIES, len(vectors)), replace=False)
    queries = np.ascontiguousarray(vectors[chosen])
    k = min(TUNING_K, len(vectors) - 1)
    # each query is itself stored: ask for one more and leave it out
    scores, truth = exact.search(queries, vectors, k + 1, metric)
    last = np.where((truth[:, :k] == chosen[:, None]).any(axis=1), scores[:, k], scores[:, k - 1])
    last -= _ROUNDING * np.maximum(1, np.abs(last))
    held = Vectors(vectors)
    best: Ann | None = None
    reached = 0.0
    options = _FAMILIES[family]
    for candidates in options.candidates:
        for effort in options.efforts:
            stop()
            trial = Ann(family, index, Tuning(effort, candidates, 0, 0))
            recall, query_s = _measure(trial, held, queries, chosen, last, k, metric)
            reached = max(reached, recall)
            if recall >= min(aim, 1 - 1e-9):
                if best is None or query_s < best.tuning.query_s:
                    best = Ann(family, index, Tuning(effort, candidates, recall, query_s))
                break
    if best is None:
        raise TooLowRecall(f"{family} reaches recall {reached:.3f}; {aim:.3f} is asked for")
    return best


def rescored(
    held: Vectors,
    query: NDArray[np.float32],
    rows: NDArray[np.int64],
    k: int,
    metric: Metric,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k best of the proposed rows (M,) by their exact scores: scores and rows, best first."""
    return exact.top(held.scores(query, rows, metric), rows, k)


def _measure(
    ann: Ann,
    held: Vectors,
    queries: NDArray[np.float32],
    chosen: NDArray[np.int64],
    last: NDArray[np.float32],
    k: int,
    metric: Metric,
) -> tuple[float, float]:
    """Recall@k of queries that are the rows `chosen`, without themselves, and seconds for each:
    this thread's on the CPU, or all that pass while a GPU works. last: the k-th best scores.
    """
    clock = time.perf_counter if on_gpu(ann.family) else time.thread_time
    hits, started = 0, clock()
    for query, own, score in zip(queries, chosen, last, strict=True):
        rows = ann.propose(query[None], k + 1)[0]
        scores, found = rescored(held, query, rows[rows >= 0], k + 1, metric)
        hits += min(k, int(((scores >= score) & (found != own)).sum()))
    elapsed = clock() - started
    return hits / (k * len(queries)), elapsed / len(queries)
