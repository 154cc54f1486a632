"""Raw samples of an open-loop run, and the figures that are computed from them.

Samples are kept, figures are not: percentiles are exact, and a question that comes later can be
answered from the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.wire import STAGES

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TIMED_OUT, BROKEN, NOT_SENT = 0, -1, -2
PERCENTILES = (50.0, 90.0, 99.0, 99.9)

# A generator is believed while it sends on time, has CPU to spare and does not fall behind.
# It may be late by a share of what it measures, which a machine that it shares may cost.
MAX_LAG_P99_S = 0.005
MAX_LAG_SHARE = 0.05
MAX_CPU_CORES = 0.8
MIN_SENT_SHARE = 0.99


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One run. Times are seconds from its start, of N requests in the order of their arrival.

    intended, sent, done: (N,) float64; NaN for what did not happen. status: (N,) int16, HTTP's or
    TIMED_OUT, BROKEN, NOT_SENT. wrong: (N,) bool, answered 200 with a wrong answer.
    stages_ms: (N, len(STAGES)) float32 from Server-Timing. scenario: (N,) int8, index into names.
    warmup_s: what was intended before is not counted. cpu_cores: CPU seconds a second of the
    generator. connections: how many it opened.
    """

    intended: NDArray[np.float64]
    sent: NDArray[np.float64]
    done: NDArray[np.float64]
    status: NDArray[np.int16]
    wrong: NDArray[np.bool_]
    stages_ms: NDArray[np.float32]
    scenario: NDArray[np.int8]
    names: tuple[str, ...]
    warmup_s: float
    cpu_cores: float
    connections: int

    @property
    def counted(self) -> NDArray[np.bool_]:
        return np.asarray(self.intended >= self.warmup_s)

    @property
    def good(self) -> NDArray[np.bool_]:
        return np.asarray(self.counted & (self.status == 200) & ~self.wrong)

    @property
    def offered_per_s(self) -> float:
        """Requests a second between the first and the last."""
        intended = self.intended[self.counted]
        return float((len(intended) - 1) / np.ptp(intended)) if len(intended) > 1 else 0.0

    @property
    def achieved_per_s(self) -> float:
        """Good answers a second, in the same window; it is longer when answers fall behind."""
        if not self.good.any() or not self.offered_per_s:
            return 0.0
        intended = self.intended[self.counted]
        behind_s = float((self.done[self.good] - self.latencies_s.min()).max()) - intended[-1]
        share = self.good.sum() / len(intended)
        window_s = np.ptp(intended)
        return float(self.offered_per_s * share * window_s / (window_s + max(0.0, behind_s)))

    @property
    def latencies_s(self) -> NDArray[np.float64]:
        """(G,) of the good answers, from the moment when they should have been sent."""
        return (self.done - self.intended)[self.good]

    @property
    def service_s(self) -> NDArray[np.float64]:
        """(G,) from the moment when they were sent: what a closed-loop generator shows."""
        return (self.done - self.sent)[self.good]

    @property
    def lag_s(self) -> NDArray[np.float64]:
        """How late the generator itself was with each request that it sent."""
        lag = (self.sent - self.intended)[self.counted]
        return lag[~np.isnan(lag)]

    @property
    def error_share(self) -> float:
        counted = self.counted.sum()
        return float(1 - self.good.sum() / counted) if counted else 0.0

    def statuses(self) -> dict[str, int]:
        """Requests by outcome, wrong answers apart."""
        names = {TIMED_OUT: "timed out", BROKEN: "connection broken", NOT_SENT: "not sent"}
        values, counts = np.unique(self.status[self.counted & ~self.wrong], return_counts=True)
        found = {names.get(int(v), str(v)): int(n) for v, n in zip(values, counts, strict=True)}
        wrong = int((self.wrong & self.counted).sum())
        return {**found, "wrong answer": wrong} if wrong else found

    def percentile_ms(self, percentile: float) -> float:
        """Latency that this percentage of all requests stay under; inf when too few were good.

        A request that failed has no latency that could be counted as a good one: it is slower than
        every limit.
        """
        latencies = np.sort(self.latencies_s) * 1e3
        at = max(0, int(np.ceil(percentile / 100 * self.counted.sum())) - 1)
        return float(latencies[at]) if at < len(latencies) else float("inf")

    def percentiles_ms(self) -> dict[str, float]:
        """Latency by percentile, and the maximum; NaN when there was no good answer."""
        latencies = self.latencies_s * 1e3
        if not len(latencies):
            return {**{f"p{p:g}": float("nan") for p in PERCENTILES}, "max": float("nan")}
        found = {f"p{p:g}": float(np.percentile(latencies, p)) for p in PERCENTILES}
        return {**found, "max": float(latencies.max())}

    def stage_means_ms(self) -> dict[str, float]:
        """Mean milliseconds a stage of the good answers that told them."""
        told = self.stages_ms[self.good]
        columns = {name: told[:, at] for at, name in enumerate(STAGES)}
        return {
            name: float(np.nanmean(column))
            for name, column in columns.items()
            if not np.isnan(column).all()
        }

    def doubts(self) -> list[str]:
        """Why the figures cannot be believed: the generator was the bottleneck. Empty when not."""
        found = []
        lag_s = self.lag_s
        slow_s = float(np.percentile(self.latencies_s, 99)) if self.good.any() else 0.0
        limit_s = max(MAX_LAG_P99_S, MAX_LAG_SHARE * slow_s)
        if len(lag_s) and (late_s := float(np.percentile(lag_s, 99))) > limit_s:
            found.append(
                f"the generator sent 1 % of its requests more than {late_s * 1e3:.1f} ms late "
                f"(limit {limit_s * 1e3:.1f} ms)"
            )
        if self.cpu_cores > MAX_CPU_CORES:
            found.append(
                f"the generator used {self.cpu_cores:.2f} of its one core (limit {MAX_CPU_CORES})"
            )
        sent = float((~np.isnan(self.sent[self.counted])).mean()) if self.counted.any() else 1.0
        if sent < MIN_SENT_SHARE:
            found.append(f"the generator sent only {sent:.1%} of its requests")
        return found

    def save(self, file: Path) -> None:
        np.savez_compressed(
            file,
            intended=self.intended,
            sent=self.sent,
            done=self.done,
            status=self.status,
            wrong=self.wrong,
            stages_ms=self.stages_ms,
            scenario=self.scenario,
            names=np.array(self.names),
            facts=np.array([self.warmup_s, self.cpu_cores, self.connections]),
        )

    @classmethod
    def load(cls, file: Path) -> Recording:
        with np.load(file, allow_pickle=False) as saved:
            warmup_s, cpu_cores, connections = saved["facts"]
            return cls(
                intended=saved["intended"],
                sent=saved["sent"],
                done=saved["done"],
                status=saved["status"],
                wrong=saved["wrong"],
                stages_ms=saved["stages_ms"],
                scenario=saved["scenario"],
                names=tuple(str(name) for name in saved["names"]),
                warmup_s=float(warmup_s),
                cpu_cores=float(cpu_cores),
                connections=int(connections),
            )
