"""Searches of one collection, gathered into batches.

Callers hand in lists (one query of a request, or what a worker has gathered); lists that wait
together are searched as one.
"""

from __future__ import annotations

import math
import time
from itertools import islice
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from vitrine_server.batching import Batcher
from vitrine_server.errors import VitrineError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from vitrine_server.collection import Collection
    from vitrine_server.records import SearchQuery, SearchResult

T = TypeVar("T")


class InThread(Protocol):
    """Runs a blocking call away from the event loop."""

    async def __call__(self, call: Callable[[], T]) -> T: ...


Answer: TypeAlias = "SearchResult | VitrineError"
Searches: TypeAlias = "Batcher[Sequence[SearchQuery], list[Answer]]"

SEARCH_THREADS = 2
_BATCH = 64
# A search that takes less is done on the event loop: to a thread and back it would take longer.
_INLINE_S = 0.004


def searches_of(collection: Collection, in_thread: InThread) -> Searches:
    """Searches of a collection of this process. in_thread: for what may take long."""

    def one(query: SearchQuery) -> Answer:
        try:
            return collection.search([query])[0]
        except VitrineError as error:
            return error

    cost_s = math.inf  # of one query

    def measured(queries: Sequence[SearchQuery]) -> list[Answer]:
        nonlocal cost_s
        started = time.perf_counter()
        results: list[Answer]
        try:
            results = [*collection.search(queries)]
        except VitrineError:
            # one query is wrong; its neighbours in the batch are not
            results = [one(query) for query in queries]
        searched = sum(isinstance(each, VitrineError) or not each.known for each in results)
        if searched:
            # one slow answer may be the machine's, several in a row are the search's
            cost_s = min((time.perf_counter() - started) / searched, 1.2 * cost_s)
        return results

    async def search(queries: Sequence[SearchQuery], deadline: float) -> list[Answer]:
        # A filter or groups may wait for the writer to build their column.
        plain = all(
            query.filter is None and query.group_by is None and not query.rerank
            for query in queries
        )
        if plain and cost_s * len(queries) < _INLINE_S:
            return measured(queries)
        return await in_thread(lambda: measured(queries))

    return gathered(search, concurrency=SEARCH_THREADS)


def gathered(
    search: Callable[[Sequence[SearchQuery], float], Awaitable[list[Answer]]], *, concurrency: int
) -> Searches:
    """search: queries and the latest of their deadlines → a result for each."""

    async def run(lists: Sequence[Sequence[SearchQuery]], deadline: float) -> list[list[Answer]]:
        results = await search([query for queries in lists for query in queries], deadline)
        rest = iter(results)
        return [list(islice(rest, len(queries))) for queries in lists]

    return Batcher(run, max_batch=_BATCH, concurrency=concurrency)
