"""Groups over several views against a slow, obvious reference; rounds are needed at this size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vitrine_server.filters import OneOf
from vitrine_server.index.generation import Generation
from vitrine_server.index.live import LiveIndex
from vitrine_server.index.search import Question, search_state
from vitrine_server.records import CollectionSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS, DIMENSION = 3000, 12


@pytest.fixture(scope="module")
def made() -> tuple[LiveIndex, NDArray[np.float32], list[dict[str, Any]]]:
    """One group fills the top of many rankings; some rows have none; some are deleted."""
    rng = np.random.default_rng(4)
    vectors = rng.standard_normal((ROWS, DIMENSION)).astype(np.float32)
    vectors[:600] = vectors[0] + 0.1 * vectors[:600]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    settings = CollectionSettings(fields={"colour": "keyword", "lot": "number"})
    index = LiveIndex(Generation.empty(settings, DIMENSION))
    rows: list[dict[str, Any]] = []
    for row in range(ROWS):
        group = "large" if row < 600 else f"g{rng.integers(200)}" if rng.random() < 0.8 else None
        rows.append(
            {"group": group, "colour": "red" if row % 3 else "blue", "lot": int(rng.integers(50))}
        )
    index.add(range(1, ROWS + 1), vectors, rows)
    index.publish(ROWS, [label for label in range(1, ROWS + 1) if label % 7 == 0])
    return index, vectors, rows


@pytest.mark.parametrize("field", ["group", "lot"])
@pytest.mark.parametrize("colour", [None, "blue"])
@pytest.mark.parametrize("k", [1, 10, 150])
def test_every_group_scores_the_mean_of_its_best_rows(
    made: tuple[LiveIndex, NDArray[np.float32], list[dict[str, Any]]],
    field: str,
    colour: str | None,
    k: int,
) -> None:
    index, vectors, rows = made
    views = np.stack([vectors[0], vectors[700], vectors[1400]])
    scores = (views.astype(np.float64) @ vectors.T.astype(np.float64)).T
    groups: dict[Any, list[int]] = {}
    for row, held in enumerate(rows):
        if (row + 1) % 7 and (colour is None or held["colour"] == colour):
            key = held[field] if held[field] is not None else ("alone", row)
            groups.setdefault(key, []).append(row)
    expected = sorted(-scores[members].max(axis=0).mean() for members in groups.values())[:k]
    accepted = None if colour is None else OneOf("colour", (colour,))
    asked = Question(views, k, 0, accepted, field, None)
    [found] = search_state(index.state, [asked], "cosine")
    np.testing.assert_allclose(found.scores, -np.array(expected), atol=1e-6)
    held_by = [rows[row][field] for row in found.rows.tolist()]
    keys = [
        ("alone", row) if held is None else held
        for row, held in zip(found.rows.tolist(), held_by, strict=True)
    ]
    assert len(set(keys)) == len(keys)
    for row, key in zip(found.rows.tolist(), keys, strict=True):
        members = groups[key]
        assert scores[row].max() == pytest.approx(scores[members].max(), abs=1e-6)
