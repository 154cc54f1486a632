"""Collections: list, create, describe, drop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from vitrine_server import bodies, schemas
from vitrine_server.records import CollectionSettings
from vitrine_server.rendering import json_response
from vitrine_server.routes.declare import COLLECTION, body_of, route
from vitrine_server.services import services

if TYPE_CHECKING:
    from vitrine_server.records import CollectionInfo

router = APIRouter()


@route(router, "GET", "/v1/collections", scope="read", answer=schemas.CollectionsAnswer)
async def list_collections(request: Request) -> Response:
    parts = services(request)
    infos = await parts.pipeline.run(parts.catalogue.list)
    shown = [_shown(info) for info in infos]
    return json_response({"collections": shown, "text_queries": parts.encoder.has_text})


@route(
    router,
    "PUT",
    COLLECTION,
    scope="admin",
    answer=schemas.CollectionAnswer,
    body=body_of(bodies.JSON, "CollectionSettings"),
)
async def put_collection(request: Request, collection: str) -> Response:
    parts, name = services(request), bodies.path_segment(collection)
    body = await bodies.read(request, parts.max_body_bytes)
    settings = bodies.parse_json(CollectionSettings, body or b"{}")
    made = await parts.pipeline.run(lambda: parts.catalogue.create(name, settings))
    return json_response(_shown(made.describe()))


@route(router, "GET", COLLECTION, scope="read", answer=schemas.CollectionAnswer)
async def get_collection(request: Request, collection: str) -> Response:
    found = services(request).catalogue.get(bodies.path_segment(collection))
    return json_response(_shown(found.describe()))


@route(router, "DELETE", COLLECTION, scope="admin")
async def delete_collection(request: Request, collection: str) -> Response:
    parts, name = services(request), bodies.path_segment(collection)
    await parts.pipeline.run(lambda: parts.catalogue.drop(name))
    return json_response({"name": name, "deleted": True})


def _shown(info: CollectionInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        **info.settings.model_dump(mode="json"),
        "index": {"setting": info.settings.index, **info.index},
        "count": info.count,
        "sequence": info.sequence,
        "encoder": {"name": info.encoder.name, "fingerprint": info.encoder.fingerprint},
        "dimension": info.encoder.dimension,
        "snapshot": info.snapshot,
        "read_only": info.read_only,
    }
