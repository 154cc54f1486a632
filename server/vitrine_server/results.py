"""Answers that a collection has given, for queries that come again before it changes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from vitrine_server.records import SearchQuery, SearchResult

# Objects around a query and its answer, and around one hit.
_ENTRY_BYTES = 500
_HIT_BYTES = 250


class KnownResults:
    """Answers by query, of one state of a collection; the least recently used leave first.

    A state is named by the sequence number of its last write, so no answer outlives a write. May be
    used from any thread. max_bytes: about; 0 keeps none.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._state = ""
        self._results: OrderedDict[Hashable, tuple[SearchResult, int]] = OrderedDict()
        self._bytes = 0
        self._changing = threading.Lock()

    def get(self, state: str, query: SearchQuery) -> SearchResult | None:
        """An answer that took no time, of a state by its name."""
        if not self._results or state != self._state:
            return None
        key = _key(query)
        with self._changing:
            found = self._results.get(key) if state == self._state else None
            if found is None:
                return None
            self._results.move_to_end(key)
        return found[0]

    def put(self, query: SearchQuery, result: SearchResult) -> None:
        size = query.vector.nbytes + _ENTRY_BYTES
        size += sum(_HIT_BYTES + len(hit.item.after_score) for hit in result.hits)
        if query.with_vector:
            size += len(result.hits) * query.vector.nbytes
        if size > self.max_bytes:
            return
        key = _key(query)
        known = replace(result, search_s=0.0, hydrate_s=0.0, known=True)
        with self._changing:
            if result.snapshot != self._state:
                self._state, self._bytes = result.snapshot, 0
                self._results.clear()
            if (old := self._results.pop(key, None)) is not None:
                self._bytes -= old[1]
            self._results[key] = known, size
            self._bytes += size
            while self._bytes > self.max_bytes:
                _, (_, gone) = self._results.popitem(last=False)
                self._bytes -= gone


def _key(query: SearchQuery) -> Hashable:
    """All that an answer depends on, beside the state."""
    return (
        query.vector.tobytes(),
        query.k,
        query.offset,
        repr(query.filter) if query.filter else None,
        query.group_by,
        query.min_score,
        query.with_vector,
        tuple(view.tobytes() for view in query.views),
        query.rerank,
    )
