"""A collection's index at the start: the newest good snapshot and what was written since."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

import numpy as np
import orjson
import structlog

from vitrine_server import snapshot
from vitrine_server.durable import Damaged
from vitrine_server.index.generation import Generation, State
from vitrine_server.index.live import LiveIndex
from vitrine_server.store import DamagedStore

if TYPE_CHECKING:
    from pathlib import Path

    from vitrine_server.records import CollectionSettings, EncoderIdentity, Metadata
    from vitrine_server.store import Store

_REPLAY_ROWS = 1024

_log = structlog.get_logger(__name__)


class Opening:
    """Brings the index of one collection into memory."""

    def __init__(
        self,
        name: str,
        store: Store,
        snapshots: Path,
        settings: CollectionSettings,
        encoder: EncoderIdentity,
        known_fields: set[str],
    ) -> None:
        """known_fields: takes the metadata fields that items have."""
        self._name = name
        self._store = store
        self._snapshots = snapshots
        self._settings = settings
        self._encoder = encoder
        self._known_fields = known_fields
        self.from_snapshot = False

    def load(self) -> LiveIndex:
        """The index, equal to the store. The store's records are checked unless it came
        `from_snapshot`. Raises DamagedStore.
        """
        snapshot.clean(self._snapshots)
        for folder in snapshot.newest_first(self._snapshots):
            started = time.perf_counter()
            try:
                index = self._from_snapshot(folder)
            except (Damaged, ValueError, KeyError) as error:
                _log.error("snapshot refused", collection=self._name, reason=str(error))
                self._known_fields.clear()
                continue
            _log.info(
                "snapshot loaded",
                collection=self._name,
                snapshot=folder.name,
                rows=index.state.count,
                seconds=round(time.perf_counter() - started, 2),
            )
            self.from_snapshot = True
            return index
        return self._from_store()

    def _from_store(self) -> LiveIndex:
        self._store.check()
        index = LiveIndex(Generation.empty(self._settings, self._encoder.dimension))
        self._replay(index, after=0)
        index.publish(self._store.sequence)
        if _contents(index.state) != self._store.fingerprint():
            raise DamagedStore(f"{self._store.path} has lost records.")
        return index

    def _from_snapshot(self, folder: Path) -> LiveIndex:
        """Raises Damaged, ValueError or KeyError for one that does not belong to this store."""
        manifest, generation = snapshot.load(folder)
        expected = (
            self._store.meta("identity"),
            self._encoder.fingerprint,
            self._encoder.dimension,
            self._settings.metric,
        )
        found = (manifest.store, manifest.fingerprint, manifest.dimension, manifest.metric)
        if found != expected:
            raise ValueError(f"{folder} belongs to another collection")
        if manifest.sequence > self._store.sequence:
            raise ValueError(f"{folder} is newer than the store")
        kinds = {info.name: info.kind for info in manifest.columns}
        if any(kinds.get(name, "") != kind for name, kind in self._settings.fields.items()):
            raise ValueError(f"{folder} lacks a declared field")
        self._known_fields.update(manifest.known_fields)
        index = LiveIndex(generation)
        self._replay(index, after=manifest.sequence)
        index.publish(self._store.sequence, self._store.removals(manifest.sequence))
        if _contents(index.state) != self._store.fingerprint():
            raise ValueError(f"{folder} with what came after it is not what the store holds")
        return index

    def _replay(self, index: LiveIndex, after: int) -> None:
        contents = self._store.contents(after)
        while rows := list(itertools.islice(contents, _REPLAY_ROWS)):
            labels, texts, vectors = zip(*rows, strict=True)
            for label, vector in zip(labels, vectors, strict=True):
                if len(vector) != self._encoder.dimension:
                    raise DamagedStore(f"{self._store.path}: write {label} has a wrong dimension.")
            metadata: list[Metadata] = [orjson.loads(text) for text in texts]
            for fields in metadata:
                self._known_fields.update(fields)
            index.add(labels, np.stack(vectors), metadata)


def _contents(state: State) -> tuple[int, int]:
    """Number of alive rows and sum of their labels, as `Store.fingerprint` has them."""
    labels = state.labels[state.alive.mask()]
    return len(labels), int(labels.sum())
