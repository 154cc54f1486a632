"""A graph is filled in random order, and holds its rows in the order that it was given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vitrine_server.index import ann

CLUSTERS, ROWS, DIMENSION = 40, 4000, 32


@pytest.fixture(scope="module")
def vectors() -> np.ndarray[Any, Any]:
    """(ROWS, DIMENSION) float32 of length 1, one cluster after the other."""
    rng = np.random.default_rng(3)
    centres = np.repeat(rng.standard_normal((CLUSTERS, DIMENSION)), ROWS // CLUSTERS, axis=0)
    drawn = centres + 0.3 * rng.standard_normal((ROWS, DIMENSION))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def filled(vectors: np.ndarray[Any, Any]) -> ann.AnyIndex:
    index = ann.trained("hnsw", vectors, "cosine")
    ann.fill(index, vectors, stop=lambda: None)
    return index


def recall(index: ann.AnyIndex, vectors: np.ndarray[Any, Any]) -> float:
    """Recall@10 of stored vectors among 40 proposed rows."""
    queries = vectors[::20]
    expected = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    found = index.search(np.ascontiguousarray(queries), 40, effort=64)
    met = [np.isin(best, rows).mean() for best, rows in zip(expected, found, strict=True)]
    return float(np.mean(met))


def test_rows_keep_their_numbers(vectors: np.ndarray[Any, Any]) -> None:
    index = filled(vectors)
    assert index.count == ROWS
    assert recall(index, vectors) >= 0.99


def test_rows_that_follow_have_the_next_numbers(vectors: np.ndarray[Any, Any]) -> None:
    first = ann.Ann("hnsw", filled(vectors[:3000]), ann.Tuning(64, 2, 1, 1))
    longer = first.extended(vectors[3000:])
    assert (first.count, longer.count) == (3000, ROWS)
    assert recall(longer.index, vectors) >= 0.99


def test_equal_vectors_are_not_taken_for_misses(vectors: np.ndarray[Any, Any]) -> None:
    copies = np.repeat(vectors[::10], 15, axis=0)
    built = ann.build("hnsw", copies, "cosine", 0.95, stop=lambda: None)
    assert built.tuning.recall >= 0.9875
