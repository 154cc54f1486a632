"""Two runs of load_report.py side by side: `make load-compare BASE=… NEW=…`.

Prints each figure of both with the ratio and its 95 % interval. Exit code 1 when the new run is
worse by more than the tolerance and more than the noise, 2 when the runs cannot be compared.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.compare import Comparison, common_rates, latencies, load_recordings, rates

PERCENTILES = (50.0, 99.0)
# what must be equal for the figures to mean the same
SAME_SETTINGS = ("mix", "arrivals", "zipf", "cache", "limit")
MAX_RECALL_DROP = 0.005
MAX_ERROR_SHARE = 0.001

screen = Console(highlight=False)


def main() -> None:
    options = _options()
    base, new = (
        json.loads((folder / "run.json").read_text()) for folder in (options.base, options.new)
    )
    _check(base, new)
    found = _comparisons(options, base, new)
    _print(found)
    worse = [comparison.figure for comparison in found if comparison.verdict == "worse"]
    worse += _recall_drop(base, new) + _more_errors(base, new)
    if worse:
        screen.print(f"[red]Worse beyond noise: {', '.join(worse)}.[/red]")
        raise SystemExit(1)
    screen.print(f"Nothing is worse by more than {options.tolerance:.0%} and the noise.")


def _comparisons(options: argparse.Namespace, base: Any, new: Any) -> list[Comparison]:
    tolerance = options.tolerance
    found = [
        rates(
            "capacity, answers/s",
            base["capacity_per_s"],
            new["capacity_per_s"],
            tolerance=tolerance,
        )
    ]
    pairs = common_rates(base["rates"], new["rates"])
    if not pairs:
        _refuse("They share no rate: make the new one with load_report.py --like BASE.")
    for old_rate, new_rate in pairs:
        old_runs = load_recordings(options.base, _files(base, old_rate))
        new_runs = load_recordings(options.new, _files(new, new_rate))
        found += [
            latencies(
                f"p{p:g} at {old_rate:g}/s, ms",
                old_runs,
                new_runs,
                percentile=p,
                tolerance=tolerance,
            )
            for p in PERCENTILES
        ]
    return found


def _check(base: Any, new: Any) -> None:
    for name in SAME_SETTINGS:
        if base["settings"][name] != new["settings"][name]:
            _refuse(
                f"They differ in {name}: {base['settings'][name]!r} and {new['settings'][name]!r}."
            )
    if base["machine"]["cpu"] != new["machine"]["cpu"]:
        screen.print("[yellow]The runs are from different machines.[/yellow]")
    for name, run in (("base", base), ("new", new)):
        if doubts := sum(bool(step["doubts"]) for step in run["steps"]):
            screen.print(f"[yellow]{doubts} steps of the {name} run cannot be believed.[/yellow]")


def _recall_drop(base: Any, new: Any) -> list[str]:
    before, after = (
        min((step["recall"] for step in run["steps"] if step["recall"] is not None), default=1.0)
        for run in (base, new)
    )
    if before - after <= MAX_RECALL_DROP:
        return []
    return [f"recall@10 ({before:.4f} to {after:.4f})"]


def _more_errors(base: Any, new: Any) -> list[str]:
    found = []
    for old_rate, new_rate in common_rates(base["rates"], new["rates"]):
        before, after = (
            max(step["error_share"] for step in run["steps"] if step["rate"] == rate)
            for run, rate in ((base, old_rate), (new, new_rate))
        )
        # at rates that the base did not hold either, more or fewer errors mean nothing
        if before <= MAX_ERROR_SHARE < after:
            found.append(f"errors at {old_rate:g}/s ({before:.2%} to {after:.2%})")
    return found


def _files(run: Any, rate: float) -> list[str]:
    return [step["file"] for step in run["steps"] if step["rate"] == rate]


def _print(found: list[Comparison]) -> None:
    table = Table("figure", "base", "new", "new / base", "95 % interval", "verdict")
    colours = {"same": "dim", "better": "green", "worse": "red"}
    for entry in found:
        table.add_row(
            entry.figure,
            f"{entry.base:.4g}",
            f"{entry.new:.4g}",
            f"{entry.ratio:.3f}",
            f"{entry.low:.3f} to {entry.high:.3f}",
            f"[{colours[entry.verdict]}]{entry.verdict}[/]",
        )
    screen.print(table)


def _refuse(reason: str) -> None:
    screen.print(f"[red]The runs cannot be compared. {reason}[/red]")
    raise SystemExit(2)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", type=Path, help="folder of the run to compare with")
    parser.add_argument("new", type=Path, help="folder of the run that is judged")
    parser.add_argument("--tolerance", type=float, default=0.05, help="difference that is accepted")
    return parser.parse_args()


if __name__ == "__main__":
    main()
