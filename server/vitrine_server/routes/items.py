"""Items: store one or a batch, read, change, delete, and their images."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import APIRouter, Request, Response

from vitrine_server import bodies, images, schemas
from vitrine_server.errors import (
    BadRequest,
    Invalid,
    ItemNotFound,
    NotFound,
    TooLarge,
    VitrineError,
    forget_frames,
)
from vitrine_server.metrics import StageTimes
from vitrine_server.pipeline import Draft, vector_of
from vitrine_server.records import check_id
from vitrine_server.rendering import json_response, problem, timed_response
from vitrine_server.routes.declare import COLLECTION, IMAGE_BODY, body_of, route
from vitrine_server.services import core, services

if TYPE_CHECKING:
    from vitrine_server.quality import Ingested
    from vitrine_server.records import Metadata
    from vitrine_server.services import Core

METADATA_HEADER = "X-Vitrine-Metadata"
_ITEM = COLLECTION + "/items/{item_id:path}"

router = APIRouter()


@route(
    router,
    "POST",
    COLLECTION + "/items:batch",
    scope="write",
    answer=schemas.BatchAnswer,
    body=body_of(bodies.NDJSON, "BatchLine"),
)
async def put_items(request: Request, collection: str) -> Response:
    """One item a line; or multipart: file parts `image`, the filename is the item's id."""
    parts, name = core(request), bodies.path_segment(collection)
    parts.catalogue.get(name)
    drafts, refused = await _read_batch(request, parts)
    times = StageTimes()
    good = [draft for draft in drafts if draft.id not in refused]
    results = await parts.pipeline.ingest(name, good, times) if good else []
    outcomes = dict(zip((draft.id for draft in good), results, strict=True)) | refused
    items = [_outcome(draft.id, outcomes[draft.id]) for draft in drafts]
    failed, stored = (sum(key in item for item in items) for key in ("error", "sequence"))
    skipped = len(items) - failed - stored
    answer = {"items": items, "stored": stored, "failed": failed, "skipped": skipped}
    return timed_response(parts, answer, times)


@route(router, "GET", _ITEM + "/image", scope="read", media_type="image/jpeg")
async def get_image(request: Request, collection: str, item_id: str) -> Response:
    parts, item_id = services(request), bodies.path_segment(item_id)
    found = parts.catalogue.get(bodies.path_segment(collection))
    check_id(item_id)
    thumbnail = await parts.pipeline.run(lambda: found.thumbnail(item_id))
    if thumbnail is None:
        await parts.pipeline.run(lambda: found.get(item_id))
        raise NotFound(
            f"Item {item_id[:128]!r} was stored as a vector, without an image.",
            code="image_not_found",
            field="id",
            accepted="the id of an item that was stored with its image",
        )
    return Response(thumbnail, media_type="image/jpeg")


@route(router, "GET", _ITEM + "/original", scope="read", media_type="image/*")
async def get_original(request: Request, collection: str, item_id: str) -> Response:
    """The image as it was sent, where VITRINE_KEEP_ORIGINALS was on."""
    parts, item_id = services(request), bodies.path_segment(item_id)
    found = parts.catalogue.get(bodies.path_segment(collection))
    image = await parts.pipeline.run(lambda: found.original(item_id))
    kind = images.sniff(image)
    return Response(
        image,
        media_type=f"image/{kind.lower()}" if kind else "application/octet-stream",
        headers={"X-Content-Type-Options": "nosniff"},
    )


@route(
    router,
    "PUT",
    _ITEM + "/metadata",
    scope="write",
    answer=schemas.Stored,
    body={bodies.JSON: {"schema": {"type": "object"}}},
)
async def put_metadata(request: Request, collection: str, item_id: str) -> Response:
    """Replace an item's metadata; its image and vector stay."""
    parts, name = services(request), bodies.path_segment(collection)
    item_id = bodies.path_segment(item_id)
    parts.catalogue.get(name)
    metadata = bodies.parse_metadata(await bodies.read(request, parts.max_body_bytes))
    times = StageTimes()
    found = parts.catalogue.get(name)
    with parts.admission.writes.admit(1), times.timed("store"):
        sequence = await asyncio.wrap_future(found.update_metadata(item_id, metadata))
    return timed_response(parts, {"id": item_id, "sequence": sequence}, times)


@route(
    router,
    "PUT",
    _ITEM,
    scope="write",
    answer=schemas.Ingested,
    body={**IMAGE_BODY, **body_of(bodies.JSON, "ItemBody")},
)
async def put_item(request: Request, collection: str, item_id: str) -> Response:
    """Metadata: a JSON object in `?metadata=`, in X-Vitrine-Metadata or in its own part."""
    parts, name = core(request), bodies.path_segment(collection)
    item_id = bodies.path_segment(item_id)
    check_id(item_id)
    parts.catalogue.get(name)
    draft = await _read_item(request, item_id, parts.max_body_bytes)
    times = StageTimes()
    (result,) = await parts.pipeline.ingest(name, [draft], times)
    if isinstance(result, VitrineError):
        raise result
    return timed_response(parts, _outcome(item_id, result), times)


@route(router, "GET", _ITEM, scope="read", answer=schemas.ItemAnswer)
async def get_item(request: Request, collection: str, item_id: str) -> Response:
    parts, item_id = services(request), bodies.path_segment(item_id)
    found = parts.catalogue.get(bodies.path_segment(collection))
    return json_response(await parts.pipeline.run(lambda: found.get(item_id)))


@route(router, "DELETE", _ITEM, scope="write", answer=schemas.Stored)
async def delete_item(request: Request, collection: str, item_id: str) -> Response:
    parts, name = services(request), bodies.path_segment(collection)
    item_id = bodies.path_segment(item_id)
    times = StageTimes()
    found = parts.catalogue.get(name)
    with times.timed("store"):
        (existed,) = await asyncio.wrap_future(found.delete([item_id]))
    if not existed:
        raise ItemNotFound(item_id, name)
    sequence = found.describe().sequence
    return timed_response(parts, {"id": item_id, "sequence": sequence}, times)


async def _read_item(request: Request, item_id: str, max_bytes: int) -> Draft:
    body = await bodies.read(request, max_bytes)
    kind = bodies.media_type(request)
    given = request.query_params.get("metadata") or request.headers.get(METADATA_HEADER)
    metadata: Metadata = bodies.parse_metadata(given) if given else {}
    if kind == bodies.JSON:
        return _draft(item_id, bodies.parse_json(schemas.ItemBody, body), metadata)
    if kind != bodies.MULTIPART:
        return Draft(item_id, metadata, image=body)
    parts = {part.name: part for part in bodies.parse_multipart(request, body, max_parts=2)}
    if unknown := sorted(parts.keys() - {"image", "metadata"}):
        raise bodies.unknown_part(unknown[0], "image and metadata")
    if "image" not in parts:
        raise Invalid(
            "The body has no part called image.", field="image", accepted="a part called image"
        )
    if "metadata" in parts:
        metadata = metadata | bodies.parse_metadata(parts["metadata"].data)
    return Draft(item_id, metadata, image=parts["image"].data)


async def _read_batch(request: Request, parts: Core) -> tuple[list[Draft], dict[str, VitrineError]]:
    """Items of a batch, and those that cannot even be read with the reason."""
    body = await bodies.read(request, parts.max_body_bytes)
    limit = parts.settings.max_batch_items
    refused: dict[str, VitrineError] = {}
    if bodies.media_type(request) == bodies.MULTIPART:
        drafts = _form_drafts(request, body, limit)
    else:
        drafts = []
        lines = [line for line in body.split(b"\n") if line.strip()]
        for number, line in enumerate(lines[: limit + 1], start=1):
            draft, reason = _line(line, number)
            drafts.append(draft)
            if reason is not None:
                refused[draft.id] = reason
    if not 1 <= len(drafts) <= limit:
        kind = TooLarge if drafts else Invalid
        raise kind(
            f"The batch has {'too many' if drafts else 'no'} items.",
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


def _form_drafts(request: Request, body: bytes, limit: int) -> list[Draft]:
    """File parts `image`; a part `metadata` holds {id: metadata} for them."""
    parts = bodies.parse_multipart(request, body, max_parts=limit + 1)
    metadata: Metadata = {}
    drafts: list[Draft] = []
    for part in parts:
        if part.name == "metadata":
            metadata = bodies.parse_metadata(part.data)
        elif part.name != "image":
            raise bodies.unknown_part(part.name, "image and metadata")
    for part in parts:
        if part.name == "image":
            item_id = bodies.path_segment(part.filename or "")
            own = metadata.get(item_id, {})
            if not isinstance(own, dict):
                raise Invalid(
                    f"The metadata of {item_id[:128]!r} is not an object.",
                    field=f"metadata.{item_id[:128]}",
                    accepted="a JSON object",
                )
            drafts.append(Draft(item_id, own, image=part.data))
    return drafts


def _line(line: bytes, number: int) -> tuple[Draft, VitrineError | None]:
    """One line of a batch; without a readable id it is named by its number."""
    try:
        body = bodies.parse_json(schemas.BatchLine, line)
        return _draft(body.id, body, {}), None
    except TooLarge as error:  # not to be parsed once more
        forget_frames(error)
        return Draft(f"line {number}", {}), error
    except VitrineError as error:
        forget_frames(error)
        reason = error
    if reason.code == "malformed_json":
        reason = BadRequest(
            f"Line {number} is not JSON.",
            code="malformed_json",
            field="body",
            accepted="one JSON object a line",
        )
    return Draft(_readable_id(line, f"line {number}"), {}), reason


def _readable_id(line: bytes, otherwise: str) -> str:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return otherwise
    named = found.get("id") if isinstance(found, dict) else None
    return named if isinstance(named, str) else otherwise


def _draft(item_id: str, body: schemas.ItemBody, metadata: Metadata) -> Draft:
    if (body.image is None) == (body.vector is None):
        raise Invalid(
            "An item has either an image or a vector.",
            field="image",
            accepted="exactly one of image and vector",
        )
    image = None if body.image is None else bodies.decode_base64(body.image, field="image")
    vector = None if body.vector is None else vector_of(body.vector)
    return Draft(item_id, metadata | body.metadata, image=image, vector=vector)


def _outcome(item_id: str, outcome: Ingested | VitrineError) -> dict[str, Any]:
    if isinstance(outcome, VitrineError):
        return {"id": item_id, "error": problem(outcome)}
    shown: dict[str, Any] = {"id": item_id}
    shown |= {"skipped": True} if outcome.sequence is None else {"sequence": outcome.sequence}
    return shown | ({"flags": outcome.flags} if outcome.flags else {})
