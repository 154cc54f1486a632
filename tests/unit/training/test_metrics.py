"""Metrics against naive loops, and the floors against their definitions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from vitrine_server.collection import (
    Collection,
    CollectionSettings,
    EncoderIdentity,
    NewItem,
    SearchQuery,
)
from vitrine_training import floors
from vitrine_training.metrics import leave_one_out, rank_metrics, scored, summarise

if TYPE_CHECKING:
    from pathlib import Path


def naive(
    scores: list[float], grades: list[int], valid: list[bool]
) -> tuple[float, list[float], float, float]:
    ranked = sorted(
        ((s, g) for s, g, v in zip(scores, grades, valid, strict=True) if v),
        key=lambda pair: (-pair[0], pair[1]),
    )
    found = [g for _, g in ranked]
    precisions, hits = [], 0
    for rank, grade in enumerate(found, start=1):
        if grade > 0:
            hits += 1
            precisions.append(hits / rank)
    recalls = [float(any(g > 0 for g in found[:k])) for k in (1, 5, 10, 20)]
    first = next(rank for rank, g in enumerate(found, start=1) if g > 0)
    gain = sum((2**g - 1) / math.log2(r + 1) for r, g in enumerate(found[:10], start=1))
    best = sorted(found, reverse=True)[:10]
    ideal = sum((2**g - 1) / math.log2(r + 1) for r, g in enumerate(best, start=1))
    return (
        sum(precisions) / len(precisions),
        recalls,
        1 / first if first <= 10 else 0.0,
        gain / ideal,
    )


def test_the_reranking_is_that_of_a_search(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((40, 8))[rng.integers(40, size=260)]
    vectors += 0.4 * rng.standard_normal(vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries, gallery = np.split(vectors.astype(np.float32), [3])
    valid = rng.random((3, len(gallery))) < 0.95
    assert [label for label, _ in scored("pixels", queries, gallery, valid)] == ["pixels"]
    plain, again = scored("encoder", queries, gallery, valid)
    np.testing.assert_array_equal(plain[1], queries @ gallery.T)
    label, scores = again
    assert label == "encoder, re-ranked"
    encoder = EncoderIdentity("test", "a" * 64, 8)
    Collection.create(tmp_path, CollectionSettings(), encoder)
    collection = Collection(tmp_path, serving=encoder)
    for query, vector in enumerate(queries):
        items = [
            NewItem(str(item), gallery[item], {"query": query})
            for item in np.flatnonzero(valid[query])
        ]
        collection.upsert(items).result()
        search = SearchQuery(vector, len(gallery), filter={"query": query}, rerank=True)
        found = [int(hit.id) for hit in collection.search([search])[0].hits]
        assert found == sorted(np.flatnonzero(valid[query]), key=lambda i: -scores[query, i])
    collection.close()


def test_metrics_equal_the_naive_ones() -> None:
    rng = np.random.default_rng(0)
    # few distinct scores, so that ties occur
    scores = rng.integers(0, 12, (40, 60)) / 12.0
    grades = rng.choice([0, 0, 0, 0, 0, 0, 0, 1, 2], (40, 60))
    valid = rng.random((40, 60)) < 0.9
    grades[7] = 0
    metrics = rank_metrics(scores, grades, valid)
    kept = [q for q in range(40) if (grades[q][valid[q]] > 0).any()]
    assert 7 not in kept
    assert all(len(values) == len(kept) for values in metrics.values())
    for row, query in enumerate(kept):
        ap, recalls, mrr, ndcg = naive(
            scores[query].tolist(), grades[query].tolist(), valid[query].tolist()
        )
        assert metrics["mAP"][row] == pytest.approx(ap)
        assert [metrics[f"R@{k}"][row] for k in (1, 5, 10, 20)] == recalls
        assert metrics["MRR@10"][row] == pytest.approx(mrr)
        assert metrics["nDCG@10"][row] == pytest.approx(ndcg)


def test_a_constant_encoder_is_not_flattered_by_ties() -> None:
    groups = np.repeat(np.arange(10), 2)
    metrics = leave_one_out(np.ones((20, 4)) / 2.0, groups)
    assert metrics["mAP"].max() == pytest.approx(1 / 19)
    assert metrics["R@1"].sum() == 0


def test_perfect_groups_score_one() -> None:
    groups = np.repeat(np.arange(5), 3)
    metrics = leave_one_out(np.eye(5)[groups], groups)
    assert all(values.min() == 1.0 for values in metrics.values())


def test_bootstrap_interval_covers_the_standard_error() -> None:
    values = np.random.default_rng(1).random(400)
    each = np.arange(400)
    summary = summarise(values, each)
    error = values.std() / math.sqrt(400)
    assert summary.mean == pytest.approx(values.mean())
    assert summary.high - summary.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert summarise(values, each) == summary
    # sheets of one design that succeed and fail together tell no more than one of them
    fourfold = summarise(values.repeat(4), each.repeat(4))
    assert fourfold.mean == pytest.approx(summary.mean)
    assert fourfold.high - fourfold.low == pytest.approx(summary.high - summary.low, rel=0.1)


@pytest.mark.parametrize("name", list(floors.FLOORS))
def test_floors_give_unit_vectors_for_any_image(name: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    vectors = floors.FLOORS[name](pixels)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(3), abs=1e-5)
    blank = floors.FLOORS[name](np.full((1, 224, 224, 3), 255, np.uint8))
    assert np.isfinite(blank).all()


def test_hog_equals_scikit_image() -> None:
    feature = pytest.importorskip("skimage.feature", reason="scikit-image is not installed")
    grey = np.random.default_rng(0).integers(0, 256, (128, 128), dtype=np.uint8)
    expected = feature.hog(grey, 9, (16, 16), (2, 2), block_norm="L2-Hys")
    expected = expected.reshape(7, 7, 2, 2, 9) / np.linalg.norm(expected)
    ours = floors.hog(np.repeat(grey[None, :, :, None], 3, axis=3)).reshape(7, 7, 2, 2, 9)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_phash_distance_is_the_share_of_differing_bits() -> None:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    a, b = floors.phash(pixels)
    differing = int((np.sign(a) != np.sign(b)).sum())
    assert float(a @ b) == pytest.approx(1 - 2 * differing / 64)
