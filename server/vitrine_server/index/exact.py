"""Exact search over a matrix, by the kernel that is fastest for the shape of the question.

Measured on one core at 200,000 x 256 (ms): a whole scan 18; 10 % of the rows by selector 4.5, by
index 2.9; 16 queries one by one 285, as a matrix product 38.
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
# OpenBLAS multiplies matrices of up to so many multiply-adds where they lie; larger ones it copies
# into its own layout first. At 2,048 x 256 that lie in no cache, in pieces of so many rows: 1.5
# times as fast for 4 queries, 1.3 times for 16 and for 32, 0.9 times for 48.
_SMALL_PRODUCT = 1_000_000
_SMALL_ROWS = 128
_SMALL_QUERIES = 32
# So many groups of rows for each of the k best: more cost time, fewer let more rows through.
_GROUPS = 8
# Groups of fewer rows gain nothing: 8,192 rows and k = 256 are sooner parted by query.
_GROUP_ROWS = 8
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
        scores, rows = _best_rows(_products(vectors[start : start + _GEMM_ROWS], columns), k)
        found = scores, rows + start
        if best is not None:
            found = tops(
                np.concatenate([best[0], found[0]], axis=1),
                np.concatenate([best[1], found[1]], axis=1),
                k,
            )
        best = found
    assert best is not None  # k is 0 without vectors
    return best


def _best_rows(
    scores: NDArray[np.float32], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k best of the rows of scores (N, B), for each of B queries: (B, min(k, N)).

    A row among the k best scores no less than the k-th of the groups' best; few others do.
    """
    count, queries = scores.shape
    groups = _GROUPS * k
    height = count // groups
    if height >= _GROUP_ROWS:
        # the rows of a group lie apart: neighbours in storage are often alike
        peaks = scores[: height * groups].reshape(height, groups, queries).max(axis=0)
        least = np.partition(peaks, groups - k, axis=0)[groups - k]
        rows, lines = np.divmod(np.flatnonzero(scores >= least), queries)
        if len(rows) <= groups * queries:  # or many are equal
            candidates = scores[rows, lines]
            order = np.lexsort((-candidates, lines))  # which leaves ties by row
            firsts = np.searchsorted(lines[order], np.arange(queries))
            best = order[firsts[:, None] + np.arange(k)]
            return candidates[best], rows[best]
    return tops(scores.T, np.broadcast_to(np.arange(count), (queries, count)), k)


def _products(vectors: NDArray[np.float32], columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, D) times (D, B)."""
    count, (dimension, queries) = len(vectors), columns.shape
    # its kernels take 16 rows at once
    piece = min(_SMALL_ROWS, _SMALL_PRODUCT // (dimension * queries)) // 16 * 16
    if queries > _SMALL_QUERIES or piece == 0:
        return vectors @ columns
    whole = count - count % piece
    products = np.empty((count, queries), np.float32)
    np.matmul(
        vectors[:whole].reshape(-1, piece, dimension),
        columns,
        out=products[:whole].reshape(-1, piece, queries),
    )
    np.matmul(vectors[whole:], columns, out=products[whole:])
    return products
