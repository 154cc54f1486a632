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
import time
import zlib
from collections import deque
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
import orjson

from vitrine_server import wal
from vitrine_server.errors import StorageFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from vitrine_server.records import Metadata

SCHEMA_VERSION = 4
FILE_NAME = "store.db"

_PAGE_BYTES = 8192
_MAX_VARIABLES = 500
_NUMBERS = struct.Struct("<3q")

_ROW = "label, id, metadata, created, updated, items.crc"
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE items (
    label INTEGER PRIMARY KEY,      -- sequence number of the write that made this version
    id TEXT NOT NULL UNIQUE,
    metadata BLOB NOT NULL,         -- JSON
    created INTEGER NOT NULL,       -- microseconds since 1970 UTC
    updated INTEGER NOT NULL,
    image_sha256 TEXT,
    crc INTEGER NOT NULL            -- see row_crc: SQLite has no checksums of its own
);
CREATE TABLE vectors (
    label INTEGER PRIMARY KEY,
    vector BLOB NOT NULL,           -- float32, little-endian, as compared (length 1 for cosine)
    crc INTEGER NOT NULL            -- CRC-32 of the blob
);
CREATE TABLE thumbnails (label INTEGER PRIMARY KEY, image BLOB NOT NULL);
CREATE TABLE removed (              -- which label a delete or update took away, for replay
    sequence INTEGER PRIMARY KEY,
    label INTEGER NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class Put:
    """Store an item, or replace the one with this id. metadata: JSON bytes."""

    id: str
    vector: NDArray[np.float32]
    metadata: bytes
    thumbnail: bytes | None
    image_sha256: str | None


@dataclass(frozen=True, slots=True)
class Delete:
    id: str


Write: TypeAlias = "Put | Delete"


class Row(NamedTuple):
    """A stored version of an item, without its vector. Times: microseconds since 1970 UTC."""

    label: int
    id: str
    metadata_json: bytes
    created: int
    updated: int

    @property
    def metadata(self) -> Metadata:
        value: Metadata = orjson.loads(self.metadata_json)
        return value


@dataclass(frozen=True, slots=True)
class Written:
    """What one write did. label: of the new version (Put); removed: the version it took away."""

    label: int | None
    removed: Row | None


@dataclass(frozen=True, slots=True)
class _Counters:
    """Kept in the table meta with every transaction. count and label_sum are of the items."""

    sequence: int
    count: int
    label_sum: int


def row_crc(label: int, item_id: str, metadata: bytes, created: int, updated: int) -> int:
    """Checksum of an item's row, without its vector. Raises struct.error beyond 64 bits."""
    numbers = _NUMBERS.pack(label, created, updated)
    return zlib.crc32(metadata, zlib.crc32(item_id.encode(), zlib.crc32(numbers)))


class DamagedStore(Exception):
    """The file cannot be trusted; the message is one sentence that says what was found."""


class _Batch:
    """What the writes of one transaction change, collected so that each table is touched once."""

    def __init__(self, counters: _Counters, found: dict[str, Row], now: int) -> None:
        """found: the stored versions of the ids that the writes name."""
        self.counters = counters
        self._now = now
        self._current = found
        self._stored = {row.label for row in found.values()}
        self._puts: dict[int, tuple[Row, Put]] = {}
        self._gone: list[tuple[int]] = []
        self._removals: list[tuple[int, int]] = []

    def put(self, put: Put) -> Written:
        removed = self._current.get(put.id)
        label = self.counters.sequence + 1
        created = self._now if removed is None else removed.created
        row = Row(label, put.id, put.metadata, created, self._now)
        self._step(removed, added=label)
        self._puts[label] = row, put
        self._current[put.id] = row
        return Written(label, removed)

    def delete(self, item_id: str) -> Written:
        removed = self._current.pop(item_id, None)
        if removed is not None:
            self._step(removed)
        return Written(None, removed)

    def _step(self, removed: Row | None, added: int = 0) -> None:
        sequence, count, total = self.counters.sequence + 1, self.counters.count, added
        total += self.counters.label_sum
        count += added > 0
        if removed is not None:
            count, total = count - 1, total - removed.label
            if removed.label in self._stored:
                self._gone.append((removed.label,))
                self._removals.append((sequence, removed.label))
            else:
                # written and taken away in one transaction: it never reaches the tables
                del self._puts[removed.label]
        self.counters = _Counters(sequence, count, total)

    def statements(self) -> Iterator[tuple[str, list[tuple[object, ...]]]]:
        """Statements for `executemany`: removals first, an id is unique."""
        for table in ("items", "vectors", "thumbnails"):
            yield f"DELETE FROM {table} WHERE label = ?", [*self._gone]
        yield "INSERT INTO removed VALUES (?, ?)", [*self._removals]
        items: list[tuple[object, ...]] = []
        vectors: list[tuple[object, ...]] = []
        thumbnails: list[tuple[object, ...]] = []
        for label, (row, put) in self._puts.items():
            items.append((*row, put.image_sha256, row_crc(*row)))
            vector = put.vector.astype("<f4", copy=False).tobytes()
            vectors.append((label, vector, zlib.crc32(vector)))
            if put.thumbnail is not None:
                thumbnails.append((label, put.thumbnail))
        yield "INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?)", items
        yield "INSERT INTO vectors VALUES (?, ?, ?)", vectors
        yield "INSERT INTO thumbnails VALUES (?, ?)", thumbnails
        counters = asdict(self.counters).items()
        yield (
            "UPDATE meta SET value = ? WHERE key = ?",
            [(str(value), key) for key, value in counters],
        )


class Store:
    """The writer's side, and the pool of readers. `write` and `commit` belong to one thread."""

    def __init__(self, path: Path) -> None:
        """Open an existing store. Raises DamagedStore."""
        self.path = path
        self._readers: deque[sqlite3.Connection] = deque()
        self._closed = False
        torn = wal.damage(path)
        if torn is not None:
            raise DamagedStore(torn)
        try:
            # this replays the log; what was committed before is on disk from here on
            self._writer = _connect(path)
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
                f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
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

    # Writing: one thread

    def write(self, writes: Sequence[Write]) -> list[Written]:
        """Begin a transaction and execute the writes in order. `commit` or `rollback` must follow.

        Raises StorageFailed when the disk refuses; the transaction is then rolled back.
        """
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            found = self._find_all({write.id for write in writes})
            batch = _Batch(self._counters, found, time.time_ns() // 1000)
            written = [
                batch.put(write) if isinstance(write, Put) else batch.delete(write.id)
                for write in writes
            ]
            for statement, rows in batch.statements():
                self._writer.executemany(statement, rows)
            self._counters = batch.counters
        except BaseException as error:
            self.rollback()
            if isinstance(error, sqlite3.Error):
                raise _storage_failed(error) from error
            raise
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

    def _row(self, values: tuple[int, str, bytes, int, int, int]) -> Row:
        """Raises DamagedStore; a damaged file can hold any type in any column."""
        try:
            row = Row(*values[:5])
            if row_crc(*row) == values[5]:
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

    def _checked(self, label: int, vector: object, crc: object) -> NDArray[np.float32]:
        if not isinstance(vector, bytes) or zlib.crc32(vector) != crc:
            raise DamagedStore(f"{self.path}: the vector of write {label} is damaged.")
        return np.frombuffer(vector, "<f4")

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        """A connection that nobody else uses meanwhile."""
        try:
            try:
                reader = self._readers.pop()
            except IndexError:
                reader = _connect(self.path)
                reader.execute("PRAGMA query_only = ON")
            try:
                yield reader
            finally:
                self._readers.append(reader)
                if self._closed:
                    self._close_readers()
        except sqlite3.Error as error:
            raise DamagedStore(f"{self.path} cannot be read: {error}.") from error

    def close(self) -> None:
        """Close the writer, and the readers as they come back."""
        self._closed = True
        self._close_readers()
        self._writer.close()

    def _close_readers(self) -> None:
        while self._readers:
            self._readers.pop().close()

    def _read_counters(self) -> _Counters:
        keys = _Counters.__dataclass_fields__
        return _Counters(**{key: int(self.meta(key)) for key in keys})

    def _check_schema(self) -> None:
        """Bring an older store up to date, in one transaction; refuse a newer one."""
        version = self._writer.execute("PRAGMA user_version").fetchone()[0]
        if 1 <= version < SCHEMA_VERSION:
            self._writer.execute("BEGIN IMMEDIATE")
            for migration in _MIGRATIONS[version - 1 :]:
                migration(self._writer)
            self._writer.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            self._writer.execute("COMMIT")
        elif version != SCHEMA_VERSION:
            raise DamagedStore(
                f"{self.path} has schema version {version}; "
                f"this version of Vitrine reads {SCHEMA_VERSION}."
            )


def _add_identity(connection: sqlite3.Connection) -> None:
    connection.executemany(
        "INSERT INTO meta VALUES (?, ?)",
        [("identity", secrets.token_hex(16)), ("removals_since", "0")],
    )


def _add_checks(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE items ADD COLUMN crc INTEGER NOT NULL DEFAULT 0")
    connection.execute(
        "INSERT INTO meta SELECT 'count', count(*) FROM items"
        " UNION SELECT 'label_sum', coalesce(sum(label), 0) FROM items"
    )


def _check_all_bits(connection: sqlite3.Connection) -> None:
    """The checksum of version 3 left out the upper half of every number."""
    connection.create_function("row_crc", 5, row_crc, deterministic=True)
    connection.execute("UPDATE items SET crc = row_crc(label, id, metadata, created, updated)")


# from schema version 1 to 2, from 2 to 3, …
_MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    _add_identity,
    _add_checks,
    _check_all_bits,
)


def _connect(path: Path) -> sqlite3.Connection:
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


def _storage_failed(error: sqlite3.Error) -> StorageFailed:
    full = "full" in str(error)
    return StorageFailed(
        "The disk is full." if full else f"The disk refused the write ({error}).",
        code="storage_full" if full else "storage_failed",
    )
