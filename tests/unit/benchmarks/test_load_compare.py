"""A regression is found when there is one, and noise is not one."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness import machine
from harness.compare import common_rates, latencies, rates
from harness.recording import TIMED_OUT, Recording

if TYPE_CHECKING:
    from pathlib import Path


def run(
    seed: int, *, factor: float = 1.0, drift: float = 0.1, failed_every: int = 0
) -> list[Recording]:
    """Three repeats at 100 a second for 10 s; each repeat and each second has a speed of its own,
    as on a real machine."""
    rng = np.random.default_rng(seed)
    recordings = []
    for _ in range(3):
        intended = np.arange(1000) * 0.01
        speed = np.exp(rng.normal(0, drift)) * np.repeat(np.exp(rng.normal(0, drift, 10)), 100)
        latency = 0.02 * factor * speed * rng.lognormal(0, 0.3, 1000)
        status = np.full(1000, 200, np.int16)
        if failed_every:
            status[::failed_every] = TIMED_OUT
        recordings.append(
            Recording(
                intended=intended,
                sent=intended,
                done=intended + latency,
                status=status,
                wrong=np.zeros(1000, np.bool_),
                stages_ms=np.zeros((1000, 5), np.float32),
                scenario=np.zeros(1000, np.int8),
                names=("a",),
                warmup_s=0.0,
                cpu_cores=0.1,
                connections=1,
            )
        )
    return recordings


def compare(base: list[Recording], new: list[Recording], percentile: float = 99) -> Any:
    return latencies("p", base, new, percentile=percentile, tolerance=0.05)


def test_equal_systems_are_hardly_ever_called_worse() -> None:
    verdicts = [compare(run(seed), run(seed + 100)).verdict for seed in range(10)]
    assert verdicts.count("worse") <= 1


def test_a_regression_beyond_the_noise_is_found() -> None:
    for percentile in (50.0, 99.0):
        found = compare(run(1, drift=0.02), run(2, factor=1.3, drift=0.02), percentile)
        assert found.verdict == "worse"
        assert 1.05 < found.low < found.ratio < found.high
        assert found.ratio == pytest.approx(1.3, rel=0.1)
    assert compare(run(1, drift=0.02), run(2, factor=0.7, drift=0.02)).verdict == "better"


def test_noise_hides_a_small_one_and_the_interval_says_so() -> None:
    found = compare(run(1, drift=0.3), run(2, factor=1.05, drift=0.3))
    assert found.verdict == "same"
    assert found.high / found.low > 1.3


def test_failures_are_a_regression_of_the_tail() -> None:
    found = compare(run(1), run(1, failed_every=20))
    assert found.verdict == "worse"
    assert found.new == float("inf")
    assert compare(run(1, failed_every=20), run(2, failed_every=20)).verdict == "same"


def test_capacity_that_drops() -> None:
    base = [100.0, 101.0, 99.0]
    assert rates("c", base, [98.0, 101.0, 100.0], tolerance=0.05).verdict == "same"
    assert rates("c", base, [80.0, 82.0, 81.0], tolerance=0.05).verdict == "worse"
    assert rates("c", base, [120.0, 122.0, 121.0], tolerance=0.05).verdict == "better"


def test_rates_that_both_have() -> None:
    assert common_rates([10, 20, 30], [10.05, 25, 30]) == [(10, 10.05), (30, 30)]


def write(
    folder: Path, recordings: list[Recording], capacity: list[float], mix: str, recall: float = 1.0
) -> Path:
    (folder / "samples").mkdir(parents=True)
    steps = []
    for repeat, recording in enumerate(recordings):
        file = f"samples/{repeat}.npz"
        recording.save(folder / file)
        steps.append(
            {
                "rate": 100,
                "repeat": repeat,
                "file": file,
                "doubts": [],
                "recall": recall,
                "error_share": recording.error_share,
            }
        )
    settings = {"mix": mix, "arrivals": "poisson", "zipf": 0.8, "cache": "off", "limit": 1}
    body = {"settings": settings, "machine": {"cpu": "x"}, "capacity_per_s": capacity}
    text = json.dumps({**body, "rates": [100], "steps": steps})
    (folder / "run.json").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("changed", "mix", "recall", "code", "message"),
    [
        ({}, "image", 1.0, 0, "Nothing is worse"),
        (
            {"factor": 1.5},
            "image",
            1.0,
            1,
            "Worse beyond noise: p50 at 100/s, ms, p99 at 100/s, ms.",
        ),
        ({"failed_every": 200}, "image", 1.0, 1, "errors at 100/s (0.00% to 0.50%)"),
        ({}, "image", 0.9, 1, "recall@10 (1.0000 to 0.9000)"),
        ({}, "vector", 1.0, 2, "They differ in mix"),
    ],
)
def test_the_command(
    tmp_path: Path, changed: dict[str, Any], mix: str, recall: float, code: int, message: str
) -> None:
    base = write(tmp_path / "base", run(1, drift=0.02), [100.0, 101.0, 99.0], "image")
    new = write(tmp_path / "new", run(2, drift=0.02, **changed), [100.0, 99.0, 100.0], mix, recall)
    script = machine.ROOT / "benchmarks" / "load_compare.py"
    command = [sys.executable, str(script), str(base), str(new)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    assert message in " ".join(done.stdout.split())
