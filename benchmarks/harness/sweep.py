"""A rate sweep: open-loop steps over a range of rates, repeated, with everything observed."""

from __future__ import annotations

import json
import os
import re
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvloop

from harness.openloop import Arrivals, HttpChannel, OpenLoop, Prepared, plan
from harness.saturate import saturate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from harness.observe import Observer
    from harness.recording import Recording
    from harness.scenarios import Mix
    from harness.wire import Target

# shares of the measured capacity: sparse where little happens, dense around the knee
SHARES = (0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 1.0, 1.15)

# a machine that does this much else does not show what the server can do
MAX_OTHERS_SHARE = 0.1


@dataclass(frozen=True)
class Slo:
    """ "p99<100ms": a percentile of the latency under a limit."""

    percentile: float
    limit_ms: float

    @classmethod
    def parse(cls, text: str) -> Slo:
        match = re.fullmatch(r"p(\d+(?:\.\d+)?)\s*<\s*(\d+(?:\.\d+)?)\s*(ms|s)", text.strip())
        if match is None or not 0 < float(match[1]) < 100:
            raise SystemExit(f"SLO {text!r} is not like p99<100ms.")
        return cls(float(match[1]), float(match[2]) * (1000 if match[3] == "s" else 1))

    def __str__(self) -> str:
        return f"p{self.percentile:g} < {self.limit_ms:g} ms"


@dataclass(frozen=True)
class Step:
    """One rate, once. file: its raw samples."""

    rate: float
    repeat: int
    file: str
    offered_per_s: float
    achieved_per_s: float
    latency_ms: dict[str, float]
    slo_ms: float
    error_share: float
    statuses: dict[str, int]
    stages_ms: dict[str, float]
    recall: float | None
    lag_p99_ms: float
    generator_cores: float
    connections: int
    doubts: list[str]
    observed: dict[str, Any]

    def holds(self, slo: Slo) -> bool:
        """Whether the objective held and everything was answered, right, and as fast as asked."""
        return (
            self.slo_ms < slo.limit_ms
            and self.error_share < 0.001
            and self.achieved_per_s > 0.97 * self.offered_per_s
        )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of one sweep. step_s is counted after warmup_s, at each rate."""

    step_s: float
    warmup_s: float
    repeats: int
    arrivals: Arrivals
    timeout_s: float
    connections: int
    seed: int


class Sweep:
    """Runs steps and writes each one's samples into a folder."""

    def __init__(
        self,
        target: Target,
        mix: Mix,
        observer: Observer,
        folder: Path,
        settings: Settings,
        slo: Slo,
    ) -> None:
        self._target = target
        self._mix = mix
        self._observer = observer
        self._folder = folder
        self._settings = settings
        self._slo = slo
        self._sent = 0

    def capacity(self) -> list[float]:
        """Good answers a second at saturation, once a repeat."""
        return [
            uvloop.run(
                saturate(
                    self._target,
                    lambda _: self._prepare(0).payload,
                    connections=self._settings.connections,
                    seconds=self._settings.step_s,
                    warmup_s=self._settings.warmup_s,
                )
            ).per_s
            for _ in range(self._settings.repeats)
        ]

    def step(self, rate: float, repeat: int) -> Step:
        settings = self._settings
        times = plan(
            rate,
            settings.warmup_s + settings.step_s,
            arrivals=settings.arrivals,
            seed=settings.seed + repeat,
        )
        for scenario in self._mix.scenarios:
            getattr(scenario, "recalls", []).clear()
        running = self._observer.start()
        recording = uvloop.run(self._run(times))
        observation = running.stop()
        file = f"samples/rate-{rate:08.2f}-repeat-{repeat}.npz"
        (self._folder / "samples").mkdir(exist_ok=True)
        recording.save(self._folder / file)
        time.sleep(1.0)  # what is left in queues is none of the next step's business
        return summarise(
            recording, self._slo, rate, repeat, file, self._mix.recall(), observation.as_json()
        )

    async def _run(self, times: Any) -> Recording:
        channel = HttpChannel(self._target)
        loop = OpenLoop(channel, self._prepare, times, timeout_s=self._settings.timeout_s)
        recording = await loop.run(
            names=self._mix.names,
            warmup_s=self._settings.warmup_s,
            connections=self._settings.connections,
        )
        await channel.close()
        return recording

    def _prepare(self, _: int) -> Prepared:
        # numbered over the whole sweep, so that fresh bytes are fresh in every step
        self._sent += 1
        index, request = self._mix.request(self._sent)
        payload = self._target.encode(
            request.method, request.path, headers=request.headers, body=request.body
        )
        return Prepared(payload, index, request.is_right)


def summarise(
    recording: Recording,
    slo: Slo,
    rate: float,
    repeat: int,
    file: str,
    recall: float | None,
    observed: dict[str, Any],
) -> Step:
    lag_s = sorted(recording.lag_s)
    return Step(
        rate=rate,
        repeat=repeat,
        file=file,
        offered_per_s=recording.offered_per_s,
        achieved_per_s=recording.achieved_per_s,
        latency_ms=recording.percentiles_ms(),
        slo_ms=recording.percentile_ms(slo.percentile),
        error_share=recording.error_share,
        statuses=recording.statuses(),
        stages_ms=recording.stage_means_ms(),
        recall=recall,
        lag_p99_ms=lag_s[int(0.99 * len(lag_s))] * 1e3 if lag_s else float("nan"),
        generator_cores=recording.cpu_cores,
        connections=recording.connections,
        doubts=[*recording.doubts(), *_disturbed(observed)],
        observed=observed,
    )


def _disturbed(observed: dict[str, Any]) -> list[str]:
    """Whether other programs took so much of the machine that the server was not itself."""
    others, cores = observed["others_cores"], os.cpu_count() or 1
    if others <= MAX_OTHERS_SHARE * cores:
        return []
    return [
        f"other programs used {others:.2f} of the {cores} cores "
        f"(limit {MAX_OTHERS_SHARE * cores:.2g})"
    ]


def rates_around(capacity: float) -> list[float]:
    """Rates of a sweep, in whole requests a second (tenths below ten)."""
    return sorted({round(capacity * share, 0 if capacity > 30 else 1) for share in SHARES} - {0.0})


def by_rate(steps: Sequence[Step]) -> dict[float, list[Step]]:
    found: dict[float, list[Step]] = {}
    for step in sorted(steps, key=lambda step: (step.rate, step.repeat)):
        found.setdefault(step.rate, []).append(step)
    return found


def highest_holding(steps: Sequence[Step], slo: Slo) -> float | None:
    """The highest rate at which every repeat holds, and every lower rate does too."""
    best = None
    for rate, repeats in by_rate(steps).items():
        if not all(step.holds(slo) for step in repeats):
            break
        best = rate
    return best


def knee(steps: Sequence[Step]) -> float | None:
    """The rate with the most throughput for its latency: the maximum of Kleinrock's power,
    throughput over response time ("Power and deterministic rules of thumb for probabilistic
    problems in computer communications", 1979)."""
    powers = {
        rate: statistics.median(step.achieved_per_s / step.latency_ms["p50"] for step in repeats)
        for rate, repeats in by_rate(steps).items()
        if all(step.latency_ms["p50"] > 0 for step in repeats)
    }
    return max(powers, key=lambda rate: powers[rate]) if powers else None


def refine(
    steps: list[Step], slo: Slo, run: Callable[[float], list[Step]], *, rounds: int
) -> list[Step]:
    """Halve the gap between the last rate that holds and the first that does not."""
    for _ in range(rounds):
        best = highest_holding(steps, slo)
        above = [rate for rate in by_rate(steps) if best is not None and rate > best]
        if best is None or not above or min(above) - best < 0.03 * best:
            break
        steps = steps + run(round((best + min(above)) / 2, 1))
    return steps


def write_json(file: Path, body: Any) -> None:
    file.write_text(json.dumps(body, indent=1, default=str) + "\n")
