"""Watches, and the alerts that they made."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from vitrine_server import bodies, desk_schemas, schemas, watches, webhooks
from vitrine_server.errors import Invalid
from vitrine_server.metrics import StageTimes
from vitrine_server.rendering import json_response
from vitrine_server.routes.declare import COLLECTION, body_of, route
from vitrine_server.routes.search import query_parts
from vitrine_server.services import services

if TYPE_CHECKING:
    from collections.abc import Sequence

_WATCHES = COLLECTION + "/watches"

router = APIRouter()


@route(
    router,
    "POST",
    _WATCHES,
    scope="write",
    answer=desk_schemas.NewWatchAnswer,
    body=body_of(bodies.JSON, "WatchBody"),
)
async def add_watch(request: Request, collection: str) -> Response:
    """Save a search that fires for what is ingested from now on."""
    parts, name = services(request), bodies.path_segment(collection)
    found = parts.catalogue.get(name)
    body = await bodies.read(request, parts.max_body_bytes)
    asked = bodies.parse_json(desk_schemas.WatchBody, body)
    if asked.webhook is not None:
        webhooks.check_url(asked.webhook)
        if not parts.settings.webhook_networks:
            raise Invalid(
                "This server sends no webhooks.",
                code="webhooks_off",
                field="webhook",
                accepted="no webhook; or networks in VITRINE_WEBHOOK_NETWORKS",
            )
    fields = asked.model_dump(include={"image", "vector", "text", "item_id", "queries"})
    query = query_parts(schemas.SearchBody.model_validate(fields))
    vector = await parts.pipeline.vector(name, query, StageTimes())
    given: Sequence[schemas.QueryPart] = asked.queries or [asked]
    described = [_described(part) for part in given]
    journal = parts.desk.journals.of(name)
    made = await parts.pipeline.run(
        lambda: watches.add(
            journal,
            found,
            watch_id=asked.id,
            vector=vector,
            min_score=asked.min_score,
            filter=asked.filter,
            webhook=asked.webhook,
            query={"parts": described},
        )
    )
    return json_response(made.shown() | {"secret": made.secret})


@route(router, "GET", _WATCHES, scope="read", answer=desk_schemas.WatchesAnswer)
async def list_watches(request: Request, collection: str) -> Response:
    parts, name = services(request), bodies.path_segment(collection)
    journal = parts.desk.journals.of(name)
    found = await parts.pipeline.run(lambda: watches.listed(journal))
    return json_response({"watches": [watch.shown() for watch in found]})


@route(router, "DELETE", _WATCHES + "/{watch}", scope="write", answer=desk_schemas.WatchesAnswer)
async def delete_watch(request: Request, collection: str, watch: str) -> Response:
    """Its alerts stay, and are no longer sent."""
    parts, name = services(request), bodies.path_segment(collection)
    journal, watch_id = parts.desk.journals.of(name), bodies.path_segment(watch)
    await parts.pipeline.run(lambda: watches.delete(journal, watch_id))
    found = await parts.pipeline.run(lambda: watches.listed(journal))
    return json_response({"watches": [each.shown() for each in found]})


@route(router, "GET", COLLECTION + "/alerts", scope="read", answer=desk_schemas.AlertsAnswer)
async def list_alerts(request: Request, collection: str) -> Response:
    """Alerts in the order in which they were made: ?after=, ?limit=, ?watch=."""
    parts, name = services(request), bodies.path_segment(collection)
    asked = bodies.parse_query(desk_schemas.AlertsOptions, request.query_params)
    journal = parts.desk.journals.of(name)
    found = await parts.pipeline.run(
        lambda: watches.alerts(journal, after=asked.after, limit=asked.limit, watch=asked.watch)
    )
    return json_response({"alerts": found, "next": found[-1]["number"] if found else asked.after})


def _described(part: schemas.QueryPart) -> dict[str, Any]:
    """What people can recognise it by; an image by its SHA-256."""
    shown: dict[str, Any] = {"weight": getattr(part, "weight", 1.0)}
    if part.image is not None:
        data = bodies.decode_base64(part.image, field="image")
        return shown | {"image_sha256": hashlib.sha256(data).hexdigest()}
    if part.vector is not None:
        return shown | {"vector": len(part.vector)}
    return shown | ({"text": part.text} if part.text is not None else {"item_id": part.item_id})
