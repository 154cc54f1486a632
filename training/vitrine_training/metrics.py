"""Retrieval metrics per query, and bootstrap intervals of their means.

AP over the full ranking as in DeepPatent (Kucer et al., WACV 2022); nDCG with the gain 2^grade - 1
(Burges et al., 2005).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vitrine_server.rerank import CANDIDATES, rerank_scores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

RECALLS = (1, 5, 10, 20)
ENCODER = "encoder"


@dataclass(frozen=True)
class Summary:
    """A metric's mean over queries and its 95 % bootstrap interval over designs."""

    mean: float
    low: float
    high: float


def rank_metrics(
    scores: NDArray[np.floating], grades: NDArray[np.integer], valid: NDArray[np.bool_]
) -> dict[str, NDArray[np.float64]]:
    """Metrics of every query that has something to find.

    scores: (Q, G), higher is better. grades: (Q, G) relevance, 0 is irrelevant. valid: (Q, G),
    False where an item must not appear in a query's ranking (the query itself, say).
    Returns name → (queries,): mAP, R@1/5/10/20 (a relevant item is among the first k), MRR@10,
    nDCG@10. Among equal scores the relevant items come last, so that ties cannot flatter.
    """
    kept = np.flatnonzero(answerable(grades, valid))
    names = ["mAP", *(f"R@{k}" for k in RECALLS), "MRR@10", "nDCG@10"]
    rows: dict[str, list[float]] = {name: [] for name in names}
    for query in kept:
        items = np.flatnonzero(valid[query])
        order = items[np.lexsort((grades[query, items], -scores[query, items]))]
        found = grades[query, order]
        relevant = found > 0
        ranks = np.flatnonzero(relevant) + 1
        rows["mAP"].append(float(np.mean(np.arange(1, len(ranks) + 1) / ranks)))
        for k in RECALLS:
            rows[f"R@{k}"].append(float(ranks[0] <= k))
        rows["MRR@10"].append(1.0 / ranks[0] if ranks[0] <= 10 else 0.0)
        ideal = np.sort(found)[::-1]
        rows["nDCG@10"].append(_dcg(found[:10]) / _dcg(ideal[:10]))
    return {name: np.array(values, np.float64) for name, values in rows.items()}


def scored(
    method: str,
    queries: NDArray[np.float32],
    gallery: NDArray[np.float32],
    valid: NDArray[np.bool_],
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield (method, scores (Q, G)) of vectors (Q, D) and (G, D); re-ranked too for the encoder."""
    cosines = queries @ gallery.T
    yield method, cosines
    if method == ENCODER:
        yield f"{method}, re-ranked", reranked(queries, gallery, cosines, valid)


def reranked(
    queries: NDArray[np.float32],
    gallery: NDArray[np.float32],
    cosines: NDArray[np.float32],
    valid: NDArray[np.bool_],
) -> NDArray[np.float32]:
    """Scores (Q, G) that rank as a search with `rerank` does: the server's candidates by its own
    function, then the rest by their cosines (Q, G).
    """
    scores: NDArray[np.float32] = cosines - np.float32(4)  # below all of [-1, 1]
    for query, vector in enumerate(queries):
        items = np.flatnonzero(valid[query])
        order = np.argsort(-cosines[query, items], kind="stable")
        candidates = items[order[:CANDIDATES]]
        scores[query, candidates] = rerank_scores(vector, gallery[candidates])
    return scores


def answerable(grades: NDArray[np.integer], valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which queries have something to find: (Q,)."""
    return np.asarray(((grades > 0) & valid).any(axis=1))


def _dcg(grades: NDArray[np.integer]) -> float:
    gains = np.exp2(grades.astype(np.float64)) - 1.0
    return float(np.sum(gains / np.log2(np.arange(2, len(grades) + 2))))


def summarise(
    values: NDArray[np.float64],
    owners: NDArray[np.int64],
    *,
    samples: int = 1000,
    seed: int = 0,
) -> Summary:
    """Mean over queries with a 95 % percentile bootstrap over owners.

    values: (queries,), at least one. owners: (queries,) the design or patent of each; those are
    drawn anew with all their queries, because sheets of one design succeed and fail together.
    """
    owner = np.unique(owners, return_inverse=True)[1]
    sums, counts = np.bincount(owner, values), np.bincount(owner)
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(sums), size=(samples, len(sums)))
    means = sums[picks].sum(axis=1) / counts[picks].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Summary(float(values.mean()), float(low), float(high))


def leave_one_out(
    embeddings: NDArray[np.floating], groups: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """Every item queries all others; those of its group are relevant. embeddings: (N, D), L2."""
    grades = (groups[:, None] == groups[None, :]).astype(np.int64)
    return rank_metrics(embeddings @ embeddings.T, grades, ~np.eye(len(groups), dtype=bool))
