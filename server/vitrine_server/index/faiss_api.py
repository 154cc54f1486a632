"""The one module that imports faiss: typed functions over plain NumPy arrays.

Scores are "larger is better" for every metric: the inner product, or the negative Euclidean or
Manhattan distance. Rows are positions in the searched matrix.

Each thread that calls in here runs FAISS on one core (an OpenMP thread count belongs to the calling
thread): concurrency comes from the callers, and a search never waits for a team of threads.
"""

from __future__ import annotations

import importlib
import threading
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from vitrine_server.index.pages import use_huge_pages

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

Metric: TypeAlias = Literal["cosine", "inner_product", "l2", "l1"]

# not an import statement: the type stubs inside the wheel are wrong about half of what is used here
faiss: Any = importlib.import_module("faiss")
FAISS_VERSION = str(faiss.__version__)

# FAISS leaves its exact sequential kernel for a BLAS one (which cancels digits under L2) at 20.
_QUERIES_PER_CALL = 16

_KMEANS_ROUNDS = 10
_ORDER_ROWS = 8192
_COARSE_BUILD_EFFORT = 64
# A graph built with an effort of 200 instead of 100, and whose full nodes are pruned to as many
# links as they have room for, not to 80 %, takes twice as long to build; at 60,000 x 256 a search
# for recall@10 of 0.96 then takes 90 microseconds instead of 115.
_HNSW_BUILD_EFFORT = 200
_HNSW_ROOM_LEFT = 0.0
# Codes of 4 bits divide what lies within so many standard deviations of a value's mean, not all
# that occurs: at 300,000 x 256, with 20 rows rescored, recall@10 was 0.956 instead of 0.949.
_CODE_DEVIATIONS = 2.5

_thread = threading.local()


def use_one_core() -> None:
    """Run FAISS on one core in the calling thread."""
    if not getattr(_thread, "limited", False):
        faiss.omp_set_num_threads(1)
        _thread.limited = True


def nearest(
    queries: NDArray[np.float32],
    vectors: NDArray[np.float32],
    k: int,
    metric: Metric,
    bits: NDArray[np.uint8] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Exact neighbours of queries (B, D) among vectors (N, D): scores and rows, (B, k), best first.

    bits: (ceil(N / 8),) packed little-endian; only rows whose bit is set are searched.
    Missing neighbours have row -1 and score -inf.
    """
    use_one_core()
    count = len(queries)
    scores = np.empty((count, k), np.float32)
    rows = np.empty((count, k), np.int64)
    selector = None if bits is None else faiss.IDSelectorBitmap(bits)
    for start in range(0, count, _QUERIES_PER_CALL):
        part = slice(start, start + _QUERIES_PER_CALL)
        _nearest(queries[part], vectors, k, metric, selector, scores[part], rows[part])
    return _larger_is_better(scores, metric, rows), rows


def scores_of(
    query: NDArray[np.float32],
    vectors: NDArray[np.float32],
    rows: NDArray[np.int64],
    metric: Metric,
) -> NDArray[np.float32]:
    """Scores (M,) of the named rows (M,) of vectors (N, D) against one query (D,)."""
    use_one_core()
    scores = np.empty(len(rows), np.float32)
    arguments = (
        faiss.swig_ptr(scores),
        faiss.swig_ptr(query),
        faiss.swig_ptr(vectors),
        faiss.swig_ptr(rows),
        vectors.shape[1],
        1,
        len(rows),
    )
    if metric == "l1":
        distances: NDArray[np.float32] = np.abs(vectors[rows] - query).sum(axis=1)
        return -distances
    if metric == "l2":
        faiss.fvec_L2sqr_by_idx(*arguments)
    else:
        faiss.fvec_inner_products_by_idx(*arguments)
    return _larger_is_better(scores, metric)


def _nearest(
    queries: NDArray[np.float32],
    vectors: NDArray[np.float32],
    k: int,
    metric: Metric,
    selector: Any,
    scores: NDArray[np.float32],
    rows: NDArray[np.int64],
) -> None:
    shape = (vectors.shape[1], len(queries), len(vectors))
    x, y = faiss.swig_ptr(queries), faiss.swig_ptr(vectors)
    out = (faiss.swig_ptr(scores), faiss.swig_ptr(rows))
    if metric == "l1":
        if selector is not None:
            raise ValueError("FAISS has no selector for L1: gather the rows first")
        faiss.knn_extra_metrics(x, y, *shape, faiss.METRIC_L1, 0.0, k, *out)
    elif metric == "l2":
        faiss.knn_L2sqr(x, y, *shape, k, *out, None, selector)
    else:
        faiss.knn_inner_product(x, y, *shape, k, *out, selector)


def _larger_is_better(
    scores: NDArray[np.float32], metric: Metric, rows: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    if metric == "l2":
        scores = -np.sqrt(np.maximum(scores, 0, out=scores), out=scores)
    elif metric == "l1":
        scores = -scores
    if rows is not None:
        scores[rows < 0] = -np.inf
    return scores


class FaissIndex:
    """A trained FAISS index over rows 0, 1, …: typed, and safe to search while others search.

    `train` and `add` must not run beside a search: clone, add to the clone, and show the clone.
    """

    def __init__(self, index: Any) -> None:
        self._index = index
        self._inner = faiss.downcast_index(index)
        self._is_ivf = hasattr(self._inner, "nprobe")
        self.is_graph = hasattr(self._inner, "hnsw")
        self.is_cagra = type(self._inner).__name__ == "GpuIndexCagra"
        self.count = int(index.ntotal)
        # inverted lists, 0 for an index without
        self.lists = int(self._inner.nlist) if self._is_ivf else 0
        self._parameters: dict[int, Any] = {}

    @classmethod
    def create(cls, dimension: int, factory: str, metric: Metric) -> FaissIndex:
        """From FAISS's factory language, https://github.com/facebookresearch/faiss/wiki."""
        # unit vectors have the same neighbours under both, and a graph is 10 % faster under L2
        euclidean = metric == "l2" or (metric == "cosine" and factory.startswith("HNSW"))
        kind = faiss.METRIC_L2 if euclidean else faiss.METRIC_INNER_PRODUCT
        created = cls(faiss.index_factory(dimension, factory, kind))
        if created._is_ivf:
            created._inner.cp.niter = _KMEANS_ROUNDS
            created._inner.cp.spherical = metric != "l2"
            if hasattr(created._quantizer, "hnsw"):
                created._quantizer.hnsw.efConstruction = _COARSE_BUILD_EFFORT
                created._quantizer.hnsw.efSearch = _COARSE_BUILD_EFFORT
        elif created.is_graph:
            created._inner.hnsw.efConstruction = _HNSW_BUILD_EFFORT
            created._inner.hnsw.prune_headroom = _HNSW_ROOM_LEFT
            codes = faiss.downcast_index(created._inner.storage).sq
            codes.rangestat = faiss.ScalarQuantizer.RS_meanstd
            codes.rangestat_arg = _CODE_DEVIATIONS
        return created

    @property
    def raw(self) -> Any:
        """FAISS's object, for `gpu` to copy."""
        return self._index

    @property
    def is_product(self) -> bool:
        """Whether its codes are product codes."""
        return hasattr(self._inner, "pq")

    @property
    def _quantizer(self) -> Any:
        return faiss.downcast_index(self._inner.quantizer)

    def train(self, vectors: NDArray[np.float32]) -> None:
        use_one_core()
        self._index.train(vectors)

    def add(self, vectors: NDArray[np.float32]) -> None:
        use_one_core()
        self._index.add(vectors)
        self.count = int(self._index.ntotal)

    def reorder(self, order: NDArray[np.int64]) -> None:
        """Move the row order[r] of a graph to r, for every row."""
        self._inner.permute_entries(order)

    def clone(self) -> FaissIndex:
        return FaissIndex(faiss.clone_index(self._index))

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        effort: int,
        bits: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.int64]:
        """Rows (B, k) int64 of the likely neighbours, in no reliable order; -1 where there is none.

        effort: inverted lists probed, HNSW's efSearch or CAGRA's itopk. bits: packed little-endian,
        rows allowed.
        """
        use_one_core()
        if bits is not None:
            parameters = self._made_parameters(effort, faiss.IDSelectorBitmap(bits))
        else:
            parameters = self._parameters.get(effort)
            if parameters is None:
                parameters = self._parameters[effort] = self._made_parameters(effort, None)
        scores = np.empty((len(queries), k), np.float32)
        rows = np.empty((len(queries), k), np.int64)
        # what `search` of the Python class does, without its checks: they cost 50 us
        self._index.search_c(
            len(queries),
            faiss.swig_ptr(queries),
            k,
            faiss.swig_ptr(scores),
            faiss.swig_ptr(rows),
            parameters,
        )
        return rows

    def _made_parameters(self, effort: int, selector: Any) -> Any:
        if self.is_cagra:
            wide = faiss.SearchParametersCagra()
            wide.itopk_size = effort
            return wide
        if self._is_ivf:
            made = faiss.SearchParametersIVF(nprobe=min(effort, self.lists), sel=selector)
            if hasattr(self._quantizer, "hnsw"):
                coarse = faiss.SearchParametersHNSW(efSearch=max(2 * made.nprobe, 16))
                made.quantizer_params = coarse
            return made
        if self.is_graph:
            return faiss.SearchParametersHNSW(efSearch=effort, sel=selector)
        return None if selector is None else faiss.SearchParameters(sel=selector)

    def write(self, path: Path) -> None:
        """Write to a path; not durable by itself."""
        faiss.write_index(self._index, str(path))

    @classmethod
    def read(cls, path: Path) -> FaissIndex:
        """Read a file whose checksum was verified: FAISS itself loads damaged files."""
        index = cls(faiss.read_index(str(path)))
        if index.is_graph:
            links = index._inner.hnsw.neighbors
            codes = faiss.downcast_index(index._inner.storage).codes
            use_huge_pages(int(links.data()), 4 * links.size())
            use_huge_pages(int(codes.data()), codes.size())
        return index


def cluster_order(
    vectors: Callable[[int, int], NDArray[np.float32]], count: int, seed: int
) -> NDArray[np.int64]:
    """An order of rows 0 ≤ r < count, (count,) int64, in which neighbours are near each other.

    vectors: gives the rows start ≤ r < stop. An index that is stored in this order is read with
    fewer cache misses.
    """
    use_one_core()
    clusters = max(1, min(round(count**0.5), 4096))
    chance = np.random.default_rng(seed)
    blocks = range(0, count, _ORDER_ROWS)
    share = min(1.0, 40 * clusters / count)
    samples = []
    for start in blocks:
        block = vectors(start, min(start + _ORDER_ROWS, count))
        samples.append(block[chance.random(len(block)) < share])
    sample = np.concatenate(samples)
    clusters = min(clusters, len(sample))
    if clusters < 2:
        return np.arange(count)
    means = faiss.Kmeans(sample.shape[1], clusters, niter=5, seed=seed, min_points_per_centroid=1)
    means.train(sample)
    nearest_mean = np.empty(count, np.int64)
    for start in blocks:
        block = vectors(start, min(start + _ORDER_ROWS, count))
        nearest_mean[start : start + len(block)] = means.index.search(block, 1)[1][:, 0]
    return np.argsort(nearest_mean, kind="stable")
