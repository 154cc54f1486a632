"""What one transaction changes: writes in, rows of the tables out, each table touched once."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from vitrine_server.records import Metadata

# what an item has beside its record, by label
_PARTS = ("vectors", "thumbnails", "hashes")
_NUMBERS = struct.Struct("<3q")


# Named tuples where there is one for each item: they are made three times as fast as dataclasses.


class Put(NamedTuple):
    """Store an item, or replace the one with this id.

    vector: (D,) float32, little-endian. metadata: JSON. hashes: perceptual hashes, 8 bytes each,
    little-endian.
    """

    id: str
    vector: bytes
    metadata: bytes
    thumbnail: bytes | None = None
    image_sha256: str | None = None
    hashes: bytes = b""


class Update(NamedTuple):
    """Replace the metadata (JSON) of an item; nothing when there is none with this id."""

    id: str
    metadata: bytes


class Delete(NamedTuple):
    id: str


Write: TypeAlias = "Put | Update | Delete"
# of the rows of a table, all of one length
Columns: TypeAlias = "tuple[Sequence[object], ...]"


class Row(NamedTuple):
    """A stored version of an item, without its vector. Times: microseconds since 1970 UTC."""

    label: int
    id: str
    metadata_json: bytes
    created: int
    updated: int
    image_sha256: str | None

    @property
    def metadata(self) -> Metadata:
        value: Metadata = orjson.loads(self.metadata_json)
        return value

    def crc(self) -> int:
        """CRC-32 of the whole row. Raises TypeError, ValueError, AttributeError or struct.error
        for values of other types, which a damaged file can hold.
        """
        return _row_crc(*self)


def _row_crc(
    label: int, item_id: str, metadata: bytes, created: int, updated: int, image: str | None
) -> int:
    numbers = _NUMBERS.pack(label, created, updated)
    image_sha256 = image.encode() if image else b""
    return zlib.crc32(b"\0".join((numbers + item_id.encode(), image_sha256, metadata)))


class Written(NamedTuple):
    """What one write did. label: of the new version; removed: the version it took away."""

    label: int | None
    removed: Row | None


# a named tuple of a tuple's values, without a call of Python code for each
_written = partial(tuple.__new__, Written)


@dataclass(frozen=True, slots=True)
class Counters:
    """Kept in the table meta with every transaction. count and label_sum are of the items."""

    sequence: int
    count: int
    label_sum: int

    def rows(self) -> list[tuple[object, ...]]:
        """(value, key) of each."""
        return [(str(getattr(self, key)), key) for key in self.__dataclass_fields__]


class Batch:
    """The writes of one transaction, executed in order against what is stored."""

    def __init__(self, counters: Counters, found: dict[str, Row], now: int) -> None:
        """found: the stored versions of the ids that the writes name."""
        self._sequence = counters.sequence
        self._count = counters.count
        self._label_sum = counters.label_sum
        self._now = now
        self._current = found
        self._stored = {row.label for row in found.values()}
        # the new versions, each with what it was made from: a write, or the label of a stored one
        self._new: dict[int, tuple[Row, Put | int]] = {}
        # or, when all are new items: the columns of their rows, and what they were made from
        self._fresh: tuple[Columns, Sequence[Put]] = ((), ())
        self._gone: list[int] = []
        self._removals: list[tuple[int, int]] = []

    @property
    def counters(self) -> Counters:
        return Counters(self._sequence, self._count, self._label_sum)

    def add(self, puts: Sequence[Put]) -> list[Written]:
        """`execute` at once: items whose ids are neither stored nor named twice."""
        first = self._sequence + 1
        labels = range(first, first + len(puts))
        ids, _, metadata, _, images, _ = _columns(puts)
        now = [self._now] * len(puts)
        self._fresh = (labels, ids, metadata, now, now, images), puts
        self._sequence += len(puts)
        self._count += len(puts)
        self._label_sum += sum(labels)
        return [*map(_written, zip(labels, repeat(None), strict=False))]

    def execute(self, write: Write) -> Written:
        removed = self._current.get(write.id)
        if isinstance(write, Put):
            created = self._now if removed is None else removed.created
            label = self._step(removed, adds=True)
            row = Row(label, write.id, write.metadata, created, self._now, write.image_sha256)
            return self._add(row, write, removed)
        if removed is None:
            return Written(None, None)
        if isinstance(write, Update):
            source = self._new[removed.label][1] if removed.label in self._new else removed.label
            if isinstance(source, Put):
                source = source._replace(metadata=write.metadata)
            label = self._step(removed, adds=True)
            row = removed._replace(label=label, metadata_json=write.metadata, updated=self._now)
            return self._add(row, source, removed)
        del self._current[write.id]
        self._step(removed, adds=False)
        return Written(None, removed)

    def _add(self, row: Row, source: Put | int, removed: Row | None) -> Written:
        self._new[row.label] = row, source
        self._current[row.id] = row
        return Written(row.label, removed)

    def _step(self, removed: Row | None, *, adds: bool) -> int:
        """Count one write; its sequence number."""
        self._sequence += 1
        if adds:
            self._count += 1
            self._label_sum += self._sequence
        if removed is not None:
            self._count -= 1
            self._label_sum -= removed.label
            if removed.label in self._stored:
                self._gone.append(removed.label)
                self._removals.append((self._sequence, removed.label))
            else:
                # written and taken away in one transaction: it never reaches the tables
                del self._new[removed.label]
        return self._sequence

    def changes(self) -> Iterator[tuple[str, list[tuple[object, ...]]]]:
        """Statements for `executemany`; `inserts` come after them, as an id is unique."""
        moved: list[tuple[int, int]] = []
        changed: list[tuple[object, ...]] = []
        for label, (row, source) in self._new.items():
            if not isinstance(source, Put):
                moved.append((label, source))
                changed.append((label, row.metadata_json, row.updated, row.crc(), source))
        kept = {source for _, source in moved}
        gone: list[tuple[object, ...]] = [(label,) for label in self._gone if label not in kept]
        for table in ("items", *_PARTS):
            yield f"DELETE FROM {table} WHERE label = ?", gone
        yield "INSERT INTO removed VALUES (?, ?)", [*self._removals]
        yield (
            "UPDATE items SET label = ?, metadata = ?, updated = ?, crc = ? WHERE label = ?",
            changed,
        )
        for table in _PARTS:
            yield f"UPDATE {table} SET label = ? WHERE label = ?", [*moved]
        yield "UPDATE meta SET value = ? WHERE key = ?", self.counters.rows()

    def inserts(self) -> Iterator[tuple[str, Columns]]:
        """New rows by table."""
        rows, puts = self._fresh
        if not puts:
            added = [(row, put) for row, put in self._new.values() if isinstance(put, Put)]
            if not added:
                return
            rows, puts = _columns([row for row, _ in added]), [put for _, put in added]
        labels = rows[0]
        yield "items", (*rows, [*map(_row_crc, *rows)])
        vectors = [put.vector for put in puts]
        yield "vectors", (labels, vectors, [*map(zlib.crc32, vectors)])
        labelled = [*zip(labels, puts, strict=True)]
        shown = [(label, put.thumbnail) for label, put in labelled if put.thumbnail is not None]
        yield "thumbnails", _columns(shown)
        hashed = [(n, put.hashes, zlib.crc32(put.hashes)) for n, put in labelled if put.hashes]
        yield "hashes", _columns(hashed)


def _columns(rows: Sequence[tuple[object, ...]]) -> Columns:
    return tuple(zip(*rows, strict=True))
