"""Routes: parse, call the pipeline, render. The one place where an error becomes a status."""

from __future__ import annotations

import base64
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi_offline import FastAPIOffline
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from vitrine_server import bodies, manifest, schemas
from vitrine_server.admission import Admission
from vitrine_server.catalogue import Catalogue
from vitrine_server.encoder import Encoder, TritonEncoder
from vitrine_server.errors import (
    BadRequest,
    Invalid,
    NotFound,
    TooLarge,
    VitrineError,
)
from vitrine_server.metrics import Metrics, StageTimes
from vitrine_server.pipeline import Draft, Part, Pipeline
from vitrine_server.records import CollectionInfo, CollectionSettings, EncoderIdentity, check_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from vitrine_server.config import Settings
    from vitrine_server.records import Metadata

METADATA_HEADER = "X-Vitrine-Metadata"
_ENCODER_BATCH = 8
_ENCODER_CALLS = 3

_log = structlog.get_logger(__name__)


def create_app(settings: Settings, *, encoder: Encoder | None = None) -> FastAPI:
    """The sidecar as an ASGI application; its parts live as long as its lifespan.

    encoder: instead of the published one behind Triton. Raises ManifestError when no engine can be
    served.
    """
    metrics = Metrics()
    published = None if encoder else manifest.load(settings.encoder_folder)
    info = encoder.info if encoder else published.encoder if published else None
    assert info is not None  # one of the two is given
    if not info.trained:
        _log.warning(
            "encoder is not trained: its weights come from a fixed seed, similarity means little",
            encoder=info.name,
        )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        served = encoder
        if served is None:
            assert published is not None
            served = TritonEncoder(
                address=f"{settings.triton_host}:{settings.triton_grpc_port}",
                manifest=published,
                max_batch=_ENCODER_BATCH,
                concurrency=_ENCODER_CALLS,
                metrics=metrics,
            )
        identity = EncoderIdentity(info.name, info.fingerprint, info.dimension)
        catalogue = Catalogue(settings.data, encoder=identity)
        admission = Admission(max_images=settings.max_images_in_flight)
        pipeline = Pipeline(
            settings=settings, catalogue=catalogue, encoder=served, admission=admission
        )
        metrics.watch(
            images_in_flight=lambda: admission.inside,
            encoder_ready=lambda: float(served.ready),
            items=lambda: {one.name: one.count for one in catalogue.list()},
        )
        app.state.api = Api(settings, catalogue, served, pipeline, metrics)
        try:
            yield
        finally:
            pipeline.close()
            catalogue.close()
            await served.close()

    app = FastAPIOffline(
        title="Vitrine",
        version="1",
        description="Image search: designs, products and copies by their pictures.",
        lifespan=lifespan,
        redoc_url=None,
    )
    _add_routes(app)
    app.add_exception_handler(VitrineError, _on_vitrine_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_unexpected)
    app.add_middleware(_Observe, metrics=metrics)
    _complete_openapi(app)
    return app


class Api:
    """The routes' work: request → pipeline → response."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        encoder: Encoder,
        pipeline: Pipeline,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._encoder = encoder
        self._pipeline = pipeline
        self._metrics = metrics
        self._max_body = int(settings.max_body_mb * 1e6)

    async def list_collections(self, request: Request) -> Response:
        infos = await self._pipeline.run(self._catalogue.list)
        return _json({"collections": [_collection(info) for info in infos]})

    async def put_collection(self, request: Request, name: str) -> Response:
        body = await bodies.read(request, self._max_body)
        settings = bodies.parse_json(CollectionSettings, body or b"{}")
        collection = await self._pipeline.run(lambda: self._catalogue.create(name, settings))
        return _json(_collection(collection.describe()))

    async def get_collection(self, request: Request, name: str) -> Response:
        return _json(_collection(self._catalogue.get(name).describe()))

    async def delete_collection(self, request: Request, name: str) -> Response:
        await self._pipeline.run(lambda: self._catalogue.drop(name))
        return _json({"name": name, "deleted": True})

    async def put_item(self, request: Request, name: str, item_id: str) -> Response:
        check_id(item_id)
        self._catalogue.get(name)
        draft = await self._draft(request, item_id)
        times = StageTimes()
        (result,) = await self._pipeline.ingest(name, [draft], times)
        if isinstance(result, VitrineError):
            raise result
        return self._timed({"id": item_id, "sequence": result}, times)

    async def put_items(self, request: Request, name: str) -> Response:
        self._catalogue.get(name)
        drafts, refused = await self._drafts(request)
        times = StageTimes()
        good = [draft for draft in drafts if draft.id not in refused]
        results = await self._pipeline.ingest(name, good, times) if good else []
        outcomes = dict(zip((draft.id for draft in good), results, strict=True)) | refused
        items = [_batch_result(draft.id, outcomes[draft.id]) for draft in drafts]
        failed = sum("error" in item for item in items)
        answer = {"items": items, "stored": len(items) - failed, "failed": failed}
        return self._timed(answer, times)

    async def get_item(self, request: Request, name: str, item_id: str) -> Response:
        collection = self._catalogue.get(name)
        record = await self._pipeline.run(lambda: collection.get(item_id))
        return _json(record)

    async def delete_item(self, request: Request, name: str, item_id: str) -> Response:
        times = StageTimes()
        await self._pipeline.delete(name, item_id, times)
        sequence = self._catalogue.get(name).describe().sequence
        return self._timed({"id": item_id, "sequence": sequence}, times)

    async def get_image(self, request: Request, name: str, item_id: str) -> Response:
        collection = self._catalogue.get(name)
        check_id(item_id)
        thumbnail = await self._pipeline.run(lambda: collection.thumbnail(item_id))
        if thumbnail is None:
            await self._pipeline.run(lambda: collection.get(item_id))
            raise NotFound(
                f"Item {item_id[:128]!r} was stored as a vector, without an image.",
                code="image_not_found",
                field="id",
                accepted="the id of an item that was stored with its image",
            )
        return Response(thumbnail, media_type="image/jpeg")

    async def search(self, request: Request, name: str) -> Response:
        self._catalogue.get(name)
        parts, options = await self._query(request)
        times = StageTimes()
        result = await self._pipeline.search(name, parts, options, times)
        hits: list[dict[str, Any]] = []
        for hit in result.hits:
            shown: dict[str, Any] = {"id": hit.id, "score": hit.score, "group": hit.group}
            if options.with_metadata:
                shown["metadata"] = hit.metadata
            if options.with_vector:
                shown["vector"] = hit.vector
            hits.append(shown)
        info = self._encoder.info
        answer = {
            "hits": hits,
            "encoder": {"name": info.name, "fingerprint": info.fingerprint},
            "snapshot": result.snapshot,
            "timings_ms": times.milliseconds(),
        }
        return self._timed(answer, times)

    async def embeddings(self, request: Request) -> Response:
        body = await bodies.read(request, self._max_body)
        asked = bodies.parse_json(schemas.EmbeddingsBody, body)
        info = self._encoder.info
        if asked.model not in (None, info.name):
            raise Invalid(
                f"This server has no model {asked.model!r}.", field="model", accepted=info.name
            )
        if asked.dimensions not in (None, info.dimension):
            raise Invalid(
                f"The encoder's vectors have {info.dimension} dimensions.",
                field="dimensions",
                accepted=str(info.dimension),
            )
        inputs = [asked.input] if isinstance(asked.input, str) else asked.input
        if not 1 <= len(inputs) <= self._settings.max_batch_items:
            raise Invalid(
                f"input has {len(inputs)} entries.",
                field="input",
                accepted=f"1 to {self._settings.max_batch_items} entries",
            )
        for text in inputs:
            if not text.startswith("data:"):
                raise _no_text(info.name, "input")
        encoded = [bodies.decode_base64(text, field="input") for text in inputs]
        times = StageTimes()
        vectors = await self._pipeline.embed(encoded, times)
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": base64.b64encode(vector.tobytes()).decode()
                if asked.encoding_format == "base64"
                else vector,
            }
            for index, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": 0, "total_tokens": 0}
        return self._timed(
            {"object": "list", "data": data, "model": info.name, "usage": usage}, times
        )

    async def health(self, request: Request) -> Response:
        return _json({"status": "ok"})

    async def ready(self, request: Request) -> Response:
        checks: dict[str, Any] = {"encoder": "ok", "store": "ok"}
        try:
            await self._encoder.check()
        except VitrineError as error:
            checks["encoder"] = error.detail
        if self._catalogue.damaged:
            names = ", ".join(sorted(self._catalogue.damaged))
            checks["store"] = f"damaged collections: {names}"
        ready = checks["encoder"] == "ok"
        return _json({"ready": ready, "checks": checks}, status=200 if ready else 503)

    async def metrics(self, request: Request) -> Response:
        return Response(self._metrics.render(), media_type="text/plain; version=0.0.4")

    def _timed(self, answer: object, times: StageTimes) -> Response:
        self._metrics.observe_stages(times)
        return _json(answer, headers={"Server-Timing": times.server_timing()})

    async def _draft(self, request: Request, item_id: str) -> Draft:
        body = await bodies.read(request, self._max_body)
        kind = bodies.media_type(request)
        given = request.query_params.get("metadata") or request.headers.get(METADATA_HEADER)
        metadata: Metadata = bodies.parse_metadata(given) if given else {}
        if kind == bodies.JSON:
            return _draft(item_id, bodies.parse_json(schemas.ItemBody, body), metadata)
        if kind != bodies.MULTIPART:
            return Draft(item_id, metadata, image=body)
        parts = {part.name: part for part in bodies.parse_multipart(request, body, max_parts=2)}
        if unknown := sorted(parts.keys() - {"image", "metadata"}):
            raise _unknown_part(unknown[0], "image and metadata")
        if "image" not in parts:
            raise Invalid(
                "The body has no part called image.", field="image", accepted="a part called image"
            )
        if "metadata" in parts:
            metadata = metadata | bodies.parse_metadata(parts["metadata"].data)
        return Draft(item_id, metadata, image=parts["image"].data)

    async def _drafts(self, request: Request) -> tuple[list[Draft], dict[str, VitrineError]]:
        """Items of a batch, and those that cannot even be read with the reason."""
        body = await bodies.read(request, self._max_body)
        limit = self._settings.max_batch_items
        drafts: list[Draft] = []
        refused: dict[str, VitrineError] = {}
        if bodies.media_type(request) == bodies.MULTIPART:
            parts = bodies.parse_multipart(request, body, max_parts=limit + 1)
            texts = [part.data for part in parts if part.name == "metadata"]
            metadata = bodies.parse_metadata(texts[0]) if texts else {}
            for part in parts:
                if part.name not in ("image", "metadata"):
                    raise _unknown_part(part.name, "image and metadata")
                if part.name == "image":
                    item_id = bodies.path_segment(part.filename or "")
                    own = metadata.get(item_id) or {}
                    drafts.append(Draft(item_id, own, image=part.data))  # type: ignore[arg-type]  # checked with the item
        else:
            lines = [line for line in body.split(b"\n") if line.strip()]
            for number, line in enumerate(lines[: limit + 1], start=1):
                draft, problem = _line(line, number)
                drafts.append(draft)
                if problem is not None:
                    refused[draft.id] = problem
        if not 1 <= len(drafts) <= limit:
            kind = TooLarge if drafts else Invalid
            raise kind(
                f"The batch has {len(drafts) if drafts else 'no'} items.",
                code="batch_too_large" if drafts else None,
                field="items",
                accepted=f"1 to {limit} items",
            )
        seen: set[str] = set()
        for draft in drafts:
            if draft.id in seen:
                raise Invalid(
                    f"Item {draft.id[:128]!r} is in the batch twice.",
                    field="id",
                    accepted="each id once in a batch",
                )
            seen.add(draft.id)
        return drafts, refused

    async def _query(self, request: Request) -> tuple[list[Part], schemas.SearchOptions]:
        body = await bodies.read(request, self._max_body)
        kind = bodies.media_type(request)
        if kind == bodies.JSON:
            asked = bodies.parse_json(schemas.SearchBody, body)
            return self._parts(asked), asked
        options = bodies.parse_query(schemas.SearchOptions, request.query_params)
        if kind == bodies.MULTIPART:
            parts = bodies.parse_multipart(request, body, max_parts=64)
            for part in parts:
                if part.name != "image":
                    raise _unknown_part(part.name, "image")
            if not parts:
                raise Invalid("The body has no part.", field="image", accepted="a part image")
            return [Part(image=part.data) for part in parts], options
        return [Part(image=body)], options

    def _parts(self, asked: schemas.SearchBody) -> list[Part]:
        single = [asked.image, asked.vector, asked.text, asked.item_id]
        if sum(value is not None for value in [*single, asked.queries]) != 1:
            raise Invalid(
                "The query must be one thing.",
                code="invalid_query",
                field="image",
                accepted="exactly one of image, vector, text, item_id and queries",
            )
        if asked.queries is None:
            return [self._part(asked, "", 1.0)]
        return [
            self._part(part, f"queries.{index}.", part.weight)
            for index, part in enumerate(asked.queries)
        ]

    def _part(self, part: schemas.QueryPart, where: str, weight: float) -> Part:
        if sum(v is not None for v in (part.image, part.vector, part.text, part.item_id)) != 1:
            raise Invalid(
                "A query must be one thing.",
                code="invalid_query",
                field=where.rstrip("."),
                accepted="exactly one of image, vector, text and item_id",
            )
        if part.text is not None:
            raise _no_text(self._encoder.info.name, f"{where}text")
        image = (
            None if part.image is None else bodies.decode_base64(part.image, field=f"{where}image")
        )
        return Part(image=image, vector=part.vector, item_id=part.item_id, weight=weight)


def problem(error: VitrineError) -> dict[str, Any]:
    """RFC 9457 problem details of an error."""
    shown: dict[str, Any] = {
        "type": f"urn:vitrine:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
    }
    if error.field is not None:
        shown["field"] = error.field
    if error.accepted is not None:
        shown["accepted"] = error.accepted
    return shown


def _problem_response(error: VitrineError) -> Response:
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    return Response(
        orjson.dumps(problem(error)),
        error.status,
        headers=headers,
        media_type="application/problem+json",
    )


async def _on_vitrine_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, VitrineError)
    return _problem_response(error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """What the router refuses: an unknown path, a method that a path does not have."""
    assert isinstance(error, HTTPException)
    answer = BadRequest(str(error.detail), code="malformed_request")
    if error.status_code == 404:
        answer = BadRequest("There is nothing at this path.", code="not_found")
    elif error.status_code == 405:
        answer = BadRequest("This path does not take this method.", code="method_not_allowed")
    shown = problem(answer) | {"status": error.status_code, "title": error.detail}
    return Response(
        orjson.dumps(shown),
        error.status_code,
        headers=dict(error.headers or {}),
        media_type="application/problem+json",
    )


async def _on_unexpected(request: Request, error: Exception) -> Response:
    _log.error("request failed", path=request.scope["path"], exc_info=error)
    return _problem_response(VitrineError("The server failed; its log has the reason."))


class _Observe:
    """Counts and times requests; routes paths as they were sent, so an id may hold %2F."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["path"] = scope.get("raw_path", scope["path"].encode()).decode("ascii", "replace")
        started = time.perf_counter()
        status = 500

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, observed)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            self._metrics.observe_request(
                method=scope["method"],
                route=route,
                status=status,
                seconds=time.perf_counter() - started,
            )


def _add_routes(app: FastAPI) -> None:
    problems: dict[int | str, dict[str, Any]] = {
        status: {"model": schemas.Problem, "description": text}
        for status, text in (
            ("4XX", "The request is refused; the problem names the field"),
            ("5XX", "The server cannot answer now"),
        )
    }

    def route(
        method: str, path: str, answer: type | None, body: Mapping[str, Any] | None = None
    ) -> Callable[[Any], Any]:
        extra = {} if body is None else {"requestBody": {"required": True, "content": body}}
        return app.api_route(
            path,
            methods=[method],
            responses={**problems, **({200: {"model": answer}} if answer else {})},
            openapi_extra=extra,
            response_model=None,
        )

    def api(request: Request) -> Api:
        found: Api = request.app.state.api
        return found

    unquote = bodies.path_segment
    image = {"schema": {"type": "string", "format": "binary"}}
    form = {"schema": {"type": "object", "properties": {"image": image["schema"]}}}
    images = {"image/*": image, bodies.MULTIPART: form}
    one = "/v1/collections/{collection}"
    item = one + "/items/{item_id:path}"

    @route("GET", "/v1/collections", schemas.CollectionsAnswer)
    async def list_collections(request: Request) -> Response:
        return await api(request).list_collections(request)

    @route("PUT", one, schemas.CollectionAnswer, {bodies.JSON: _ref("CollectionSettings")})
    async def put_collection(request: Request, collection: str) -> Response:
        return await api(request).put_collection(request, unquote(collection))

    @route("GET", one, schemas.CollectionAnswer)
    async def get_collection(request: Request, collection: str) -> Response:
        return await api(request).get_collection(request, unquote(collection))

    @route("DELETE", one, None)
    async def delete_collection(request: Request, collection: str) -> Response:
        return await api(request).delete_collection(request, unquote(collection))

    @route("POST", one + "/items:batch", schemas.BatchAnswer, {bodies.NDJSON: _ref("BatchLine")})
    async def put_items(request: Request, collection: str) -> Response:
        """One item a line; or multipart: file parts `image`, the filename is the item's id."""
        return await api(request).put_items(request, unquote(collection))

    @route("GET", one + "/items/{item_id:path}/image", None)
    async def get_image(request: Request, collection: str, item_id: str) -> Response:
        return await api(request).get_image(request, unquote(collection), unquote(item_id))

    @route("PUT", item, schemas.Stored, {**images, bodies.JSON: _ref("ItemBody")})
    async def put_item(request: Request, collection: str, item_id: str) -> Response:
        """Metadata: a JSON object in `?metadata=`, in X-Vitrine-Metadata or in its own part."""
        return await api(request).put_item(request, unquote(collection), unquote(item_id))

    @route("GET", item, schemas.ItemAnswer)
    async def get_item(request: Request, collection: str, item_id: str) -> Response:
        return await api(request).get_item(request, unquote(collection), unquote(item_id))

    @route("DELETE", item, schemas.Stored)
    async def delete_item(request: Request, collection: str, item_id: str) -> Response:
        return await api(request).delete_item(request, unquote(collection), unquote(item_id))

    search_body = {**images, bodies.JSON: _ref("SearchBody")}

    @route("POST", one + "/search", schemas.SearchAnswer, search_body)
    async def search(request: Request, collection: str) -> Response:
        """An image with options in the query string, or JSON."""
        return await api(request).search(request, unquote(collection))

    @route("POST", "/v1/embeddings", None, {bodies.JSON: _ref("EmbeddingsBody")})
    async def embeddings(request: Request) -> Response:
        """Embeddings in the shape of OpenAI's API; input is a data: URI or a list of them."""
        return await api(request).embeddings(request)

    @route("GET", "/healthz", None)
    async def health(request: Request) -> Response:
        return await api(request).health(request)

    @route("GET", "/readyz", None)
    async def ready(request: Request) -> Response:
        return await api(request).ready(request)

    @route("GET", "/metrics", None)
    async def metrics(request: Request) -> Response:
        return await api(request).metrics(request)

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return RedirectResponse("/docs")


def _ref(name: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}


def _complete_openapi(app: FastAPI) -> None:
    """Add the models that routes read by themselves to the generated document."""
    models = (
        CollectionSettings,
        schemas.BatchLine,
        schemas.ItemBody,
        schemas.SearchBody,
        schemas.EmbeddingsBody,
    )
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        document["components"]["schemas"].update(definitions["$defs"])
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI documents this as its extension point


def _json(
    content: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    text = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(text, status, headers=headers, media_type="application/json")


def _collection(info: CollectionInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        **info.settings.model_dump(mode="json"),
        "index": {"setting": info.settings.index, **info.index},
        "count": info.count,
        "encoder": {"name": info.encoder.name, "fingerprint": info.encoder.fingerprint},
        "dimension": info.encoder.dimension,
        "snapshot": info.snapshot,
        "read_only": info.read_only,
    }


def _batch_result(item_id: str, outcome: int | VitrineError) -> dict[str, Any]:
    if isinstance(outcome, VitrineError):
        return {"id": item_id, "error": problem(outcome)}
    return {"id": item_id, "sequence": outcome}


def _draft(item_id: str, body: schemas.ItemBody, metadata: Metadata) -> Draft:
    if (body.image is None) == (body.vector is None):
        raise Invalid(
            "An item has either an image or a vector.",
            field="image",
            accepted="exactly one of image and vector",
        )
    image = None if body.image is None else bodies.decode_base64(body.image, field="image")
    return Draft(item_id, metadata | body.metadata, image=image, vector=body.vector)


def _line(line: bytes, number: int) -> tuple[Draft, VitrineError | None]:
    """One line of a batch; without a readable id it is named by its number."""
    item_id = f"line {number}"
    try:
        found = orjson.loads(line)
        if isinstance(found, dict) and isinstance(found.get("id"), str):
            item_id = found["id"]
        return _draft(item_id, bodies.parse_json(schemas.BatchLine, line), {}), None
    except orjson.JSONDecodeError:
        return Draft(item_id, {}), BadRequest(
            f"Line {number} is not JSON.",
            code="malformed_json",
            field="body",
            accepted="one JSON object a line",
        )
    except VitrineError as error:
        return Draft(item_id, {}), error


def _no_text(encoder: str, field: str) -> Invalid:
    return Invalid(
        f"Encoder {encoder!r} has no text tower.",
        code="text_not_supported",
        field=field,
        accepted="an image, a vector or an item_id; or an encoder that was exported with text",
    )


def _unknown_part(name: str, accepted: str) -> Invalid:
    return Invalid(
        f"There is no part {name[:128]!r} here.",
        code="unknown_field",
        field=name[:128],
        accepted=accepted,
    )
