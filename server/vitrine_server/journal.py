"""What people add to a collection beside its items: watches and alerts, feedback, calibrations.

One SQLite file in the collection's folder (`journal.db`), written through one connection behind a
lock and synced on every commit. It is deleted with its collection.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vitrine_server.errors import CollectionNotFound, StorageFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vitrine_server.catalogue import Catalogue
    from vitrine_server.collection import Collection

FILE_NAME = "journal.db"
SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE watches (
    id TEXT PRIMARY KEY,
    created INTEGER NOT NULL,       -- microseconds since 1970 UTC
    since INTEGER NOT NULL,         -- only items written after this sequence number count
    definition TEXT NOT NULL,       -- JSON
    vector BLOB NOT NULL            -- float32, little-endian
);
CREATE TABLE alerts (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    watch TEXT NOT NULL,
    item TEXT NOT NULL,
    sequence INTEGER NOT NULL,      -- of the write that matched
    score REAL NOT NULL,
    created INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt INTEGER,           -- microseconds; NULL: nothing to send, delivered or given up
    delivered INTEGER,
    UNIQUE (watch, item)            -- an item fires a watch once, however often it is written
);
CREATE INDEX alerts_to_send ON alerts (next_attempt) WHERE next_attempt IS NOT NULL;
CREATE TABLE feedback (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    created INTEGER NOT NULL,
    query TEXT NOT NULL,            -- an item's id, or "sha256:…" of an image
    item TEXT NOT NULL,
    verdict TEXT NOT NULL,
    score REAL,
    rank INTEGER,
    encoder TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    note TEXT
);
"""


class Journal:
    """The journal of one collection; any thread may use it."""

    def __init__(self, path: Path) -> None:
        """Open, or make, the file. Raises StorageFailed."""
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=30
            )
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._connection.executescript(
                    f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
                )
            elif version != SCHEMA_VERSION:
                raise StorageFailed(
                    f"{path} has schema version {version}; "
                    f"this version of Vitrine reads {SCHEMA_VERSION}."
                )
        except sqlite3.Error as error:
            raise StorageFailed(f"{path} cannot be opened: {error}.") from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, on disk at the end. Raises StorageFailed."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                except BaseException:
                    self._connection.execute("ROLLBACK")
                    raise
                self._connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise StorageFailed(f"The disk refused the write ({error}).") from error

    def read(self, query: str, values: tuple[object, ...] = ()) -> list[sqlite3.Row]:
        """All rows of a query. Raises StorageFailed."""
        with self._lock:
            try:
                return self._connection.execute(query, values).fetchall()
            except sqlite3.Error as error:
                raise StorageFailed(f"The journal cannot be read ({error}).") from error

    def setting(self, key: str) -> str | None:
        rows = self.read("SELECT value FROM settings WHERE key = ?", (key,))
        return str(rows[0]["value"]) if rows else None

    def set(self, key: str, value: str) -> None:
        with self.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (key, value))

    def remove(self, key: str) -> None:
        with self.transaction() as connection:
            connection.execute("DELETE FROM settings WHERE key = ?", (key,))

    def close(self) -> None:
        with self._lock:
            self._connection.close()


class Journals:
    """The journals of all collections, opened when they are first asked for."""

    def __init__(self, data: Path, catalogue: Catalogue) -> None:
        self._folder = data / "collections"
        self._catalogue = catalogue
        self._lock = threading.Lock()
        self._open: dict[str, tuple[Collection, Journal]] = {}

    def of(self, name: str) -> Journal:
        """Raises CollectionNotFound, Unavailable, StorageFailed."""
        collection = self._catalogue.get(name)
        with self._lock:
            known = self._open.get(name)
            if known is not None and known[0] is collection:
                return known[1]
            if known is not None:
                # the collection was deleted and made again: its old file is gone
                known[1].close()
            if not (self._folder / name).is_dir():
                raise CollectionNotFound(name)
            journal = Journal(self._folder / name / FILE_NAME)
            self._open[name] = (collection, journal)
            return journal

    def exists(self, name: str) -> bool:
        """Whether anything was ever written into a collection's journal."""
        return (self._folder / name / FILE_NAME).is_file()

    def close(self) -> None:
        with self._lock:
            for _, journal in self._open.values():
                journal.close()
            self._open.clear()
