"""The terms of the training loss.

Labels are design identities. `ignored` (B, B) marks pairs that are neither positive nor negative:
near-copies of one another, which differ by one bounded edit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Sequence


def multi_positive_nce(
    queries: Tensor,
    keys: Tensor,
    positive: Tensor,
    ignored: Tensor,
    *,
    temperature: float | Tensor,
    weights: Tensor | None = None,
) -> Tensor:
    """InfoNCE with several positives a query, the mean outside the logarithm.

    Supervised contrastive loss (Khosla et al., NeurIPS 2020, L_out) between queries (B, D) and
    keys (K, D), both of unit length. positive, ignored: (B, K) bool; an ignored pair is left out
    of the denominator. weights: (B,) per query. Queries without a positive do not count.
    """
    logits = (queries @ keys.T) / temperature
    logits = logits.masked_fill(ignored, -math.inf)
    log_probability = logits - torch.logsumexp(logits, dim=1, keepdim=True)
    count = positive.sum(dim=1)
    picked = torch.where(positive, log_probability, torch.zeros_like(log_probability)).sum(dim=1)
    each = -picked / count.clamp(min=1)
    weight = (count > 0).to(each.dtype)
    if weights is not None:
        weight = weight * weights
    return (each * weight).sum() / weight.sum().clamp(min=1e-12)


def nearest_positive(embeddings: Tensor, positive: Tensor) -> Tensor:
    """Of each row's positives (B, B) the one of highest cosine; rows without any stay empty.

    Easy positives (Xuan et al., WACV 2020).
    """
    cosine = (embeddings @ embeddings.T).masked_fill(~positive, -math.inf)
    best = torch.zeros_like(positive)
    best.scatter_(1, cosine.argmax(dim=1, keepdim=True), True)
    return best & positive


class ArcFace(nn.Module):
    """Additive angular margin softmax over design identities (Deng et al., CVPR 2019)."""

    def __init__(
        self, classes: int, dim: int, *, scale: float = 24.0, margin_rad: float = 0.2
    ) -> None:
        super().__init__()
        self.scale = scale
        self.margin_rad = margin_rad
        self.centres = nn.Parameter(F.normalize(torch.randn(classes, dim), dim=1))

    def forward(
        self, embeddings: Tensor, labels: Tensor, ignored: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """embeddings (B, D) of unit length, labels (B,), ignored (B, classes) bool → scalar."""
        cosine = embeddings @ F.normalize(self.centres, dim=1).T
        own = cosine.gather(1, labels[:, None]).clamp(-1 + 1e-6, 1 - 1e-6)
        with_margin = torch.cos(torch.acos(own) + self.margin_rad)
        # past pi - margin the cosine would rise again; there the margin is taken linearly
        limit = math.cos(math.pi - self.margin_rad)
        linear = own - self.margin_rad * math.sin(self.margin_rad)
        target = torch.where(own > limit, with_margin, linear)
        logits = cosine.masked_fill(ignored, -math.inf).scatter(1, labels[:, None], target)
        each = F.cross_entropy(logits * self.scale, labels, reduction="none")
        if weights is None:
            return each.mean()
        return (each * weights).sum() / weights.sum()


class UncertaintyWeights(nn.Module):
    """Sum of terms, each weighted by a learned uncertainty (Kendall et al., CVPR 2018)."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.log_variances = nn.Parameter(torch.zeros(len(self.names)))

    def forward(self, terms: dict[str, Tensor]) -> Tensor:
        values = torch.stack([terms[name] for name in self.names])
        return (torch.exp(-self.log_variances) * values + self.log_variances).sum()


def effective_number_weights(counts: Tensor, *, beta: float = 0.999) -> Tensor:
    """Class weights (1 - β) / (1 - β^n), scaled so that the mean over all samples is 1.

    Cui et al., CVPR 2019. counts: (C,) samples of each class, 0 for an absent one.
    """
    counts = counts.double()
    weights = torch.where(counts > 0, (1 - beta) / (1 - beta ** counts.clamp(min=1)), 0.0)
    return (weights * counts.sum() / (weights * counts).sum()).float()
