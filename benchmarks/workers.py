"""What front-end processes cost and spread: vector queries with VITRINE_WORKERS=0, 1, 2, 4.

Servers with each number of workers run beside one another on one Triton, and their rounds take
turns, so that a machine that slows down slows all. On fewer cores than there are processes only
the CPU time says what a larger machine would gain: that of the fronts is spread over as many cores
as there are workers, that of the owner is not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import httpx
import numpy as np
import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from harness.machine import ROOT
from harness.own_server import own_server
from harness.saturate import saturate
from harness.started import started
from harness.triton_server import free_ports
from harness.wire import Target
from vitrine_server.config import load_settings
from vitrine_server.manifest import load
from vitrine_server.workers import processes

if TYPE_CHECKING:
    from collections.abc import Iterator

_SEARCH = "/v1/collections/default/search?k=10"
_ROLES = ("fronts", "owner")


def main() -> None:
    options = _options()
    dimension = load(load_settings().encoder_folder).encoder.dimension
    found: dict[int, list[tuple[float, dict[str, float]]]] = {n: [] for n in options.workers}
    with ExitStack() as stack:
        triton = stack.enter_context(own_server()).triton
        servers = {n: stack.enter_context(_server(n, triton)) for n in options.workers}
        for url in servers.values():
            _fill(url, options.gallery, dimension)
        for turn in range(options.rounds):
            for workers, url in servers.items():
                found[workers].append(_measure(url, turn, dimension, options))
    _report(options, found)


def _measure(
    url: str, turn: int, dimension: int, options: argparse.Namespace
) -> tuple[float, dict[str, float]]:
    """Queries a second, and CPU ms a query by role. No vector comes twice."""
    target = Target.of(url)
    rests = [
        ", ".join(map(str, row))
        for row in np.random.default_rng(turn).normal(size=(64, dimension - 1)).round(4).tolist()
    ]

    def request(number: int) -> bytes:
        body = f'{{"vector": [0.{number:09d}, {rests[number % 64]}]}}'.encode()
        return target.encode(
            "POST", _SEARCH, headers={"content-type": "application/json"}, body=body
        )

    before = _cpu_s(url)
    result = uvloop.run(
        saturate(target, request, connections=options.connections, seconds=options.seconds)
    )
    after = _cpu_s(url)
    if set(result.statuses) != {200}:
        raise SystemExit(f"Answers by status: {result.statuses}")
    return result.per_s, {
        role: (after[role] - before[role]) / result.answered * 1e3 for role in _ROLES
    }


def _cpu_s(url: str) -> dict[str, float]:
    """CPU seconds of whoever listens on the port, and of their siblings that own the index."""
    port = Target.of(url).port
    fronts = {
        each.pid
        for each in psutil.net_connections("tcp")
        if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port
    }
    listeners = [psutil.Process(pid) for pid in sorted(filter(None, fronts))]
    parent = listeners[0].parent()
    siblings = [] if parent is None else parent.children()
    roles = {"fronts": listeners, "owner": [each for each in siblings if _is_owner(each)]}
    return {
        role: sum(each.cpu_times().user + each.cpu_times().system for each in members)
        for role, members in roles.items()
    }


def _is_owner(process: psutil.Process) -> bool:
    return process.cmdline()[1:4] == ["-m", "vitrine_server.workers", "owner"]


def _fill(url: str, count: int, dimension: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(count, dimension)).tolist()
    for start in range(0, count, 256):
        lines = [
            json.dumps({"id": f"item-{start + at}", "vector": vector})
            for at, vector in enumerate(vectors[start : start + 256])
        ]
        httpx.post(
            f"{url}/v1/collections/default/items:batch",
            content="\n".join(lines),
            headers={"content-type": "application/x-ndjson"},
            timeout=60,
        ).raise_for_status()


@contextmanager
def _server(workers: int, triton: str) -> Iterator[str]:
    """A server on a Triton that runs already."""
    host, _, triton_port = triton.rpartition(":")
    port = free_ports(1)[0]
    with tempfile.TemporaryDirectory(prefix="vitrine-bench-") as folder:
        settings = {
            "workers": workers,
            "http_port": port,
            "grpc_port": 0,
            "triton_host": host,
            "triton_grpc_port": triton_port,
            "data": f"{folder}/data",
        }
        url = f"http://127.0.0.1:{port}"
        with started(
            [sys.executable, "-m", "vitrine_server.main"],
            answers=lambda: _ready(url),
            environment={
                **processes.environment(),
                **{f"VITRINE_{name.upper()}": str(value) for name, value in settings.items()},
            },
            folder=ROOT,
        ):
            yield url


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=20).status_code == 200
    except httpx.TransportError:
        time.sleep(0.1)
        return False


def _report(
    options: argparse.Namespace, found: dict[int, list[tuple[float, dict[str, float]]]]
) -> None:
    table = Table("workers", "queries/s", "lowest", "highest", "fronts, CPU ms", "owner, CPU ms")
    for workers, rounds in found.items():
        rates = [rate for rate, _ in rounds]
        table.add_row(
            str(workers),
            *(f"{f(rates):.0f}" for f in (statistics.median, min, max)),
            *(f"{statistics.median(cpu[role] for _, cpu in rounds):.3f}" for role in _ROLES),
        )
    screen = Console(width=100)
    screen.print(
        f"vector queries, medians of {options.rounds} rounds of {options.seconds:g} s in turns"
    )
    screen.print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--gallery", type=int, default=2048, help="vectors to search in")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    return parser.parse_args()


if __name__ == "__main__":
    main()
