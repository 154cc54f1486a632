"""Re-embedding: a collection's vectors in another encoder's space, from the images it has kept.

The new space is built beside the old one, which may be searched and written to meanwhile. Every
version of an item keeps its label, and a label never changes its meaning: what is missing in the
new space is what it lacks of the old one's labels. So the work can stop at any time and go on
later, follows what is written meanwhile, and is finished when nothing is missing.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from vitrine_server import spaces
from vitrine_server.collection import described_by, description
from vitrine_server.errors import Conflict
from vitrine_server.migrations import SCHEMA_VERSION
from vitrine_server.originals import FOLDER, Originals
from vitrine_server.records import check_vector
from vitrine_server.store import FILE_NAME, DamagedStore, Store, connect
from vitrine_server.writes import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from vitrine_server.records import EncoderIdentity

_BATCH = 64
_SHOWN_IDS = 5

_ITEM = """
SELECT label, id, metadata, created, updated, image_sha256, items.crc,
       image, hashes, hashes.crc
FROM items LEFT JOIN thumbnails USING (label) LEFT JOIN hashes USING (label)
WHERE label = ?
"""


class Reembedding:
    """The new space of one collection. Belongs to one process (it holds a lock), and to one thread
    at a time.
    """

    def __init__(
        self,
        home: Path,
        encoder: EncoderIdentity,
        encode: Callable[[list[bytes]], Sequence[NDArray[np.float32]]],
    ) -> None:
        """home: the collection's folder. encode: images as they were sent, to vectors (D,).

        Raises Conflict (`encoder_in_use`, `originals_missing`, `reembedding_runs`), DamagedStore.
        """
        self._home = home
        self._encoder = encoder
        self._encode = encode
        self._originals = Originals(home / FOLDER)
        self._active = spaces.active(home)
        self._source = connect(self._active / FILE_NAME)
        self._source.execute("PRAGMA query_only = ON")
        try:
            meta = dict(self._source.execute("SELECT * FROM meta"))
            self.settings, current = described_by(meta)
            if current.fingerprint == encoder.fingerprint:
                raise Conflict(
                    f"Collection {home.name!r} holds vectors of {encoder.name!r} already.",
                    code="encoder_in_use",
                    field="encoder",
                    accepted="an encoder with another vector space",
                )
            self._check_images()
            self.folder = spaces.unfinished(home, encoder.fingerprint)
            self._lock = _locked(self.folder, home.name)
            self._target = self._opened(meta["identity"])
        except BaseException:
            self._source.close()
            raise

    def catch_up(self, progress: Callable[[int, int], None] = lambda done, total: None) -> int:
        """Embed what is missing and drop what is gone; the number of changes, 0 when complete.

        progress: called with the items that are done, and all of them. Raises Conflict
        (`originals_missing`), DamagedStore, and what `encode` raises; what was done stays.
        """
        wanted, have = _labels(self._source), _labels(self._target)
        missing = np.setdiff1d(wanted, have).tolist()
        progress(len(wanted) - len(missing), len(wanted))
        changes = 0
        for start in range(0, len(missing), _BATCH):
            changes += self._embed(missing[start : start + _BATCH])
            progress(len(wanted) - len(missing) + start + _BATCH, len(wanted))
        gone = np.setdiff1d(have, wanted).tolist()
        with self._target:
            for table in ("items", "vectors", "thumbnails", "hashes"):
                self._target.executemany(
                    f"DELETE FROM {table} WHERE label = ?", [(label,) for label in gone]
                )
        return changes + len(gone)

    def finish(self) -> None:
        """Make the new space the collection, in one step. The caller has made sure that nobody
        writes to the old one or has it open, and `catch_up` has nothing left to do.

        Raises Conflict (`collection_changed`), DamagedStore.
        """
        if spaces.active(self._home) != self._active or self.catch_up():
            raise Conflict(
                f"Collection {self._home.name!r} has changed meanwhile.",
                code="collection_changed",
                field="collection",
                accepted="repeating the command",
            )
        counters = dict(
            self._source.execute("SELECT * FROM meta WHERE key IN ('sequence', 'count')")
        )
        total = self._target.execute("SELECT coalesce(sum(label), 0) FROM items").fetchone()[0]
        values = counters | {"label_sum": str(total), "removals_since": counters["sequence"]}
        with self._target:
            self._target.executemany(
                "UPDATE meta SET value = ? WHERE key = ?",
                [(value, key) for key, value in values.items()],
            )
        self._target.close()
        self._source.close()
        checked = Store(self.folder / FILE_NAME)
        try:
            checked.check()
            for _ in checked.contents():
                pass
        finally:
            checked.close()
        spaces.switch(self._home, self.folder)
        spaces.collect(self._home, unfinished=True)

    def close(self) -> None:
        self._source.close()
        self._target.close()
        os.close(self._lock)

    def _check_images(self) -> None:
        lacking = [
            item_id
            for item_id, image in self._source.execute("SELECT id, image_sha256 FROM items")
            if image is None or image not in self._originals
        ]
        if lacking:
            raise self._missing(lacking)

    def _missing(self, ids: list[str]) -> Conflict:
        shown = ", ".join(repr(item_id[:64]) for item_id in ids[:_SHOWN_IDS])
        return Conflict(
            f"{len(ids)} items of collection {self._home.name!r} have no stored image: {shown}"
            f"{', …' if len(ids) > _SHOWN_IDS else ''}.",
            code="originals_missing",
            field="collection",
            accepted="items that were sent as images while VITRINE_KEEP_ORIGINALS was on; send "
            "these again, or delete them",
        )

    def _opened(self, source: str) -> sqlite3.Connection:
        """The new space's store, as far as it is; made anew when it is not of this collection."""
        path = self.folder / FILE_NAME
        found = sqlite3.connect(path, check_same_thread=False)
        try:
            meta = dict(found.execute("SELECT * FROM meta"))
            version = found.execute("PRAGMA user_version").fetchone()[0]
            if meta.get("source") == source and version == SCHEMA_VERSION:
                return found
        except sqlite3.Error:
            pass
        found.close()
        for old in self.folder.glob(f"{FILE_NAME}*"):
            old.unlink()
        new = description(self.settings, self._encoder) | {"source": source}
        Store.create(path, new).close()
        return sqlite3.connect(path, check_same_thread=False)

    def _embed(self, labels: list[int]) -> int:
        """Add the versions with these labels, one transaction."""
        rows = []
        for label in labels:
            found = self._source.execute(_ITEM, (label,)).fetchone()
            if found is not None:  # it may have been replaced since
                rows.append(found)
        vectors = self._vectors([row[5] for row in rows], [row[1] for row in rows])
        with self._target:
            for values in rows:
                row = Row(*values[:6])
                if row.crc() != values[6]:
                    raise DamagedStore(f"The record of write {row.label} is damaged.")
                self._add(row, values[7], values[8], values[9], vectors[row.image_sha256 or ""])
        return len(rows)

    def _vectors(self, images: list[str | None], ids: list[str]) -> dict[str, bytes]:
        """Vectors by image; those that are here already (metadata was changed) are used again."""
        vectors: dict[str, bytes] = {}
        fresh: dict[str, bytes] = {}
        for image, item_id in zip(images, ids, strict=True):
            known = self._target.execute(
                "SELECT vector FROM items JOIN vectors USING (label) WHERE image_sha256 = ?",
                (image,),
            ).fetchone()
            if known is not None and image is not None:
                vectors[image] = known[0]
                continue
            try:
                fresh[image or ""] = self._originals.read(image or "none")
            except KeyError:
                raise self._missing([item_id]) from None
        if fresh:
            encoded = self._encode(list(fresh.values()))
            for image, vector in zip(fresh, encoded, strict=True):
                checked = check_vector(vector, self._encoder.dimension, self.settings.metric)
                vectors[image] = checked.astype("<f4", copy=False).tobytes()
        return vectors

    def _add(self, row: Row, thumbnail: Any, hashes: Any, hashes_crc: Any, vector: bytes) -> None:
        add = self._target.execute
        add("DELETE FROM items WHERE id = ?", (row.id,))
        add("INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?)", (*row, row.crc()))
        add("INSERT INTO vectors VALUES (?, ?, ?)", (row.label, vector, zlib.crc32(vector)))
        if thumbnail is not None:
            add("INSERT INTO thumbnails VALUES (?, ?)", (row.label, thumbnail))
        if hashes is not None:
            add("INSERT INTO hashes VALUES (?, ?, ?)", (row.label, hashes, hashes_crc))


def _labels(connection: sqlite3.Connection) -> NDArray[np.int64]:
    found = connection.execute("SELECT label FROM items ORDER BY label").fetchall()
    return np.array(found, np.int64).reshape(-1)


def _locked(folder: Path, name: str) -> int:
    """The descriptor that holds the lock of a new space."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Conflict(
            f"Collection {name!r} is being re-embedded by another process.",
            code="reembedding_runs",
            field="collection",
            accepted="waiting until it ends",
        ) from None
    return descriptor
