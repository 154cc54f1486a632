"""Hold the generators against servers whose behaviour is known, before believing them.

1. A server that stalls once: the open-loop generator must find the stall's length and the requests
   that met it; Locust, closed-loop, is shown beside it.
2. A server that answers at once: how late requests leave at a rate.
3. The same, as fast as one Locust process can ask: what it sends here before it is the bottleneck.

Exit code 1 when the open-loop generator is more than 10 % wrong about the stall.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import uvloop
from rich.console import Console
from rich.table import Table

from harness import machine
from harness.openloop import HttpChannel, OpenLoop, Prepared, plan
from harness.wire import Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.recording import Recording

HERE = Path(__file__).parent
SERVICE_MS = 5.0
STALL_AT_S = 3.0
LOCUSTFILE = """
from locust import FastHttpUser, task

class Plain(FastHttpUser):
    @task
    def ask(self):
        self.client.get("/")
"""


@dataclass(frozen=True)
class Locust:
    """What Locust prints."""

    requests: int
    per_s: float
    p99_ms: float
    max_ms: float


def main() -> None:
    options = _options()
    with stall_server(STALL_AT_S, options.stall_s) as url:
        stalled = open_loop(url, options.rate, options.seconds)
    with stall_server(STALL_AT_S, options.stall_s) as url:
        hidden = locust(url, users=options.users, seconds=options.seconds)
    with stall_server(0, 0) as url:
        punctual = open_loop(url, options.rate, options.seconds)
    with stall_server(0, 0, service_ms=0) as url:
        flat_out = locust(url, users=options.users, seconds=options.seconds)

    worst_s = float(stalled.latencies_s.max())
    # those that came in the first three quarters of the stall waited for more than the last one
    met = int((stalled.latencies_s > options.stall_s / 4).sum())
    expected = round(options.rate * options.stall_s * 0.75)
    lag_ms = np.percentile(punctual.lag_s, [50, 99, 100]) * 1e3
    table = Table("", f"open loop, {options.rate:g}/s", f"Locust, {options.users} users")
    table.add_row("injected stall", f"{options.stall_s * 1e3:.0f} ms", "the same")
    table.add_row("slowest request", f"{worst_s * 1e3:.0f} ms", f"{hidden.max_ms:.0f} ms")
    table.add_row("p99", f"{stalled.percentiles_ms()['p99']:.0f} ms", f"{hidden.p99_ms:.0f} ms")
    table.add_row(
        "requests over a quarter of it",
        f"{met} of {len(stalled.latencies_s)} (planned: {expected})",
        f"at most {options.users} of {hidden.requests}",
    )
    screen = Console(highlight=False)
    screen.print(table)
    screen.print(
        f"At {options.rate:g} requests a second without a stall, requests leave "
        f"{lag_ms[0]:.2f} ms late at the median, {lag_ms[1]:.2f} ms at p99, {lag_ms[2]:.2f} ms at "
        f"most; the generator uses {punctual.cpu_cores:.2f} cores."
    )
    screen.print(
        f"One Locust process asks {flat_out.per_s:.0f} times a second here of a server that "
        "answers at once: above half of that, its figures are about itself."
    )
    error = max(abs(worst_s / options.stall_s - 1), abs(met / expected - 1))
    if options.json:
        body = {
            "machine": machine.describe(),
            "stall_s": options.stall_s,
            "open_loop": {**stalled.percentiles_ms(), "met": met, "planned": expected},
            "locust": vars(hidden),
            "lag_ms": dict(zip(("p50", "p99", "max"), lag_ms.tolist(), strict=True)),
            "locust_flat_out_per_s": flat_out.per_s,
            "stall_error": error,
        }
        options.json.write_text(json.dumps(body, indent=1))
    if error > 0.1:
        screen.print(f"[red]The open-loop generator is {error:.0%} wrong about the stall.[/red]")
        raise SystemExit(1)
    screen.print(f"The open-loop generator finds the stall within {error:.1%}.")


@contextmanager
def stall_server(
    stall_at_s: float, stall_s: float, *, service_ms: float = SERVICE_MS
) -> Iterator[str]:
    """The server in a process of its own; yields its URL."""
    options = ["--service-ms", service_ms, "--stall-at", stall_at_s, "--stall-s", stall_s]
    command = [sys.executable, "-m", "harness.stall_server", *map(str, options)]
    with subprocess.Popen(
        command, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.stdin.close()


def open_loop(url: str, rate: float, seconds: float) -> Recording:
    target = Target.of(url)
    request = Prepared(target.encode("GET", "/", headers={}))

    async def run() -> Recording:
        channel = HttpChannel(target)
        times = plan(rate, seconds, arrivals="constant", seed=0)
        loop = OpenLoop(channel, lambda _: request, times, timeout_s=30)
        recording = await loop.run(names=("get",), warmup_s=1.0, connections=64)
        await channel.close()
        return recording

    return uvloop.run(run())


def locust(url: str, *, users: int, seconds: float) -> Locust:
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "locustfile.py"
        file.write_text(LOCUSTFILE)
        options = ["--headless", "-u", users, "-r", 1000, "-t", f"{seconds:g}s", "--only-summary"]
        command = [sys.executable, "-m", "locust", "-f", file, "--host", url, *options]
        results = ["--csv", Path(scratch) / "out"]
        subprocess.run(list(map(str, command + results)), check=True, capture_output=True)
        with (Path(scratch) / "out_stats.csv").open() as table:
            row = next(row for row in csv.DictReader(table) if row["Name"] == "Aggregated")
    return Locust(
        requests=int(row["Request Count"]),
        per_s=float(row["Requests/s"]),
        p99_ms=float(row["99%"]),
        max_ms=float(row["Max Response Time"]),
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--stall-s", type=float, default=1.0)
    parser.add_argument("--users", type=int, default=8, help="of Locust")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
