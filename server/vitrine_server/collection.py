"""One collection: its record store and its live index.

Writes queue up for one thread, which commits everything that waits as one transaction (group
commit), applies it to the index and only then answers: an answered write is on disk and seen by the
next search. Searches run in their callers' threads on one immutable state and never wait for a
writer.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

import orjson
import structlog

from vitrine_server import filters, snapshot
from vitrine_server.durable import Damaged
from vitrine_server.errors import (
    CollectionNotFound,
    EncoderMismatch,
    Invalid,
    InvalidFilter,
    ItemNotFound,
    Overloaded,
    StorageFailed,
    Unavailable,
)
from vitrine_server.index.generation import Generation, State
from vitrine_server.index.live import LiveIndex
from vitrine_server.index.search import Neighbours, Question, search_state
from vitrine_server.maintenance import Maintenance
from vitrine_server.records import (
    GROUP,
    CollectionInfo,
    CollectionSettings,
    EncoderIdentity,
    FieldType,
    Hit,
    IndexFamily,
    JsonValue,
    Metadata,
    NewItem,
    Record,
    SearchQuery,
    SearchResult,
    check_id,
    check_metadata,
    check_vector,
    group_of,
    iso_time,
)
from vitrine_server.store import FILE_NAME, DamagedStore, Delete, Put, Row, Store, Write, Written

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Collection",
    "CollectionInfo",
    "CollectionSettings",
    "EncoderIdentity",
    "FieldType",
    "Hit",
    "IndexFamily",
    "JsonValue",
    "Metadata",
    "NewItem",
    "Record",
    "SearchQuery",
    "SearchResult",
]

MAX_WAITING_WRITES = 8192
MAX_COMMIT_WRITES = 1024
MAX_INFERRED_FIELDS = 32
MAX_KNOWN_FIELDS = 10_000

_log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")


@dataclass
class _Job(Generic[Answer]):
    """Writes that one caller waits for (all in one transaction), or a call in the writer thread."""

    answer: Callable[[list[Written]], Answer]
    writes: list[Write] = field(default_factory=list)
    future: Future[Answer] = field(default_factory=Future)

    def resolve(self, written: list[Written]) -> None:
        try:
            value = self.answer(written)
        except Exception as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(value)


class Collection:
    """Open with `Collection(folder, …)`; every method may be called from any thread.

    encoder: the vector space of what is stored. `serving` is the encoder in use: a collection of
    another space can be read, but neither searched nor written (EncoderMismatch).
    """

    def __init__(self, folder: Path, *, serving: EncoderIdentity) -> None:
        """Open the collection in a folder. Raises DamagedStore when it cannot be trusted."""
        self.name = folder.name
        self._serving = serving
        self._store = Store(folder / FILE_NAME)
        try:
            self.settings = CollectionSettings.model_validate_json(self._store.meta("settings"))
            self.encoder = EncoderIdentity(**orjson.loads(self._store.meta("encoder")))
        except (ValueError, TypeError) as error:
            self._store.close()
            raise DamagedStore(f"{self._store.path}: its settings are damaged.") from error
        self._known_fields: set[str] = set()
        self._failure: str | None = None
        self._closing = False
        self._snapshots = folder / snapshot.FOLDER
        try:
            self._index = self._load()
        except Exception:
            self._store.close()
            raise
        self._jobs: deque[_Job[object]] = deque()
        self._waiting_writes = 0
        self._wake = threading.Condition()
        self._maintenance = Maintenance(
            self._snapshots,
            self._index,
            self.settings,
            self.encoder,
            store_identity=self._store.meta("identity"),
            known_fields=lambda: tuple(sorted(self._known_fields)),
            call=self._call,
            trim=self._store.forget_removals,
        )
        self._writer = threading.Thread(
            target=self._write_loop, name=f"writer-{self.name}", daemon=True
        )
        self._writer.start()
        self._call(self._maintenance.wake).result()

    @staticmethod
    def create(folder: Path, settings: CollectionSettings, encoder: EncoderIdentity) -> None:
        """Write the files of a new, empty collection into an existing empty folder."""
        identity = {
            "name": encoder.name,
            "fingerprint": encoder.fingerprint,
            "dimension": encoder.dimension,
        }
        meta = {
            "settings": settings.model_dump_json(),
            "encoder": orjson.dumps(identity).decode(),
        }
        Store.create(folder / FILE_NAME, meta).close()

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
        )

    def upsert(self, items: Sequence[NewItem]) -> Future[list[int]]:
        """Store items, replacing those with the same ids, all or none.

        The future gives their sequence numbers once they are on disk and searchable. Raises at once
        what `check` raises, Overloaded when too many writes wait, StorageFailed when read-only; the
        future can raise StorageFailed.
        """
        writes: list[Write] = [self.check(item) for item in items]
        return self._submit(
            _Job(lambda written: [w.label for w in written if w.label is not None], writes)
        )

    def delete(self, ids: Sequence[str]) -> Future[list[bool]]:
        """Delete items; the future tells for each whether it existed. Durable when answered."""
        for item_id in ids:
            check_id(item_id)
        writes: list[Write] = [Delete(item_id) for item_id in ids]
        return self._submit(_Job(lambda written: [w.removed is not None for w in written], writes))

    # Reading

    def get(self, item_id: str) -> Record:
        """Raises ItemNotFound."""
        check_id(item_id)
        row = self._read(lambda: self._store.find(item_id))
        if row is None:
            raise ItemNotFound(item_id, self.name)
        metadata = row.metadata
        return Record(
            id=row.id,
            metadata=metadata,
            group=group_of(metadata),
            created=iso_time(row.created),
            updated=iso_time(row.updated),
            sequence=row.label,
        )

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
            read_only=self._failure is not None,
        )

    @property
    def failure(self) -> str | None:
        """Why writes are refused for good; None while all is well."""
        return self._failure

    def close(self) -> None:
        """Finish the writes that wait, then close the files. Searches under way may finish."""
        self._maintenance.stop()
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._writer.join()

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
            if not self._closing:
                _log.error("store damaged", collection=self.name, error=str(error))
                self._failure = f"The files of collection {self.name!r} are damaged."

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
        return Question(
            vector=check_vector(query.vector, self.encoder.dimension, self.settings.metric),
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
        self._call(lambda: self._infer_field(name, where)).result()

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
            if self._closing:
                raise CollectionNotFound(self.name) from None
            _log.error("store damaged", collection=self.name, error=str(error))
            raise Unavailable(
                f"The files of collection {self.name!r} are damaged.", code="collection_damaged"
            ) from error

    # The writer thread

    def _submit(self, job: _Job[Answer]) -> Future[Answer]:
        with self._wake:
            if self._closing:
                raise CollectionNotFound(self.name)
            if self._failure is not None and job.writes:
                raise StorageFailed(self._failure)
            if self._waiting_writes + len(job.writes) > MAX_WAITING_WRITES and self._jobs:
                raise Overloaded(
                    f"{self._waiting_writes} writes are waiting for the disk.", retry_after_s=1
                )
            self._waiting_writes += len(job.writes)
            self._jobs.append(job)  # type: ignore[arg-type]  # resolved with its own answer
            self._wake.notify()
        return job.future

    def _call(self, work: Callable[[], Answer]) -> Future[Answer]:
        """Run something in the writer thread, between transactions."""
        return self._submit(_Job(lambda _: work()))

    def _write_loop(self) -> None:
        while True:
            with self._wake:
                while not self._jobs and not self._closing:
                    self._wake.wait()
                if not self._jobs:
                    break
                jobs = self._take()
            try:
                self._run(jobs)
            except BaseException:
                _log.exception("write failed unexpectedly", collection=self.name)
                self._fail(StorageFailed("An internal error stopped a write."), jobs)
        self._store.close()

    def _take(self) -> list[_Job[object]]:
        """The jobs of the next transaction: a call runs alone, writes run together."""
        jobs = [self._jobs.popleft()]
        size = len(jobs[0].writes)
        while (
            size
            and self._jobs
            and self._jobs[0].writes
            and size + len(self._jobs[0].writes) <= MAX_COMMIT_WRITES
        ):
            jobs.append(self._jobs.popleft())
            size += len(jobs[-1].writes)
        self._waiting_writes -= size
        return [job for job in jobs if job.future.set_running_or_notify_cancel()]

    def _run(self, jobs: list[_Job[object]]) -> None:
        writes = [write for job in jobs for write in job.writes]
        if writes and self._failure is not None:
            self._fail(StorageFailed(self._failure), jobs)
            return
        written: list[Written] = []
        if writes:
            try:
                written = self._commit(writes)
            except StorageFailed as failure:
                self._fail(failure, jobs)
                return
        for job in jobs:
            job.resolve(written[: len(job.writes)])
            written = written[len(job.writes) :]

    def _commit(self, writes: list[Write]) -> list[Written]:
        """One transaction: on disk first, then visible."""
        state = self._index.state
        written = self._store.write(writes)
        removed = [w.removed for w in written if w.removed is not None]
        # before the commit takes them away from searches that hold this state
        state.leaving = {row.label: row for row in removed}
        self._store.commit()
        for write, done in zip(writes, written, strict=True):
            if isinstance(write, Put) and done.label is not None:
                metadata: Metadata = orjson.loads(write.metadata)
                if len(self._known_fields) < MAX_KNOWN_FIELDS:
                    self._known_fields.update(metadata)
                self._index.add(done.label, write.vector, metadata)
        self._index.publish(self._store.sequence, [row.label for row in removed])
        self._maintenance.wake()
        return written

    def _fail(self, failure: StorageFailed, jobs: list[_Job[object]]) -> None:
        """Refuse the jobs; unless the disk was only full, refuse every later write as well.

        After a failed fsync the kernel may have dropped the pages: trying again would report a
        success that never reached the disk (https://wiki.postgresql.org/wiki/Fsync_Errors).
        """
        if failure.code != "storage_full" and self._failure is None:
            _log.error("collection is read-only", collection=self.name, reason=failure.detail)
            self._failure = (
                f"{failure.detail} Collection {self.name!r} is read-only until the server restarts."
            )
        for job in jobs:
            if not job.future.done():
                job.future.set_exception(
                    StorageFailed(self._failure or failure.detail, code=failure.code)
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
