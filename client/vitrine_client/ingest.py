"""Bring a folder into a collection: skip what is there, send the rest, remember what arrived."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from vitrine_client.errors import (
    DeadlineExceeded,
    ItemNotFound,
    Overloaded,
    StorageFailed,
    Unavailable,
)
from vitrine_client.folder import GroupFrom
from vitrine_client.ledger import Entry, digest, metadata_digest
from vitrine_client.models import Item

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence

    from vitrine_client.client import Client
    from vitrine_client.errors import ApiError
    from vitrine_client.folder import Source
    from vitrine_client.ledger import Ledger
    from vitrine_client.table import Table

SAMPLED_ENTRIES = 8
# not the image's fault, so not its end: the run stops, and the next one sends it again
ServerFault = Overloaded | Unavailable | DeadlineExceeded | StorageFailed


class Watcher(Protocol):
    """Who looks on while a folder is ingested."""

    def advanced(self, outcome: Outcome) -> None: ...


@dataclass
class Outcome:
    """Where an ingest stands. refused: (file, reason). flagged, skipped: (file, flags)."""

    stored: int = 0
    unchanged: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    flagged: list[tuple[str, str]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def done(self) -> int:
        return self.stored + self.unchanged + len(self.refused) + len(self.skipped)


class Ingest:
    """One run over a folder."""

    def __init__(
        self,
        client: Client,
        ledger: Ledger,
        *,
        collection: str,
        table: Table | None,
        group_from: GroupFrom,
        announce_after: int | None = None,
        stop: threading.Event,
    ) -> None:
        """announce_after: the collection's last write, to write down before anything is sent.

        stop ends the run early: what is on its way is finished and remembered.
        """
        self._client = client
        self._ledger = ledger
        self._collection = collection
        self._table = table
        self._group_from = group_from
        self._announce_after = announce_after
        self._stop = stop
        self._failed = False
        self._on_the_way: dict[str, tuple[Source, Entry]] = {}
        self.outcome = Outcome()

    def ledger_is_stale(self) -> bool:
        """Whether the server has nothing of what it acknowledged, as after its data was deleted."""
        sample = self._ledger.sample(SAMPLED_ENTRIES)
        return bool(sample) and not any(self._holds(entry) for entry in sample)

    def run(self, sources: Sequence[Source], watcher: Watcher, *, workers: int, batch: int) -> None:
        """Raises the error of a batch that the server refused whole, or could not take now."""
        started = time.monotonic()
        results = self._client.ingest(
            self._items(sources, watcher),
            collection=self._collection,
            workers=workers,
            max_items=batch,
        )
        failure: ApiError | None = None
        for result in results:
            source, entry = self._on_the_way.pop(result.id)
            if result.sequence is not None:
                self._remember(entry, sequence=result.sequence)
                self.outcome.stored += 1
                if result.flags:
                    self.outcome.flagged.append((source.name, ", ".join(result.flags)))
            elif result.error is None:
                self._ledger.withdraw(entry.id)
                self.outcome.skipped.append((source.name, ", ".join(result.flags)))
            elif isinstance(result.error, ServerFault):
                failure = result.error
                self._failed = True
            else:
                self._ledger.withdraw(entry.id)
                self.outcome.refused.append((source.name, str(result.error)))
            self.outcome.seconds = time.monotonic() - started
            watcher.advanced(self.outcome)
        if failure is not None:
            raise failure

    def metadata(self, source: Source) -> dict[str, Any]:
        row = self._table.metadata(source) if self._table else None
        group = source.folder if self._group_from is GroupFrom.folder else ""
        # a group that the table names is more precise than the folder
        return {**({"group": group} if group else {}), **(row or {})}

    def _items(self, sources: Sequence[Source], watcher: Watcher) -> Iterator[Item]:
        for source in sources:
            if self._failed or self._stop.is_set():
                return
            item = self._item(source)
            if item is not None:
                yield item
            else:
                watcher.advanced(self.outcome)

    def _item(self, source: Source) -> Item | None:
        """What to send for a file; None when nothing has changed, or when it cannot be read."""
        metadata = self.metadata(source)
        known = self._ledger.entries.get(source.id)
        changed = known is not None and known.metadata != metadata_digest(metadata)
        if changed or source.id in self._ledger.announced:
            known = None  # of what was announced nobody knows which version arrived
        if known is not None and known.is_unread(source):
            self.outcome.unchanged += 1
            return None
        try:
            image = source.path.read_bytes()
        except OSError as error:
            self.outcome.refused.append((source.name, error.strerror or str(error)))
            return None
        entry = Entry(
            id=source.id,
            sequence=0,
            bytes=source.bytes,
            mtime_ns=source.mtime_ns,
            content=digest(image),
            metadata=metadata_digest(metadata),
        )
        if known is not None and known.content == entry.content:
            self._remember(entry, sequence=known.sequence)
            self.outcome.unchanged += 1
            return None
        self._on_the_way[source.id] = (source, entry)
        if self._announce_after is not None:
            self._ledger.announce(source.id, after=self._announce_after)
        return Item(id=source.id, image=image, metadata=metadata)

    def _remember(self, entry: Entry, *, sequence: int) -> None:
        self._ledger.add(replace(entry, sequence=sequence))

    def _holds(self, entry: Entry) -> bool:
        try:
            record = self._client.get_item(entry.id, collection=self._collection)
        except ItemNotFound:
            return False
        return record.sequence >= entry.sequence
