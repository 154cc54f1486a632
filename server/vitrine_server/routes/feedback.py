"""Feedback on hits: store, list, export for training, and quality over time."""

from __future__ import annotations

import re
from functools import partial

from fastapi import APIRouter, Request, Response

from vitrine_server import bodies, desk_schemas, feedback
from vitrine_server.errors import Invalid
from vitrine_server.rendering import json_response
from vitrine_server.routes.declare import COLLECTION, body_of, route
from vitrine_server.services import services

_FEEDBACK = COLLECTION + "/feedback"
_IMAGE = re.compile(rf"{feedback.IMAGE_QUERY}[0-9a-f]{{64}}")

router = APIRouter()


@route(
    router,
    "POST",
    _FEEDBACK,
    scope="write",
    answer=desk_schemas.FeedbackStored,
    body=body_of(bodies.JSON, "FeedbackBody"),
)
async def add_feedback(request: Request, collection: str) -> Response:
    """Say whether a hit was right or wrong."""
    parts, name = services(request), bodies.path_segment(collection)
    found = parts.catalogue.get(name)
    body = await bodies.read(request, parts.max_body_bytes)
    asked = bodies.parse_json(desk_schemas.FeedbackBody, body)
    query, item = asked.query, asked.item
    if query.startswith(feedback.IMAGE_QUERY) and not _IMAGE.fullmatch(query):
        raise Invalid(
            "The query is not the SHA-256 of an image.",
            field="query",
            accepted=f"{feedback.IMAGE_QUERY} and 64 hexadecimal digits, or the id of an item",
        )
    for item_id in [item] if _IMAGE.fullmatch(query) else [item, query]:
        await parts.pipeline.run(partial(found.get, item_id))
    journal = parts.desk.journals.of(name)
    number = await parts.pipeline.run(
        lambda: feedback.add(
            journal,
            query=query,
            item=item,
            verdict=asked.verdict,
            score=asked.score,
            rank=asked.rank,
            encoder=found.encoder.name,
            fingerprint=found.encoder.fingerprint,
            note=asked.note,
        )
    )
    return json_response({"number": number})


@route(router, "GET", _FEEDBACK, scope="read", answer=desk_schemas.FeedbackAnswer)
async def list_feedback(request: Request, collection: str) -> Response:
    """In the order in which it came: ?after=, ?limit=; ?format=csv is what training reads."""
    parts, name = services(request), bodies.path_segment(collection)
    asked = bodies.parse_query(desk_schemas.FeedbackOptions, request.query_params)
    journal = parts.desk.journals.of(name)
    if asked.format == "csv":
        text = await parts.pipeline.run(lambda: feedback.export(journal))
        return Response(text, media_type="text/csv")
    found = await parts.pipeline.run(
        lambda: feedback.listed(journal, after=asked.after, limit=asked.limit)
    )
    return json_response({"feedback": found, "next": found[-1]["number"] if found else asked.after})


@route(router, "GET", _FEEDBACK + "/quality", scope="read", answer=desk_schemas.QualityAnswer)
async def quality(request: Request, collection: str) -> Response:
    """Share of right hits by ?step=hour, day, week or month, and by encoder."""
    parts, name = services(request), bodies.path_segment(collection)
    asked = bodies.parse_query(desk_schemas.QualityOptions, request.query_params)
    journal = parts.desk.journals.of(name)
    found = await parts.pipeline.run(lambda: feedback.quality(journal, asked.step))
    return json_response({"quality": found})
