"""Searches of one collection: questions checked, answered on one state, records put to the hits."""

from __future__ import annotations

import time
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np
import orjson

from vitrine_server import filters
from vitrine_server.errors import Invalid, InvalidFilter, Unavailable
from vitrine_server.index.search import Neighbours, Question, search_state
from vitrine_server.records import (
    GROUP,
    CollectionSettings,
    Hit,
    SearchQuery,
    SearchResult,
    check_vector,
)
from vitrine_server.shown import ShownItems

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vitrine_server.index.generation import State
    from vitrine_server.index.live import LiveIndex
    from vitrine_server.reading import Reading
    from vitrine_server.records import Shown
    from vitrine_server.store import Store
    from vitrine_server.writer import Writer

MAX_INFERRED_FIELDS = 32
# About 10,000 items with little metadata.
_SHOWN_BYTES = 8_000_000


class Searcher:
    """Lives as long as its collection; every method may be called from any thread."""

    def __init__(
        self,
        name: str,
        settings: CollectionSettings,
        dimension: int,
        index: LiveIndex,
        *,
        known_fields: set[str],
        read: Reading,
        writer: Writer,
    ) -> None:
        """known_fields: metadata fields that some item has or had."""
        self._name = name
        self._settings = settings
        self._dimension = dimension
        self._index = index
        self._known_fields = known_fields
        self._read = read
        self._writer = writer
        self._shown = ShownItems(_SHOWN_BYTES)

    def search(self, queries: Sequence[SearchQuery]) -> list[SearchResult]:
        """Answer queries against one state. Raises InvalidVector, InvalidFilter, Invalid."""
        questions = [self._question(query) for query in queries]
        started = time.perf_counter()
        state = self._index.state
        found = search_state(state, questions, self._settings.metric)
        searched = time.perf_counter()
        hits = self._hydrate(state, queries, found)
        hydrated = time.perf_counter()
        return [
            SearchResult(answer, state.name, searched - started, hydrated - searched)
            for answer in hits
        ]

    def _question(self, query: SearchQuery) -> Question:
        if query.k < 1:
            raise Invalid(f"k is {query.k}.", field="k", accepted="a whole number from 1")
        if query.offset < 0:
            raise Invalid(
                f"offset is {query.offset}.", field="offset", accepted="a whole number from 0"
            )
        parsed = None
        if query.filter:
            parsed = filters.parse(query.filter, self._settings.fields)
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
            check_vector(vector, self._dimension, self._settings.metric)
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
            declared = ", ".join(sorted([GROUP, *self._settings.fields]))
            raise InvalidFilter(
                f"No item of collection {self._name!r} has a metadata field {name[:128]!r}.",
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
        if len(columns) > len(self._settings.fields) + MAX_INFERRED_FIELDS:
            raise InvalidFilter(
                f"{MAX_INFERRED_FIELDS} fields that were not declared are in use already.",
                code="too_many_fields",
                field=where,
                accepted="fields declared in the collection's settings",
            )

        def fill(store: Store) -> None:
            values = ((label, orjson.loads(text)) for label, text in store.all_metadata())
            self._index.add_column(name, None, values)

        self._read(fill)

    def _hydrate(
        self,
        state: State,
        queries: Sequence[SearchQuery],
        found: Sequence[Neighbours],
    ) -> list[tuple[Hit, ...]]:
        labels = [neighbours.labels.tolist() for neighbours in found]
        wanted = {label for some in labels for label in some}
        items = self._shown.known(wanted)
        if unknown := wanted - items.keys():
            items |= self._load(state, unknown)
        return [
            tuple(
                Hit(items[label], score, vector)
                for label, score, vector in zip(
                    own,
                    neighbours.scores.tolist(),
                    state.vectors.take(neighbours.rows) if query.with_vector else repeat(None),
                    strict=False,
                )
            )
            for query, neighbours, own in zip(queries, found, labels, strict=True)
        ]

    def _load(self, state: State, labels: set[int]) -> dict[int, Shown]:
        rows = self._read(lambda store: store.rows(list(labels)))
        for label in labels - rows.keys():
            departed = state.departed(label)
            if departed is None:
                raise Unavailable(
                    f"The record of write {label} is missing in collection {self._name!r}.",
                    code="collection_damaged",
                )
            rows[label] = departed
        return self._shown.add(rows.values())
