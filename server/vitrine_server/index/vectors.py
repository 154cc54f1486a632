"""The exact vectors of a generation: a fixed head, usually a mapped file, and a growing tail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vitrine_server.index import faiss_api
from vitrine_server.index.growing import Growing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from vitrine_server.index.faiss_api import Metric


class Vectors:
    """(n, D) float32 in two pieces: rows below `len(head)`, and those appended since.

    One writer appends; readers pass the number of rows that their state has.
    """

    def __init__(self, head: NDArray[np.float32]) -> None:
        self.head = head
        self._tail: Growing[np.float32] = Growing(np.float32, head.shape[1])

    def __len__(self) -> int:
        return len(self.head) + len(self._tail)

    def extend(self, vectors: NDArray[np.float32]) -> None:
        self._tail.extend(vectors)

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """The rows start ≤ r < stop as (first row, contiguous array); nothing is copied."""
        middle = len(self.head)
        if start < min(stop, middle):
            yield start, self.head[start : min(stop, middle)]
        if max(start, middle) < stop:
            first = max(start, middle)
            yield first, self._tail.view(stop - middle)[first - middle :]

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Copies of the named rows, (M, D)."""
        middle = len(self.head)
        taken = np.empty((len(rows), self.head.shape[1]), np.float32)
        early = rows < middle
        taken[early] = self.head[rows[early]]
        late = rows[~early] - middle
        if len(late):
            taken[~early] = self._tail.view(int(late.max()) + 1)[late]
        return taken

    def scores(
        self, query: NDArray[np.float32], rows: NDArray[np.int64], metric: Metric
    ) -> NDArray[np.float32]:
        """Exact scores (M,) of the named rows against one query (D,)."""
        middle = len(self.head)
        if not len(self._tail) or rows.max(initial=-1) < middle:
            return faiss_api.scores_of(query, self.head, rows, metric)
        early = rows < middle
        late = rows[~early] - middle
        tail = self._tail.view(int(late.max()) + 1)
        scores = np.empty(len(rows), np.float32)
        scores[early] = faiss_api.scores_of(query, self.head, rows[early], metric)
        scores[~early] = faiss_api.scores_of(query, tail, late, metric)
        return scores
