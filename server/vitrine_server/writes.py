"""What one transaction changes: writes in, rows of the tables out, each table touched once."""

from __future__ import annotations

import struct
import zlib
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from vitrine_server.records import Metadata

# what an item has beside its record, by label
_PARTS = ("vectors", "thumbnails", "hashes")
_NUMBERS = struct.Struct("<3q")


@dataclass(frozen=True, slots=True)
class Put:
    """Store an item, or replace the one with this id.

    metadata: JSON. hashes: perceptual hashes, 8 bytes each, little-endian.
    """

    id: str
    vector: NDArray[np.float32]
    metadata: bytes
    thumbnail: bytes | None = None
    image_sha256: str | None = None
    hashes: bytes = b""


@dataclass(frozen=True, slots=True)
class Update:
    """Replace the metadata (JSON) of an item; nothing when there is none with this id."""

    id: str
    metadata: bytes


@dataclass(frozen=True, slots=True)
class Delete:
    id: str


Write: TypeAlias = "Put | Update | Delete"


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
        crc = zlib.crc32(_NUMBERS.pack(self.label, self.created, self.updated))
        for text in (self.id, self.image_sha256 or ""):
            crc = zlib.crc32(text.encode() + b"\0", crc)
        return zlib.crc32(self.metadata_json, crc)


@dataclass(frozen=True, slots=True)
class Written:
    """What one write did. label: of the new version; removed: the version it took away."""

    label: int | None
    removed: Row | None


@dataclass(frozen=True, slots=True)
class Counters:
    """Kept in the table meta with every transaction. count and label_sum are of the items."""

    sequence: int
    count: int
    label_sum: int


class Batch:
    """The writes of one transaction, executed in order against what is stored."""

    def __init__(self, counters: Counters, found: dict[str, Row], now: int) -> None:
        """found: the stored versions of the ids that the writes name."""
        self.counters = counters
        self._now = now
        self._current = found
        self._stored = {row.label for row in found.values()}
        # the new versions, each with what it was made from: a write, or the label of a stored one
        self._new: dict[int, tuple[Row, Put | int]] = {}
        self._gone: list[int] = []
        self._removals: list[tuple[int, int]] = []

    def execute(self, write: Write) -> Written:
        removed = self._current.get(write.id)
        if isinstance(write, Put):
            created = self._now if removed is None else removed.created
            row = Row(0, write.id, write.metadata, created, self._now, write.image_sha256)
            return self._add(row, write, removed)
        if removed is None:
            return Written(None, None)
        if isinstance(write, Update):
            source = self._new[removed.label][1] if removed.label in self._new else removed.label
            if isinstance(source, Put):
                source = replace(source, metadata=write.metadata)
            row = removed._replace(metadata_json=write.metadata, updated=self._now)
            return self._add(row, source, removed)
        del self._current[write.id]
        self._step(removed)
        return Written(None, removed)

    def _add(self, row: Row, source: Put | int, removed: Row | None) -> Written:
        label = self.counters.sequence + 1
        row = row._replace(label=label)
        self._step(removed, added=label)
        self._new[label] = row, source
        self._current[row.id] = row
        return Written(label, removed)

    def _step(self, removed: Row | None, added: int = 0) -> None:
        sequence = self.counters.sequence + 1
        count = self.counters.count + (added > 0)
        total = self.counters.label_sum + added
        if removed is not None:
            count, total = count - 1, total - removed.label
            if removed.label in self._stored:
                self._gone.append(removed.label)
                self._removals.append((sequence, removed.label))
            else:
                # written and taken away in one transaction: it never reaches the tables
                del self._new[removed.label]
        self.counters = Counters(sequence, count, total)

    def statements(self) -> Iterator[tuple[str, list[tuple[object, ...]]]]:
        """Statements for `executemany`: removals first, as an id is unique."""
        moved: list[tuple[int, int]] = []
        changed: list[tuple[object, ...]] = []
        items: list[tuple[object, ...]] = []
        vectors: list[tuple[object, ...]] = []
        thumbnails: list[tuple[object, ...]] = []
        hashes: list[tuple[object, ...]] = []
        for label, (row, source) in self._new.items():
            if not isinstance(source, Put):
                moved.append((label, source))
                changed.append((label, row.metadata_json, row.updated, row.crc(), source))
                continue
            items.append((*row, row.crc()))
            vector = source.vector.astype("<f4", copy=False).tobytes()
            vectors.append((label, vector, zlib.crc32(vector)))
            if source.thumbnail is not None:
                thumbnails.append((label, source.thumbnail))
            if source.hashes:
                hashes.append((label, source.hashes, zlib.crc32(source.hashes)))
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
        yield "INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?)", items
        yield "INSERT INTO vectors VALUES (?, ?, ?)", vectors
        yield "INSERT INTO thumbnails VALUES (?, ?)", thumbnails
        yield "INSERT INTO hashes VALUES (?, ?, ?)", hashes
        counters = asdict(self.counters).items()
        yield (
            "UPDATE meta SET value = ? WHERE key = ?",
            [(str(value), key) for key, value in counters],
        )
