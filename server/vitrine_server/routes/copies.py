"""Copies of one image, duplicates of a whole catalogue, and the calibration of both."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import APIRouter, Request, Response
from starlette.concurrency import iterate_in_threadpool
from starlette.responses import StreamingResponse

from vitrine_server import bodies, desk_schemas, duplicates
from vitrine_server.errors import Invalid, Overloaded
from vitrine_server.metrics import StageTimes
from vitrine_server.rendering import json_response, timed_response
from vitrine_server.routes.declare import COLLECTION, IMAGE_BODY, body_of, route
from vitrine_server.services import services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vitrine_server.copies import Found
    from vitrine_server.services import Services

_CALIBRATION = COLLECTION + "/copies/calibration"

router = APIRouter()


@route(
    router,
    "POST",
    COLLECTION + "/copies",
    scope="read",
    answer=desk_schemas.CopiesAnswer,
    body={**IMAGE_BODY, **body_of(bodies.JSON, "CopiesBody")},
)
async def find_copies(request: Request, collection: str) -> Response:
    """Stored items that may be copies of an image, with the evidence."""
    parts, name = services(request), bodies.path_segment(collection)
    parts.catalogue.get(name)
    asked = await _read(request, parts.max_body_bytes)
    times = StageTimes()
    image = asked.pop("image")
    options = desk_schemas.CopiesBody.model_validate(asked)
    found = await parts.desk.copies.find(name, image=image, item_id=options.item_id, times=times)
    return timed_response(parts, _shown(parts, found, options, times), times)


async def _read(request: Request, max_bytes: int) -> dict[str, Any]:
    """The options, with `image` as bytes or None."""
    body = await bodies.read(request, max_bytes)
    kind = bodies.media_type(request)
    if kind == bodies.JSON:
        asked = bodies.parse_json(desk_schemas.CopiesBody, body)
        if (asked.image is None) == (asked.item_id is None):
            raise Invalid(
                "The query must be one thing.",
                code="invalid_query",
                field="image",
                accepted="exactly one of image and item_id",
            )
        image = None
        if asked.image is not None:
            image = bodies.decode_base64(asked.image, field="image")
        return asked.model_dump(exclude={"image"}) | {"image": image}
    options = bodies.parse_query(desk_schemas.CopiesOptions, request.query_params).model_dump()
    if kind != bodies.MULTIPART:
        return options | {"image": body}
    parts = bodies.parse_multipart(request, body, max_parts=1)
    if not parts or parts[0].name != "image":
        raise Invalid("The body has no part image.", field="image", accepted="one part image")
    return options | {"image": parts[0].data}


def _shown(
    parts: Services, found: Found, options: desk_schemas.CopiesBody, times: StageTimes
) -> dict[str, Any]:
    threshold = found.calibration.full.threshold
    least = threshold if options.min_score is None else options.min_score
    copies = []
    for copy in [copy for copy in found.copies if copy.score >= least][: options.k]:
        shown = {
            "id": copy.id,
            "score": copy.score,
            "copy": copy.score >= threshold,
            "group": copy.group,
            "evidence": copy.evidence.shown(),
        }
        copies.append(shown | ({"metadata": copy.metadata} if options.with_metadata else {}))
    info = parts.encoder.info
    return {
        "copies": copies,
        "threshold": threshold,
        "calibration": found.calibration.model_dump(),
        "encoder": {"name": info.name, "fingerprint": info.fingerprint},
        "snapshot": found.snapshot,
        "timings_ms": times.milliseconds(),
    }


@route(
    router,
    "GET",
    COLLECTION + "/duplicates",
    scope="read",
    media_type=bodies.NDJSON,
)
async def find_duplicates(request: Request, collection: str) -> Response:
    """Groups of items that are copies of one another, as lines of JSON (see duplicates.find)."""
    parts, name = services(request), bodies.path_segment(collection)
    found = parts.catalogue.get(name)
    calibration = parts.desk.copies.calibration(name)
    if not parts.desk.one_scan.acquire(blocking=False):
        raise Overloaded(
            "A catalogue is being searched for duplicates.",
            accepted="one at a time; try again later",
            retry_after_s=10,
        )

    async def lines() -> AsyncIterator[bytes]:
        try:
            async for event in iterate_in_threadpool(duplicates.find(found, calibration)):
                yield orjson.dumps(event) + b"\n"
        finally:
            parts.desk.one_scan.release()

    return StreamingResponse(lines(), media_type=bodies.NDJSON)


@route(router, "GET", _CALIBRATION, scope="read", answer=desk_schemas.CalibrationAnswer)
async def get_calibration(request: Request, collection: str) -> Response:
    """What scores rest on, and how far a measurement is."""
    return _calibration(services(request), bodies.path_segment(collection))


@route(
    router,
    "POST",
    _CALIBRATION,
    scope="write",
    answer=desk_schemas.CalibrationAnswer,
    body=body_of(bodies.JSON, "CalibrationBody"),
)
async def calibrate(request: Request, collection: str) -> Response:
    """Start measuring the score on the collection's own pictures; it takes minutes."""
    parts, name = services(request), bodies.path_segment(collection)
    parts.catalogue.get(name)
    body = await bodies.read(request, parts.max_body_bytes)
    asked = bodies.parse_json(desk_schemas.CalibrationBody, body or b"{}")
    await parts.desk.calibrate(
        name,
        fingerprint=parts.encoder.info.fingerprint,
        count=asked.sample,
        false_positive_rate=asked.false_positive_rate,
        seed=asked.seed,
    )
    return _calibration(parts, name)


@route(router, "DELETE", _CALIBRATION, scope="write", answer=desk_schemas.CalibrationAnswer)
async def forget_calibration(request: Request, collection: str) -> Response:
    """Go back to the calibration that ships."""
    parts, name = services(request), bodies.path_segment(collection)
    parts.desk.copies.calibrate(name, None)
    return _calibration(parts, name)


def _calibration(parts: Services, name: str) -> Response:
    found = parts.desk.copies.calibration(name)
    job = parts.desk.calibrations.get(name)
    return json_response(
        {"calibration": found.model_dump(), "job": None if job is None else asdict(job)}
    )
