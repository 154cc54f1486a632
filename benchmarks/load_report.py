"""Find out what a running server holds, and write it down: `make load-report`.

Measures the capacity at saturation, steps through rates around it with arrivals by the clock, looks
for the highest rate that holds the objective, and writes report.html, run.json, charts as SVG and
the raw samples of every step. Exit code 1 when the generator was the bottleneck anywhere below that
rate, or other programs kept the machine busy: no figure is taken from a run like that.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from harness import machine, report
from harness.gallery import fill
from harness.observe import Observer
from harness.own_server import own_server
from harness.pictures import load_folder
from harness.scenarios import open_mix
from harness.sweep import (
    Settings,
    Slo,
    Step,
    Sweep,
    highest_holding,
    rates_around,
    refine,
    write_json,
)
from harness.wire import Target
from vitrine_client import Client

screen = Console(highlight=False)


def main() -> None:
    options = _options()
    like: dict[str, Any] = (
        json.loads((options.like / "run.json").read_text()) if options.like else {}
    )
    if like:
        for name in ("mix", "slo", "arrivals", "step_s", "warmup_s", "repeats", "zipf", "seed"):
            setattr(options, name, like["settings"][name])
    with ExitStack() as stack:
        if options.start:
            no_cache = {"result_cache_mb": "0"} if options.cache == "off" else {}
            own = stack.enter_context(own_server(**no_cache))
            options.url, options.triton = own.url, own.triton
        _measure(options, like)


def _measure(options: argparse.Namespace, like: dict[str, Any]) -> None:
    slo = Slo.parse(options.slo)
    folder = machine.result_folder(options.output)
    pictures = load_folder(options.images, limit=options.limit, seed=options.seed)
    gallery = fill(options.url, pictures, collection=options.collection)
    mix = open_mix(
        options.mix,
        gallery,
        exponent=options.zipf,
        fresh=options.cache == "off",
        seed=options.seed,
    )
    settings = Settings(
        step_s=options.step_s,
        warmup_s=options.warmup_s,
        repeats=options.repeats,
        arrivals=options.arrivals,
        timeout_s=options.timeout_s,
        connections=options.connections,
        seed=options.seed,
    )
    sweep = Sweep(
        Target.of(options.url),
        mix,
        Observer(options.url, triton=options.triton or None),
        folder,
        settings,
        slo,
    )
    capacity = sweep.capacity()
    middle = sorted(capacity)[len(capacity) // 2]
    if middle == 0:
        raise SystemExit("No request of the mix is answered with 200: see what the server says.")
    screen.print(f"capacity at saturation: {', '.join(f'{c:.1f}' for c in capacity)} a second")
    rates = like["rates"] if like else options.rates or rates_around(middle)
    # repeats are the outer loop: a machine that changes its speed changes it for every rate
    steps = [_step(sweep, rate, repeat) for repeat in range(options.repeats) for rate in rates]
    if not like:
        steps = refine(
            steps,
            slo,
            lambda rate: [_step(sweep, rate, repeat) for repeat in range(options.repeats)],
            rounds=options.refine,
        )
    run = {
        "machine": machine.describe(),
        "settings": {key: _plain(value) for key, value in vars(options).items()},
        "mix": options.mix,
        "slo": options.slo,
        "server": _server(options.url, options.collection),
        "capacity_per_s": capacity,
        "rates": sorted({step.rate for step in steps}),
        "highest_rate": highest_holding(steps, slo),
        "steps": [asdict(step) for step in steps],
    }
    write_json(folder / "run.json", run)
    drawn = report.charts(folder, steps, slo)
    for name, svg in drawn.items():
        (folder / f"{name}.svg").write_text(svg)
    (folder / "report.html").write_text(report.page(run, steps, slo, drawn))
    _finish(folder, steps, slo)


def _step(sweep: Sweep, rate: float, repeat: int) -> Step:
    started = time.monotonic()
    step = sweep.step(rate, repeat)
    latency = step.latency_ms
    doubt = f"  [red]{step.doubts[0]}[/red]" if step.doubts else ""
    screen.print(
        f"{rate:8g}/s  got {step.achieved_per_s:8.1f}/s  p50 {latency['p50']:8.1f}  "
        f"p99 {latency['p99']:8.1f} ms  errors {step.error_share:.2%}  "
        f"({time.monotonic() - started:.0f} s){doubt}"
    )
    return step


def _finish(folder: Path, steps: list[Step], slo: Slo) -> None:
    best = highest_holding(steps, slo)
    if best is None:
        screen.print(f"No rate holds {slo}.")
    else:
        screen.print(f"Highest rate that holds {slo}: {best:g} a second.")
    screen.print(f"{folder / 'report.html'}")
    doubted = [step for step in steps if step.doubts and (best is None or step.rate <= best)]
    if doubted:
        screen.print(f"[red]This cannot be believed: {doubted[0].doubts[0]}.[/red]")
        raise SystemExit(1)


def _server(url: str, collection: str) -> dict[str, Any]:
    with Client(url) as client:
        found = client.get_collection(collection)
        return {**found.model_dump(exclude={"fields"}), "checks": client.ready().checks}


def _plain(value: Any) -> Any:
    # a folder's place says nothing on another machine
    return value.name if isinstance(value, Path) else value


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--start", action="store_true", help="a server of its own, not --url")
    parser.add_argument("--triton", default="127.0.0.1:8001", help="its gRPC; empty: not observed")
    parser.add_argument("--images", type=Path, required=True, help="folder of images")
    parser.add_argument("--limit", type=int, default=300, help="images of the folder to use")
    parser.add_argument("--collection", default="load")
    parser.add_argument("--mix", default="image", help="such as image:8,vector:2")
    parser.add_argument("--slo", default="p99<100ms")
    parser.add_argument(
        "--rates",
        type=lambda text: [float(rate) for rate in text.split(",")],
        help="default: around the measured capacity",
    )
    parser.add_argument("--arrivals", choices=("poisson", "constant"), default="poisson")
    parser.add_argument("--step-s", type=float, default=8.0, help="counted at each rate")
    parser.add_argument("--warmup-s", type=float, default=2.0, help="before it")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--refine", type=int, default=2, help="halvings around the objective")
    parser.add_argument("--timeout-s", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=32, help="opened ahead")
    parser.add_argument("--zipf", type=float, default=0.8, help="exponent of repetition; 0: none")
    parser.add_argument(
        "--cache", choices=("off", "on"), default="off", help="off: every image has its own bytes"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--like", type=Path, help="a run whose rates and settings are taken")
    parser.add_argument(
        "--output", type=Path, default=machine.RESULTS, help="a folder by time goes here"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
