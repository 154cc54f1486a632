"""A run as one HTML page that needs nothing else: figures, charts, doubts, machine."""

from __future__ import annotations

import statistics
from dataclasses import replace
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.charts import Axis, Line, lines, stacked
from harness.processes import ROLES
from harness.recording import PERCENTILES, Recording
from harness.sweep import Slo, Step, by_rate, highest_holding, knee
from harness.wire import STAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#1d2733;max-width:76rem;margin:0 auto;padding:2rem}
h1{font-size:1.9rem;margin:0}h2{margin:2.4rem 0 .4rem;font-size:1.25rem}h3{margin:0;font-size:1rem}
p.lead{color:#5b6876;margin:.2rem 0 1.4rem}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));gap:1rem}
.figure,figure{border:1px solid #dde3e8;border-radius:.5rem;padding:.9rem 1.1rem;margin:0}
.figure b{display:block;font-size:1.7rem;line-height:1.2}.figure span,figcaption{color:#5b6876}
figcaption{font-size:.86rem;margin:0 0 .5rem}figcaption h3{color:#1d2733}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));gap:1rem}
.doubt{border-left:.35rem solid #c8443f;background:#fbeeee;padding:.7rem 1rem;margin:1.2rem 0}
.sure{border-left:.35rem solid #5a9367;background:#eef5f0;padding:.7rem 1rem;margin:1.2rem 0}
svg{display:block;width:100%;height:auto}.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.86rem;width:100%}
th,td{padding:.28rem .6rem;text-align:right;border-bottom:1px solid #dde3e8;white-space:nowrap}
th:first-child,td:first-child{text-align:left}td.broken{color:#c8443f}
.facts{columns:2 24rem;column-gap:2rem;font-size:.86rem}.facts div{break-inside:avoid}
dl{display:grid;grid-template-columns:9rem 1fr;margin:.3rem 0 1.2rem}
dt{color:#5b6876}dd{margin:0;overflow-wrap:anywhere}
@media print{body{padding:0}figure{break-inside:avoid}}
"""
# Percentiles by the nines in them: the tail is drawn as wide as the rest (HdrHistogram's plots).
NINES = {0.0: "0 %", 0.30103: "50 %", 1.0: "90 %", 2.0: "99 %", 3.0: "99.9 %", 4.0: "99.99 %"}
CHARTS = {
    "latency": (
        "Latency against rate",
        "From the moment when each request was due. Lines are medians of the repeats, bands the "
        "spread of p50 and p99.",
    ),
    "throughput": (
        "Throughput",
        "Where the line leaves the dashed one, the server no longer keeps up.",
    ),
    "stages": (
        "Where the time goes",
        "From the Server-Timing of every answer. Queue is the wait for a batch.",
    ),
    "distribution": (
        "Distribution of the latency",
        "All good answers of a rate; the last percent is where users notice.",
    ),
    "triton": ("Triton's queue and compute", "From Triton's own statistics of the model."),
    "batches": (
        "Batches that Triton executed",
        "Share of the images that were executed in a batch of each size.",
    ),
    "cpu": (
        "CPU of each process",
        "The generator runs on the same machine, and so may other programs.",
    ),
}


def charts(folder: Path, steps: Sequence[Step], slo: Slo) -> dict[str, str]:
    """SVG by name."""
    rates = by_rate(steps)
    at_knee = knee(steps)
    marks = {"knee": at_knee} if at_knee is not None else {}
    rate_axis = Axis("offered requests a second", low=0.0)

    def middle(name: str, read: Callable[[Step], float], *, band: bool = True) -> Line:
        values = [[read(step) for step in repeats] for repeats in rates.values()]
        return Line(
            name,
            list(rates),
            [statistics.median(found) for found in values],
            [min(found) for found in values] if band else None,
            [max(found) for found in values] if band else None,
        )

    def latency(name: str) -> Callable[[Step], float]:
        return lambda step: step.latency_ms[name]

    drawn = {
        "latency": lines(
            [
                middle(name, latency(name), band=name in ("p50", "p99"))
                for name in (f"p{p:g}" for p in PERCENTILES)
            ],
            x=rate_axis,
            y=Axis("latency, ms", log=True),
            marks=marks,
            limits={str(slo): slo.limit_ms},
        ),
        "throughput": lines(
            [
                middle("achieved", lambda step: step.achieved_per_s),
                replace(
                    middle("offered", lambda step: step.offered_per_s, band=False), dashed=True
                ),
            ],
            x=rate_axis,
            y=Axis("good answers a second", low=0.0),
            marks=marks,
        ),
        "stages": stacked(
            STAGES,
            [(f"{rate:g}", _mean_stages(repeats)) for rate, repeats in rates.items()],
            x="offered requests a second",
            y="mean milliseconds on the server",
        ),
        "cpu": stacked(
            [*ROLES, "generator", "others"],
            [(f"{rate:g}", _mean_cores(repeats)) for rate, repeats in rates.items()],
            x="offered requests a second",
            y="CPU cores in use",
            grey="others",
        ),
        "distribution": _distribution(folder, rates, slo),
    }
    if any(step.observed["batches"] for step in steps):
        drawn["batches"] = _batches(rates)
        drawn["triton"] = lines(
            [
                middle("queue", lambda step: step.observed["queue_ms"] or 0.0),
                middle("compute", lambda step: step.observed["compute_ms"] or 0.0),
            ],
            x=rate_axis,
            y=Axis("mean milliseconds in Triton", low=0.0),
            marks=marks,
        )
    return drawn


def page(run: dict[str, Any], steps: Sequence[Step], slo: Slo, drawn: dict[str, str]) -> str:
    """The whole page."""
    best, at_knee = highest_holding(steps, slo), knee(steps)
    recalls = [step.recall for step in steps if step.recall is not None]
    capacity = statistics.median(run["capacity_per_s"])
    figures = [
        (f"{best:g}/s" if best is not None else "none", f"highest rate with {slo}"),
        (f"{capacity:.0f}/s", "good answers at saturation"),
        (f"{at_knee:g}/s" if at_knee is not None else "none", "knee"),
        (f"{min(recalls):.4f}" if recalls else "not asked", "lowest recall@10 under load"),
    ]
    boxes = "".join(
        f'<div class="figure"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for value, name in figures
    )
    sections = "".join(
        f"<figure><figcaption><h3>{title}</h3>{note}</figcaption>{drawn[name]}</figure>"
        for name, (title, note) in CHARTS.items()
        if name in drawn
    )
    findings = "".join(f"<li>{escape(sentence)}</li>" for sentence in _findings(run, steps, slo))
    machine, server = run["machine"], run["server"]
    when = datetime.fromisoformat(machine["time"])
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width">'
        f"<title>Vitrine under load</title><style>{STYLE}</style><h1>Vitrine under load</h1>"
        f"<p class=lead>{escape(run['mix'])} requests &middot; encoder "
        f"{escape(server['encoder']['name'])} &middot; {server['count']} items &middot; "
        f"{escape(machine['cpu'])}, {machine['cores']} cores"
        f"{' &middot; ' + escape(machine['gpu']) if machine['gpu'] else ''} &middot; "
        f"{when.day} {when:%B %Y, %H:%M} UTC</p>"
        f"<div class=figures>{boxes}</div>{_verdict(steps)}<ul>{findings}</ul>"
        f"<div class=charts>{sections}<figure class=scroll><figcaption><h3>Processes</h3>"
        f"CPU and memory on this machine.</figcaption>{_processes(steps, slo)}</figure></div>"
        f"<h2>Every step</h2><div class=scroll>{_table(steps, slo)}</div>"
        f"<h2>What was measured, and on what</h2>{_facts(run)}</html>"
    )


def _findings(run: dict[str, Any], steps: Sequence[Step], slo: Slo) -> list[str]:
    """What the charts show, in sentences."""
    best, at_knee = highest_holding(steps, slo), knee(steps)
    capacity = statistics.median(run["capacity_per_s"])
    found = []
    if best is None:
        found.append(f"No rate of the sweep holds {slo}.")
    else:
        share = _percent(best / capacity)
        found.append(
            f"It holds {slo} up to {best:g} requests a second, {share} of what it answers at "
            "saturation."
        )
    if at_knee is None:
        return found
    repeats = by_rate(steps)[at_knee]
    stages = _mean_stages(repeats)
    if spent_ms := sum(stages.values()):
        shares = sorted(stages.items(), key=lambda stage: -stage[1])
        told = ", ".join(f"{name} {_percent(value / spent_ms)}" for name, value in shares)
        found.append(
            f"At the knee, {at_knee:g} a second, where throughput over latency is at its most, a "
            f"request spends {spent_ms:.1f} ms in the server: {told}."
        )
    answered = statistics.mean(step.achieved_per_s for step in repeats)
    cores = {role: used for role, used in _mean_cores(repeats).items() if role in ROLES}
    if answered:
        each = ", ".join(
            f"{role} {used / answered * 1e3:.1f}" for role, used in cores.items() if used > 0.005
        )
        found.append(
            f"There it costs {sum(cores.values()) / answered * 1e3:.1f} ms of CPU ({each}) on "
            f"{run['machine']['cores']} cores."
        )
    batches = [(int(b), n) for step in repeats for b, n in step.observed["batches"].items()]
    if executed := sum(n for _, n in batches):
        mean = sum(size * n for size, n in batches) / executed
        found.append(f"There Triton executes {mean:.1f} images at a time on average.")
    return found


def _percent(share: float) -> str:
    return "under 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def _verdict(steps: Sequence[Step]) -> str:
    doubts: dict[str, list[tuple[Step, str]]] = {}
    for step in steps:
        for doubt in step.doubts:
            kind = " ".join(doubt.split()[:3])  # the rest are its figures
            doubts.setdefault(kind, []).append((step, doubt))
    if not doubts:
        worst = max(step.lag_p99_ms for step in steps)
        return (
            '<p class="sure">The generator kept up: in the worst step 99 % of the requests left '
            f"within {worst:.2f} ms of their time. Nothing else kept the machine busy.</p>"
        )
    doubted = sum(bool(step.doubts) for step in steps)
    entries = "".join(
        f"<li>{len(found)} of them, such as {found[0][0].rate:g}/s: {escape(found[0][1])}</li>"
        for found in doubts.values()
    )
    return (
        f'<div class="doubt"><b>{doubted} of {len(steps)} steps cannot be believed.</b>'
        f"<ul>{entries}</ul></div>"
    )


def _table(steps: Sequence[Step], slo: Slo) -> str:
    names = [f"p{p:g}" for p in PERCENTILES]
    head = ["offered/s", "repeat", "achieved/s", *names, "max ms", "errors", "recall@10", str(slo)]
    rows = []
    for step in sorted(steps, key=lambda step: (step.rate, step.repeat)):
        bad = {name: n for name, n in step.statuses.items() if name != "200"}
        rows.append(
            [
                f"{step.rate:g}",
                str(step.repeat + 1),
                f"{step.achieved_per_s:.1f}",
                *(f"{step.latency_ms[name]:.1f}" for name in names),
                f"{step.latency_ms['max']:.1f}",
                ", ".join(f"{name}: {n}" for name, n in bad.items()) or "0",
                f"{step.recall:.4f}" if step.recall is not None else "",
                "holds" if step.holds(slo) else "broken",
            ]
        )
    return _rows(head, rows)


def _processes(steps: Sequence[Step], slo: Slo) -> str:
    """CPU and memory of each process, and the GPU where there is one, at the rate that holds."""
    best = highest_holding(steps, slo)
    chosen = [step for step in steps if best is None or step.rate == best]
    rate = statistics.mean(step.achieved_per_s for step in chosen)
    cores = _mean_cores(chosen)
    rows = [
        (
            role,
            f"{used:.2f}",
            f"{used / rate * 1e3:.2f}" if rate and role != "others" else "",
            f"{max(step.observed['rss_mb'][role] for step in steps)}" if role != "others" else "",
        )
        for role, used in cores.items()
    ]
    where = f"at {best:g}/s" if best is not None else "over all steps"
    table = _rows(["", f"cores {where}", "CPU ms a request", "most memory, MB"], rows)
    gpu = [step.observed["gpu"] for step in chosen if step.observed["gpu"]]
    if not gpu:
        return table
    means = [(name, f"{statistics.mean(one[name] for one in gpu):.1f}") for name in gpu[0]]
    return table + _rows(["GPU", "mean"], means)


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    header = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(_cell(cell) for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{header}</tr>{body}</table>"


def _cell(text: str) -> str:
    return f"<td{' class=broken' if text == 'broken' else ''}>{escape(text)}</td>"


def _facts(run: dict[str, Any]) -> str:
    machine = {name: value for name, value in run["machine"].items() if name != "packages"}
    groups = {
        "Machine": machine,
        "Server": run["server"],
        "Versions": run["machine"]["packages"],
        "Settings": run["settings"],
    }
    return f"<div class=facts>{''.join(map(_group, groups.items()))}</div>"


def _group(group: tuple[str, dict[str, Any]]) -> str:
    title, facts = group
    pairs = "".join(
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(_plain(value))}</dd>"
        for name, value in facts.items()
    )
    return f"<div><h3>{title}</h3><dl>{pairs}</dl></div>"


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')}: {_plain(v)}" for name, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _mean_stages(repeats: Sequence[Step]) -> dict[str, float]:
    return {
        name: statistics.mean(step.stages_ms.get(name, 0.0) for step in repeats) for name in STAGES
    }


def _mean_cores(repeats: Sequence[Step]) -> dict[str, float]:
    roles = repeats[0].observed["cores"]
    cores = {
        role: statistics.mean(step.observed["cores"].get(role, 0.0) for step in repeats)
        for role in roles
    }
    return {**cores, "others": statistics.mean(s.observed["others_cores"] for s in repeats)}


def _batches(rates: dict[float, list[Step]]) -> str:
    shares: list[tuple[str, dict[str, float]]] = []
    sizes: set[int] = set()
    for rate, repeats in rates.items():
        images: dict[int, int] = {}
        for step in repeats:
            for size, count in step.observed["batches"].items():
                bucket = 1 << (int(size) - 1).bit_length()  # 3 and 4 → 4
                images[bucket] = images.get(bucket, 0) + int(size) * count
        sizes |= images.keys()
        whole = sum(images.values()) or 1
        shares.append((f"{rate:g}", {_bucket(size): n / whole for size, n in images.items()}))
    return stacked(
        [_bucket(size) for size in sorted(sizes)],
        shares,
        x="offered requests a second",
        y="share of the images",
    )


def _bucket(size: int) -> str:
    return str(size) if size <= 2 else f"{size // 2 + 1} to {size}"


def _distribution(folder: Path, rates: dict[float, list[Step]], slo: Slo) -> str:
    """Latency by percentile at a low rate, at the objective's limit and just above it."""
    steps = [step for repeats in rates.values() for step in repeats]
    best = highest_holding(steps, slo)
    above = [rate for rate in rates if best is not None and rate > best]
    chosen = sorted({min(rates), *([best] if best is not None else []), *above[:1]})
    spots = np.array([0, 25, 50, 75, 90, 95, 98, 99, 99.5, 99.9, 99.99])
    drawn = []
    for rate in chosen:
        found = np.concatenate(
            [Recording.load(folder / step.file).latencies_s for step in rates[rate]]
        )
        if len(found):
            nines = -np.log10(1 - spots[spots < 100 * (1 - 1 / len(found))] / 100)
            spread = np.percentile(found * 1e3, 100 * (1 - 10.0**-nines))
            drawn.append(Line(f"{rate:g}/s", nines.tolist(), spread.tolist()))
    return lines(
        drawn,
        x=Axis("share of the requests", low=0.0, ticks=NINES),
        y=Axis("latency, ms", log=True),
        limits={str(slo): slo.limit_ms},
    )
