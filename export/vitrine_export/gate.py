"""Whether an engine may be served: its answers against FP32 on real images, and its speed.

Decision 3 of the design: nothing is published that has not passed.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vitrine_export import images
from vitrine_export.errors import ExportError
from vitrine_server.manifest import GateRow

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from vitrine_export.engines import Engine
    from vitrine_server.manifest import Precision

EIGHT_BIT: tuple[Precision, ...] = ("int8", "fp8")
NEIGHBOURS = 10
ROUNDS = 5
# Eight bits cost accuracy, so they must be faster than noise.
MIN_EIGHT_BIT_GAIN = 1.05
_SLICE_S = 0.1  # shortest time over which one figure is measured


@dataclass(frozen=True)
class Accuracy:
    """Against FP32 on the gate images. recall: share of the NEIGHBOURS nearest that are kept."""

    cosine_mean: float
    cosine_min: float
    recall: float
    finite: bool


@dataclass(frozen=True)
class Speed:
    """rounds: batch size → images a second in each round. Round i of all engines is one time."""

    rounds: dict[int, list[float]]

    @property
    def images_per_s(self) -> dict[int, float]:
        """Batch size → median over the rounds."""
        return {batch: statistics.median(values) for batch, values in self.rounds.items()}

    @property
    def latency_ms(self) -> float:
        """Median at batch 1."""
        return 1000 / statistics.median(self.rounds[1])

    @property
    def best_batch(self) -> int:
        rates = self.images_per_s
        return max(rates, key=lambda batch: rates[batch])

    def gain_over(self, other: Speed) -> float:
        """How many times as fast, each at its best batch: median of the rounds' ratios."""
        ours, theirs = self.rounds[self.best_batch], other.rounds[other.best_batch]
        return statistics.median(one / two for one, two in zip(ours, theirs, strict=True))


def limits(precision: Precision) -> tuple[float, float]:
    """Least mean cosine and least recall@10 that a precision may have."""
    return (0.99, 0.97) if precision in EIGHT_BIT else (0.999, 0.99)


def embed(
    engine: Engine,
    inputs: NDArray[Any],
    *,
    batch: int,
    advance: Callable[[int], object] = lambda _: None,
) -> NDArray[np.float32]:
    """All embeddings of (N, …) pixels or tokens, (N, D)."""
    parts = []
    for part in images.batches(inputs, batch):
        parts.append(engine.embed(part))
        advance(len(part))
    return np.concatenate(parts)


def accuracy(reference: NDArray[np.float32], found: NDArray[np.float32]) -> Accuracy:
    """Compare two (N, D) sets of unit vectors of the same images.

    Collections may hold vectors of one precision and be searched with another, so the recall is the
    lower of both cases: queries against `found` itself, and against the FP32 gallery.
    """
    if found.shape != reference.shape:
        raise ExportError(
            f"The engine answers {found.shape[-1]} values an image instead of "
            f"{reference.shape[-1]}."
        )
    if not np.isfinite(found).all():
        return Accuracy(0.0, 0.0, 0.0, finite=False)
    cosine = (reference * found).sum(axis=1) / np.maximum(np.linalg.norm(found, axis=1), 1e-12)
    truth = _nearest(reference, reference)
    recall = min(_overlap(truth, _nearest(found, gallery)) for gallery in (found, reference))
    return Accuracy(float(cosine.mean()), float(cosine.min()), recall, finite=True)


def _nearest(queries: NDArray[np.float32], gallery: NDArray[np.float32]) -> NDArray[np.int64]:
    """Indices of the NEIGHBOURS most similar others, (N, NEIGHBOURS)."""
    similarity = queries @ gallery.T
    np.fill_diagonal(similarity, -np.inf)
    return np.argsort(-similarity, axis=1, kind="stable")[:, :NEIGHBOURS]


def _overlap(truth: NDArray[np.int64], found: NDArray[np.int64]) -> float:
    same = (truth[:, :, None] == found[:, None, :]).any(axis=2)
    return float(same.mean())


def measure_speed(
    engines: Mapping[Precision, Engine],
    inputs: NDArray[Any],
    *,
    batches: Sequence[int],
    advance: Callable[[], object],
) -> dict[Precision, Speed]:
    """Time all engines in turns, so that a slow minute of the machine hits each alike.

    advance: called len(batches) × ROUNDS × engines times.
    """
    rates: dict[Precision, dict[int, list[float]]] = {
        name: {batch: [] for batch in batches} for name in engines
    }
    parts = {
        batch: np.ascontiguousarray(np.resize(inputs, (batch, *inputs.shape[1:])))
        for batch in batches
    }
    for part in parts.values():
        for engine in engines.values():
            engine.embed(part)  # the first call of a shape compiles kernels
    for _ in range(ROUNDS):
        for batch, part in parts.items():
            for name, engine in engines.items():
                calls, start = 0, time.perf_counter()
                while (elapsed := time.perf_counter() - start) < _SLICE_S or calls == 0:
                    engine.embed(part)
                    calls += 1
                rates[name][batch].append(batch * calls / elapsed)
                advance()
    return {name: Speed(by_batch) for name, by_batch in rates.items()}


def judge(precision: Precision, found: Accuracy, speed: Speed) -> GateRow:
    """The row of the gate's table for one engine; its reason is empty when it passed."""
    least_cosine, least_recall = limits(precision)
    if not found.finite:
        reason = "answers NaN or infinity"
    elif found.cosine_mean < least_cosine:
        reason = f"mean cosine is below {least_cosine}"
    elif found.recall < least_recall:
        reason = f"recall@{NEIGHBOURS} is below {least_recall}"
    else:
        reason = ""
    return GateRow(
        precision=precision,
        cosine_mean=found.cosine_mean,
        cosine_min=found.cosine_min,
        recall_at_10=found.recall,
        finite=found.finite,
        latency_ms_batch_1=speed.latency_ms,
        images_per_s=speed.images_per_s[speed.best_batch],
        best_batch=speed.best_batch,
        images_per_s_by_batch=speed.images_per_s,
        passed=not reason,
        reason=reason,
    )


def decide(
    rows: Sequence[GateRow], speeds: Mapping[Precision, Speed], forced: Precision | None
) -> tuple[list[GateRow], GateRow | None]:
    """The rows with the reason of each verdict, and the one to publish.

    That is the fastest that passed, or the forced one if it passed; None when there is none. An
    8-bit engine must beat the others by MIN_EIGHT_BIT_GAIN.
    """
    gains = {name: speed.gain_over(speeds["fp32"]) for name, speed in speeds.items()}

    def merit(row: GateRow) -> float:
        least = MIN_EIGHT_BIT_GAIN if row.precision in EIGHT_BIT else 1.0
        return gains[row.precision] / least

    passed = [row for row in rows if row.passed and forced in (None, row.precision)]
    chosen = max(passed, key=merit, default=None)
    told = []
    for row in rows:
        reason = row.reason
        if chosen is not None and row.precision == chosen.precision:
            reason = "asked for" if forced else "the fastest that passed"
        elif forced and row.passed:
            reason = "not asked for"
        elif chosen is not None and row.passed:
            slower = gains[row.precision] < gains[chosen.precision]
            reason = f"{'slower' if slower else 'not faster'} than {chosen.precision}"
        if row.precision != "fp32":
            reason += f" ({gains[row.precision]:.2f} times FP32)"
        told.append(row.model_copy(update={"reason": reason}))
    if chosen is not None:
        chosen = next(row for row in told if row.precision == chosen.precision)
    return told, chosen
