"""What a server makes of 2 and 10 times its capacity, by the clock.

Capacity is the median of closed-loop saturation before and after; then an open loop at 80 % of it,
and at each factor. Prints goodput over capacity, the p99 of what was accepted (from the moment when
each request should have been sent) against the p99 at 80 %, the sidecar's memory, and what a
refusal costs the sidecar and the generator: their processor time less that of as many good answers
at 80 %, where refusals are so many that this can be told.
Every query has bytes of its own, so that no cache answers; an open loop's are made before its clock
starts.
"""

from __future__ import annotations

import argparse
import statistics
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from rich.console import Console
from rich.table import Table

from harness.openloop import HttpChannel, OpenLoop, Prepared, plan
from harness.own_server import own_server
from harness.pictures import content_type, load_folder, salted_pieces
from harness.processes import ServerProcesses, Stopwatch, Window
from harness.saturate import saturate
from harness.wire import Target

if TYPE_CHECKING:
    from harness.recording import Recording
    from harness.wire import Request


_TELLING = 5  # refusals for each good answer


@dataclass(frozen=True, slots=True)
class Run:
    """An open loop, and what the processes used from its first request to its last answer."""

    recording: Recording
    used: Window

    @property
    def good(self) -> int:
        """Good answers, warm-up included."""
        return int((self.recording.status == 200).sum())


class Overload:
    """Requests to one server, each with bytes that were never sent before."""

    def __init__(self, options: argparse.Namespace, url: str) -> None:
        self._options = options
        self._target = Target.of(url)
        self._processes = ServerProcesses(url)
        self._files = [each.data for each in load_folder(options.images, limit=options.limit)]
        self._sent = 0

    def capacity_per_s(self) -> float:
        found = uvloop.run(
            saturate(
                self._target,
                lambda _: self._request(),
                connections=self._options.connections,
                seconds=self._options.seconds / 2,
            )
        )
        return found.per_s

    def open_loop(self, rate_per_s: float) -> Run:
        times = plan(rate_per_s, self._options.seconds, arrivals="poisson", seed=self._sent)
        requests = [Prepared(self._request()) for _ in times]

        async def run() -> Recording:
            channel = HttpChannel(self._target)
            loop = OpenLoop(channel, requests.__getitem__, times, timeout_s=30)
            recording = await loop.run(names=("image",), warmup_s=2, connections=64)
            await channel.close()
            return recording

        stopwatch = Stopwatch(self._processes)
        recording = uvloop.run(run())
        return Run(recording, stopwatch.stop())

    def _request(self) -> Request:
        self._sent += 1
        file = self._files[self._sent % len(self._files)]
        start, rest = salted_pieces(file, self._sent)
        head = self._target.head(
            "POST",
            "/v1/collections/default/search?k=10",
            headers={"content-type": content_type(file)},
            length=len(start) + len(rest),
        )
        return head + start, rest


def main() -> None:
    options = _options()
    with ExitStack() as stack:
        url = options.url or stack.enter_context(own_server(cache_mb="0", result_cache_mb="0")).url
        overload = Overload(options, url)
        overload.capacity_per_s()  # warm up
        capacities = [overload.capacity_per_s()]
        runs = {0.8: overload.open_loop(0.8 * capacities[0])}
        for factor in options.factors:
            capacities.append(overload.capacity_per_s())
            runs[factor] = overload.open_loop(factor * capacities[-1])
        capacities.append(overload.capacity_per_s())
    _report(capacities, runs)


def _report(capacities: list[float], runs: dict[float, Run]) -> None:
    capacity = statistics.median(capacities)
    usual = runs[0.8]
    usual_ms = usual.recording.percentiles_ms()["p99"]
    table = Table(
        "offered", "goodput / capacity", "p99 of accepted", "/ that at 80 %", "RSS", "answers"
    )
    costs = Table("offered", *(f"{role}, cores" for role in usual.used.cores), "others, cores")
    for role in ("sidecar", "generator"):
        costs.add_column(f"CPU ms a refusal, {role}")
    for factor, run in runs.items():
        recording, used = run.recording, run.used
        p99_ms = recording.percentiles_ms()["p99"]
        table.add_row(
            f"{factor:g} ×",
            f"{recording.achieved_per_s / capacity:.2f}",
            f"{p99_ms:.0f} ms",
            f"{p99_ms / usual_ms:.1f}",
            f"{used.rss['sidecar'] / 1e6:.0f} MB",
            ", ".join(f"{status}: {count}" for status, count in recording.statuses().items()),
        )
        costs.add_row(
            f"{factor:g} ×",
            *(f"{cores:.2f}" for cores in used.cores.values()),
            f"{used.others_cores:.2f}",
            *(_refusal_ms(role, run, usual) for role in ("sidecar", "generator")),
        )
    screen = Console()
    screen.print(
        f"capacity {capacity:.0f} queries/s (of {', '.join(f'{c:.0f}' for c in capacities)})"
    )
    screen.print(table)
    screen.print(costs)
    for factor, run in runs.items():
        for doubt in run.recording.doubts():
            screen.print(f"[yellow]{factor:g} ×: {doubt}[/yellow]")


def _refusal_ms(role: str, run: Run, usual: Run) -> str:
    """A role's processor time for a refusal: all of it less that of the good answers.

    Empty where the good answers' share, which is not the same to some percent, hides it.
    """
    refused = len(run.recording.status) - run.good
    if refused < _TELLING * run.good:
        return ""
    good_s = usual.used.cpu_s[role] / usual.good
    return f"{(run.used.cpu_s[role] - run.good * good_s) / refused * 1e3:.2f}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="a running server; default: one is started and stopped")
    parser.add_argument("--images", type=Path, required=True, help="folder of images")
    parser.add_argument("--limit", type=int, default=100, help="images of the folder to use")
    parser.add_argument("--connections", type=int, default=14, help="of the closed loop")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each open loop")
    parser.add_argument("--factors", type=float, nargs="+", default=[2.0, 10.0])
    return parser.parse_args()


if __name__ == "__main__":
    main()
