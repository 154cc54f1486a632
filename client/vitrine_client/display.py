"""How answers look on a terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from vitrine_client.ingest import Outcome
    from vitrine_client.models import Collection, Hit, Readiness, SearchResult

# ids are not cut in a pipe, where nobody can make the window wider
PIPE_WIDTH = 250


def console(*, stderr: bool = False) -> Console:
    screen = Console(stderr=stderr, highlight=False)
    if not screen.is_terminal:
        screen.width = PIPE_WIDTH
    return screen


def plain(value: object) -> Text:
    """Text of the server or of a file name: without markup, control characters made visible."""
    text = str(value)
    return Text(
        "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    )


def hits(result: SearchResult) -> Table:
    reranked = any(hit.rerank_score is not None for hit in result.hits)
    numbers = ["#", "score", *(["re-ranked"] if reranked else [])]
    table = _table(*numbers, "id", "group", "metadata")
    for column in table.columns[: len(numbers)]:
        column.justify = "right"
    for rank, hit in enumerate(result.hits, start=1):
        scores = [f"{hit.score:.4f}"]
        if reranked:
            scores.append("" if hit.rerank_score is None else f"{hit.rerank_score:.4f}")
        table.add_row(str(rank), *scores, plain(hit.id), plain(hit.group or ""), _fields(hit))
    if result.fallback:
        table.caption = plain(result.fallback)
    return table


def copies(found: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("score", "copy", "id", "hash", "embedding", "aligned points")
    for copy in found:
        evidence = copy["evidence"]
        score, verdict = f"{copy['score']:.3f}", "yes" if copy["copy"] else "no"
        table.add_row(score, verdict, plain(copy["id"]), *_evidence(evidence))
    return table


def group(items: Sequence[Mapping[str, Any]]) -> Table:
    """The first is the oldest."""
    table = _table("id", "copy of", "score", "hash", "embedding", "aligned points")
    first, *rest = items
    table.add_row(plain(first["id"]))
    for item in rest:
        score = f"{item['score']:.3f}"
        table.add_row(
            plain(item["id"]), plain(item["copy_of"]), score, *_evidence(item["evidence"])
        )
    return table


def watches(found: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("watch", "from score", "filter", "webhook", "made")
    for watch in found:
        filter = "" if watch["filter"] is None else json.dumps(watch["filter"], ensure_ascii=False)
        row = map(plain, (filter, watch["webhook"] or "", watch["created"]))
        table.add_row(plain(watch["id"]), f"{watch['min_score']:.3f}", *row)
    return table


def alerts(found: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("#", "watch", "item", "score", "when", "delivered")
    for alert in found:
        row = map(plain, (alert["created"], alert["delivered"] or ""))
        names = plain(alert["watch"]), plain(alert["item"])
        table.add_row(str(alert["number"]), *names, f"{alert['score']:.4f}", *row)
    return table


def feedback(found: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("#", "query", "item", "verdict", "rank", "encoder", "when", "note")
    for one in found:
        names = ("query", "item", "verdict", "rank", "encoder", "created", "note")
        cells = ("" if one[name] is None else one[name] for name in names)
        table.add_row(str(one["number"]), *map(plain, cells))
    return table


def quality(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("period", "encoder", "right", "wrong", "precision", "at rank 1")
    for row in rows:
        encoder = plain(f"{row['encoder']} {row['fingerprint'][:12]}")
        first = "" if row["first"] is None else f"{row['first']:.3f}"
        counts = str(row["right"]), str(row["wrong"])
        table.add_row(plain(row["period"]), encoder, *counts, f"{row['precision']:.3f}", first)
    return table


def trade_off(rows: Iterable[Mapping[str, float]]) -> Table:
    table = _table("false positives", "threshold", "precision", "recall")
    for row in rows:
        table.add_row(
            f"{row['false_positive_rate']:.1%}",
            f"{row['threshold']:.3f}",
            f"{row['precision']:.3f}",
            f"{row['recall']:.3f}",
        )
    return table


def recall(by_change: Mapping[str, float]) -> Table:
    table = _table("change", "recall")
    for change, share in by_change.items():
        table.add_row(change, f"{share:.3f}")
    return table


def collections(found: Sequence[Collection]) -> Table:
    table = _table("collection", "items", "index", "metric", "encoder", "fields")
    table.columns[1].justify = "right"
    for entry in found:
        fields = ", ".join(f"{name}: {kind}" for name, kind in entry.fields.items())
        name = plain(f"{entry.name} (read-only)" if entry.read_only else entry.name)
        index = entry.index.get("family", entry.index.get("setting", ""))
        row = map(plain, (index, entry.metric, entry.encoder.name, fields))
        table.add_row(name, f"{entry.count:,}", *row)
    return table


def checks(readiness: Readiness) -> Table:
    table = _table("check", "state")
    for name, state in readiness.checks.items():
        table.add_row(plain(name), plain(_state(state)))
    return table


def reasons(files: Iterable[tuple[str, str]], title: str) -> Table:
    table = _table(title, "reason")
    for name, reason in sorted(files):
        table.add_row(plain(name), plain(reason))
    return table


def as_json(value: Mapping[str, Any] | Sequence[Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


class IngestBar:
    """A progress bar with images a second. Shows nothing where there is no terminal."""

    def __init__(self, screen: Console, *, total: int) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=screen,
            disable=not screen.is_terminal,
        )
        self._task = self._progress.add_task("", total=total, rate="", note="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def advanced(self, outcome: Outcome) -> None:
        refused = f"{len(outcome.refused):,} refused" if outcome.refused else ""
        self._progress.update(self._task, completed=outcome.done, rate=rate(outcome), note=refused)


def rate(outcome: Outcome) -> str:
    return f"{outcome.stored / outcome.seconds:.1f} images/s" if outcome.seconds > 0 else ""


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _evidence(evidence: Mapping[str, Any]) -> tuple[str, str, str]:
    found, aligned = evidence["hash"], evidence["alignment"]
    return (
        "" if found is None else f"{found['distance']} bits, {found['orientation']}",
        f"{evidence['deep']['cosine']:.3f}",
        "" if aligned is None else str(aligned["points"]),
    )


def _fields(hit: Hit) -> Text:
    pairs = ((key, value) for key, value in (hit.metadata or {}).items() if key != "group")
    return plain(", ".join(f"{key}: {value}" for key, value in pairs))


def _state(state: object) -> str:
    if isinstance(state, dict):
        return ", ".join(f"{key}: {_state(value)}" for key, value in state.items())
    return (
        {True: "ok", False: "failed"}.get(state, str(state))
        if isinstance(state, bool)
        else str(state)
    )
