"""k-reciprocal re-ranking against the paper's definitions, word by word, and in a collection."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vitrine_server import errors, rerank
from vitrine_server.collection import (
    Collection,
    CollectionSettings,
    EncoderIdentity,
    NewItem,
    SearchQuery,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

DIMENSION = 16
ENCODER = EncoderIdentity("test", "a" * 64, DIMENSION)


def clustered(seed: int, count: int) -> NDArray[np.float32]:
    """Vectors of length 1 around a few centres, where neighbours are shared."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(1, count // 6), DIMENSION))
    vectors = centres[rng.integers(len(centres), size=count)]
    vectors = vectors + 0.6 * rng.standard_normal((count, DIMENSION))
    unit: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float32)


def literal(vectors: NDArray[np.float32]) -> list[float]:
    """1 - the final distance of rows 1, 2, … from row 0, with sets and sums as in the paper."""
    wide = vectors.astype(np.float64)
    everything = range(len(wide))
    distance = [[float(1 - wide[a] @ wide[b]) for b in everything] for a in everything]

    @cache
    def nearest(p: int, k: int) -> list[int]:
        return [p, *sorted(set(everything) - {p}, key=lambda g: distance[p][g])[:k]]

    @cache
    def reciprocal(p: int, k: int) -> set[int]:
        return {g for g in nearest(p, k) if p in nearest(g, k)}

    def weights(p: int) -> dict[int, float]:
        members = reciprocal(p, rerank.K1)
        expanded = set(members)
        for member in members:
            candidates = reciprocal(member, round(rerank.K1 / 2))
            if len(members & candidates) >= 2 / 3 * len(candidates):
                expanded |= candidates
        gauss = {g: float(np.exp(-distance[p][g])) for g in expanded}
        return {g: value / sum(gauss.values()) for g, value in gauss.items()}

    own = {p: weights(p) for p in everything}

    @cache
    def encoded(p: int) -> list[float]:
        near = nearest(p, rerank.K2 - 1)
        return [sum(own[n].get(g, 0) for n in near) / len(near) for g in everything]

    query = encoded(0)
    scores = []
    for g in everything[1:]:
        other = encoded(g)
        jaccard = 1 - sum(map(min, query, other)) / sum(map(max, query, other))
        scores.append(1 - (1 - rerank.WEIGHT) * jaccard - rerank.WEIGHT * distance[0][g])
    return scores


@pytest.mark.parametrize("count", [0, 1, 2, 3, 12, 40])
def test_scores_are_those_of_the_paper(count: int) -> None:
    for seed in range(3):
        vectors = clustered(seed, count + 1)
        scores = rerank.rerank_scores(vectors[0], vectors[1:])
        assert scores.dtype == np.float32
        np.testing.assert_allclose(scores, literal(vectors), atol=1e-5)


def test_what_shares_the_neighbours_of_the_query_passes_what_is_a_little_nearer() -> None:
    rng = np.random.default_rng(0)
    axes = np.eye(DIMENSION)

    def around(centre: NDArray[np.float64], count: int) -> NDArray[np.float64]:
        return centre + 0.02 * rng.standard_normal((count, DIMENSION))

    query = axes[:1]
    front = around(axes[0] + 0.6 * axes[1], 3)
    side = around(axes[0] + 0.75 * axes[1], 2)
    stranger = around(axes[0] + 0.7 * axes[2], 4)  # nearer, but in a crowd that is nearer to it
    crowd = around(0.7 * axes[0] + axes[2], 20)
    vectors = np.concatenate([query, front, side, stranger, crowd])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors.astype(np.float32)
    cosines = vectors[1:] @ vectors[0]
    assert cosines[3:5].max() < cosines[5:9].min()
    scores = rerank.rerank_scores(vectors[0], vectors[1:])
    assert scores[:5].min() > scores[5:].max()


def test_many_copies_of_one_row_have_scores() -> None:
    vectors = np.repeat(clustered(1, 3), 30, axis=0)
    assert np.isfinite(rerank.rerank_scores(vectors[0], vectors)).all()


@pytest.fixture(scope="module")
def vectors() -> NDArray[np.float32]:
    return clustered(5, 320)


@pytest.fixture(scope="module")
def collection(
    tmp_path_factory: pytest.TempPathFactory, vectors: NDArray[np.float32]
) -> Iterator[Collection]:
    folder: Path = tmp_path_factory.mktemp("c")
    Collection.create(folder, CollectionSettings(), ENCODER)
    opened = Collection(folder, serving=ENCODER)
    items = [
        NewItem(str(row), vector, {"odd": row % 2, "group": str(row // 8)})
        for row, vector in enumerate(vectors)
    ]
    opened.upsert(items).result()
    opened.delete(["7"]).result()
    yield opened
    opened.close()


def asked(seed: int, k: int, **options: Any) -> SearchQuery:
    return SearchQuery(clustered(seed, 1)[0], k, **options)


@pytest.mark.parametrize("filter", [None, {"odd": 1}])
def test_the_candidates_are_ordered_anew_and_the_rest_follows(
    collection: Collection, vectors: NDArray[np.float32], filter: dict[str, Any] | None
) -> None:
    plain, again, new = collection.search(
        [
            asked(9, 400, filter=filter),
            asked(9, 3, filter=filter),
            asked(9, 400, filter=filter, rerank=True),
        ]
    )
    count = min(rerank.CANDIDATES, len(plain.hits))
    assert len(new.hits) == len(plain.hits) == (319 if filter is None else 159)
    assert {hit.id: hit.score for hit in new.hits} == {hit.id: hit.score for hit in plain.hits}
    first = plain.hits[:count]
    assert {hit.id for hit in new.hits[:count]} == {hit.id for hit in first}
    assert [hit.id for hit in new.hits[:count]] != [hit.id for hit in first]
    assert new.hits[count:] == plain.hits[count:]
    scores = rerank.rerank_scores(asked(9, 1).vector, vectors[[int(hit.id) for hit in first]])
    by_id = dict(zip((hit.id for hit in first), scores.tolist(), strict=True))
    shown = {hit.id: hit.rerank_score for hit in new.hits[:count]}
    assert shown == pytest.approx(by_id, abs=1e-6)
    falling = [hit.rerank_score or 0.0 for hit in new.hits[:count]]
    assert falling == sorted(falling, reverse=True)
    assert [hit.rerank_score for hit in again.hits] == [None] * 3


def test_pages_and_the_least_score(collection: Collection) -> None:
    (whole,) = collection.search([asked(9, 300, rerank=True)])
    pages = collection.search([asked(9, 60, offset=60 * page, rerank=True) for page in range(5)])
    assert [hit.id for page in pages for hit in page.hits] == [hit.id for hit in whole.hits]
    least = sorted(hit.score for hit in whole.hits)[-100]
    good = [hit for hit in whole.hits if hit.score >= least]
    (second,) = collection.search([asked(9, 30, offset=30, min_score=least, rerank=True)])
    assert [hit.id for hit in second.hits] == [hit.id for hit in good[30:60]]


def test_groups_are_not_reranked(collection: Collection) -> None:
    for options in ({}, {"views": (clustered(3, 1)[0],)}):
        with pytest.raises(errors.Invalid) as caught:
            collection.search([asked(9, 3, rerank=True, group_by="group", **options)])
        assert caught.value.field == "rerank"


@pytest.mark.parametrize("metric", ["l2", "inner_product", "l1"])
def test_only_cosines_are_reranked(tmp_path: Path, metric: Any) -> None:
    Collection.create(tmp_path, CollectionSettings(metric=metric), ENCODER)
    opened = Collection(tmp_path, serving=ENCODER)
    try:
        with pytest.raises(errors.Invalid) as caught:
            opened.search([asked(9, 3, rerank=True)])
        assert caught.value.field == "rerank"
        assert "cosine" in (caught.value.accepted or "")
    finally:
        opened.close()


def test_an_empty_collection(tmp_path: Path) -> None:
    Collection.create(tmp_path, CollectionSettings(), ENCODER)
    opened = Collection(tmp_path, serving=ENCODER)
    assert opened.search([asked(9, 3, rerank=True)])[0].hits == ()
    opened.close()
