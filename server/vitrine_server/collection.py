"""One collection: its record store and its live index.

Writes queue up for one thread, which commits everything that waits as one transaction (group
commit), applies it to the index and only then answers: an answered write is on disk and seen by the
next search. Searches run in their callers' threads on one immutable state and never wait for a
writer.
"""

from __future__ import annotations

import threading
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import orjson
import structlog

from vitrine_server import filters, originals, snapshot, spaces
from vitrine_server.durable import Damaged
from vitrine_server.errors import (
    CollectionNotFound,
    EncoderMismatch,
    Invalid,
    InvalidFilter,
    ItemNotFound,
    NotFound,
    Unavailable,
)
from vitrine_server.index.binary import BITS, MAX_PAIR_DISTANCE, BinaryIndex
from vitrine_server.index.generation import Generation, State
from vitrine_server.index.live import LiveIndex
from vitrine_server.index.search import Neighbours, Question, search_state
from vitrine_server.maintenance import Maintenance
from vitrine_server.originals import Collector, Originals
from vitrine_server.records import (
    GROUP,
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
    check_metadata,
    check_vector,
    group_of,
    iso_time,
)
from vitrine_server.store import FILE_NAME, DamagedStore, Store
from vitrine_server.writer import Writer
from vitrine_server.writes import Delete, Put, Row, Update, Write, Written

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from numpy.typing import NDArray

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

MAX_INFERRED_FIELDS = 32
MAX_KNOWN_FIELDS = 10_000

_log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")


class Collection:
    """Open with `Collection(folder, …)`; every method may be called from any thread.

    encoder: the vector space of what is stored. `serving` is the encoder in use: a collection of
    another space can be read, but neither searched nor written (EncoderMismatch).
    """

    def __init__(self, home: Path, *, serving: EncoderIdentity) -> None:
        """Open the collection in a folder. Raises DamagedStore when it cannot be trusted."""
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
        # made when it is first asked for; then the writer thread keeps it
        self._hashes: BinaryIndex | None = None
        self._originals = Originals(home / originals.FOLDER)
        self._collector = Collector(self._originals, self._store.images)
        self._snapshots = folder / snapshot.FOLDER
        self._writer = Writer(self.name, self._commit, finish=self._store.close)
        try:
            self._index = self._load()
        except Exception:
            self._writer.stop()
            raise
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

    def check(self, item: NewItem) -> Put:
        """The item as it is stored. Raises Invalid, InvalidVector or TooLarge naming the field."""
        check_id(item.id)
        self._check_space()
        return Put(
            id=item.id,
            vector=check_vector(item.vector, self.encoder.dimension, self.settings.metric),
            metadata=check_metadata(item.metadata, self.settings.fields),
            thumbnail=item.thumbnail,
            image_sha256=item.image_sha256,
            hashes=check_hashes(item.hashes).astype("<u8").tobytes(),
        )

    def upsert(self, items: Sequence[NewItem]) -> Future[list[int]]:
        """Store items, replacing those with the same ids, all or none.

        The future gives their sequence numbers once they are on disk and searchable. Raises at once
        what `check` raises, Overloaded when too many writes wait, StorageFailed when read-only; the
        future can raise StorageFailed.
        """
        writes = [self.check(item) for item in items]
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
        row = self._read(lambda: self._store.find(item_id))
        if row is None:
            raise ItemNotFound(item_id, self.name)
        return _record(row)

    def written(self, after: int, limit: int) -> list[tuple[Record, NDArray[np.float32]]]:
        """Items written after a sequence number with their vectors, the first `limit` in order.

        A version that was replaced or deleted meanwhile is not among them.
        """
        found = self._read(lambda: self._store.written(after, limit))
        return [(_record(row), vector) for row, vector in found]

    def vector(self, item_id: str) -> NDArray[np.float32]:
        """The stored vector (D,) float32, of length 1 for cosine. Raises ItemNotFound."""
        check_id(item_id)
        vector = self._read(lambda: self._store.vector(item_id))
        if vector is None:
            raise ItemNotFound(item_id, self.name)
        return vector

    def thumbnail(self, item_id: str) -> bytes | None:
        """The stored thumbnail; None when there is none, or no such item."""
        check_id(item_id)
        return self._read(lambda: self._store.thumbnail(item_id))

    def original(self, item_id: str) -> bytes:
        """The image as it was sent. Raises ItemNotFound, NotFound (`original_not_kept`)."""
        check_id(item_id)
        row = self._read(lambda: self._store.find(item_id))
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
        questions = [self._question(query) for query in queries]
        started = time.perf_counter()
        state = self._index.state
        found = search_state(state, questions, self.settings.metric)
        searched = time.perf_counter()
        hits = self._hydrate(state, queries, found)
        hydrated = time.perf_counter()
        return [
            SearchResult(answer, state.name, searched - started, hydrated - searched)
            for answer in hits
        ]

    def near_hashes(
        self, hashes: Sequence[int], *, max_distance: int, limit: int
    ) -> list[HashMatch]:
        """Items with a perceptual hash within a Hamming distance of any of these, nearest first.

        Raises Invalid for hashes that are not numbers of 64 bits.
        """
        queries = check_hashes(hashes)
        labels, distances = self._hash_index().nearest(
            queries, limit=limit, max_distance=max_distance
        )
        rows = self._read(lambda: self._store.rows(labels.tolist()))
        return [
            HashMatch(rows[label].id, distance)
            for label, distance in zip(labels.tolist(), distances.tolist(), strict=True)
            if label in rows  # it may have been deleted since
        ]

    def hashes(self, sequence: int) -> NDArray[np.uint64]:
        """The perceptual hashes (m,) of the item that a write made, from memory; often one."""
        return self._hash_index().hashes(sequence)

    def hash_pairs(self, *, max_distance: int, limit: int) -> list[HashPair]:
        """Pairs of items whose hashes are within a distance: the nearest `limit` of them. It takes
        seconds for a million items. Raises Invalid for a distance beyond MAX_PAIR_DISTANCE.
        """
        if not 0 <= max_distance <= MAX_PAIR_DISTANCE:
            raise Invalid(
                f"max_distance is {max_distance}.",
                field="max_distance",
                accepted=f"0 to {MAX_PAIR_DISTANCE} of {BITS} bits",
            )
        nearest: dict[tuple[int, int], int] = {}
        for first, second, distances in self._hash_index().pairs(max_distance):
            low, high = np.minimum(first, second).tolist(), np.maximum(first, second).tolist()
            for pair, distance in zip(zip(low, high, strict=True), distances.tolist(), strict=True):
                nearest[pair] = min(distance, nearest.get(pair, distance))
            if len(nearest) > 2 * limit + 10_000:
                nearest = dict(_nearest_pairs(nearest, limit))
        best = _nearest_pairs(nearest, limit)
        labels = {label for pair, _ in best for label in pair}
        rows = self._read(lambda: self._store.rows(list(labels)))
        return [
            HashPair(rows[low].id, rows[high].id, distance)
            for (low, high), distance in best
            if low in rows and high in rows
        ]

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

    def refuse_writes(self, refuse: bool) -> None:
        """Answer writes with Unavailable (`collection_moving`), or no longer; those that were
        accepted are finished on return.
        """
        self._writer.refuse_writes(refuse)
        self._writer.call(lambda: None).result()

    # Opening

    def _load(self) -> LiveIndex:
        """The index from the newest good snapshot and what was written since, or from the store."""
        snapshot.clean(self._snapshots)
        for folder in snapshot.newest_first(self._snapshots):
            started = time.perf_counter()
            try:
                index = self._from_snapshot(folder)
            except (Damaged, ValueError, KeyError) as error:
                _log.error("snapshot refused", collection=self.name, reason=str(error))
                self._known_fields.clear()
                continue
            _log.info(
                "snapshot loaded",
                collection=self.name,
                snapshot=folder.name,
                rows=index.state.count,
                seconds=round(time.perf_counter() - started, 2),
            )
            threading.Thread(target=self._scrub, name=f"scrub-{self.name}", daemon=True).start()
            return index
        self._store.check()
        index = LiveIndex(Generation.empty(self.settings, self.encoder.dimension))
        self._replay(index, after=0)
        index.publish(self._store.sequence)
        if self._contents(index.state) != self._store.fingerprint():
            raise DamagedStore(f"{self._store.path} has lost records.")
        return index

    def _scrub(self) -> None:
        """Check the records beside the first searches: before them it would delay a large start."""
        try:
            self._store.check()
        except DamagedStore as error:
            if not self._writer.closing:
                _log.error("store damaged", collection=self.name, error=str(error))
                self._writer.fail(f"The files of collection {self.name!r} are damaged.")

    @staticmethod
    def _contents(state: State) -> tuple[int, int]:
        """Number of alive rows and sum of their labels, as `Store.fingerprint` has them."""
        labels = state.labels[state.alive.mask()]
        return len(labels), int(labels.sum())

    def _from_snapshot(self, folder: Path) -> LiveIndex:
        """Raises Damaged, ValueError or KeyError for one that does not belong to this store."""
        manifest, generation = snapshot.load(folder)
        expected = (
            self._store.meta("identity"),
            self.encoder.fingerprint,
            self.encoder.dimension,
            self.settings.metric,
        )
        found = (manifest.store, manifest.fingerprint, manifest.dimension, manifest.metric)
        if found != expected:
            raise ValueError(f"{folder} belongs to another collection")
        if manifest.sequence > self._store.sequence:
            raise ValueError(f"{folder} is newer than the store")
        kinds = {info.name: info.kind for info in manifest.columns}
        if any(kinds.get(name, "") != kind for name, kind in self.settings.fields.items()):
            raise ValueError(f"{folder} lacks a declared field")
        self._known_fields.update(manifest.known_fields)
        index = LiveIndex(generation)
        self._replay(index, after=manifest.sequence)
        index.publish(self._store.sequence, self._store.removals(manifest.sequence))
        if self._contents(index.state) != self._store.fingerprint():
            raise ValueError(f"{folder} with what came after it is not what the store holds")
        return index

    def _replay(self, index: LiveIndex, after: int) -> None:
        for label, text, vector in self._store.contents(after):
            if len(vector) != self.encoder.dimension:
                raise DamagedStore(f"{self._store.path}: write {label} has a wrong dimension.")
            metadata: Metadata = orjson.loads(text)
            self._known_fields.update(metadata)
            index.add(label, vector, metadata)

    # Searching

    def _check_space(self) -> None:
        if self.encoder.fingerprint != self._serving.fingerprint:
            raise EncoderMismatch(
                f"Collection {self.name!r} holds vectors of encoder {self.encoder.name!r} "
                f"({self.encoder.fingerprint[:12]}); the server encodes with "
                f"{self._serving.name!r} ({self._serving.fingerprint[:12]}).",
                field="collection",
                accepted="a collection made with the encoder in use, or that encoder served",
            )

    def _question(self, query: SearchQuery) -> Question:
        if query.k < 1:
            raise Invalid(f"k is {query.k}.", field="k", accepted="a whole number from 1")
        if query.offset < 0:
            raise Invalid(
                f"offset is {query.offset}.", field="offset", accepted="a whole number from 0"
            )
        parsed = None
        if query.filter:
            parsed = filters.parse(query.filter, self.settings.fields)
            for name in filters.fields_of(parsed):
                self._need_field(name, f"filter.{name[:128]}")
        if query.group_by is not None:
            self._need_field(query.group_by, "group_by")
        elif query.views:
            raise Invalid(
                "Several views are scored by group, and group_by is missing.",
                field="group_by",
                accepted='"group", or a metadata field that says what an image shows',
            )
        vectors = [
            check_vector(vector, self.encoder.dimension, self.settings.metric)
            for vector in (query.vector, *query.views)
        ]
        return Question(
            vectors=np.stack(vectors),
            k=query.k,
            offset=query.offset,
            filter=parsed,
            group_by=query.group_by,
            min_score=query.min_score,
        )

    def _need_field(self, name: str, where: str) -> None:
        """Make sure that a field has its column. Raises InvalidFilter (`unknown_field`)."""
        if name in self._index.state.columns:
            return
        if name not in self._known_fields:
            declared = ", ".join(sorted([GROUP, *self.settings.fields]))
            raise InvalidFilter(
                f"No item of collection {self.name!r} has a metadata field {name[:128]!r}.",
                code="unknown_field",
                field=where,
                accepted=f"a field of the items' metadata; declared here: {declared}",
            )
        self._writer.call(lambda: self._infer_field(name, where)).result()

    def _infer_field(self, name: str, where: str) -> None:
        """In the writer thread, between transactions: the store is what the state shows."""
        columns = self._index.state.columns
        if name in columns:
            return
        if len(columns) > len(self.settings.fields) + MAX_INFERRED_FIELDS:
            raise InvalidFilter(
                f"{MAX_INFERRED_FIELDS} fields that were not declared are in use already.",
                code="too_many_fields",
                field=where,
                accepted="fields declared in the collection's settings",
            )
        values = ((label, orjson.loads(text)) for label, text in self._store.all_metadata())
        self._index.add_column(name, None, values)

    def _hydrate(
        self,
        state: State,
        queries: Sequence[SearchQuery],
        found: Sequence[Neighbours],
    ) -> list[tuple[Hit, ...]]:
        wanted = {label for neighbours in found for label in neighbours.labels.tolist()}
        rows = self._read(lambda: self._store.rows(list(wanted)))
        for label in wanted - rows.keys():
            departed = state.departed(label)
            if departed is None:
                raise Unavailable(
                    f"The record of write {label} is missing in collection {self.name!r}.",
                    code="collection_damaged",
                )
            rows[label] = departed
        return [
            tuple(
                _hit(rows[label], score, query, vector)
                for label, score, vector in zip(
                    neighbours.labels.tolist(),
                    neighbours.scores.tolist(),
                    state.vectors.take(neighbours.rows)
                    if query.with_vector
                    else [None] * len(neighbours.rows),
                    strict=True,
                )
            )
            for query, neighbours in zip(queries, found, strict=True)
        ]

    def _read(self, read: Callable[[], Answer]) -> Answer:
        try:
            return read()
        except DamagedStore as error:
            if self._writer.closing:
                raise CollectionNotFound(self.name) from None
            _log.error("store damaged", collection=self.name, error=str(error))
            raise Unavailable(
                f"The files of collection {self.name!r} are damaged.", code="collection_damaged"
            ) from error

    # In the writer thread

    def _commit(self, writes: list[Write]) -> list[Written]:
        """One transaction: on disk first, then visible."""
        state = self._index.state
        written = self._store.write(writes)
        removed = [w.removed for w in written if w.removed is not None]
        # before the commit takes them away from searches that hold this state
        state.leaving = {row.label: row for row in removed}
        self._store.commit()
        for write, done in zip(writes, written, strict=True):
            if isinstance(write, Delete) or done.label is None:
                continue
            metadata: Metadata = orjson.loads(write.metadata)
            if len(self._known_fields) < MAX_KNOWN_FIELDS:
                self._known_fields.update(metadata)
            if isinstance(write, Put):
                self._index.add(done.label, write.vector, metadata)
            elif done.removed is not None:
                self._index.add_again(done.label, done.removed.label, metadata)
        self._index.publish(self._store.sequence, [row.label for row in removed])
        self._follow_hashes(writes, written)
        self._collector.released(row.image_sha256 for row in removed if row.image_sha256)
        self._maintenance.wake()
        return written

    def _follow_hashes(self, writes: list[Write], written: list[Written]) -> None:
        if self._hashes is None:
            return
        for write, done in zip(writes, written, strict=True):
            if done.label is not None and isinstance(write, Put):
                self._hashes.add(done.label, np.frombuffer(write.hashes, "<u8"))
            elif done.label is not None and done.removed is not None:
                self._hashes.add(done.label, self._hashes.hashes(done.removed.label))
            if done.removed is not None:
                self._hashes.remove(done.removed.label)
        if self._hashes.mostly_dead:
            self._hashes = self._hashes.compacted()

    def _hash_index(self) -> BinaryIndex:
        index = self._hashes
        return self._writer.call(self._load_hashes).result() if index is None else index

    def _load_hashes(self) -> BinaryIndex:
        """Between transactions: the store is what later writes add to."""
        if self._hashes is None:
            index = BinaryIndex()
            for label, hashes in self._read(lambda: list(self._store.hashes())):
                index.add(label, hashes)
            self._hashes = index
        return self._hashes


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


def _nearest_pairs(
    pairs: dict[tuple[int, int], int], limit: int
) -> list[tuple[tuple[int, int], int]]:
    return sorted(pairs.items(), key=lambda item: (item[1], item[0]))[:limit]


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


def _hit(row: Row, score: float, query: SearchQuery, vector: NDArray[np.float32] | None) -> Hit:
    metadata = row.metadata
    return Hit(
        id=row.id,
        score=score,
        group=group_of(metadata),
        metadata=metadata if query.with_metadata else None,
        vector=vector,
    )
