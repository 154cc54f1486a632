"""The same searches and writes over gRPC; needs `vitrine-client[grpc]`.

    with GrpcClient("127.0.0.1:8081") as vitrine:
        hits = vitrine.search(image="chair.jpg", k=5).hits

Errors are those of the HTTP client. A stream of items is stored as it comes, without batches.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import grpc

from vitrine_client import errors
from vitrine_client import vitrine_search_pb2 as messages
from vitrine_client.models import Hit, ItemResult, Query, SearchResult, read_image
from vitrine_client.protocol import numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from vitrine_client.models import Image, Item, Rerank, Vector

_SERVICE = "vitrine.v1.Search"
_PROBLEM_KEY = "vitrine-problem-bin"
_STATUSES = {
    grpc.StatusCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    grpc.StatusCode.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    grpc.StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    grpc.StatusCode.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}


class GrpcClient:
    """A connection to `address` ("host:port"). May be used from several threads."""

    def __init__(
        self, address: str = "127.0.0.1:8081", *, api_key: str | None = None, timeout_s: float = 30
    ) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._metadata = [] if api_key is None else [("authorization", f"Bearer {api_key}")]
        unlimited = [("grpc.max_receive_message_length", -1)]
        self._channel = grpc.insecure_channel(address, options=unlimited)
        self._query = self._channel.unary_unary(
            f"/{_SERVICE}/Query",
            request_serializer=messages.QueryRequest.SerializeToString,
            response_deserializer=messages.QueryResponse.FromString,
        )
        self._ingest = self._channel.stream_stream(
            f"/{_SERVICE}/Ingest",
            request_serializer=messages.IngestRequest.SerializeToString,
            response_deserializer=messages.IngestResult.FromString,
        )

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
        self._channel.close()

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
        rerank: Rerank = "none",
        with_metadata: bool = True,
        with_vector: bool = False,
    ) -> SearchResult:
        """As `Client.search`."""
        if queries is None:
            queries = [Query(image=image, vector=vector, text=text, item_id=item_id)]
        elif any(part is not None for part in (image, vector, text, item_id)):
            raise ValueError("search by one of image, vector, text, item_id and queries")
        request = messages.QueryRequest(
            collection=collection,
            parts=[_part(query) for query in queries],
            k=k,
            offset=offset,
            filter="" if filter is None else json.dumps(filter),
            group_by=group_by,
            min_score=min_score,
            rerank=rerank,
            with_metadata=with_metadata,
            with_vector=with_vector,
        )
        try:
            answer = self._query(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._translate(error) from None
        return SearchResult(
            hits=tuple(_hit(hit, with_metadata=with_metadata) for hit in answer.hits),
            encoder={"name": answer.encoder, "fingerprint": answer.fingerprint},
            snapshot=answer.snapshot,
            timings_ms=dict(answer.timings_ms),
            fallback=answer.fallback if answer.HasField("fallback") else None,
        )

    def ingest(self, items: Iterable[Item], *, collection: str = "default") -> Iterator[ItemResult]:
        """Store a stream of items; a result for each, in the order in which they are finished."""
        requests = (_item(item, collection) for item in items)
        try:
            for result in self._ingest(requests, metadata=self._metadata):
                if not result.problem:
                    yield ItemResult(id=result.id, sequence=result.sequence)
                    continue
                problem = json.loads(result.problem)
                refused = errors.from_problem(problem, status=int(problem["status"]))
                yield ItemResult(id=result.id, error=refused)
        except grpc.RpcError as error:
            raise self._translate(error) from None

    def _translate(self, error: grpc.RpcError) -> errors.VitrineError:
        trailing = {key: value for key, value in error.trailing_metadata() or ()}
        if _PROBLEM_KEY in trailing:
            problem = json.loads(trailing[_PROBLEM_KEY])
            wait = trailing.get("retry-after")
            return errors.from_problem(
                problem,
                status=int(problem["status"]),
                retry_after_s=None if wait is None else float(wait),
            )
        code, detail = error.code(), error.details() or ""
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return errors.TimedOut(
                f"{self._address} did not answer in {self._timeout_s:g} s.", url=self._address
            )
        if code is grpc.StatusCode.UNAVAILABLE:
            return errors.ServerUnreachable(
                f"{self._address} does not answer: {detail}.", url=self._address
            )
        status = _STATUSES.get(code, HTTPStatus.BAD_REQUEST)
        return errors.from_problem({"detail": detail}, status=status.value)


def _part(query: Query) -> messages.QueryPart:
    part = messages.QueryPart(text=query.text, item_id=query.item_id, weight=query.weight)
    if query.image is not None:
        part.image = read_image(query.image)
    if query.vector is not None:
        part.vector.values.extend(numbers(query.vector))
    return part


def _item(item: Item, collection: str) -> messages.IngestRequest:
    metadata = json.dumps(dict(item.metadata), allow_nan=False) if item.metadata else ""
    request = messages.IngestRequest(collection=collection, id=item.id, metadata=metadata)
    if item.image is not None:
        request.image = read_image(item.image)
    if item.vector is not None:
        request.vector.values.extend(numbers(item.vector))
    return request


def _hit(hit: Any, *, with_metadata: bool) -> Hit:
    return Hit(
        id=hit.id,
        score=hit.score,
        group=hit.group if hit.HasField("group") else None,
        metadata=json.loads(hit.metadata) if with_metadata else None,
        vector=tuple(hit.vector.values) if hit.HasField("vector") else None,
        rerank_score=hit.rerank_score if hit.HasField("rerank_score") else None,
    )
