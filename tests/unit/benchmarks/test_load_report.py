"""The sweep's arithmetic against runs whose figures are known, and a whole report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from harness import machine
from harness.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Axis,
    Line,
    heat_map,
    lines,
    stacked,
)
from harness.recording import BROKEN, TIMED_OUT, Recording
from harness.sweep import Slo, Step, highest_holding, knee, rates_around, refine, summarise

if TYPE_CHECKING:
    from pathlib import Path

    from fake_server import FakeVitrine


def recording(latencies: list[float], **more: Any) -> Recording:
    """One request each 10 ms, warm-up over at once."""
    count = len(latencies)
    intended = np.arange(count) * 0.01
    fields: dict[str, Any] = {
        "intended": intended,
        "sent": intended.copy(),
        "done": intended + latencies,
        "status": np.full(count, 200, np.int16),
        "wrong": np.zeros(count, np.bool_),
        "stages_ms": np.full((count, 5), np.nan, np.float32),
        "scenario": np.zeros(count, np.int8),
        "names": ("a",),
        "warmup_s": 0.0,
        "cpu_cores": 0.1,
        "connections": 1,
    }
    return Recording(**{**fields, **more})


def step(rate: float, slo_ms: float, *, repeat: int = 0, p50: float = 5.0, **more: Any) -> Step:
    fields: dict[str, Any] = {
        "rate": rate,
        "repeat": repeat,
        "file": "",
        "offered_per_s": rate,
        "achieved_per_s": rate,
        "latency_ms": {"p50": p50},
        "slo_ms": slo_ms,
        "error_share": 0.0,
        "statuses": {},
        "stages_ms": {},
        "recall": None,
        "lag_p99_ms": 0.1,
        "generator_cores": 0.1,
        "connections": 1,
        "doubts": [],
        "observed": {},
    }
    return Step(**{**fields, **more})


def test_a_percentile_counts_failures_as_slow() -> None:
    latencies = [0.01] * 98 + [0.02, 0.03]
    assert recording(latencies).percentile_ms(98) == pytest.approx(10)
    assert recording(latencies).percentile_ms(99) == pytest.approx(20)
    status = np.full(100, 200, np.int16)
    status[:2] = TIMED_OUT, BROKEN
    failed = recording(latencies, status=status)
    assert failed.percentile_ms(99) == float("inf")
    assert failed.percentile_ms(98) == pytest.approx(30)
    assert failed.error_share == pytest.approx(0.02)


def test_warm_up_is_not_counted() -> None:
    latencies = [5.0] * 50 + [0.01] * 50
    figures = recording(latencies, warmup_s=0.5)
    assert figures.percentile_ms(99) == pytest.approx(10)
    assert figures.offered_per_s == pytest.approx(100)


def test_a_run_without_a_request_has_no_figures() -> None:
    nothing = recording([])
    assert nothing.percentile_ms(99) == float("inf")
    assert nothing.offered_per_s == nothing.achieved_per_s == nothing.error_share == 0


def test_a_server_that_keeps_up_is_seen_to_whatever_its_latency() -> None:
    steady = recording([0.3] * 10)
    assert steady.achieved_per_s == pytest.approx(steady.offered_per_s)
    falling_behind = recording([0.3 + 0.01 * at for at in range(10)])
    assert falling_behind.achieved_per_s == pytest.approx(steady.offered_per_s / 2)


@pytest.mark.parametrize(
    ("text", "slo"),
    [("p99<100ms", Slo(99, 100)), ("p99.9 < 0.5s", Slo(99.9, 500)), ("p50<3ms", Slo(50, 3))],
)
def test_objectives(text: str, slo: Slo) -> None:
    assert Slo.parse(text) == slo


@pytest.mark.parametrize("text", ["", "p99", "p100<1ms", "99<1ms", "p99<1", "mean<1ms"])
def test_objectives_that_are_none(text: str) -> None:
    with pytest.raises(SystemExit, match="is not like"):
        Slo.parse(text)


def test_the_highest_rate_needs_every_repeat_and_every_lower_rate() -> None:
    slo = Slo(99, 100)
    steps = [step(10, 20), step(20, 50), step(20, 120, repeat=1), step(30, 40)]
    assert highest_holding(steps, slo) == 10
    assert highest_holding([step(10, 20), step(20, 50)], slo) == 20
    assert highest_holding([step(10, 200)], slo) is None
    assert highest_holding([step(10, 20), step(20, 50, error_share=0.01)], slo) == 10
    assert highest_holding([step(10, 20), step(20, 50, achieved_per_s=19)], slo) == 10


def test_the_knee_of_a_queue_is_where_theory_puts_it() -> None:
    # M/M/1: response time 1 / (1 - load), so power is load * (1 - load), at its most at 1/2
    rates = [10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert knee([step(rate, 0, p50=1 / (1 - rate / 100)) for rate in rates]) == 50


def test_refining_halves_the_gap() -> None:
    def run(rate: float) -> list[Step]:
        return [step(rate, rate, repeat=repeat) for repeat in range(2)]

    slo = Slo(99, 70)
    steps = refine([*run(10), *run(50), *run(100)], slo, run, rounds=4)
    best = highest_holding(steps, slo)
    assert best is not None
    assert 66 < best < 70


def test_a_machine_that_does_something_else_is_doubted() -> None:
    cores = os.cpu_count() or 1

    def doubts(others: float) -> list[str]:
        run = recording([0.01] * 100)
        return summarise(run, Slo(99, 100), 100, 0, "", None, {"others_cores": others}).doubts

    assert doubts(0.05 * cores) == []
    (doubt,) = doubts(0.5 * cores)
    assert doubt.startswith("other programs used")


def test_a_late_generator_is_doubted_unless_what_it_measures_is_far_slower() -> None:
    late = {"sent": np.arange(100) * 0.01 + 0.008}
    assert recording([0.02] * 100, **late).doubts()[0].startswith("the generator sent 1 %")
    assert recording([0.5] * 100, **late).doubts() == []


def test_rates_lie_around_the_capacity() -> None:
    rates = rates_around(100)
    assert rates[0] == 10
    assert rates[-1] == 115
    assert len(rates) == len(set(rates)) == 9
    assert rates_around(2.0)[0] == 0.2


@pytest.mark.parametrize(
    "svg",
    [
        lines(
            [Line("a", [1, 2], [1, 100], [1, 90], [2, 110]), Line("b<", [1], [float("nan")])],
            x=Axis("x & y"),
            y=Axis("y", log=True),
            marks={"knee": 1.5},
            limits={"p99 < 100 ms": 100},
        ),
        lines([], x=Axis("x"), y=Axis("y")),
        stacked(["a", "b"], [("1", {"a": 1.0}), ("2", {"a": 0.5, "b": 2.0})], x="x", y="y"),
        heat_map(["1", "2"], ["a"], [[1.0, float("nan")]], x="x", y="y"),
    ],
)
def test_charts_are_svg(svg: str) -> None:
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    assert "nan" not in svg.lower()
    assert "inf" not in svg.lower()


def test_a_chart_puts_values_where_they_belong() -> None:
    svg = ElementTree.fromstring(
        lines([Line("a", [0, 10], [0, 100])], x=Axis("x", low=0), y=Axis("y", low=0))
    )
    circles = [node for node in svg if node.tag.endswith("circle")]
    (left, bottom), (right, top) = ((float(c.get("cx", 0)), float(c.get("cy", 0))) for c in circles)
    assert (left, right, bottom, top) == (LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, TOP)


@pytest.mark.slow
def test_a_whole_report(url: str, folder: Path, tmp_path: Path, fake: FakeVitrine) -> None:
    script = [
        sys.executable,
        str(machine.ROOT / "benchmarks" / "load_report.py"),
        "--url",
        url,
        "--triton",
        "",
    ]
    options = ["--images", folder, "--output", tmp_path / "out", "--rates", "20,40"]
    short = ["--step-s", "1", "--warmup-s", "0.3", "--repeats", "2", "--refine", "0"]
    slo = ["--slo", "p50<2s", "--mix", "image:3,vector"]
    done = subprocess.run(
        [*script, *map(str, options), *short, *slo], capture_output=True, text=True, timeout=120
    )
    # on a busy machine it must say so, and nothing else may fail
    doubted = "This cannot be believed" in done.stdout
    assert done.returncode == (1 if doubted else 0), done.stderr
    (results,) = (tmp_path / "out").iterdir()
    run = json.loads((results / "run.json").read_text())
    assert [(s["rate"], s["repeat"]) for s in run["steps"]] == [(20, 0), (40, 0), (20, 1), (40, 1)]
    assert all(s["error_share"] == 0 for s in run["steps"])
    best = highest_holding([Step(**s) for s in run["steps"]], Slo(50, 2000))
    assert run["highest_rate"] == best
    assert all(s["recall"] == 1.0 for s in run["steps"])
    assert run["steps"][0]["stages_ms"] == {"decode": 1.0, "search": 0.5}
    page = (results / "report.html").read_text()
    assert ("none" if best is None else f"{best:g}/s") in page
    assert "a request spends 1.5 ms in the server: decode 67 %, search 33 %" in page
    assert "<script" not in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace(url, "")
    for step_ in run["steps"]:
        assert Recording.load(results / step_["file"]).offered_per_s > 10
