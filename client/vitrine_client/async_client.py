"""The asynchronous client: the methods of `Client`, awaited. asyncio and trio both work."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import httpx

from vitrine_client import flow, protocol
from vitrine_client.models import Item, ItemResult, Query, read_image
from vitrine_client.retry import Retry, RetryBudget
from vitrine_client.transport import DEFAULT_URL, UNHURRIED, build_request, http_options, translate

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from vitrine_client.models import (
        Collection,
        Combine,
        Embeddings,
        FieldType,
        Image,
        Metadata,
        Readiness,
        Record,
        Rerank,
        SearchResult,
        Stored,
        Vector,
    )

T = TypeVar("T")
Part = TypeVar("Part", Item, Query)


class AsyncClient:
    """A Vitrine server, from an event loop. Close it, or use it in an `async with` block.

    Arguments, answers and errors are those of `Client`. Image files are read in a thread.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_s: float = 30.0,
        connect_timeout_s: float = 5.0,
        max_connections: int = 32,
        retry: Retry | None = None,
        api_key: str | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(
            **http_options(
                url,
                timeout_s=timeout_s,
                connect_timeout_s=connect_timeout_s,
                max_connections=max_connections,
                api_key=api_key,
            )
        )
        self._budget = RetryBudget(retry or Retry())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def list_collections(self) -> list[Collection]:
        return await self._send(protocol.list_collections())

    async def put_collection(
        self,
        name: str,
        *,
        index: str | None = None,
        metric: str | None = None,
        fields: Mapping[str, FieldType] | None = None,
        target_recall: float | None = None,
        quality: str | None = None,
        cleanup: Sequence[str] | None = None,
    ) -> Collection:
        """Create a collection; the same settings again change nothing, others raise Conflict."""
        return await self._send(
            protocol.put_collection(
                name,
                index=index,
                metric=metric,
                fields=fields,
                target_recall=target_recall,
                quality=quality,
                cleanup=cleanup,
            )
        )

    async def get_collection(self, name: str) -> Collection:
        return await self._send(protocol.get_collection(name))

    async def delete_collection(self, name: str) -> None:
        """Delete a collection and every item in it."""
        await self._send(protocol.delete_collection(name))

    async def put_item(
        self,
        item_id: str,
        *,
        image: Image | None = None,
        vector: Vector | None = None,
        metadata: Metadata | None = None,
        collection: str = "default",
    ) -> Stored:
        """Store or replace an item. On disk and visible to the next search when this returns."""
        item = Item(id=item_id, image=image, vector=vector, metadata=metadata or {})
        loaded = await _with_image(item)
        return await self._send(protocol.put_item(loaded, collection=collection))

    async def put_items(
        self, items: Sequence[Item], *, collection: str = "default"
    ) -> list[ItemResult]:
        """Store one batch; a bad item fails alone. Results in the order of the items."""
        loaded = [await _with_image(item) for item in items]
        return await self._run(flow.store(loaded, collection=collection, budget=self._budget))

    async def ingest(
        self,
        items: Iterable[Item],
        on_result: Callable[[ItemResult], object],
        *,
        collection: str = "default",
        workers: int = 4,
        max_items: int = 32,
        max_bytes: int = 8_000_000,
    ) -> None:
        """Store a stream of items in batches, `workers` of them on their way at a time.

        on_result is called for each item, in the order in which the server finishes. After an error
        no further batch is sent, what is on its way is finished, and the error is raised.
        """
        stream = flow.batches(items, max_items=max_items, max_bytes=max_bytes)
        failures: list[Exception] = []

        async def work() -> None:
            try:
                while not failures and (batch := next(stream, None)) is not None:
                    for result in await self.put_items(batch, collection=collection):
                        on_result(result)
            except Exception as error:
                failures.append(error)

        async with anyio.create_task_group() as tasks:
            for _ in range(workers):
                tasks.start_soon(work)
        if failures:
            raise failures[0]

    async def get_item(self, item_id: str, *, collection: str = "default") -> Record:
        return await self._send(protocol.get_item(item_id, collection=collection))

    async def get_image(self, item_id: str, *, collection: str = "default") -> bytes:
        """The stored thumbnail, an encoded image."""
        return await self._send(protocol.get_image(item_id, collection=collection))

    async def get_original(self, item_id: str, *, collection: str = "default") -> bytes:
        """The image as it was sent; NotFound (`original_not_kept`) where it was not kept."""
        return await self._send(protocol.get_original(item_id, collection=collection))

    async def put_metadata(
        self, item_id: str, metadata: Mapping[str, Any], *, collection: str = "default"
    ) -> Stored:
        """Replace an item's metadata; its image and vector stay."""
        call = protocol.put_metadata(item_id, metadata, collection=collection)
        return await self._send(call)

    async def delete_item(self, item_id: str, *, collection: str = "default") -> Stored:
        return await self._send(protocol.delete_item(item_id, collection=collection))

    async def search(
        self,
        *,
        image: Image | None = None,
        vector: Vector | None = None,
        text: str | None = None,
        item_id: str | None = None,
        queries: Sequence[Query] | None = None,
        collection: str = "default",
        k: int = 10,
        offset: int = 0,
        filter: Mapping[str, Any] | None = None,
        group_by: str | None = None,
        min_score: float | None = None,
        combine: Combine = "sum",
        rerank: Rerank = "none",
        with_metadata: bool = True,
        with_vector: bool = False,
    ) -> SearchResult:
        """The k nearest items, best first, by one of image, vector (D,), text, item_id, queries.

        `queries` are combined by their weights into one; with combine="views" they are views of one
        design, and each group scores the mean of the views' best matches in it. `filter` is a JSON
        object over metadata fields; `group_by` keeps the best item of each group. `rerank` orders
        the first hits anew by neighbours that they share with the query.
        """
        return await self._send(
            protocol.search(
                image=None if image is None else await _loaded(image),
                vector=vector,
                text=text,
                item_id=item_id,
                queries=None if queries is None else [await _with_image(part) for part in queries],
                collection=collection,
                k=k,
                offset=offset,
                filter=filter,
                group_by=group_by,
                min_score=min_score,
                combine=combine,
                rerank=rerank,
                with_metadata=with_metadata,
                with_vector=with_vector,
            )
        )

    async def embeddings(self, images: Sequence[Image], *, model: str | None = None) -> Embeddings:
        """Vectors (N, D) float32 of N images, by the encoder in use."""
        contents = [await _loaded(image) for image in images]
        return await self._send(protocol.embeddings(contents, model=model))

    async def send(self, call: protocol.Call[T]) -> T:
        """The answer to a call, such as those of `vitrine_client.desk`."""
        return await self._send(call)

    async def lines(self, call: protocol.Call[None]) -> AsyncGenerator[dict[str, Any], None]:
        """The JSON lines of an answer that comes bit by bit; nothing is sent again."""
        request = build_request(self._http, call)
        request.extensions["timeout"] = UNHURRIED
        try:
            response = await self._http.send(request, stream=True)
            try:
                if not response.is_success:
                    await response.aread()
                    call.receive(response)
                async for line in response.aiter_lines():
                    yield json.loads(line)
            finally:
                await response.aclose()
        except httpx.RequestError as error:
            raise translate(error, self._http.base_url) from error

    async def health(self) -> None:
        """Raises unless the server is alive."""
        await self._send(protocol.health())

    async def ready(self) -> Readiness:
        """Whether the server can answer searches, and why not."""
        return await self._send(protocol.ready())

    async def _send(self, call: protocol.Call[T]) -> T:
        return await self._run(flow.exchange(call, self._budget))

    async def _run(self, steps: flow.Flow[T]) -> T:
        try:
            step = next(steps)
            while True:
                if isinstance(step, float):
                    await anyio.sleep(step)
                    step = steps.send(None)
                    continue
                try:
                    response = await self._http.send(build_request(self._http, step))
                except httpx.RequestError as error:
                    step = steps.throw(translate(error, self._http.base_url))
                else:
                    step = steps.send(response)
        except StopIteration as stop:
            result: T = stop.value
            return result


async def _loaded(image: Image) -> bytes:
    if isinstance(image, bytes):
        return image
    return await anyio.to_thread.run_sync(read_image, image)


async def _with_image(part: Part) -> Part:
    """The item or query with its image read."""
    return part if part.image is None else replace(part, image=await _loaded(part.image))
