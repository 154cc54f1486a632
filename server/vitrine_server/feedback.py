"""Right or wrong: what people say of a hit, kept with what was asked, by which encoder and when.

The export is the CSV that training reads (`--feedback`: query, item, verdict); it holds the
judgements whose query is a stored item, and the last one of each pair.
"""

from __future__ import annotations

import csv
import io
import time
from typing import TYPE_CHECKING, Any, Literal

from vitrine_server.records import iso_time

if TYPE_CHECKING:
    import sqlite3

    from vitrine_server.journal import Journal

IMAGE_QUERY = "sha256:"  # then 64 hexadecimal digits: an image that is not in the collection
Verdict = Literal["right", "wrong"]
Step = Literal["hour", "day", "week", "month"]

_STEPS: dict[Step, str] = {
    "hour": "%Y-%m-%dT%H:00Z",
    "day": "%Y-%m-%d",
    "week": "%Y-W%W",
    "month": "%Y-%m",
}


def add(
    journal: Journal,
    *,
    query: str,
    item: str,
    verdict: Verdict,
    score: float | None,
    rank: int | None,
    encoder: str,
    fingerprint: str,
    note: str | None,
) -> int:
    """Keep a judgement; its number. Durable on return. Blocking."""
    values = (
        time.time_ns() // 1000,
        query,
        item,
        verdict,
        score,
        rank,
        encoder,
        fingerprint,
        note,
    )
    with journal.transaction() as connection:
        made = connection.execute(
            "INSERT INTO feedback"
            " (created, query, item, verdict, score, rank, encoder, fingerprint, note)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            values,
        )
        return int(made.lastrowid or 0)


def listed(journal: Journal, *, after: int, limit: int) -> list[dict[str, Any]]:
    """Judgements numbered above `after`, in order."""
    rows = journal.read(
        "SELECT * FROM feedback WHERE number > ? ORDER BY number LIMIT ?", (after, limit)
    )
    return [_shown(row) for row in rows]


def export(journal: Journal) -> str:
    """CSV of query, item and verdict: the last word on each pair of stored items."""
    rows = journal.read(
        "SELECT query, item, verdict, max(number) FROM feedback WHERE query NOT LIKE ?"
        " GROUP BY query, item ORDER BY max(number)",
        (f"{IMAGE_QUERY}%",),
    )
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["query", "item", "verdict"])
    writer.writerows([row["query"], row["item"], row["verdict"]] for row in rows)
    return file.getvalue()


def quality(journal: Journal, step: Step) -> list[dict[str, Any]]:
    """Right and wrong hits by time and encoder; precision is the share of the right ones.

    first: the same of the hits at rank 1 alone.
    """
    rows = journal.read(
        "SELECT strftime(?, created / 1000000, 'unixepoch') AS period, fingerprint, encoder,"
        " sum(verdict = 'right') AS good, count(*) AS judged,"
        " sum(verdict = 'right' AND rank = 1) AS first_good, sum(rank = 1) AS first_judged"
        " FROM feedback GROUP BY period, fingerprint ORDER BY period, fingerprint",
        (_STEPS[step],),
    )
    return [
        {
            "period": row["period"],
            "encoder": row["encoder"],
            "fingerprint": row["fingerprint"],
            "right": row["good"],
            "wrong": row["judged"] - row["good"],
            "precision": row["good"] / row["judged"],
            "first": row["first_good"] / row["first_judged"] if row["first_judged"] else None,
        }
        for row in rows
    ]


def _shown(row: sqlite3.Row) -> dict[str, Any]:
    return {**dict(row), "created": iso_time(row["created"])}
