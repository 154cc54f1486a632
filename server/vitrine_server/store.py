"""SQLite: records, vectors, sequence numbers. The truth that every index is derived from.

One thread writes, through one `Store`; any number of threads read, each through a connection of
its own, and never wait for the writer (write-ahead log). `commit` returns after the log is on disk
(synchronous=FULL). Each write has a sequence number; an item's label is the number of the write
that made it, so an update gives a new label and a label never changes its meaning.
"""

from __future__ import annotations

import secrets
import sqlite3
import struct
import threading
import time
import zlib
from collections import deque
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from vitrine_server import migrations, wal
from vitrine_server.errors import StorageFailed
from vitrine_server.writes import Batch, Columns, Counters, Put, Row, Write, Written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

FILE_NAME = "store.db"

_PAGE_BYTES = 8192
_MAX_VARIABLES = 500
_INSERT_ROWS = 16

_ROW = "label, id, metadata, created, updated, image_sha256, items.crc"


class DamagedStore(Exception):
    """The file cannot be trusted; the message is one sentence that says what was found."""


class Store:
    """The writer's side, and the pool of readers. `write` and `commit` belong to one thread."""

    def __init__(self, path: Path) -> None:
        """Open an existing store. Raises DamagedStore."""
        self.path = path
        self._readers: deque[sqlite3.Connection] = deque()
        self._lent = 0
        self._returned = threading.Condition()
        self._closed = False
        # Whether the last batch replaced items. Most hold new ids: then the lookup is left out, and
        # made up for when the table refuses an id.
        self._replacing = False
        torn = wal.damage(path)
        if torn is not None:
            raise DamagedStore(torn)
        try:
            # this replays the log; what was committed before is on disk from here on
            self._writer = connect(path)
            self._check_schema()
            self._counters = self._committed = self._read_counters()
            if self.fingerprint() != (self._counters.count, self._counters.label_sum):
                raise DamagedStore(f"{path} does not hold the items that it has counted.")
        except (sqlite3.Error, ValueError) as error:
            raise DamagedStore(f"{path} cannot be opened: {error}.") from error

    @classmethod
    def create(cls, path: Path, meta: Mapping[str, str]) -> Store:
        """A new, empty store at a path where there is none."""
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            rows = [
                *meta.items(),
                ("sequence", "0"),
                ("identity", secrets.token_hex(16)),
                ("removals_since", "0"),
                ("count", "0"),
                ("label_sum", "0"),
            ]
            connection.executescript(
                f"BEGIN; {migrations.SCHEMA}"
                f" PRAGMA user_version = {migrations.SCHEMA_VERSION}; COMMIT;"
            )
            connection.executemany("INSERT INTO meta VALUES (?, ?)", rows)
        finally:
            connection.close()
        return cls(path)

    @property
    def sequence(self) -> int:
        """Number of the last write that was executed."""
        return self._counters.sequence

    def meta(self, key: str) -> str:
        row = self._writer.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise DamagedStore(f"{self.path} has no {key!r} in its table meta.")
        return str(row[0])

    def all_meta(self) -> dict[str, str]:
        with self._reader() as reader:
            return dict(reader.execute("SELECT key, value FROM meta"))

    # Writing: one thread

    def write(self, writes: Sequence[Write]) -> list[Written]:
        """Begin a transaction and execute the writes in order. `commit` or `rollback` must follow.

        Raises StorageFailed when the disk refuses; the transaction is then rolled back.
        """
        puts = [write for write in writes if isinstance(write, Put)]
        may_be_new = not self._replacing and len({put.id for put in puts}) == len(writes)
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            if may_be_new:
                try:
                    return self._execute({}, lambda batch: batch.add(puts))
                except sqlite3.IntegrityError:
                    self.rollback()
                    self._writer.execute("BEGIN IMMEDIATE")
            found = self._find_all({write.id for write in writes})
            self._replacing = bool(found)
            return self._execute(found, lambda batch: [batch.execute(write) for write in writes])
        except BaseException as error:
            self.rollback()
            if isinstance(error, sqlite3.Error):
                raise _storage_failed(error) from error
            raise

    def _execute(
        self, found: dict[str, Row], execute: Callable[[Batch], list[Written]]
    ) -> list[Written]:
        """found: what the ids name. Raises sqlite3.IntegrityError when they name more."""
        batch = Batch(self._counters, found, time.time_ns() // 1000)
        written = execute(batch)
        for statement, rows in batch.changes():
            if rows:
                self._writer.executemany(statement, rows)
        for table, columns in batch.inserts():
            if columns:
                insert(self._writer, table, columns)
        self._counters = batch.counters
        return written

    def _find_all(self, ids: set[str]) -> dict[str, Row]:
        found: dict[str, Row] = {}
        wanted = list(ids)
        for start in range(0, len(wanted), _MAX_VARIABLES):
            part = wanted[start : start + _MAX_VARIABLES]
            marks = ",".join("?" * len(part))
            query = f"SELECT {_ROW} FROM items WHERE id IN ({marks})"
            for values in self._writer.execute(query, part):
                found[values[1]] = self._row(values)
        return found

    def commit(self) -> None:
        """Make the transaction durable. Raises StorageFailed; the writes then never happened, or
        (after a failed fsync, which nobody may retry) nobody can tell until the next start.
        """
        try:
            self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            self.rollback()
            raise _storage_failed(error) from error
        self._committed = self._counters

    def rollback(self) -> None:
        self._counters = self._committed
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")

    def forget_removals(self, until: int) -> None:
        """Drop the log of removals up to a sequence number that no snapshot needs. One transaction.

        Raises StorageFailed.
        """
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            self._writer.execute("DELETE FROM removed WHERE sequence <= ?", (until,))
            self._writer.execute(
                "UPDATE meta SET value = ? WHERE key = 'removals_since'", (str(until),)
            )
        except sqlite3.Error as error:
            self.rollback()
            raise _storage_failed(error) from error
        self.commit()

    # Reading: any thread

    def find(self, item_id: str) -> Row | None:
        with self._reader() as reader:
            found = reader.execute(f"SELECT {_ROW} FROM items WHERE id = ?", (item_id,)).fetchone()
        return None if found is None else self._row(found)

    def vector(self, item_id: str) -> NDArray[np.float32] | None:
        """The item's vector (D,) float32; None when there is no such item."""
        with self._reader() as reader:
            found = reader.execute(
                "SELECT label, vector, crc FROM vectors"
                " WHERE label = (SELECT label FROM items WHERE id = ?)",
                (item_id,),
            ).fetchone()
        return None if found is None else self._checked(*found)

    def thumbnail(self, item_id: str) -> bytes | None:
        with self._reader() as reader:
            found = reader.execute(
                "SELECT image FROM thumbnails WHERE label = (SELECT label FROM items WHERE id = ?)",
                (item_id,),
            ).fetchone()
        return None if found is None else bytes(found[0])

    def rows(self, labels: Sequence[int]) -> dict[int, Row]:
        """The versions with these labels, without those that are gone."""
        found: dict[int, Row] = {}
        with self._reader() as reader:
            for start in range(0, len(labels), _MAX_VARIABLES):
                part = labels[start : start + _MAX_VARIABLES]
                marks = ",".join("?" * len(part))
                query = f"SELECT {_ROW} FROM items WHERE label IN ({marks})"
                for values in reader.execute(query, part):
                    found[values[0]] = self._row(values)
        return found

    def _row(self, values: tuple[int, str, bytes, int, int, str | None, int]) -> Row:
        """Raises DamagedStore; a damaged file can hold any type in any column."""
        try:
            row = Row(*values[:6])
            if row.crc() == values[6]:
                return row
        except (AttributeError, TypeError, ValueError, struct.error):
            pass
        raise DamagedStore(f"{self.path}: the record of write {values[0]} is damaged.")

    def contents(self, after: int = 0) -> Iterator[tuple[int, bytes, NDArray[np.float32]]]:
        """(label, metadata JSON, vector) of the items written after a sequence number, by rising
        label. Raises DamagedStore.
        """
        with self._reader() as reader:
            for *row, vector, crc in reader.execute(
                f"SELECT {_ROW}, vector, vectors.crc FROM items LEFT JOIN vectors USING (label)"
                " WHERE label > ? ORDER BY label",
                (after,),
            ):
                yield row[0], self._row(row).metadata_json, self._checked(row[0], vector, crc)

    def written(self, after: int, limit: int) -> list[tuple[Row, NDArray[np.float32]]]:
        """Items written after a sequence number with their vectors, `limit` by rising label."""
        with self._reader() as reader:
            found = reader.execute(
                f"SELECT {_ROW}, vector, vectors.crc FROM items LEFT JOIN vectors USING (label)"
                " WHERE label > ? ORDER BY label LIMIT ?",
                (after, limit),
            ).fetchall()
        return [(self._row(row), self._checked(row[0], vector, crc)) for *row, vector, crc in found]

    def removals(self, after: int) -> list[int]:
        """Labels up to a sequence number that were removed after it.

        Raises ValueError when removals of that time were forgotten.
        """
        since = int(self.meta("removals_since"))
        if after < since:
            raise ValueError(f"removals before write {since} are forgotten")
        with self._reader() as reader:
            found = reader.execute(
                "SELECT label FROM removed WHERE sequence > ? AND label <= ?", (after, after)
            )
            return [label for (label,) in found]

    def check(self) -> None:
        """Compare every record with the lookup by id, about 1 s a million. Raises DamagedStore."""
        with self._reader() as reader:
            found = reader.execute("PRAGMA integrity_check(items)").fetchone()[0]
        if found != "ok":
            raise DamagedStore(f"{self.path} is damaged: {found}.")

    def fingerprint(self) -> tuple[int, int]:
        """Number of items and sum of their labels: equal to the index's, or the two differ."""
        with self._reader() as reader:
            count, total = reader.execute(
                "SELECT count(*), coalesce(sum(label), 0) FROM items"
            ).fetchone()
        return int(count), int(total)

    def all_metadata(self) -> Iterator[tuple[int, bytes]]:
        """(label, metadata JSON) of every item, by rising label."""
        with self._reader() as reader:
            yield from reader.execute("SELECT label, metadata FROM items ORDER BY label")

    def hashes(self) -> Iterator[tuple[int, NDArray[np.uint64]]]:
        """(label, perceptual hashes) of the items that have some, by rising label."""
        with self._reader() as reader:
            for label, hashes, crc in reader.execute("SELECT * FROM hashes ORDER BY label"):
                if not isinstance(hashes, bytes) or zlib.crc32(hashes) != crc:
                    raise DamagedStore(f"{self.path}: the hashes of write {label} are damaged.")
                yield label, np.frombuffer(hashes, "<u8")

    def images(self, sha256: Sequence[str] | None = None) -> set[str]:
        """Which images (all, or of the named ones) the items were made from: SHA-256 as hex."""
        with self._reader() as reader:
            if sha256 is None:
                query = "SELECT image_sha256 FROM items WHERE image_sha256 IS NOT NULL"
                return {image for (image,) in reader.execute(query)}
            query = "SELECT 1 FROM items WHERE image_sha256 = ?"
            return {image for image in sha256 if reader.execute(query, (image,)).fetchone()}

    def _checked(self, label: int, vector: object, crc: object) -> NDArray[np.float32]:
        if not isinstance(vector, bytes) or zlib.crc32(vector) != crc:
            raise DamagedStore(f"{self.path}: the vector of write {label} is damaged.")
        return np.frombuffer(vector, "<f4")

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        """A connection that nobody else uses meanwhile."""
        with self._returned:
            if self._closed:
                raise DamagedStore(f"{self.path} is closed.")
            self._lent += 1
        try:
            try:
                reader = self._readers.pop()
            except IndexError:
                reader = connect(self.path)
                reader.execute("PRAGMA query_only = ON")
            try:
                yield reader
            finally:
                self._readers.append(reader)
        except sqlite3.Error as error:
            raise DamagedStore(f"{self.path} cannot be read: {error}.") from error
        finally:
            with self._returned:
                self._lent -= 1
                self._returned.notify_all()

    def close(self) -> None:
        """Close every connection, the readers as they come back.

        The last one removes the log by its path, so it must not outlive the file's name: another
        store may follow under it.
        """
        with self._returned:
            self._closed = True
            self._returned.wait_for(lambda: self._lent == 0)
        while self._readers:
            self._readers.pop().close()
        self._writer.close()

    def _read_counters(self) -> Counters:
        keys = Counters.__dataclass_fields__
        return Counters(**{key: int(self.meta(key)) for key in keys})

    def _check_schema(self) -> None:
        """Bring an older store up to date, in one transaction; refuse a newer one."""
        version = self._writer.execute("PRAGMA user_version").fetchone()[0]
        if 1 <= version < migrations.SCHEMA_VERSION:
            migrations.migrate(self._writer, version)
        elif version != migrations.SCHEMA_VERSION:
            raise DamagedStore(
                f"{self.path} has schema version {version}; "
                f"this version of Vitrine reads {migrations.SCHEMA_VERSION}."
            )


def connect(path: Path) -> sqlite3.Connection:
    """A connection to an existing store. Whoever closes the last one removes the log."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=64,
        timeout=30,
    )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -16384")
    return connection


def insert(connection: sqlite3.Connection, table: str, columns: Columns) -> None:
    """Add rows, many a statement: that takes two thirds of the time of `executemany`, and after
    each row of that one another thread may take the interpreter's lock and keep it.
    """
    width = len(columns)
    values = tuple(chain.from_iterable(zip(*columns, strict=True)))
    marks = f"({', '.join('?' * width)})"
    step = width * _INSERT_ROWS
    whole = len(values) - len(values) % step
    many = f"INSERT INTO {table} VALUES {', '.join([marks] * _INSERT_ROWS)}"
    for start in range(0, whole, step):
        connection.execute(many, values[start : start + step])
    rest = [values[start : start + width] for start in range(whole, len(values), width)]
    connection.executemany(f"INSERT INTO {table} VALUES {marks}", rest)


def _storage_failed(error: sqlite3.Error) -> StorageFailed:
    full = "full" in str(error)
    return StorageFailed(
        "The disk is full." if full else f"The disk refused the write ({error}).",
        code="storage_full" if full else "storage_failed",
    )
