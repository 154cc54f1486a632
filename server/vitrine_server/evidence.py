"""Pieces of evidence that one picture is a copy of another, and the one score that they make.

The score is the probability of a logistic model of the hash's distance, the cosine of the
embeddings and the points that align; its weights and threshold come from measured copies and
measured strangers (`fit`, `threshold_at`), by default those of benchmarks/copies.py.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from vitrine_server.hashes import BITS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vitrine_server.alignment import Alignment

FAR = 32  # bits between unrelated hashes, about
_ALIGNED_SCALE = 5.0  # the logarithm of 150 points
_ROUNDS = 50
_RIDGE = 0.1


@dataclass(frozen=True, slots=True)
class Evidence:
    """distance: bits between the hashes, None for an item without a picture. cosine: of the
    embeddings. alignment: None when it was not looked for.

    part: of the query, "whole" or "region"; orientation: one of hashes.SYMMETRIES.
    """

    distance: int | None
    cosine: float
    alignment: Alignment | None = None
    hash_part: str = "whole"
    orientation: str = "upright"
    deep_part: str = "whole"

    @property
    def features(self) -> tuple[float, float, float]:
        """Of the hash, of the embeddings, of the alignment: 0 (nothing) to 1, rising."""
        far = FAR if self.distance is None else min(self.distance, FAR)
        points = 0 if self.alignment is None else self.alignment.points
        return (
            1 - far / FAR,
            max(0.0, self.cosine),
            min(1.0, math.log1p(points) / _ALIGNED_SCALE),
        )

    def shown(self) -> dict[str, Any]:
        """As the API shows it."""
        found: dict[str, Any] = {"deep": {"cosine": self.cosine, "part": self.deep_part}}
        found["hash"] = found["alignment"] = None
        if self.distance is not None:
            found["hash"] = {
                "distance": self.distance,
                "bits": BITS,
                "part": self.hash_part,
                "orientation": self.orientation,
            }
        if self.alignment is not None:
            found["alignment"] = asdict(self.alignment)
        return found


class Weights(BaseModel):
    """A logistic model. Its features: `Evidence.features`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bias: float
    hash: float
    deep: float
    alignment: float

    def score(self, evidence: Evidence) -> float:
        """Probability 0 to 1 of a copy, where copies and strangers are equally many."""
        of_hash, of_deep, of_alignment = evidence.features
        logit = (
            self.bias + self.hash * of_hash + self.deep * of_deep + self.alignment * of_alignment
        )
        return 1 / (1 + math.exp(-max(-50.0, min(50.0, logit))))

    def quick_scores(
        self, distances: NDArray[np.int64], cosines: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """`score` of many pairs (M,) at once, without alignment. distances: -1 where unknown."""
        far = np.where(distances < 0, FAR, np.minimum(distances, FAR))
        deep = np.maximum(cosines, 0).astype(np.float64)
        logits = self.bias + self.hash * (1 - far / FAR) + self.deep * deep
        scores: NDArray[np.float64] = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
        return scores

    def least_cosine(self, score: float, *, distance: int) -> float:
        """The cosine from which a pair at this distance reaches a score without alignment."""
        logit = math.log(score / (1 - score))
        missing = logit - self.bias - self.hash * (1 - min(distance, FAR) / FAR)
        if missing <= 0:
            return -1.0
        return min(2.0, missing / self.deep) if self.deep > 0 else 2.0


class Model(BaseModel):
    """Weights, and the score at which `false_positive_rate` of the strangers look like a copy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: Weights
    threshold: float


class Calibration(BaseModel):
    """What scores and thresholds rest on.

    full: with alignment, for one image. quick: hash and embedding alone, for a whole catalogue.
    fingerprint: of the encoder that was measured. copies, strangers: how many queries were.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    created: str
    fingerprint: str
    false_positive_rate: float
    copies: int
    strangers: int
    full: Model
    quick: Model


def fit(
    copies: Sequence[Evidence], strangers: Sequence[Evidence], *, with_alignment: bool
) -> Weights:
    """Weights by ridge-penalised logistic regression (iterated least squares), classes balanced.

    A weight is never negative: more agreement is never evidence against a copy. Raises ValueError
    without examples of both.
    """
    if not copies or not strangers:
        raise ValueError("a calibration needs copies and strangers")
    rows = np.array([each.features for each in (*copies, *strangers)], np.float64)
    used = [0, 1, 2] if with_alignment else [0, 1]
    truth = np.repeat([1.0, 0.0], [len(copies), len(strangers)])
    share = np.repeat([0.5 / len(copies), 0.5 / len(strangers)], [len(copies), len(strangers)])
    while True:
        weights = _regress(rows[:, used], truth, share * len(rows))
        worst = int(np.argmin(weights[1:]))
        if weights[1 + worst] >= 0 or len(used) == 1:
            break
        del used[worst]
    full = np.zeros(3)
    full[used] = np.maximum(weights[1:], 0)
    return Weights(
        bias=round(float(weights[0]), 4),
        hash=round(float(full[0]), 4),
        deep=round(float(full[1]), 4),
        alignment=round(float(full[2]), 4),
    )


def _regress(
    features: NDArray[np.float64], truth: NDArray[np.float64], counts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(1 + f,) weights, the bias first."""
    rows = np.column_stack([np.ones(len(features)), features])
    penalty = np.diag([0.0] + [_RIDGE] * features.shape[1])
    weights = np.zeros(rows.shape[1])
    for _ in range(_ROUNDS):
        probability = 1 / (1 + np.exp(-np.clip(rows @ weights, -30, 30)))
        slope = counts * probability * (1 - probability) + 1e-9
        gradient = rows.T @ (counts * (truth - probability)) - penalty @ weights
        step = np.linalg.solve(rows.T @ (slope[:, None] * rows) + penalty, gradient)
        weights += np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-6:
            break
    return weights


def threshold_at(scores: Sequence[float], false_positive_rate: float) -> float:
    """The lowest score that at most this share of strangers reaches."""
    ranked = np.sort(np.asarray(scores, np.float64))
    allowed = int(false_positive_rate * len(ranked))
    return math.nextafter(float(ranked[len(ranked) - 1 - allowed]), 2.0)
