"""Answers that a collection has given, for queries that come again before it changes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from sys import getsizeof
from typing import TYPE_CHECKING

from vitrine_server.records import SearchResult

if TYPE_CHECKING:
    from collections.abc import Hashable

    from vitrine_server.records import SearchQuery

# Objects around a query and its answer, around one hit, and around one vector.
_ENTRY_BYTES = 500
_HIT_BYTES = 115
_VECTOR_BYTES = 120


class KnownResults:
    """Answers by query, of one state of a collection; the least recently used leave first.

    A state is named by the sequence number of its last write, so no answer outlives a write. May be
    used from any thread. max_bytes: about, where no two answers have an item in common; 0 keeps
    none.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._state = ""
        self._results: OrderedDict[Hashable, tuple[SearchResult, int]] = OrderedDict()
        self._bytes = 0
        self._changing = threading.Lock()

    def get(self, state: str, key: Hashable) -> SearchResult | None:
        """An answer that took no time, of a state by its name, by `key_of` its query."""
        with self._changing:
            found = self._results.get(key) if state == self._state else None
            if found is None:
                return None
            self._results.move_to_end(key)
        result, _ = found
        return SearchResult(result.hits, state, 0.0, 0.0, known=True, fallback=result.fallback)

    def put(self, key: Hashable, query: SearchQuery, result: SearchResult) -> None:
        vectors = 1 + len(query.views) + (len(result.hits) if query.with_vector else 0)
        size = _ENTRY_BYTES + vectors * (query.vector.nbytes + _VECTOR_BYTES)
        size += getsizeof(_filter_text(query))
        size += sum([_HIT_BYTES + hit.item.memory for hit in result.hits])
        if size > self.max_bytes:
            return
        with self._changing:
            if result.snapshot != self._state:
                self._state, self._bytes = result.snapshot, 0
                self._results.clear()
            if (old := self._results.pop(key, None)) is not None:
                self._bytes -= old[1]
            self._results[key] = result, size
            self._bytes += size
            while self._bytes > self.max_bytes:
                _, (_, gone) = self._results.popitem(last=False)
                self._bytes -= gone


def key_of(query: SearchQuery) -> Hashable:
    """All that an answer depends on, beside the state."""
    return (
        query.vector.tobytes(),
        query.k,
        query.offset,
        _filter_text(query),
        query.group_by,
        query.min_score,
        query.with_vector,
        tuple(view.tobytes() for view in query.views),
        query.rerank,
    )


def _filter_text(query: SearchQuery) -> str:
    try:
        return repr(query.filter) if query.filter else ""
    except RecursionError:
        return "..."  # nests deeper than any that is answered, and so kept
