"""All neighbours of all vectors against the obvious way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from vitrine_server.index import pairs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


def unit(count: int, dimension: int = 24, seed: int = 0) -> NDArray[np.float32]:
    made = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def found(vectors: NDArray[np.float32], k: int, least: float) -> tuple[pairs.Pairs, list[int]]:
    running = pairs.nearest_pairs(vectors, k, least=least)
    result: list[pairs.Pairs] = []

    def drained() -> Iterator[int]:
        result.append((yield from running))

    told = list(drained())
    return result[0], told


def expected(vectors: NDArray[np.float32], k: int, least: float) -> set[tuple[int, int]]:
    scores = (vectors.astype(np.float64)) @ vectors.T
    np.fill_diagonal(scores, -2)
    chosen = set()
    for row, best in enumerate(np.argsort(-scores, axis=1)[:, :k].tolist()):
        chosen |= {(min(row, at), max(row, at)) for at in best if scores[row, at] >= least}
    return chosen


@pytest.mark.parametrize("count", [0, 1, 2, 7, 300, 2500])
def test_the_same_pairs_as_a_full_sort(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "_ROWS", 128)
    monkeypatch.setattr(pairs, "_COLUMNS", 192)
    monkeypatch.setattr(pairs, "_SAMPLE", 200)
    monkeypatch.setattr(pairs, "_HELD", 3000)
    vectors = unit(count)
    (a, b, scores), told = found(vectors, 4, -1)
    assert set(zip(a.tolist(), b.tolist(), strict=True)) == expected(vectors, 4, -1)
    assert len(a) == len({*zip(a.tolist(), b.tolist(), strict=True)})
    np.testing.assert_allclose(scores, (vectors[a] * vectors[b]).sum(1), atol=1e-5)
    assert told == sorted(told)
    assert told[-1:] == ([count] if count else [])


def test_pairs_below_the_least_are_left_out() -> None:
    vectors = unit(400, 8)
    (a, b, scores), _ = found(vectors, 5, 0.8)
    assert set(zip(a.tolist(), b.tolist(), strict=True)) == expected(vectors, 5, 0.8)
    assert scores.min() >= 0.8


def test_many_of_the_same() -> None:
    vectors = np.repeat(unit(3), 50, axis=0)
    (a, b, scores), _ = found(vectors, 3, 0.99)
    assert np.all(scores > 0.99)
    assert np.all(a // 50 == b // 50)
    assert set(np.concatenate([a, b]).tolist()) == set(range(150))
