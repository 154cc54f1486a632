"""What a server makes of 2 and 10 times its capacity, by the clock.

Capacity is the median of closed-loop saturation before and after; then an open loop at 80 % of it,
and at each factor. Prints goodput over capacity, the p99 of what was accepted (from the moment when
each request should have been sent) against the p99 at 80 %, and the sidecar's memory. Every query
has bytes of its own, so that no cache answers.
"""

from __future__ import annotations

import argparse
import statistics
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from rich.console import Console
from rich.table import Table

from harness.openloop import HttpChannel, OpenLoop, Prepared, plan
from harness.own_server import own_server
from harness.pictures import content_type, load_folder, salted
from harness.processes import ServerProcesses
from harness.saturate import saturate
from harness.wire import Target

if TYPE_CHECKING:
    from harness.recording import Recording


class Overload:
    """Requests to one server, each with bytes that were never sent before."""

    def __init__(self, options: argparse.Namespace, url: str) -> None:
        self._options = options
        self._target = Target.of(url)
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

    def open_loop(self, rate_per_s: float) -> Recording:
        times = plan(rate_per_s, self._options.seconds, arrivals="poisson", seed=self._sent)

        async def run() -> Recording:
            channel = HttpChannel(self._target)
            loop = OpenLoop(channel, lambda _: Prepared(self._request()), times, timeout_s=30)
            recording = await loop.run(names=("image",), warmup_s=2, connections=64)
            await channel.close()
            return recording

        return uvloop.run(run())

    def _request(self) -> bytes:
        self._sent += 1
        data = salted(self._files[self._sent % len(self._files)], self._sent)
        path = "/v1/collections/default/search?k=10"
        return self._target.encode(
            "POST", path, headers={"content-type": content_type(data)}, body=data
        )


def main() -> None:
    options = _options()
    with ExitStack() as stack:
        url = options.url or stack.enter_context(own_server(cache_mb="0", result_cache_mb="0")).url
        overload = Overload(options, url)
        processes = ServerProcesses(url)
        overload.capacity_per_s()  # warm up
        capacities = [overload.capacity_per_s()]
        runs = {0.8: overload.open_loop(0.8 * capacities[0])}
        memory = {}
        for factor in options.factors:
            capacities.append(overload.capacity_per_s())
            runs[factor] = overload.open_loop(factor * capacities[-1])
            memory[factor] = processes.usage()["sidecar"].rss / 1e6
        capacities.append(overload.capacity_per_s())
    _report(capacities, runs, memory)


def _report(
    capacities: list[float], runs: dict[float, Recording], memory: dict[float, float]
) -> None:
    capacity = statistics.median(capacities)
    usual_ms = runs[0.8].percentiles_ms()["p99"]
    table = Table(
        "offered", "goodput / capacity", "p99 of accepted", "/ that at 80 %", "RSS", "answers"
    )
    for factor, run in runs.items():
        p99_ms = run.percentiles_ms()["p99"]
        table.add_row(
            f"{factor:g} ×",
            f"{run.achieved_per_s / capacity:.2f}",
            f"{p99_ms:.0f} ms",
            f"{p99_ms / usual_ms:.1f}",
            f"{memory[factor]:.0f} MB" if factor in memory else "",
            ", ".join(f"{status}: {count}" for status, count in run.statuses().items()),
        )
    screen = Console()
    screen.print(
        f"capacity {capacity:.0f} queries/s (of {', '.join(f'{c:.0f}' for c in capacities)})"
    )
    screen.print(table)
    for factor, run in runs.items():
        for doubt in run.doubts():
            screen.print(f"[yellow]{factor:g} ×: {doubt}[/yellow]")


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
