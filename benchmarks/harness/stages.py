"""The server's stage times, gathered second by second while Locust runs."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

from harness.wire import stages_ms

KEEP_S = 3600


class StageLog:
    """Sums of milliseconds and counts by second and stage; workers' logs merge into one."""

    def __init__(self) -> None:
        self._sums: dict[int, dict[str, list[float]]] = {}

    def add(self, server_timing: str | None) -> None:
        """Note one answer's Server-Timing header."""
        if server_timing:
            second = self._second(int(time.time()))
            for stage, spent_ms in stages_ms(server_timing).items():
                second[stage][0] += spent_ms
                second[stage][1] += 1

    def take(self) -> dict[int, dict[str, list[float]]]:
        """All that was noted, once: what a worker reports."""
        taken = {at: dict(stages) for at, stages in self._sums.items()}
        self._sums = {}
        return taken

    def merge(self, other: dict[int, dict[str, list[float]]]) -> None:
        for at, stages in other.items():
            second = self._second(int(at))
            for stage, (total_ms, count) in stages.items():
                second[stage][0] += total_ms
                second[stage][1] += count

    def clear(self) -> None:
        self._sums = {}

    def rows(self) -> list[dict[str, Any]]:
        """By stage: count, mean, and mean of the latest ten seconds."""
        whole = self._means(self._sums)
        recent = self._means({at: s for at, s in self._sums.items() if at >= time.time() - 10})
        return [
            {
                "name": stage,
                "safe_name": stage,
                "count": int(count),
                "mean_ms": round(mean_ms, 3),
                "now_ms": round(recent.get(stage, (0.0, 0.0))[0], 3),
            }
            for stage, (mean_ms, count) in whole.items()
        ]

    def history(self) -> list[dict[str, Any]]:
        """Means by second, oldest first; the current second is not over and left out."""
        return [
            {"second": at, "stages": {name: total / n for name, (total, n) in stages.items()}}
            for at, stages in sorted(self._sums.items())
            if at < int(time.time())
        ]

    def _second(self, at: int) -> dict[str, list[float]]:
        if at not in self._sums:
            self._sums[at] = defaultdict(lambda: [0.0, 0.0])
            if len(self._sums) > KEEP_S:
                del self._sums[min(self._sums)]
        return self._sums[at]

    @staticmethod
    def _means(sums: dict[int, dict[str, list[float]]]) -> dict[str, tuple[float, float]]:
        totals: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        for stages in sums.values():
            for stage, (total_ms, count) in stages.items():
                totals[stage][0] += total_ms
                totals[stage][1] += count
        return {stage: (total_ms / n, n) for stage, (total_ms, n) in totals.items()}
