"""Searches of one collection: questions checked, answered on one state, records put to the hits."""

from __future__ import annotations

import math
import time
from itertools import repeat
from typing import TYPE_CHECKING

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
    check_vectors,
)
from vitrine_server.results import KnownResults, key_of
from vitrine_server.shown import ShownItems

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

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
        results_bytes: int,
    ) -> None:
        """known_fields: metadata fields that some item has or had. results_bytes: of answers that
        are kept for queries that come again.
        """
        self._name = name
        self._settings = settings
        self._dimension = dimension
        self._index = index
        self._known_fields = known_fields
        self._read = read
        self._writer = writer
        self._shown = ShownItems(_SHOWN_BYTES)
        self._results = KnownResults(results_bytes)

    def search(self, queries: Sequence[SearchQuery]) -> list[SearchResult]:
        """Answer queries against one state. Raises InvalidVector, InvalidFilter, Invalid."""
        state_name = self._index.state.name
        asked = [(key_of(query), query) for query in queries]
        known = [self._results.get(state_name, key) for key, _ in asked]
        unknown = [each for each, result in zip(asked, known, strict=True) if result is None]
        fresh = iter(self._search(unknown) if unknown else ())
        return [next(fresh) if result is None else result for result in known]

    def _search(self, asked: Sequence[tuple[Hashable, SearchQuery]]) -> list[SearchResult]:
        queries = [query for _, query in asked]
        questions = self._questions(queries)
        started = time.perf_counter()
        state = self._index.state
        found = search_state(state, questions, self._settings.metric)
        searched = time.perf_counter()
        answers = self._hydrate(state, queries, found)
        hydrated = time.perf_counter()
        times = searched - started, hydrated - searched
        results = []
        for (key, query), hits, neighbours in zip(asked, answers, found, strict=True):
            fallback = _fallback(state) if neighbours.fell_back else None
            result = SearchResult(hits, state.name, *times, fallback=fallback)
            self._results.put(key, query, result)
            results.append(result)
        return results

    def _questions(self, queries: Sequence[SearchQuery]) -> list[Question]:
        parsed = [self._checked(query) for query in queries]
        vectors = check_vectors(
            [vector for query in queries for vector in (query.vector, *query.views)],
            self._dimension,
            self._settings.metric,
        )
        questions, start = [], 0
        for query, filter in zip(queries, parsed, strict=True):
            views = vectors[start : start + 1 + len(query.views)]
            start += len(views)
            group_by, min_score, rerank = query.group_by, query.min_score, query.rerank
            questions.append(
                Question(views, query.k, query.offset, filter, group_by, min_score, rerank)
            )
        return questions

    def _checked(self, query: SearchQuery) -> filters.Filter | None:
        """The filter of a query in which all but the vectors is right."""
        if query.k < 1:
            raise Invalid(f"k is {query.k}.", field="k", accepted="a whole number from 1")
        if query.offset < 0:
            raise Invalid(
                f"offset is {query.offset}.", field="offset", accepted="a whole number from 0"
            )
        if query.rerank and self._settings.metric != "cosine":
            raise Invalid(
                f"Collection {self._name!r} has the metric {self._settings.metric}.",
                field="rerank",
                accepted='"none", or a collection with the metric cosine',
            )
        if query.rerank and query.group_by is not None:
            raise Invalid(
                "Groups are not re-ranked.", field="rerank", accepted='"none", or no group_by'
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
        return parsed

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
                map(
                    Hit,
                    map(items.__getitem__, own),
                    neighbours.scores.tolist(),
                    state.vectors.take(neighbours.rows) if query.with_vector else repeat(None),
                    _shown_reranks(neighbours),
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


def _shown_reranks(neighbours: Neighbours) -> Iterable[float | None]:
    """The scores of the re-ranking, None for what follows it."""
    if neighbours.rerank_scores is None:
        return repeat(None)
    return [None if math.isnan(score) else score for score in neighbours.rerank_scores.tolist()]


def _fallback(state: State) -> str:
    return (
        f"{state.segments[0].family} cannot filter: the accepted rows were compared exactly, "
        "on the CPU"
    )
