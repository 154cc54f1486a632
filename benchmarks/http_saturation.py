"""Image queries a second over HTTP at saturation, against decoding and encoding in process.

The same images, the same engine, one run: rounds of both take turns, so that a machine that slows
down slows both. Every query has bytes of its own, so that no cache answers. Prints the medians,
their ratio, and the CPU that the sidecar spends on a query beside decoding.
"""

from __future__ import annotations

import argparse
import json
import statistics
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from harness import machine
from harness.engine import LocalEngine
from harness.own_server import own_server
from harness.pictures import content_type, load_folder, salted
from harness.processes import ServerProcesses, Stopwatch, Window, decode_cpu_s
from harness.saturate import Saturation, saturate
from harness.wire import Target
from vitrine_server.config import load_settings


def main() -> None:
    options = _options()
    with ExitStack() as stack:
        if options.url is None:
            # refusals cost time of their own, and a closed loop provokes them
            options.url = stack.enter_context(own_server(max_wait_s="60", result_cache_mb="0")).url
        _measure(options)


def _measure(options: argparse.Namespace) -> None:
    files = [picture.data for picture in load_folder(options.images, limit=options.limit)]
    engine = LocalEngine(options.engine, decode_threads=options.decode_threads)
    batch = options.batch or engine.best_batch
    processes = ServerProcesses(options.url)
    engine.images_per_s(files, batch=batch, seconds=1)  # warm up
    local: list[float] = []
    served: list[Saturation] = []
    windows: list[Window] = []
    decode_ms: list[float] = []
    for turn in range(options.rounds):
        local.append(engine.images_per_s(files, batch=batch, seconds=options.seconds))
        stopwatch, decoded = Stopwatch(processes), decode_cpu_s(options.url)
        served.append(_serve(options, files, turn))
        windows.append(stopwatch.stop())
        spent_s = decode_cpu_s(options.url) - decoded
        decode_ms.append(spent_s / max(1, served[-1].answered) * 1e3)
    _report(options, engine, batch, local, served, windows, decode_ms)


def _serve(options: argparse.Namespace, files: list[bytes], turn: int) -> Saturation:
    target = Target.of(options.url)
    path = f"/v1/collections/{options.collection}/search?k=10"

    def request(number: int) -> bytes:
        data = salted(files[number % len(files)], turn * 10_000_000 + number)
        return target.encode("POST", path, headers={"content-type": content_type(data)}, body=data)

    return uvloop.run(
        saturate(target, request, connections=options.connections, seconds=options.seconds)
    )


def _report(
    options: argparse.Namespace,
    engine: LocalEngine,
    batch: int,
    local: list[float],
    served: list[Saturation],
    windows: list[Window],
    decode_ms: list[float],
) -> None:
    ratios = [answers.per_s / alone for answers, alone in zip(served, local, strict=True)]
    cpu_ms = {
        role: [
            window.cpu_s[role] / max(1, answers.answered) * 1e3
            for window, answers in zip(windows, served, strict=True)
        ]
        for role in windows[0].cpu_s
    }
    sidecar_ms = [
        spent - decoding for spent, decoding in zip(cpu_ms["sidecar"], decode_ms, strict=True)
    ]
    rows = [
        (f"in process, batch {batch}", "images/s", local),
        (f"over HTTP, {options.connections} connections", "queries/s", [a.per_s for a in served]),
        ("ratio", "", ratios),
        ("sidecar without decode", "CPU ms a query", sidecar_ms),
        *((role, "CPU ms a query", spent) for role, spent in cpu_ms.items()),
        ("decode, in the sidecar", "CPU ms a query", decode_ms),
    ]
    encoder = engine.manifest.encoder
    table = Table("measured", "unit", "median", "lowest", "highest")
    for name, unit, values in rows:
        table.add_row(name, unit, *(f"{f(values):.3g}" for f in (statistics.median, min, max)))
    screen = Console()
    screen.print(
        f"{encoder.name}, {engine.manifest.precision} on {engine.manifest.runtime}; "
        f"{options.rounds} rounds of {options.seconds:g} s in turns"
    )
    screen.print(table)
    stages = {stage: [a.stages_ms.get(stage, 0.0) for a in served] for stage in served[0].stages_ms}
    means = ", ".join(f"{stage} {statistics.median(ms):.1f}" for stage, ms in stages.items())
    screen.print(f"mean ms of a query by stage, waiting included: {means}")
    if errors := sum(answers.errors for answers in served):
        screen.print(f"[red]{errors} queries were not answered with 200[/red]")
    if options.json is not None:
        body = {
            "machine": machine.describe(),
            "options": {key: str(value) for key, value in vars(options).items()},
            "engine": engine.manifest.model_dump(mode="json", exclude={"probe_embedding"}),
            "batch": batch,
            "in_process_per_s": local,
            "served": [asdict(answers) for answers in served],
            "ratio": ratios,
            "cpu_ms_a_query": cpu_ms,
            "decode_cpu_ms": decode_ms,
        }
        options.json.write_text(json.dumps(body, indent=1))
    if errors:
        raise SystemExit(1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="a running server; default: one is started and stopped")
    parser.add_argument("--images", type=Path, required=True, help="folder of images")
    parser.add_argument("--limit", type=int, default=200, help="images of the folder to use")
    parser.add_argument("--engine", type=Path, default=load_settings().encoder_folder)
    parser.add_argument("--batch", type=int, help="batch in process; default: the gate's best")
    parser.add_argument("--decode-threads", type=int, default=2, help="in process")
    parser.add_argument("--collection", default="default")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each half of a round")
    parser.add_argument("--json", type=Path, help="file for the raw figures")
    return parser.parse_args()


if __name__ == "__main__":
    main()
