"""k-reciprocal re-ranking: what counts the query among its own nearest moves up.

Zhong, Zheng, Cao, Li: "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017
(arXiv:1701.08398), equations 1 to 12. The gallery is the query and its candidates alone: one small
matrix product in the place of another search for each candidate. docs/evaluation.md has what the
constants and the smaller gallery give.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The first candidates of a search are re-ranked.
CANDIDATES = 200
# The paper's k1, k2 and lambda.
K1 = 10
K2 = 3
WEIGHT = 0.5


def rerank_scores(
    query: NDArray[np.float32], candidates: NDArray[np.float32]
) -> NDArray[np.float32]:
    """1 - the paper's final distance, larger is better: (N,) float32 in [-λ, 1].

    query: (D,), candidates: (N, D), float32 of length 1. Memory and time grow with N² and N³.
    """
    vectors = np.concatenate([query[None], candidates])  # row 0 is the query
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, np.inf)  # a row comes first in its list, before copies of it
    ranked = np.argsort(-cosines, axis=1)
    np.fill_diagonal(cosines, 1)
    reciprocal = _expanded(_mutual(ranked, K1), _mutual(ranked, round(K1 / 2)))
    weights = np.where(reciprocal, np.exp(cosines - 1), np.float32(0))
    weights /= weights.sum(axis=1, keepdims=True)
    encoded = weights[ranked[:, :K2]].mean(axis=1)  # local query expansion, of itself too
    shared = np.minimum(encoded[0], encoded[1:]).sum(axis=1)
    jaccard = 1 - shared / (2 - shared)
    final = (1 - WEIGHT) * jaccard + WEIGHT * (1 - cosines[0, 1:])
    return np.asarray(1 - final, np.float32)


def _mutual(ranked: NDArray[np.intp], k: int) -> NDArray[np.float32]:
    """Whether two rows are both among the other's k nearest, itself not counted: (M, M), 0 or 1."""
    near = np.zeros(ranked.shape, np.float32)
    np.put_along_axis(near, ranked[:, : k + 1], 1, axis=1)
    mutual: NDArray[np.float32] = near * near.T
    return mutual


def _expanded(sets: NDArray[np.float32], halves: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Each set with the smaller sets of those members that share two thirds of it: (M, M) bool."""
    alike = 3 * (sets @ halves.T) >= 2 * halves.sum(axis=1)  # whole numbers, exact in float32
    expanded: NDArray[np.bool_] = sets + (sets * alike) @ halves > 0
    return expanded
