"""Exact search over a matrix, by the kernel that is fastest for the shape of the question.

Measured on one core at 200,000 x 256 (ms): a whole scan 18; 10 % of the rows by selector 4.5, by
index 2.9; 16 queries one by one 290, as a matrix product 75.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vitrine_server.index import faiss_api

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vitrine_server.index.faiss_api import Metric
    from vitrine_server.index.selection import Selection

_GEMM_QUERIES = 4
_GEMM_ROWS = 8192
# OpenBLAS multiplies so few rows by so few queries where they lie; more, it copies into its own
# layout first. At 2,048 x 256 and at 100,000 x 256: 1.2 times as fast for 16 queries, 1.3 to 1.7
# times for 4, 0.8 times for 60.
_SMALL_ROWS = 64
_SMALL_QUERIES = 32
# so many more than k are sorted faster than they are parted first
_FEW = 64


def search(
    queries: NDArray[np.float32],
    vectors: NDArray[np.float32],
    k: int,
    metric: Metric,
    selection: Selection | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Neighbours of queries (B, D) among vectors (N, D): scores and rows, (B, min(k, N)).

    Best first, ties by row. Missing neighbours have row -1 and score -inf.
    """
    k = min(k, len(vectors) if selection is None else selection.count)
    if k == 0:
        return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    if selection is not None and (2 * selection.count < len(vectors) or metric == "l1"):
        return _search_rows(queries, vectors, k, metric, selection.rows)
    if (
        selection is None
        and len(queries) >= _GEMM_QUERIES
        and metric in {"cosine", "inner_product"}
    ):
        return _search_blocks(queries, vectors, k)
    bits = None if selection is None else selection.bits
    return tops(*faiss_api.nearest(queries, vectors, k, metric, bits), k)


def top(
    scores: NDArray[np.float32], rows: NDArray[np.int64], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k best of candidates (M,), best first, ties by row."""
    if len(scores) > k + _FEW:
        best = scores.argpartition(len(scores) - k)[-k:]
        scores, rows = scores[best], rows[best]
    order = np.lexsort((rows, -scores))[:k]
    return scores[order], rows[order]


def tops(
    scores: NDArray[np.float32], rows: NDArray[np.int64], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """`top` for each of B queries: scores and rows (B, M) to (B, min(k, M))."""
    count = scores.shape[1]
    lines = np.arange(len(scores))[:, None]
    if count > k:
        best = scores.argpartition(count - k, axis=1)[:, count - k :]
        scores, rows = scores[lines, best], rows[lines, best]
    elif (scores[:, 1:] < scores[:, :-1]).all():
        return scores, rows  # sorted already, without ties
    order = np.lexsort((rows, -scores))
    return scores[lines, order], rows[lines, order]


def _search_rows(
    queries: NDArray[np.float32],
    vectors: NDArray[np.float32],
    k: int,
    metric: Metric,
    rows: NDArray[np.int64],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    scores = np.stack([faiss_api.scores_of(query, vectors, rows, metric) for query in queries])
    return tops(scores, np.broadcast_to(rows, scores.shape), k)


def _search_blocks(
    queries: NDArray[np.float32], vectors: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    columns = np.ascontiguousarray(queries.T)
    best: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None
    for start in range(0, len(vectors), _GEMM_ROWS):
        # this way round a product with few queries takes half the time
        scores = _products(vectors[start : start + _GEMM_ROWS], columns).T
        rows = np.broadcast_to(np.arange(start, start + scores.shape[1]), scores.shape)
        found = tops(scores, rows, k)
        if best is not None:
            found = tops(
                np.concatenate([best[0], found[0]], axis=1),
                np.concatenate([best[1], found[1]], axis=1),
                k,
            )
        best = found
    assert best is not None  # k is 0 without vectors
    return best


def _products(vectors: NDArray[np.float32], columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, D) times (D, B)."""
    count, (dimension, queries) = len(vectors), columns.shape
    if queries > _SMALL_QUERIES:
        return vectors @ columns
    whole = count - count % _SMALL_ROWS
    products = np.empty((count, queries), np.float32)
    np.matmul(
        vectors[:whole].reshape(-1, _SMALL_ROWS, dimension),
        columns,
        out=products[:whole].reshape(-1, _SMALL_ROWS, queries),
    )
    np.matmul(vectors[whole:], columns, out=products[whole:])
    return products
