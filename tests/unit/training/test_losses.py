"""Each loss against a slow, obvious float64 reference in numpy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vitrine_training.losses import (
    ArcFace,
    UncertaintyWeights,
    effective_number_weights,
    multi_positive_nce,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


def unit(rows: int, dim: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, dim, generator=generator, dtype=torch.float64), dim=1)


def slow_nce(
    queries: NDArray[np.float64],
    keys: NDArray[np.float64],
    positive: NDArray[np.bool_],
    ignored: NDArray[np.bool_],
    temperature: float,
    weights: NDArray[np.float64],
) -> float:
    total, mass = 0.0, 0.0
    for i, query in enumerate(queries):
        mates = [j for j in range(len(keys)) if positive[i, j]]
        if not mates:
            continue
        scores = [math.exp(float(query @ key) / temperature) for key in keys]
        below = sum(s for j, s in enumerate(scores) if not ignored[i, j])
        total += weights[i] * sum(-math.log(scores[j] / below) for j in mates) / len(mates)
        mass += weights[i]
    return total / mass


def test_contrast_equals_the_reference() -> None:
    x = unit(9, 8, 0)
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 3, 4])
    same = labels[:, None] == labels[None, :]
    itself = np.eye(9, dtype=bool)
    related = np.zeros((9, 9), bool)
    related[[3, 4, 5, 6], :] = np.isin(labels, [1, 2])
    ignored = itself | (related & ~same)
    weights = np.linspace(0.5, 2.0, 9)
    expected = slow_nce(x.numpy(), x.numpy(), same & ~itself, ignored, 0.1, weights)
    loss = multi_positive_nce(
        x,
        x,
        torch.from_numpy(same & ~itself),
        torch.from_numpy(ignored),
        temperature=0.1,
        weights=torch.from_numpy(weights),
    )
    assert float(loss) == pytest.approx(expected, rel=1e-9)


def test_near_copies_are_no_negatives() -> None:
    x = torch.eye(4, dtype=torch.float64).requires_grad_()
    positive = torch.zeros(4, 4, dtype=torch.bool)
    positive[0, 1] = positive[1, 0] = True
    ignored = torch.eye(4, dtype=torch.bool)
    ignored[0, 2] = ignored[1, 2] = True
    multi_positive_nce(x, x.detach(), positive, ignored, temperature=0.1).backward()
    assert x.grad is not None
    assert bool(torch.isfinite(x.grad).all())
    # nothing pushes image 0 away from its near-copy 2, image 3 does push
    assert float(x.grad[0, 2]) == 0.0
    assert float(x.grad[0, 3]) > 0.0


def test_arcface_equals_the_reference() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = ArcFace(5, 8, scale=20.0, margin_rad=0.3).double()
    x, labels = unit(6, 8, 1), torch.tensor([0, 1, 2, 3, 4, 0])
    ignored = torch.zeros(6, 5, dtype=torch.bool)
    ignored[0, 3] = True
    weights = torch.linspace(0.5, 1.5, 6, dtype=torch.float64)
    centres = F.normalize(head.centres.detach(), dim=1).numpy()
    total = 0.0
    for i, label in enumerate(labels.tolist()):
        cosine = centres @ x[i].numpy()
        angle = math.acos(cosine[label])
        assert angle + 0.3 < math.pi
        cosine[label] = math.cos(angle + 0.3)
        kept = [20.0 * c for j, c in enumerate(cosine) if not ignored[i, j]]
        total += float(weights[i]) * (
            math.log(sum(math.exp(k) for k in kept)) - 20.0 * cosine[label]
        )
    expected = total / float(weights.sum())
    assert float(head(x, labels, ignored, weights).detach()) == pytest.approx(expected, rel=1e-9)


def test_arcface_falls_with_the_angle_everywhere() -> None:
    head = ArcFace(2, 2, margin_rad=0.5)
    with torch.no_grad():
        head.centres.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    angles = torch.linspace(0.01, math.pi - 0.01, 50)
    points = torch.stack([angles.cos(), -angles.sin()], dim=1)
    none = torch.zeros(1, 2, dtype=torch.bool)
    losses = [float(head(p[None], torch.tensor([0]), none).detach()) for p in points]
    assert losses == sorted(losses)


def test_uncertainty_weights_start_as_the_plain_sum() -> None:
    weights = UncertaintyWeights(["a", "b"])
    loss = weights({"a": torch.tensor(2.0), "b": torch.tensor(0.5)})
    assert float(loss.detach()) == pytest.approx(2.5)
    loss.backward()
    # d/ds (e^-s L + s) at s = 0 is 1 - L: a large loss learns a smaller weight
    assert weights.log_variances.grad is not None
    assert weights.log_variances.grad.tolist() == pytest.approx([-1.0, 0.5])


def test_rare_classes_weigh_more_and_the_mean_is_one() -> None:
    counts = torch.tensor([1000, 100, 10, 0])
    weights = effective_number_weights(counts, beta=0.99).double()
    raw = [(1 - 0.99) / (1 - 0.99**n) for n in (1000, 100, 10)]
    assert weights[2] > weights[1] > weights[0] > weights[3] == 0.0
    assert float(weights[2] / weights[0]) == pytest.approx(raw[2] / raw[0], rel=1e-5)
    assert float((weights * counts).sum() / counts.sum()) == pytest.approx(1.0, rel=1e-5)
