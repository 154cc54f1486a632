"""One collection: its record store and its live index.

Writes queue up for one thread, which commits everything that waits as one transaction (group
commit), applies it to the index and only then answers: an answered write is on disk and seen by the
next search. Searches run in their callers' threads on one immutable state and never wait for a
writer.
"""

from __future__ import annotations

import threading
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import orjson
import structlog

from vitrine_server import originals, snapshot, spaces
from vitrine_server.durable import Damaged
from vitrine_server.errors import (
    EncoderMismatch,
    ItemNotFound,
    NotFound,
    Unavailable,
)
from vitrine_server.hash_lookup import HashLookup
from vitrine_server.maintenance import Maintenance
from vitrine_server.opening import Opening
from vitrine_server.originals import Collector, Originals
from vitrine_server.reading import Reading
from vitrine_server.records import (
    CollectionInfo,
    CollectionSettings,
    EncoderIdentity,
    FieldType,
    HashMatch,
    HashPair,
    Hit,
    IndexFamily,
    JsonValue,
    Metadata,
    NewItem,
    Record,
    SearchQuery,
    SearchResult,
    check_hashes,
    check_id,
    check_ids,
    check_metadata,
    check_metadatas,
    check_vectors,
    group_of,
    iso_time,
)
from vitrine_server.search_batches import searches_of
from vitrine_server.searching import Searcher
from vitrine_server.store import FILE_NAME, DamagedStore, Store
from vitrine_server.writer import Writer
from vitrine_server.writes import Delete, Put, Row, Update, Write, Written

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from numpy.typing import NDArray

    from vitrine_server.search_batches import InThread, Searches

__all__ = [
    "Collection",
    "CollectionInfo",
    "CollectionSettings",
    "EncoderIdentity",
    "FieldType",
    "HashMatch",
    "HashPair",
    "Hit",
    "IndexFamily",
    "JsonValue",
    "Metadata",
    "NewItem",
    "Record",
    "SearchQuery",
    "SearchResult",
]

MAX_KNOWN_FIELDS = 10_000

_log = structlog.get_logger(__name__)

# a named tuple of a tuple's values, without a call of Python code for each
_put = partial(tuple.__new__, Put)


class Collection:
    """Open with `Collection(folder, …)`; every method may be called from any thread.

    encoder: the vector space of what is stored. `serving` is the encoder in use: a collection of
    another space can be read, but neither searched nor written (EncoderMismatch).
    """

    def __init__(self, home: Path, *, serving: EncoderIdentity, results_bytes: int = 0) -> None:
        """Open the collection in a folder. results_bytes: of answers kept in memory. Raises
        DamagedStore when it cannot be trusted.
        """
        self.name = home.name
        self._serving = serving
        folder = spaces.active(home)
        self._store = Store(folder / FILE_NAME)
        try:
            self.settings, self.encoder = described_by(self._store.all_meta())
        except DamagedStore:
            self._store.close()
            raise
        self._known_fields: set[str] = set()
        self._originals = Originals(home / originals.FOLDER)
        self._collector = Collector(self._originals, self._store.images)
        self._snapshots = folder / snapshot.FOLDER
        self._writer = Writer(self.name, self._commit, finish=self._store.close)
        self._read = Reading(self.name, self._store, self._writer)
        self._hashes = HashLookup(self._read, self._writer)
        opening = Opening(
            self.name,
            self._store,
            self._snapshots,
            self.settings,
            self.encoder,
            self._known_fields,
        )
        try:
            self._index = opening.load()
        except Exception:
            self._writer.stop()
            raise
        if opening.from_snapshot:
            threading.Thread(target=self._scrub, name=f"scrub-{self.name}", daemon=True).start()
        self._gathered: Searches | None = None
        self._searcher = Searcher(
            self.name,
            self.settings,
            self.encoder.dimension,
            self._index,
            known_fields=self._known_fields,
            read=self._read,
            writer=self._writer,
            results_bytes=results_bytes,
        )
        self._maintenance = Maintenance(
            self.name,
            self._snapshots,
            self._index,
            self.settings,
            self.encoder,
            store_identity=self._store.meta("identity"),
            known_fields=lambda: tuple(sorted(self._known_fields)),
            call=self._writer.call,
            trim=self._store.forget_removals,
        )
        self._writer.call(self._maintenance.wake).result()
        self._collector.start()

    @staticmethod
    def create(folder: Path, settings: CollectionSettings, encoder: EncoderIdentity) -> None:
        """Write the files of a new, empty collection into an existing empty folder."""
        Store.create(folder / FILE_NAME, description(settings, encoder)).close()

    # Writing

    def upsert(self, items: Sequence[NewItem]) -> Future[list[int]]:
        """Store items, replacing those with the same ids, all or none.

        The future gives their sequence numbers once they are on disk and searchable. Raises at once
        Invalid, InvalidVector or TooLarge naming the field, EncoderMismatch, Overloaded when too
        many writes wait, StorageFailed when read-only; the future can raise StorageFailed.
        """
        writes = self._checked(items) if items else []
        return self._writer.submit(
            writes, lambda written: [done.label for done in written if done.label is not None]
        )

    def update_metadata(self, item_id: str, metadata: Metadata) -> Future[int]:
        """Replace an item's metadata; its vector, thumbnail and hashes stay, nothing is encoded.

        The future gives the sequence number, or raises ItemNotFound. Durable and searchable when
        answered. Raises at once what `upsert` raises.
        """
        check_id(item_id)
        update = Update(item_id, check_metadata(metadata, self.settings.fields))

        def answer(written: list[Written]) -> int:
            label = written[0].label
            if label is None:
                raise ItemNotFound(item_id, self.name)
            return label

        return self._writer.submit([update], answer)

    def keep_original(self, image: bytes) -> str:
        """Put an image as it was sent on disk, for re-embedding; its SHA-256, which an item's
        `image_sha256` then names. Blocking. Raises StorageFailed.
        """
        return self._originals.keep(image)

    def delete(self, ids: Sequence[str]) -> Future[list[bool]]:
        """Delete items; the future tells for each whether it existed. Durable when answered."""
        for item_id in ids:
            check_id(item_id)
        return self._writer.submit(
            [Delete(item_id) for item_id in ids],
            lambda written: [done.removed is not None for done in written],
        )

    # Reading

    def get(self, item_id: str) -> Record:
        """Raises ItemNotFound."""
        check_id(item_id)
        row = self._read(lambda store: store.find(item_id))
        if row is None:
            raise ItemNotFound(item_id, self.name)
        return _record(row)

    def written(self, after: int, limit: int) -> list[tuple[Record, NDArray[np.float32]]]:
        """Items written after a sequence number with their vectors, the first `limit` in order.

        A version that was replaced or deleted meanwhile is not among them.
        """
        found = self._read(lambda store: store.written(after, limit))
        return [(_record(row), vector) for row, vector in found]

    def vector(self, item_id: str) -> NDArray[np.float32]:
        """The stored vector (D,) float32, of length 1 for cosine. Raises ItemNotFound."""
        check_id(item_id)
        vector = self._read(lambda store: store.vector(item_id))
        if vector is None:
            raise ItemNotFound(item_id, self.name)
        return vector

    def thumbnail(self, item_id: str) -> bytes | None:
        """The stored thumbnail; None when there is none, or no such item."""
        check_id(item_id)
        return self._read(lambda store: store.thumbnail(item_id))

    def original(self, item_id: str) -> bytes:
        """The image as it was sent. Raises ItemNotFound, NotFound (`original_not_kept`)."""
        check_id(item_id)
        row = self._read(lambda store: store.find(item_id))
        if row is None:
            raise ItemNotFound(item_id, self.name)
        try:
            return self._originals.read(row.image_sha256 or "none")
        except KeyError:
            raise NotFound(
                f"The image of item {item_id[:128]!r} was not kept.",
                code="original_not_kept",
                field="id",
                accepted="an item that was sent as an image while VITRINE_KEEP_ORIGINALS was on",
            ) from None
        except Damaged as error:
            _log.error("original damaged", collection=self.name, error=str(error))
            raise Unavailable(
                f"The image of item {item_id[:128]!r} is damaged.", code="original_damaged"
            ) from error

    def search(self, queries: Sequence[SearchQuery]) -> list[SearchResult]:
        """Answer queries against one state of the collection; blocking, for a pool of threads.

        Raises InvalidVector, InvalidFilter, Invalid, EncoderMismatch.
        """
        self._check_space()
        return self._searcher.search(queries)

    def searches(self, in_thread: InThread) -> Searches:
        """Searches gathered into batches, for one event loop. in_thread: runs what takes long."""
        if self._gathered is None:
            self._gathered = searches_of(self, in_thread)
        return self._gathered

    def near_hashes(
        self, hashes: Sequence[int], *, max_distance: int, limit: int
    ) -> list[HashMatch]:
        """Items with a perceptual hash within a Hamming distance of any of these, nearest first.

        Raises Invalid for hashes that are not numbers of 64 bits.
        """
        return self._hashes.near(hashes, max_distance=max_distance, limit=limit)

    def hashes(self, sequence: int) -> NDArray[np.uint64]:
        """The perceptual hashes (m,) of the item that a write made, from memory; often one."""
        return self._hashes.of(sequence)

    def hash_pairs(self, *, max_distance: int, limit: int) -> list[HashPair]:
        """Pairs of items whose hashes are within a distance: the nearest `limit` of them. It takes
        seconds for a million items. Raises Invalid for a distance beyond MAX_PAIR_DISTANCE.
        """
        return self._hashes.pairs(max_distance=max_distance, limit=limit)

    def describe(self) -> CollectionInfo:
        state = self._index.state
        return CollectionInfo(
            name=self.name,
            settings=self.settings,
            encoder=self.encoder,
            count=state.alive.alive,
            sequence=state.sequence,
            snapshot=state.name,
            index=self._maintenance.describe(),
            read_only=self.failure is not None,
        )

    @property
    def failure(self) -> str | None:
        """Why writes are refused for good; None while all is well."""
        return self._writer.failure

    def close(self) -> None:
        """Finish the writes that wait, then close the files. Searches under way may finish."""
        self._collector.stop()
        self._maintenance.stop()
        self._writer.stop()
        self._gathered = None  # they hold the collection, and with it the index

    def refuse_writes(self, refuse: bool) -> None:
        """Answer writes with Unavailable (`collection_moving`), or no longer; those that were
        accepted are finished on return.
        """
        self._writer.refuse_writes(refuse)
        self._writer.call(lambda: None).result()

    def _scrub(self) -> None:
        """Check the records beside the first searches: before them it would delay a large start."""
        try:
            self._store.check()
        except DamagedStore as error:
            if not self._writer.closing:
                _log.error("store damaged", collection=self.name, error=str(error))
                self._writer.fail(f"The files of collection {self.name!r} are damaged.")

    def _check_space(self) -> None:
        if self.encoder.fingerprint != self._serving.fingerprint:
            raise EncoderMismatch(
                f"Collection {self.name!r} holds vectors of encoder {self.encoder.name!r} "
                f"({self.encoder.fingerprint[:12]}); the server encodes with "
                f"{self._serving.name!r} ({self._serving.fingerprint[:12]}).",
                field="collection",
                accepted="a collection made with the encoder in use, or that encoder served",
            )

    def _checked(self, items: Sequence[NewItem]) -> list[Put]:
        """The items as they are stored."""
        ids, vectors, metadata, thumbnails, images, hashes = zip(*items, strict=True)
        check_ids(ids)
        self._check_space()
        checked = check_vectors(vectors, self.encoder.dimension, self.settings.metric)
        stored = checked.astype("<f4", copy=False).tobytes()
        size = len(stored) // len(items)
        return [
            *map(
                _put,
                zip(
                    ids,
                    [stored[at : at + size] for at in range(0, len(stored), size)],
                    check_metadatas(metadata, self.settings.fields),
                    thumbnails,
                    images,
                    [check_hashes(h).astype("<u8").tobytes() if h else b"" for h in hashes],
                    strict=True,
                ),
            )
        ]

    # In the writer thread

    def _commit(self, writes: list[Write]) -> list[Written]:
        """One transaction: on disk first, then visible."""
        state = self._index.state
        written = self._store.write(writes)
        removed = [w.removed for w in written if w.removed is not None]
        # before the commit takes them away from searches that hold this state
        state.leaving = {row.label: row for row in removed}
        self._store.commit()
        self._add_to_index(writes, written)
        self._index.publish(self._store.sequence, [row.label for row in removed])
        self._hashes.follow(writes, written)
        self._collector.released(row.image_sha256 for row in removed if row.image_sha256)
        self._maintenance.wake()
        return written

    def _add_to_index(self, writes: list[Write], written: list[Written]) -> None:
        vectors: dict[int, bytes] = {}  # by label
        texts: list[bytes] = []
        for write, (label, removed) in zip(writes, written, strict=True):
            if isinstance(write, Delete) or label is None:
                continue
            if isinstance(write, Put):
                vectors[label] = write.vector
            elif removed is not None:
                known = vectors.get(removed.label)
                vectors[label] = (
                    self._index.vector(removed.label).tobytes() if known is None else known
                )
            texts.append(write.metadata)
        if not vectors:
            return
        metadata: list[Metadata] = orjson.loads(b"[%b]" % b",".join(texts))
        for name in set().union(*metadata) - self._known_fields:
            if len(self._known_fields) < MAX_KNOWN_FIELDS:
                self._known_fields.add(name)
        stored = np.frombuffer(b"".join(vectors.values()), "<f4")
        self._index.add(list(vectors), stored.reshape(len(vectors), -1), metadata)


def description(settings: CollectionSettings, encoder: EncoderIdentity) -> dict[str, str]:
    """What a store's table meta says about its collection."""
    return {
        "settings": settings.model_dump_json(),
        "encoder": orjson.dumps(asdict(encoder)).decode(),
    }


def described_by(meta: Mapping[str, str]) -> tuple[CollectionSettings, EncoderIdentity]:
    """Settings and vector space of the collection in a store. Raises DamagedStore."""
    try:
        settings = CollectionSettings.model_validate_json(meta["settings"])
        return settings, EncoderIdentity(**orjson.loads(meta["encoder"]))
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedStore("The settings in the store are damaged.") from error


def _record(row: Row) -> Record:
    metadata = row.metadata
    return Record(
        id=row.id,
        metadata=metadata,
        group=group_of(metadata),
        created=iso_time(row.created),
        updated=iso_time(row.updated),
        sequence=row.label,
    )
