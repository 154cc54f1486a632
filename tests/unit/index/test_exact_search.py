"""Every path of the exact search against a full sort in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vitrine_server.index import exact
from vitrine_server.index.selection import Selection
from vitrine_server.index.vectors import Vectors

METRICS: tuple[Any, ...] = ("cosine", "inner_product", "l2", "l1")


def score(query: np.ndarray[Any, Any], vectors: np.ndarray[Any, Any], metric: str) -> Any:
    query, vectors = query.astype(np.float64), vectors.astype(np.float64)
    if metric in {"cosine", "inner_product"}:
        return vectors @ query
    return -np.linalg.norm(vectors - query, ord=2 if metric == "l2" else 1, axis=1)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("share", [None, 0.9, 0.3, 0.001])
@pytest.mark.parametrize("count", [1, 3, 4, 40])
def test_against_a_full_sort(metric: Any, share: float | None, count: int) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((9000, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = vectors[:count] + 0.1 * rng.standard_normal((count, 16)).astype(np.float32)
    mask = np.ones(9000, np.bool_) if share is None else rng.random(9000) < share
    selection = None if share is None else Selection(mask)
    scores, rows = exact.search(queries, vectors, 20, metric, selection)
    assert scores.shape == rows.shape == (count, min(20, int(mask.sum())))
    for query, found_scores, found_rows in zip(queries, scores, rows, strict=True):
        expected = score(query, vectors, metric)
        assert mask[found_rows].all()
        np.testing.assert_allclose(found_scores, expected[found_rows], atol=2e-6)
        best = np.sort(np.where(mask, expected, -np.inf))[::-1][: len(found_rows)]
        np.testing.assert_allclose(found_scores, best, atol=2e-6)


def test_ties_come_by_row() -> None:
    vectors = np.tile(np.array([[1, 0], [0, 1]], np.float32), (50, 1))
    for queries in (np.array([[1, 0]], np.float32), np.tile(np.array([1, 0], np.float32), (8, 1))):
        rows = exact.search(queries, vectors, 60, "cosine")[1]
        assert (rows[:, :50] == np.arange(0, 100, 2)).all()


@pytest.mark.parametrize("k", [1, 7, 50, 300])
def test_pairs_of_equal_rows_come_by_row_to_the_last(k: int) -> None:
    numbers = np.random.default_rng(3).permutation(np.repeat(np.arange(2000), 2))
    queries = np.array([[1], [-1], [2], [-3], [1]], np.float32)
    vectors = numbers[:, None].astype(np.float32)
    scores, rows = exact.search(queries, vectors, k, "inner_product")
    for query, own_scores, own in zip(queries, scores, rows, strict=True):
        best = np.argsort(-numbers * query, kind="stable")[:k]
        np.testing.assert_array_equal(own_scores, numbers[best] * query)
        np.testing.assert_array_equal(own, best)


def test_many_equal_rows() -> None:
    vectors = np.ones((3000, 4), np.float32)
    scores, rows = exact.search(np.ones((16, 4), np.float32), vectors, 10, "inner_product")
    assert (scores == 4).all()
    assert all(len(set(own)) == 10 for own in rows.tolist())


def test_nothing_to_search() -> None:
    queries = np.ones((3, 4), np.float32)
    assert exact.search(queries, np.empty((0, 4), np.float32), 5, "l2")[1].shape == (3, 0)
    none = Selection(np.zeros(7, np.bool_))
    assert exact.search(queries, np.ones((7, 4), np.float32), 5, "l2", none)[1].shape == (3, 0)


def test_vectors_in_two_pieces() -> None:
    rng = np.random.default_rng(2)
    whole = rng.standard_normal((3000, 8)).astype(np.float32)
    held = Vectors(whole[:1300])
    held.extend(whole[1300:2999])
    held.extend(whole[2999:])
    rows = rng.permutation(3000)[:500]
    np.testing.assert_array_equal(held.take(rows), whole[rows])
    expected = whole[rows] @ whole[0]
    np.testing.assert_allclose(held.scores(whole[0], rows, "cosine"), expected, atol=1e-5)
    for start, stop in [(0, 3000), (100, 1300), (1300, 2000), (1200, 1400), (5, 5)]:
        pieces = list(held.pieces(start, stop))
        joined = [whole[first : first + len(piece)] for first, piece in pieces]
        assert all((a == b).all() for a, (_, b) in zip(joined, pieces, strict=True))
        assert sum(len(piece) for _, piece in pieces) == stop - start
