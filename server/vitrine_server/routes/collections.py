"""Collections: list, create, describe, drop, back up, restore."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from vitrine_server import bodies, schemas
from vitrine_server.backup import BackupManifest
from vitrine_server.errors import Conflict, NotFound
from vitrine_server.records import CollectionSettings
from vitrine_server.rendering import json_response
from vitrine_server.routes.declare import COLLECTION, body_of, route
from vitrine_server.services import services

if TYPE_CHECKING:
    from pathlib import Path

    from vitrine_server.records import CollectionInfo
    from vitrine_server.services import Services

_BACKUPS = "backups"

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


@route(
    router,
    "POST",
    COLLECTION + "/backup",
    scope="admin",
    answer=BackupManifest,
    body=body_of(bodies.JSON, "BackupBody"),
)
async def backup(request: Request, collection: str) -> Response:
    """Write it to a new file on the server, while it is used. The answer comes when the file is on
    disk and checked.
    """
    parts, name = services(request), bodies.path_segment(collection)
    body = await bodies.read(request, parts.max_body_bytes)
    archive = _archive(parts, bodies.parse_json(schemas.BackupBody, body))
    if archive.exists():
        raise Conflict(
            f"There is a backup {archive.name!r} already.",
            code="backup_exists",
            field="file",
            accepted="another name",
        )
    archive.parent.mkdir(exist_ok=True)
    manifest = await asyncio.to_thread(parts.catalogue.backup, name, archive)
    return json_response(manifest.model_dump())


@route(
    router,
    "POST",
    COLLECTION + "/restore",
    scope="admin",
    answer=schemas.CollectionAnswer,
    body=body_of(bodies.JSON, "RestoreBody"),
)
async def restore(request: Request, collection: str) -> Response:
    """Make it of a backup on the server. With `replace`, searches go on in the old content until
    the new one, which was checked, answers them.
    """
    parts, name = services(request), bodies.path_segment(collection)
    asked = bodies.parse_json(schemas.RestoreBody, await bodies.read(request, parts.max_body_bytes))
    archive = _archive(parts, asked)
    if not archive.is_file():
        raise NotFound(
            f"There is no backup {archive.name!r}.",
            code="backup_not_found",
            field="file",
            accepted=f"a file in the folder {_BACKUPS} of the server's data folder",
        )
    info = await asyncio.to_thread(parts.catalogue.restore, name, archive, replace=asked.replace)
    return json_response(_shown(info))


def _archive(parts: Services, asked: schemas.BackupBody) -> Path:
    return parts.settings.data / _BACKUPS / asked.file


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
