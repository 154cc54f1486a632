"""The synchronous client."""

from __future__ import annotations

import json
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from vitrine_client import flow, protocol
from vitrine_client.models import Item, ItemResult
from vitrine_client.retry import Retry, RetryBudget
from vitrine_client.transport import DEFAULT_URL, UNHURRIED, build_request, http_options, translate

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from vitrine_client.models import (
        Collection,
        Combine,
        Embeddings,
        FieldType,
        Image,
        Metadata,
        Query,
        Readiness,
        Record,
        Rerank,
        SearchResult,
        Stored,
        Vector,
    )

T = TypeVar("T")


class Client:
    """A Vitrine server, from threads. Close it, or use it in a `with` block.

    An image is its encoded bytes or the path of a file. Every method raises VitrineError
    (see `vitrine_client.errors`), ValueError for arguments that make no request, and OSError when
    an image file cannot be read. timeout_s bounds each wait for the server, connect_timeout_s the
    wait for a connection; see `Retry` for what is sent again. api_key: of a server that
    asks for one; by default that of the environment, VITRINE_API_KEY.
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
        self._http = httpx.Client(
            **http_options(
                url,
                timeout_s=timeout_s,
                connect_timeout_s=connect_timeout_s,
                max_connections=max_connections,
                api_key=api_key,
            )
        )
        self._budget = RetryBudget(retry or Retry())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def list_collections(self) -> list[Collection]:
        return self._send(protocol.list_collections())

    def put_collection(
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
        return self._send(
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

    def get_collection(self, name: str) -> Collection:
        return self._send(protocol.get_collection(name))

    def delete_collection(self, name: str) -> None:
        """Delete a collection and every item in it."""
        self._send(protocol.delete_collection(name))

    def put_item(
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
        return self._send(protocol.put_item(item, collection=collection))

    def put_items(self, items: Sequence[Item], *, collection: str = "default") -> list[ItemResult]:
        """Store one batch; a bad item fails alone. Results in the order of the items."""
        return self._run(flow.store(items, collection=collection, budget=self._budget))

    def ingest(
        self,
        items: Iterable[Item],
        *,
        collection: str = "default",
        workers: int = 4,
        max_items: int = 32,
        max_bytes: int = 8_000_000,
    ) -> Generator[ItemResult, None, None]:
        """Store a stream of items in batches, `workers` of them on their way at a time.

        Yields a result for each item, in the order in which the server finishes. Items are taken
        from the stream as room appears. After an error no further batch is sent, the results of
        what is on its way are yielded, and the error is raised.
        """

        def send(batch: list[Item]) -> list[ItemResult]:
            return self.put_items(batch, collection=collection)

        stream = flow.batches(items, max_items=max_items, max_bytes=max_bytes)
        pending: set[Future[list[ItemResult]]] = set()
        failure: BaseException | None = None
        with ThreadPoolExecutor(workers, thread_name_prefix="vitrine-ingest") as pool:
            try:
                while True:
                    # one batch more than workers waits, so that no worker does
                    while (
                        failure is None
                        and len(pending) <= workers
                        and (batch := next(stream, None))
                    ):
                        pending.add(pool.submit(send, batch))
                    if not pending:
                        break
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in done:
                        failure = future.exception() or failure
                        if future.exception() is None:
                            yield from future.result()
            finally:
                for future in pending:
                    future.cancel()
        if failure is not None:
            raise failure

    def get_item(self, item_id: str, *, collection: str = "default") -> Record:
        return self._send(protocol.get_item(item_id, collection=collection))

    def get_image(self, item_id: str, *, collection: str = "default") -> bytes:
        """The stored thumbnail, an encoded image."""
        return self._send(protocol.get_image(item_id, collection=collection))

    def get_original(self, item_id: str, *, collection: str = "default") -> bytes:
        """The image as it was sent; NotFound (`original_not_kept`) where it was not kept."""
        return self._send(protocol.get_original(item_id, collection=collection))

    def put_metadata(
        self, item_id: str, metadata: Mapping[str, Any], *, collection: str = "default"
    ) -> Stored:
        """Replace an item's metadata; its image and vector stay."""
        call = protocol.put_metadata(item_id, metadata, collection=collection)
        return self._send(call)

    def delete_item(self, item_id: str, *, collection: str = "default") -> Stored:
        return self._send(protocol.delete_item(item_id, collection=collection))

    def search(
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
        return self._send(
            protocol.search(
                image=image,
                vector=vector,
                text=text,
                item_id=item_id,
                queries=queries,
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

    def embeddings(self, images: Sequence[Image], *, model: str | None = None) -> Embeddings:
        """Vectors (N, D) float32 of N images, by the encoder in use."""
        return self._send(protocol.embeddings(images, model=model))

    def send(self, call: protocol.Call[T]) -> T:
        """The answer to a call, such as those of `vitrine_client.desk`."""
        return self._send(call)

    def lines(self, call: protocol.Call[None]) -> Generator[dict[str, Any], None, None]:
        """The JSON lines of an answer that comes bit by bit; nothing is sent again."""
        request = build_request(self._http, call)
        request.extensions["timeout"] = UNHURRIED
        try:
            response = self._http.send(request, stream=True)
            try:
                if not response.is_success:
                    response.read()
                    call.receive(response)
                for line in response.iter_lines():
                    yield json.loads(line)
            finally:
                response.close()
        except httpx.RequestError as error:
            raise translate(error, self._http.base_url) from error

    def health(self) -> None:
        """Raises unless the server is alive."""
        self._send(protocol.health())

    def ready(self) -> Readiness:
        """Whether the server can answer searches, and why not."""
        return self._send(protocol.ready())

    def _send(self, call: protocol.Call[T]) -> T:
        return self._run(flow.exchange(call, self._budget))

    def _run(self, steps: flow.Flow[T]) -> T:
        try:
            step = next(steps)
            while True:
                if isinstance(step, float):
                    time.sleep(step)
                    step = steps.send(None)
                    continue
                try:
                    response = self._http.send(build_request(self._http, step))
                except httpx.RequestError as error:
                    step = steps.throw(translate(error, self._http.base_url))
                else:
                    step = steps.send(response)
        except StopIteration as stop:
            result: T = stop.value
            return result
