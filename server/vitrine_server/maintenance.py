"""Work on a collection's index in the background, while it is searched and written.

Absorbing: rows that were written since the last merge move from the exact scan into a small HNSW
segment. Merging: all alive rows go into a new generation, with an index trained on all of them
unless exact search is best, which is written as a snapshot, verified, loaded, and swapped in by the
writer thread.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import structlog

from vitrine_server import snapshot
from vitrine_server.index import ann
from vitrine_server.index.choice import Choice, choose, free_memory
from vitrine_server.index.faiss_api import FAISS_VERSION, cluster_order
from vitrine_server.index.live import Successor
from vitrine_server.records import iso_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    from numpy.typing import NDArray

    from vitrine_server.index.ann import Ann
    from vitrine_server.index.generation import Generation, State
    from vitrine_server.index.live import LiveIndex
    from vitrine_server.records import CollectionSettings, EncoderIdentity, JsonValue

# Rows that are searched exactly before they are absorbed: 4,096 of 256 values take 0.3 ms.
ABSORB_ROWS = 4096
# A merge is due when this share of the rows came after the last one, or is dead.
MERGE_SHARE = 0.25
MERGE_ROWS = 20_000
RETRY_S = 60.0

_COPY_ROWS = 4096

_log = structlog.get_logger(__name__)
_one_merge = threading.Semaphore()  # of all collections: a merge takes a core and much memory

Answer = TypeVar("Answer")


class Call(Protocol):
    def __call__(self, work: Callable[[], Answer]) -> Future[Answer]: ...


class Stopped(Exception):
    """The collection is closing."""


class Maintenance:
    """Background work of one collection.

    call: runs a function in the writer thread, between transactions.
    trim: forgets removals up to a sequence number that every kept snapshot has passed.
    """

    def __init__(
        self,
        collection: str,
        snapshots: Path,
        index: LiveIndex,
        settings: CollectionSettings,
        encoder: EncoderIdentity,
        *,
        store_identity: str,
        known_fields: Callable[[], tuple[str, ...]],
        call: Call,
        trim: Callable[[int], None],
    ) -> None:
        self._collection = collection
        self._snapshots = snapshots
        self._index = index
        self._settings = settings
        self._encoder = encoder
        self._store_identity = store_identity
        self._known_fields = known_fields
        self._call = call
        self._trim = trim
        self._stopping = threading.Event()
        self._absorbing = self._merging = False
        self._not_before = 0.0
        # the number of rows from which an index that was refused is tried again
        self._refused_below = 0
        # the same of a segment and the rows after the large index
        self._segment_refused_below = 0
        self._exact_below = 0
        self.choice = self._choose(index.state)

    def describe(self) -> dict[str, JsonValue]:
        """What the index is and why."""
        state = self._index.state
        described: dict[str, JsonValue] = {
            "family": state.segments[0].family if state.segments else "exact",
            "reason": (self.choice if state.segments else self._without_index(state)).reason,
            "vectors": state.alive.alive,
            "compared_exactly": state.count - state.indexed,
            "deleted_rows": state.count - state.alive.alive,
            "merging": self._merging,
        }
        if state.segments:
            large = state.segments[0]
            described["measured_recall"] = round(large.tuning.recall, 4)
            described["effort"] = large.tuning.effort
            described["bytes_per_vector"] = ann.bytes_per_vector(
                large.family, self._encoder.dimension
            )
        return described

    def wake(self) -> None:
        """Start what is due. Called by the writer thread after each change; cheap."""
        if time.monotonic() < self._not_before:
            return
        state = self._index.state
        if not self._absorbing and self._absorb_due(state):
            self._absorbing = True
            self._start(self._absorb, "absorb")
        if not self._merging and self._merge_due(state):
            self._merging = True
            self._start(self._merge, "merge")

    def stop(self) -> None:
        """Give up at the next step; what is unfinished is removed at the next start."""
        self._stopping.set()

    def _start(self, work: Callable[[], None], name: str) -> None:
        threading.Thread(target=self._run, args=(work,), name=name, daemon=True).start()

    def _run(self, work: Callable[[], None]) -> None:
        # At no lower priority: a thread that waits while it holds the interpreter's lock keeps
        # every search waiting.
        try:
            work()
        except Stopped:
            pass
        except Exception:
            if not self._stopping.is_set():
                _log.exception("maintenance failed", collection=self._collection)
            self._not_before = time.monotonic() + RETRY_S

    def _check_stop(self) -> None:
        if self._stopping.is_set():
            raise Stopped

    def _choose(self, state: State) -> Choice:
        return choose(self._settings, state.alive.alive, self._encoder.dimension, free_memory())

    def _without_index(self, state: State) -> Choice:
        """Why there is none: refused, too few rows, or one that is not built yet."""
        if self._refused_below > state.alive.alive:
            return self.choice
        choice = self._choose(state)
        if choice.family == "exact":
            return choice
        return Choice("exact", f"{choice.family} is not built yet: {choice.reason}")

    # Absorbing

    def _absorb_due(self, state: State) -> bool:
        """Whether enough rows beyond the indices have come to be worth a segment."""
        if not state.segments or state.count - state.indexed < ABSORB_ROWS:
            return False
        return state.count - state.segments[0].count >= self._segment_refused_below

    def _absorb(self) -> None:
        try:
            while self._absorb_due(self._index.state):
                state = self._index.state
                large, *small = state.segments
                later = self._segment(
                    state.vectors.take, large.count, state.count, small[0] if small else None
                )
                if later is None:
                    break
                segments = (large, later)

                def show(state: State = state, segments: tuple[Ann, ...] = segments) -> None:
                    self._index.show_segments(segments, instead_of=state.segments)

                self._call(show).result()
        finally:
            self._absorbing = False
        self._call(self.wake)

    def _segment(
        self,
        take: Callable[[NDArray[np.int64]], NDArray[np.float32]],
        start: int,
        stop: int,
        before: Ann | None,
    ) -> Ann | None:
        """A small index over the rows start ≤ r < stop; `before` covers the first of them.

        None when it does not reach the target recall: the rows are compared exactly until they are
        twice as many, or merged.
        """
        metric, target = self._settings.metric, self._settings.target_recall
        self._check_stop()
        longer = None
        if before is not None:
            longer = before.extended(take(np.arange(start + before.count, stop)))
            if longer.count < 2 * before.tuned_rows:
                return longer
        vectors = take(np.arange(start, stop))
        try:
            if longer is None:
                return ann.build("hnsw", vectors, metric, target, stop=self._check_stop)
            return ann.tuned("hnsw", longer.index, vectors, metric, target, stop=self._check_stop)
        except ann.TooLowRecall as error:
            _log.warning("segment refused", collection=self._collection, reason=str(error))
            self._segment_refused_below = 2 * (stop - start)
            return None

    # Merging

    def _merge_due(self, state: State) -> bool:
        dead = state.count - state.alive.alive
        if dead >= max(MERGE_ROWS, MERGE_SHARE * state.count):
            return True
        merged = len(state.vectors.head)
        if state.count - merged >= max(MERGE_ROWS, MERGE_SHARE * merged):
            return True
        alive = state.alive.alive
        if state.segments or alive < max(ann.MIN_ROWS, self._refused_below, self._exact_below):
            return False
        if self._choose(state).family != "exact":
            return True
        # not asked again at every write: it reads files to learn what memory is free, which took
        # a tenth of the time of a small collection's commits
        self._exact_below = alive + alive // 16
        return False

    def _merge(self) -> None:
        try:
            with _one_merge:
                self._check_stop()
                self._merge_now()
        finally:
            self._merging = False
        self._call(self.wake)

    def _merge_now(self) -> None:
        started = time.monotonic()
        state = self._index.state
        rows = self._ordered(state, np.flatnonzero(state.alive.mask()))
        writer = snapshot.Writer(self._snapshots, state.sequence)
        try:
            choice, folder = self._write(writer, state, rows)
        except BaseException:
            writer.abandon()
            raise
        manifest, generation = snapshot.load(folder)
        self._swap(generation, state, rows)
        self.choice = choice
        self._segment_refused_below = 0
        kept = snapshot.prune(self._snapshots)
        if kept is not None:
            self._call(lambda: self._trim(kept)).result()
        _log.info(
            "index merged",
            collection=self._collection,
            rows=len(rows),
            family=choice.family,
            recall=None if manifest.index is None else round(manifest.index.recall, 4),
            seconds=round(time.monotonic() - started, 1),
        )

    def _ordered(self, state: State, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows in the order in which an index of their number is best."""
        choice = choose(self._settings, len(rows), self._encoder.dimension, free_memory())
        if choice.family == "exact":
            return rows

        def vectors(start: int, stop: int) -> NDArray[np.float32]:
            self._check_stop()
            return state.vectors.take(rows[start:stop])

        return rows[cluster_order(vectors, len(rows), ann.SEED)]

    def _write(
        self, writer: snapshot.Writer, state: State, rows: NDArray[np.int64]
    ) -> tuple[Choice, Path]:
        """Write the alive rows and their index as a snapshot."""

        def chunks() -> Iterator[NDArray[np.float32]]:
            for start in range(0, len(rows), _COPY_ROWS):
                self._check_stop()
                yield state.vectors.take(rows[start : start + _COPY_ROWS])

        vectors = writer.vectors(chunks(), self._encoder.dimension)
        choice, index = self._built(vectors)
        columns = {name: column.taken(rows) for name, column in state.columns.items()}
        infos = writer.arrays(state.labels[rows], columns, self._settings.fields)
        known = self._call(self._known_fields).result()
        manifest = snapshot.Manifest(
            store=self._store_identity,
            sequence=state.sequence,
            count=len(rows),
            dimension=self._encoder.dimension,
            fingerprint=self._encoder.fingerprint,
            metric=self._settings.metric,
            index=None if index is None else writer.index(index),
            columns=infos,
            known_fields=known,
            created=iso_time(time.time_ns() // 1000),
            tools={"faiss": FAISS_VERSION, "numpy": np.__version__},
            files={},
        )
        return choice, writer.finish(manifest)

    def _built(self, vectors: NDArray[np.float32]) -> tuple[Choice, Ann | None]:
        """The index that the collection's size asks for, proven to reach its target recall."""
        if len(vectors) < self._refused_below:
            return self.choice, None
        choice = choose(self._settings, len(vectors), self._encoder.dimension, free_memory())
        if choice.family == "exact":
            return choice, None
        try:
            built = ann.build(
                choice.family,
                vectors,
                self._settings.metric,
                self._settings.target_recall,
                stop=self._check_stop,
            )
        except ann.TooLowRecall as error:
            _log.warning("index refused", collection=self._collection, reason=str(error))
            self._refused_below = 2 * len(vectors)
            return Choice("exact", f"the index was refused: {error}"), None
        return choice, built

    def _swap(self, generation: Generation, state: State, rows: NDArray[np.int64]) -> None:
        """Follow the writes that came meanwhile until few are left, then swap."""
        successor = Successor(generation, state, rows)
        while successor.catch_up(self._index.state) >= ABSORB_ROWS:
            self._check_stop()
            if generation.segments:
                large, *small = generation.segments
                later = self._segment(
                    generation.vectors.take,
                    large.count,
                    len(generation.vectors),
                    small[0] if small else None,
                )
                if later is None:
                    break
                generation.segments = (large, later)
        self._call(lambda: self._index.swap(successor)).result()
