"""The gate: what it computes, and that it refuses a broken engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from vitrine_export import engines, gate
from vitrine_export.errors import ExportError
from vitrine_server.manifest import GateRow, Precision

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCHES = (1, 2, 8)
SPEED = gate.Speed({1: [100.0], 8: [160.0], 32: [150.0]})


@pytest.fixture(scope="module")
def reference() -> NDArray[np.float32]:
    vectors = np.random.default_rng(0).normal(size=(200, 32)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def noisy(vectors: NDArray[np.float32], amount: float) -> NDArray[np.float32]:
    noise = np.random.default_rng(1).normal(size=vectors.shape).astype(np.float32)
    found = vectors + amount * noise / np.sqrt(vectors.shape[1])
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def recall_by_loops(reference: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    """The slow, obvious definition: the lower of both galleries."""
    values = []
    for gallery in (found, reference):
        kept = []
        for query in range(len(reference)):
            others = [i for i in range(len(reference)) if i != query]
            truth = sorted(others, key=lambda i: -float(reference[query] @ reference[i]))[:10]
            ranked = sorted(others, key=lambda i: -float(found[query] @ gallery[i]))[:10]
            kept.append(len(set(truth) & set(ranked)) / 10)
        values.append(float(np.mean(kept)))
    return min(values)


def test_equal_embeddings_are_perfect(reference: NDArray[np.float32]) -> None:
    found = gate.accuracy(reference, reference.copy())
    assert found.cosine_min == pytest.approx(1, abs=1e-6)
    assert found.recall == 1


def test_figures_equal_the_obvious_definition(reference: NDArray[np.float32]) -> None:
    other = noisy(reference, 0.3)
    found = gate.accuracy(reference, other)
    cosines = (reference.astype(np.float64) * other).sum(axis=1)
    assert found.cosine_mean == pytest.approx(cosines.mean(), abs=1e-6)
    assert found.cosine_min == pytest.approx(cosines.min(), abs=1e-6)
    assert found.recall == pytest.approx(recall_by_loops(reference, other))
    assert found.recall < 0.95


@pytest.mark.parametrize(
    ("precision", "cosine", "recall", "passes"),
    [
        ("int8", 0.9901, 0.9701, True),
        ("int8", 0.9899, 0.9901, False),
        ("int8", 0.9901, 0.9699, False),
        ("fp8", 0.9901, 0.9701, True),
        ("bf16", 0.9991, 0.9901, True),
        ("bf16", 0.9985, 0.9999, False),
        ("fp16", 0.9991, 0.9801, False),
        ("fp32", 0.9985, 0.9999, False),
    ],
)
def test_limits_are_those_of_the_design(
    precision: Precision, cosine: float, recall: float, passes: bool
) -> None:
    row = gate.judge(precision, gate.Accuracy(cosine, cosine, recall, finite=True), SPEED)
    assert row.passed is passes
    assert bool(row.reason) is not passes


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_an_engine_that_answers_nan_is_refused(
    reference: NDArray[np.float32], poison: float
) -> None:
    broken = reference.copy()
    broken[17, 3] = poison
    row = gate.judge("fp16", gate.accuracy(reference, broken), SPEED)
    assert not row.passed
    assert "NaN" in row.reason


def test_an_engine_that_mixes_up_its_batch_is_refused(reference: NDArray[np.float32]) -> None:
    row = gate.judge("int8", gate.accuracy(reference, np.roll(reference, 1, axis=0)), SPEED)
    assert not row.passed
    assert "cosine" in row.reason


def test_an_engine_of_another_dimension_is_refused(reference: NDArray[np.float32]) -> None:
    with pytest.raises(ExportError, match="16 values"):
        gate.accuracy(reference, reference[:, :16])


def row(precision: Precision, images_per_s: float, *, passed: bool = True) -> GateRow:
    return GateRow(
        precision=precision,
        cosine_mean=1,
        cosine_min=1,
        recall_at_10=1,
        finite=True,
        latency_ms_batch_1=1,
        images_per_s=images_per_s,
        best_batch=8,
        passed=passed,
        reason="" if passed else "mean cosine is below 0.99",
    )


def speeds(fp32: float, int8: float) -> dict[Precision, gate.Speed]:
    return {"fp32": gate.Speed({1: [fp32] * 3}), "int8": gate.Speed({1: [int8] * 3})}


def test_the_fastest_that_passed_is_chosen() -> None:
    rows, chosen = gate.decide([row("fp32", 50), row("int8", 90)], speeds(50, 90), None)
    assert chosen is not None
    assert chosen.precision == "int8"
    assert [item.reason for item in rows] == [
        "slower than int8",
        "the fastest that passed (1.80 times FP32)",
    ]


def test_an_8_bit_engine_that_is_not_faster_is_not_used() -> None:
    rows, chosen = gate.decide([row("fp32", 50), row("int8", 49)], speeds(50, 49), None)
    assert chosen is not None
    assert chosen.precision == "fp32"
    assert rows[1].reason == "slower than fp32 (0.98 times FP32)"


def test_an_8_bit_engine_must_be_faster_than_noise() -> None:
    rows, chosen = gate.decide([row("fp32", 50), row("int8", 51)], speeds(50, 51), None)
    assert chosen is not None
    assert chosen.precision == "fp32"
    assert rows[1].reason == "not faster than fp32 (1.02 times FP32)"


def test_slow_minutes_of_the_machine_do_not_decide() -> None:
    """A machine that slows down hits both engines of a round alike."""
    measured: dict[Precision, gate.Speed] = {
        "fp32": gate.Speed({1: [50, 10, 40, 20, 45]}),
        "int8": gate.Speed({1: [75, 15, 45, 30, 67.5]}),
    }
    assert measured["int8"].gain_over(measured["fp32"]) == pytest.approx(1.5)
    rows, chosen = gate.decide([row("fp32", 40), row("int8", 45)], measured, None)
    assert chosen is not None
    assert chosen.precision == "int8"
    assert "1.50 times" in rows[1].reason


def test_a_faster_engine_that_was_refused_is_not_used() -> None:
    refused = [row("fp32", 50), row("int8", 90, passed=False)]
    rows, chosen = gate.decide(refused, speeds(50, 90), None)
    assert chosen is not None
    assert chosen.precision == "fp32"
    assert rows[1].reason.startswith("mean cosine is below 0.99")


def test_a_forced_precision_must_pass_too() -> None:
    rows = [row("fp32", 50), row("int8", 90, passed=False)]
    assert gate.decide(rows, speeds(50, 90), "int8")[1] is None
    _, chosen = gate.decide([row("fp32", 50), row("int8", 40)], speeds(50, 40), "int8")
    assert chosen is not None
    assert chosen.precision == "int8"


class Counting:
    """An engine that remembers the batches it saw."""

    runtime: engines.Runtime = "onnxruntime"

    def __init__(self) -> None:
        self.properties: dict[str, str] = {}
        self.seen: list[int] = []

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.seen.append(len(pixels))
        return np.ones((len(pixels), 4), np.float32)


def test_speed_is_measured_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_SLICE_S", 0.0)
    order: list[str] = []

    class Named(Counting):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            order.append(self.name)
            return super().embed(pixels)

    first = Named("a")
    named: dict[Precision, engines.Engine] = {"fp32": first, "int8": Named("b")}
    steps: list[None] = []
    speeds = gate.measure_speed(
        named, np.zeros((3, 8, 8, 3), np.uint8), batches=BATCHES, advance=lambda: steps.append(None)
    )
    assert order == ["a", "b"] * (len(BATCHES) * (gate.ROUNDS + 1))
    assert len(steps) == len(BATCHES) * gate.ROUNDS * 2
    assert set(first.seen) == set(BATCHES)
    assert set(speeds["int8"].images_per_s) == set(BATCHES)


def test_embed_keeps_the_order_and_the_last_partial_batch() -> None:
    class Echo(Counting):
        def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
            super().embed(pixels)
            return pixels.reshape(len(pixels), -1)[:, :4].astype(np.float32)

    engine = Echo()
    pixels = np.arange(10 * 12, dtype=np.uint8).reshape(10, 2, 2, 3)
    np.testing.assert_array_equal(
        gate.embed(engine, pixels, batch=4), pixels.reshape(10, 12)[:, :4]
    )
    assert engine.seen == [4, 4, 2]
