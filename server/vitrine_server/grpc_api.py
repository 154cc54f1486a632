"""The gRPC API (proto/vitrine_search.proto): the same pipeline, limits and keys as over HTTP."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import grpc
import orjson
import structlog
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from vitrine_server import api_keys, bodies, deadlines, quality, schemas
from vitrine_server import vitrine_search_pb2 as messages
from vitrine_server.errors import BadRequest, Invalid, VitrineError
from vitrine_server.metrics import StageTimes
from vitrine_server.pipeline import Draft, Part, vector_of
from vitrine_server.rendering import problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vitrine_server.api_keys import Keys, Scope
    from vitrine_server.services import Services

SERVICE = "vitrine.v1.Search"
PROBLEM_KEY = "vitrine-problem-bin"
_STORING = 64  # items of one stream that are worked on at a time
_MAX_CALLS = 4096
_GRACE_S = 10.0
_WATCH_S = 1.0

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.INVALID_ARGUMENT,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
    507: grpc.StatusCode.FAILED_PRECONDITION,
}

_log = structlog.get_logger(__name__)


class GrpcServer:
    """Listens from `start` to `stop`."""

    def __init__(self, services: Services, *, keys: Keys | None) -> None:
        self._services = services
        largest = services.max_body_bytes + 4096
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", largest),
                # Two servers on one port would share its connections.
                ("grpc.so_reuseport", 0),
            ],
            maximum_concurrent_rpcs=_MAX_CALLS,
        )
        calls = _Calls(services, keys)
        # Requests are read by the calls: what is malformed gets a status of ours, after the key.
        handlers = {
            "Query": grpc.unary_unary_rpc_method_handler(
                calls.query,
                response_serializer=messages.QueryResponse.SerializeToString,
            ),
            "Ingest": grpc.stream_stream_rpc_method_handler(
                calls.ingest,
                response_serializer=messages.IngestResult.SerializeToString,
            ),
        }
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, handlers),)
        )
        health_pb2_grpc.add_HealthServicer_to_server(_Health(services), self._server)
        names = (SERVICE, "grpc.health.v1.Health", reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self) -> int:
        """Listen on VITRINE_HOST and VITRINE_GRPC_PORT; the port. Raises RuntimeError if taken."""
        settings = self._services.settings
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        port: int = self._server.add_insecure_port(f"{host}:{settings.grpc_port}")
        await self._server.start()
        return port

    async def stop(self) -> None:
        """Refuse new calls, finish those that were accepted."""
        await self._server.stop(_GRACE_S)


class _Calls:
    """The methods of `vitrine.v1.Search`."""

    def __init__(self, services: Services, keys: Keys | None) -> None:
        self._services = services
        self._keys = keys

    async def query(self, request: bytes, context: Any) -> Any:
        call = _Call(self, context, "Query")
        try:
            call.enter("read")
            return await self._query(_parsed(messages.QueryRequest, request))
        except VitrineError as error:
            return await call.refuse(error)
        except Exception as error:
            return await call.fail(error)
        finally:
            call.observe()

    async def ingest(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[Any]:
        call = _Call(self, context, "Ingest")
        try:
            call.enter("write")
            async for result in self._ingest(requests):
                yield result
        except VitrineError as error:
            await call.refuse(error)
        except Exception as error:
            await call.fail(error)
        finally:
            call.observe()

    async def _query(self, request: Any) -> Any:
        options = bodies.parse_query(schemas.SearchOptions, _given_options(request))
        parts = [
            _part(part, f"parts.{index}", part.WhichOneof("content"))
            for index, part in enumerate(request.parts)
        ]
        if not 1 <= len(parts) <= 64:
            raise Invalid(
                f"The query has {len(parts)} parts.", field="parts", accepted="1 to 64 parts"
            )
        times = StageTimes()
        found = await self._services.pipeline.search(
            request.collection or "default", parts, options, times
        )
        self._services.metrics.observe_stages(times)
        self._services.metrics.count_result(known=found.known)
        info = self._services.encoder.info
        response = messages.QueryResponse(
            encoder=info.name,
            fingerprint=info.fingerprint,
            snapshot=found.snapshot,
            timings_ms=times.milliseconds(),
            fallback=found.fallback,
        )
        for hit in found.hits:
            shown = response.hits.add(id=hit.id, score=hit.score, rerank_score=hit.rerank_score)
            if hit.group is not None:
                shown.group = hit.group
            if options.with_metadata:
                shown.metadata = hit.item.metadata_json.decode()
            if hit.vector is not None:
                shown.vector.values.extend(hit.vector.tolist())
        return response

    async def _ingest(self, requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        """Results as they are ready; at most `_STORING` items are read ahead of them."""
        results: asyncio.Queue[Any] = asyncio.Queue()
        room = asyncio.Semaphore(_STORING)
        tasks: set[asyncio.Task[None]] = set()

        async def store(request: Any) -> None:
            try:
                await results.put(await self._store(request))
            finally:
                room.release()

        async def read() -> None:
            try:
                async for request in requests:
                    await room.acquire()
                    task = asyncio.create_task(store(_parsed(messages.IngestRequest, request)))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                await asyncio.gather(*tasks)
            finally:
                results.put_nowait(None)

        reader = asyncio.create_task(read())
        try:
            while (result := await results.get()) is not None:
                yield result
            await reader
        finally:
            for task in (reader, *tasks):
                task.cancel()
            await asyncio.gather(reader, *tasks, return_exceptions=True)

    async def _store(self, request: Any) -> Any:
        try:
            sequence = await self._stored(request)
        except VitrineError as error:
            return messages.IngestResult(
                id=request.id, problem=orjson.dumps(problem(error)).decode()
            )
        return messages.IngestResult(id=request.id, sequence=sequence)

    async def _stored(self, request: Any) -> int:
        kind = request.WhichOneof("content")
        if kind is None:
            raise Invalid(
                "The item has no content.", field="content", accepted="an image or a vector"
            )
        draft = Draft(
            id=request.id,
            metadata=bodies.parse_metadata(request.metadata) if request.metadata else {},
            image=request.image if kind == "image" else None,
            vector=vector_of(request.vector.values) if kind == "vector" else None,
        )
        times = StageTimes()
        name = request.collection or "default"
        (outcome,) = await self._services.pipeline.ingest(name, [draft], times)
        self._services.metrics.observe_stages(times)
        if isinstance(outcome, VitrineError):
            raise outcome
        if outcome.sequence is None:  # the protocol has no answer for what was skipped
            raise quality.refusal(outcome.flags[-1])
        return outcome.sequence

    def authenticate(self, authorization: bytes | None) -> api_keys.Caller:
        return self._keys.authenticate(authorization) if self._keys else api_keys.ANYBODY

    def observe(self, method: str, status: int, seconds: float) -> None:
        self._services.metrics.observe_request(
            method="GRPC", route=f"/{SERVICE}/{method}", status=status, seconds=seconds
        )


class _Call:
    """What every call has: a caller, a deadline, one status at its end."""

    def __init__(self, calls: _Calls, context: Any, method: str) -> None:
        self._calls = calls
        self._context = context
        self._method = method
        self._started = time.perf_counter()
        self._status = 200

    def enter(self, scope: Scope) -> None:
        """Raises Unauthorised, Forbidden, Overloaded."""
        remaining = self._context.time_remaining()
        deadlines.enter(None if remaining is None else f"{max(remaining, 1e-3):.6f}")
        given = dict(self._context.invocation_metadata()).get("authorization")
        who = self._calls.authenticate(None if given is None else str(given).encode())
        api_keys.enter(who)
        who.charge(1)
        who.require(scope)

    async def refuse(self, error: VitrineError) -> None:
        self._status = error.status
        metadata = [(PROBLEM_KEY, orjson.dumps(problem(error)))]
        if error.retry_after_s is not None:
            metadata.append(("retry-after", str(max(1, round(error.retry_after_s))).encode()))
        code = _CODES.get(error.status, grpc.StatusCode.INTERNAL)
        await self._context.abort(code, error.detail, tuple(metadata))

    async def fail(self, error: Exception) -> None:
        if isinstance(error, grpc.aio.AbortError):
            raise error
        _log.error("call failed", method=self._method, exc_info=error)
        await self.refuse(VitrineError("The server failed; its log has the reason."))

    def observe(self) -> None:
        self._calls.observe(self._method, self._status, time.perf_counter() - self._started)


class _Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # grpcio ships no types
    """grpc.health.v1: SERVING while queries can be answered."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def Check(self, request: Any, context: Any) -> Any:
        if request.service not in ("", SERVICE):
            await context.abort(grpc.StatusCode.NOT_FOUND, "There is no such service.")
        return health_pb2.HealthCheckResponse(status=await self._status())

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        said = None
        while True:
            status = await self._status()
            if request.service not in ("", SERVICE):
                status = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            if status != said:
                yield health_pb2.HealthCheckResponse(status=status)
            said = status
            await asyncio.sleep(_WATCH_S)

    async def _status(self) -> int:
        able = not self._services.drain.started
        if able:
            try:
                await self._services.encoder.check()
            except VitrineError:
                able = False
        states = health_pb2.HealthCheckResponse
        status: int = states.SERVING if able else states.NOT_SERVING
        return status


def _parsed(message: Any, data: bytes) -> Any:
    try:
        return message.FromString(data)
    except DecodeError:
        raise BadRequest(
            "The request cannot be read.", accepted=f"a {message.DESCRIPTOR.full_name}"
        ) from None


def _given_options(request: Any) -> dict[str, Any]:
    options: dict[str, Any] = {"offset": request.offset, "with_vector": request.with_vector}
    for name in ("k", "min_score", "with_metadata"):
        if request.HasField(name):
            options[name] = getattr(request, name)
    for name in ("filter", "group_by", "rerank"):
        if getattr(request, name):
            options[name] = getattr(request, name)
    return options


def _part(part: Any, where: str, kind: str | None) -> Part:
    if kind is None:
        raise Invalid(
            "The part has no content.",
            code="invalid_query",
            field=where,
            accepted="one of image, vector, text and item_id",
        )
    weight = part.weight if part.HasField("weight") else 1.0
    if not abs(weight) <= 1000:  # also false for NaN
        raise Invalid(f"weight is {weight}.", field=f"{where}.weight", accepted="-1000 to 1000")
    return Part(
        image=part.image if kind == "image" else None,
        vector=vector_of(part.vector.values) if kind == "vector" else None,
        text=part.text if kind == "text" else None,
        item_id=part.item_id if kind == "item_id" else None,
        weight=weight,
        where=f"{where}.{kind}",
    )
