"""Saved searches that fire when a matching item is ingested.

A follower reads what was written after its cursor, scores it against every watch, and commits the
alerts and the new cursor in one transaction: after a crash it goes on where it was, so that an item
is neither missed nor reported twice. An alert is an item that matched: its later versions do not
fire the same watch again. A version that is replaced or deleted before the follower has read it
(usually within half a second) was never seen.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import structlog

from vitrine_server import filters, webhooks
from vitrine_server.errors import Conflict, Invalid, NotFound, VitrineError
from vitrine_server.index.columns import evaluate, new_column
from vitrine_server.records import check_id, check_vector, iso_time

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vitrine_server.catalogue import Catalogue
    from vitrine_server.collection import Collection
    from vitrine_server.config import Settings
    from vitrine_server.journal import Journal, Journals
    from vitrine_server.records import JsonValue, Record

CURSOR = "watches.cursor"
PAGE = 512
INTERVAL_S = 0.3
MAX_WATCHES = 1000
MAX_ATTEMPTS = 12
_FIRST_RETRY_S = 1.0
_LONGEST_RETRY_S = 3600.0
_SENT_AT_ONCE = 32

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Watch:
    """vector: (D,) float32. query: what it was made of, for people. since: a sequence number."""

    id: str
    created: int
    since: int
    min_score: float
    filter: dict[str, JsonValue] | None
    webhook: str | None
    query: dict[str, Any]
    secret: str
    vector: NDArray[np.float32]

    def shown(self) -> dict[str, Any]:
        """As the API shows it: without vector and secret."""
        return {
            "id": self.id,
            "created": iso_time(self.created),
            "since": self.since,
            "min_score": self.min_score,
            "filter": self.filter,
            "webhook": self.webhook,
            "query": self.query,
        }


def add(
    journal: Journal,
    collection: Collection,
    *,
    watch_id: str | None,
    vector: NDArray[np.float32],
    min_score: float,
    filter: dict[str, JsonValue] | None,
    webhook: str | None,
    query: dict[str, Any],
) -> Watch:
    """Make a watch for what is written from now on. Blocking.

    Raises Invalid naming the field, Conflict for an id that is taken or too many watches.
    """
    if collection.settings.metric not in ("cosine", "inner_product"):
        raise Invalid(
            f"Collection {collection.name!r} compares by {collection.settings.metric}.",
            field="collection",
            accepted="a collection whose metric is cosine or inner_product",
        )
    name = watch_id or secrets.token_hex(8)
    check_id(name)
    if filter is not None:
        filters.parse(filter, collection.settings.fields)
    checked = check_vector(vector, collection.encoder.dimension, collection.settings.metric)
    secret, now = secrets.token_urlsafe(32), time.time_ns() // 1000
    definition = {
        "min_score": min_score,
        "filter": filter,
        "webhook": webhook,
        "query": query,
        "secret": secret,
    }
    since = collection.describe().sequence
    with journal.transaction() as connection:
        count = connection.execute("SELECT count(*) FROM watches").fetchone()[0]
        taken = connection.execute("SELECT 1 FROM watches WHERE id = ?", (name,)).fetchone()
        if taken or count >= MAX_WATCHES:
            raise Conflict(
                f"There is a watch {name[:128]!r}." if taken else f"There are {count} watches.",
                code="watch_exists" if taken else "too_many_watches",
                field="id",
                accepted="another id" if taken else f"at most {MAX_WATCHES} watches",
            )
        # with no watch nobody follows: begin here, not where the last one was deleted
        since = max(since, _cursor(connection) if count else 0)
        if not count:
            _move(connection, since)
        connection.execute(
            "INSERT INTO watches VALUES (?, ?, ?, ?, ?)",
            (
                name,
                now,
                since,
                orjson.dumps(definition).decode(),
                checked.astype("<f4").tobytes(),
            ),
        )
    return Watch(name, now, since, min_score, filter, webhook, query, secret, checked)


def listed(journal: Journal) -> list[Watch]:
    """All watches, the oldest first."""
    return [_watch(row) for row in journal.read("SELECT * FROM watches ORDER BY created, id")]


def delete(journal: Journal, watch_id: str) -> None:
    """Its alerts stay; they are no longer sent. Raises NotFound."""
    with journal.transaction() as connection:
        if not connection.execute("DELETE FROM watches WHERE id = ?", (watch_id,)).rowcount:
            raise NotFound(
                f"There is no watch {watch_id[:128]!r}.",
                code="watch_not_found",
                field="watch",
                accepted="the id of a watch of this collection",
            )
        connection.execute("UPDATE alerts SET next_attempt = NULL WHERE watch = ?", (watch_id,))


def alerts(
    journal: Journal, *, after: int, limit: int, watch: str | None = None
) -> list[dict[str, Any]]:
    """Alerts numbered above `after`, in order."""
    chosen, values = ("AND watch = ?", (after, watch, limit)) if watch else ("", (after, limit))
    rows = journal.read(
        f"SELECT * FROM alerts WHERE number > ? {chosen} ORDER BY number LIMIT ?", values
    )
    return [_alert(row) for row in rows]


def follow(journal: Journal, collection: Collection) -> int:
    """Read what was written since the last time and make its alerts; how many. Blocking."""
    made = 0
    while True:
        watches = listed(journal)
        cursor = int(journal.setting(CURSOR) or 0)
        if not watches or collection.describe().sequence <= cursor:
            return made
        page = collection.written(cursor, PAGE)
        if not page:
            return made
        found = [match for watch in watches for match in matches(watch, collection, page)]
        now = time.time_ns() // 1000
        with journal.transaction() as connection:
            alive = {row[0] for row in connection.execute("SELECT id FROM watches")}
            for watch, record, score in found:
                if watch.id in alive:
                    made += connection.execute(
                        "INSERT OR IGNORE INTO alerts"
                        " (watch, item, sequence, score, created, next_attempt)"
                        " VALUES (?, ?, ?, ?, ?, ?)",
                        (
                            watch.id,
                            record.id,
                            record.sequence,
                            score,
                            now,
                            now if watch.webhook else None,
                        ),
                    ).rowcount
            _move(connection, page[-1][0].sequence)


def matches(
    watch: Watch, collection: Collection, page: Sequence[tuple[Record, NDArray[np.float32]]]
) -> list[tuple[Watch, Record, float]]:
    """The items of a page that fire a watch, with their scores."""
    scores = np.stack([vector for _, vector in page]) @ watch.vector
    good = scores >= watch.min_score
    good &= np.array([record.sequence > watch.since for record, _ in page])
    if watch.filter is not None and good.any():
        parsed = filters.parse(watch.filter, collection.settings.fields)
        columns = {}
        for name in set(filters.fields_of(parsed)):
            columns[name] = new_column(collection.settings.fields.get(name))
            columns[name].append([record.metadata.get(name) for record, _ in page])
        good &= evaluate(parsed, columns, len(page))
    return [(watch, page[row][0], float(scores[row])) for row in np.flatnonzero(good).tolist()]


class Follower:
    """The background task of one server: makes alerts and sends them."""

    def __init__(self, *, settings: Settings, catalogue: Catalogue, journals: Journals) -> None:
        self._networks = settings.webhook_networks
        self._catalogue = catalogue
        self._journals = journals
        self._threads = ThreadPoolExecutor(1, "watches")
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._threads.shutdown()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await loop.run_in_executor(self._threads, self._round)
            await asyncio.sleep(INTERVAL_S)

    def _round(self) -> None:
        for info in self._catalogue.list():
            if self._journals.exists(info.name):
                self._follow_one(info.name)

    def _follow_one(self, name: str) -> None:
        try:
            journal = self._journals.of(name)
            follow(journal, self._catalogue.get(name))
            self._send(journal, name)
        except VitrineError as error:
            _log.warning("watches not followed", collection=name, error=error.detail)
        except Exception:
            # one collection must not end the alerts of the others
            _log.exception("watches failed", collection=name)

    def _send(self, journal: Journal, name: str) -> None:
        now = time.time_ns() // 1000
        due = journal.read(
            "SELECT alerts.*, watches.definition FROM alerts JOIN watches ON watches.id = watch"
            " WHERE next_attempt <= ? ORDER BY number LIMIT ?",
            (now, _SENT_AT_ONCE),
        )
        for row in due:
            definition = orjson.loads(row["definition"])
            body = orjson.dumps({"collection": name, **_alert(row)})
            attempts, delivered, again = row["attempts"] + 1, None, None
            try:
                webhooks.post(
                    definition["webhook"],
                    body,
                    secret=definition["secret"],
                    networks=self._networks,
                )
                delivered = time.time_ns() // 1000
            except webhooks.NotDelivered as error:
                _log.warning("alert not delivered", watch=row["watch"], error=str(error))
                if attempts < MAX_ATTEMPTS:
                    wait_s = min(_FIRST_RETRY_S * 2 ** (attempts - 1), _LONGEST_RETRY_S)
                    again = time.time_ns() // 1000 + int(wait_s * 1e6)
            with journal.transaction() as connection:
                connection.execute(
                    "UPDATE alerts SET attempts = ?, delivered = ?, next_attempt = ?"
                    " WHERE number = ?",
                    (attempts, delivered, again, row["number"]),
                )


def _cursor(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT value FROM settings WHERE key = ?", (CURSOR,)).fetchone()
    return 0 if row is None else int(row[0])


def _move(connection: sqlite3.Connection, sequence: int) -> None:
    connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (CURSOR, str(sequence)))


def _watch(row: sqlite3.Row) -> Watch:
    vector = np.frombuffer(row["vector"], "<f4")
    definition = orjson.loads(row["definition"])
    return Watch(
        id=row["id"], created=row["created"], since=row["since"], vector=vector, **definition
    )


def _alert(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "number": row["number"],
        "watch": row["watch"],
        "item": row["item"],
        "sequence": row["sequence"],
        "score": row["score"],
        "created": iso_time(row["created"]),
        "attempts": row["attempts"],
        "delivered": None if row["delivered"] is None else iso_time(row["delivered"]),
    }
