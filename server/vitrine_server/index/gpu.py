"""FAISS indexes on a GPU, behind the calls of `FaissIndex`: one thread makes all of them.

FAISS's GPU resources take one call at a time, not even two searches. So searches that wait at the
same moment are answered together, by one call. The GPU families do not remove, and ignore a
selector: rows that are not allowed are dropped from a longer answer, which leaves the others in
order. When too few are left the caller sees it and compares exactly.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from vitrine_server.index.faiss_api import FaissIndex, faiss

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

Answer = TypeVar("Answer")

MAX_ROWS = 2048  # of one answer, and lists probed: FAISS's limits on a GPU
_DEVICE = 0


def present() -> bool:
    """Whether this FAISS is built for GPUs and sees one."""
    return int(faiss.get_num_gpus()) > 0


def has_cagra() -> bool:
    """Whether this FAISS has CAGRA, which the wheel `faiss-gpu-cuvs` brings."""
    return hasattr(faiss, "GpuIndexCagra")


def free_memory() -> int:
    """Bytes free on the GPU; 0 without one."""
    if not present():
        return 0
    free, total = ctypes.c_size_t(), ctypes.c_size_t()

    def ask() -> int:
        # FAISS has loaded CUDA's runtime into this process
        status: int = ctypes.CDLL(None).cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total))
        return status

    return free.value if owner().call(ask) == 0 else 0


class Owner:
    """The thread that makes every call to a GPU."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[_Search | Callable[[], None]] = SimpleQueue()
        threading.Thread(target=self._serve, name="gpu", daemon=True).start()

    def call(self, work: Callable[[], Answer]) -> Answer:
        """What a function gives, or raises, in the owner's thread."""
        future: Future[Answer] = Future()
        self._waiting.put(lambda: _settle(future, work))
        return future.result()

    def search(
        self, index: FaissIndex, queries: NDArray[np.float32], k: int, effort: int
    ) -> NDArray[np.int64]:
        """`FaissIndex.search`, in one call with what else waits for the same."""
        wish = _Search(index, queries, k, effort)
        self._waiting.put(wish)
        return wish.answer.result()

    def release(self, held: list[FaissIndex]) -> None:
        """Free an index in this thread: freeing one while another loads can crash CUDA."""
        self._waiting.put(held.clear)

    def _serve(self) -> None:
        while True:
            self._answer(self._waiting.get())

    def _answer(self, entry: _Search | Callable[[], None]) -> None:
        """Answer an entry and all that wait behind it; nothing of them is held afterwards."""
        taken = [entry]
        with suppress(Empty):
            while True:
                taken.append(self._waiting.get_nowait())
        alike: dict[tuple[int, int, int], list[_Search]] = {}
        for entry in taken:
            if isinstance(entry, _Search):
                alike.setdefault((id(entry.index), entry.k, entry.effort), []).append(entry)
            else:
                entry()
        for searches in alike.values():
            _search_together(searches)


@dataclass(eq=False, slots=True)
class _Search:
    index: FaissIndex
    queries: NDArray[np.float32]
    k: int
    effort: int
    answer: Future[NDArray[np.int64]] = field(default_factory=Future)


def _search_together(searches: list[_Search]) -> None:
    first = searches[0]
    try:
        queries = np.concatenate([search.queries for search in searches])
        rows = first.index.search(queries, first.k, first.effort)
    except BaseException as error:
        for search in searches:
            search.answer.set_exception(error)
        return
    ends = np.cumsum([len(search.queries) for search in searches])
    for search, part in zip(searches, np.split(rows, ends[:-1]), strict=True):
        search.answer.set_result(part)


def _settle(future: Future[Answer], work: Callable[[], Answer]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:
        future.set_exception(error)


@cache
def owner() -> Owner:
    """The owner of this process's GPU."""
    return Owner()


@cache
def _resources() -> Any:
    """Called by the owner's thread alone."""
    return faiss.StandardGpuResources()


class GpuIndex:
    """A FAISS index that one thread owns. It is freed in that thread as well."""

    def __init__(self, held: FaissIndex, owner: Owner) -> None:
        # in a list that the owner empties: no other thread may drop the last reference
        self._held = [held]
        self._owner = owner
        self.count = held.count
        self.lists = held.lists
        weakref.finalize(self, owner.release, self._held).atexit = False

    def search(
        self,
        queries: NDArray[np.float32],
        k: int,
        effort: int,
        bits: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.int64]:
        """As `FaissIndex.search`, for k up to MAX_ROWS; rows without their bit are taken out."""
        rows = self._owner.search(self._held[0], queries, k, effort)
        if bits is None:
            return rows
        allowed = (bits[rows >> 3] >> (rows & 7) & 1).astype(np.bool_)
        return np.where(allowed & (rows >= 0), rows, -1)

    def train(self, vectors: NDArray[np.float32]) -> None:
        self._owner.call(lambda: self._held[0].train(vectors))

    def add(self, vectors: NDArray[np.float32]) -> None:
        self._owner.call(lambda: self._held[0].add(vectors))
        self.count = self._held[0].count

    def write(self, path: Path) -> None:
        """Write an index that a CPU can read and search; not durable by itself."""
        self._owner.call(lambda: _on_cpu(self._held[0]).write(path))


def on_gpu(index: FaissIndex) -> GpuIndex:
    """A copy of a CPU index, trained or not, on the GPU."""

    def copied() -> FaissIndex:
        options = faiss.GpuClonerOptions()
        # product tables of more than 16,384 entries fit into shared memory in FP16 alone
        options.useFloat16 = index.is_product
        return FaissIndex(faiss.index_cpu_to_gpu(_resources(), _DEVICE, index.raw, options))

    return GpuIndex(owner().call(copied), owner())


def cagra(vectors: NDArray[np.float32], *, euclidean: bool) -> GpuIndex:
    """NVIDIA's CAGRA graph over vectors (N, D), built at once: it takes no row later."""

    def built() -> FaissIndex:
        metric = faiss.METRIC_L2 if euclidean else faiss.METRIC_INNER_PRODUCT
        graph = faiss.GpuIndexCagra(
            _resources(), vectors.shape[1], metric, faiss.GpuIndexCagraConfig()
        )
        graph.train(np.ascontiguousarray(vectors))
        return FaissIndex(graph)

    return GpuIndex(owner().call(built), owner())


def _on_cpu(index: FaissIndex) -> FaissIndex:
    if not index.is_cagra:
        return FaissIndex(faiss.index_gpu_to_cpu(index.raw))
    # without the upper levels of an HNSW graph, which a CPU would have to build
    graph = faiss.IndexHNSWCagra()
    graph.base_level_only = True
    index.raw.copyTo(graph)
    return FaissIndex(cast("Any", graph))
