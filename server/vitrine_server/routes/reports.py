"""Reports: a search with everything that it rests on, as JSON, CSV or PDF."""

from __future__ import annotations

import hashlib
import time
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from vitrine_server import bodies, desk_schemas, images, report, report_pdf, schemas
from vitrine_server.errors import Invalid
from vitrine_server.metrics import StageTimes
from vitrine_server.pipeline import Part, check_rerank
from vitrine_server.records import check_vector, iso_time
from vitrine_server.rendering import json_response
from vitrine_server.routes.declare import COLLECTION, body_of, route
from vitrine_server.routes.search import query_parts
from vitrine_server.services import services

if TYPE_CHECKING:
    from vitrine_server.collection import Collection
    from vitrine_server.services import Services

router = APIRouter()


@route(
    router,
    "POST",
    COLLECTION + "/reports",
    scope="read",
    answer=desk_schemas.ReportAnswer,
    body=body_of(bodies.JSON, "ReportBody"),
)
async def make_report(request: Request, collection: str) -> Response:
    """Search, and say everything that the answer rests on; `format`: json, csv or pdf."""
    parts, name = services(request), bodies.path_segment(collection)
    found = parts.catalogue.get(name)
    body = await bodies.read(request, parts.max_body_bytes)
    asked = bodies.parse_json(desk_schemas.ReportBody, body)
    if found.settings.metric not in ("cosine", "inner_product"):
        raise Invalid(
            f"Collection {name!r} compares by {found.settings.metric}.",
            field="collection",
            accepted="a collection whose metric is cosine or inner_product",
        )
    given = asked.model_dump(exclude={"format", "class_field"})
    query = query_parts(schemas.SearchBody.model_validate(given))
    content, pictures = await _content(parts, found, asked, query)
    if asked.format == "json":
        return json_response(content)
    if asked.format == "csv":
        return Response(report.as_csv(content), media_type="text/csv")
    shown = [
        picture
        for part in query
        if (picture := await parts.pipeline.run(partial(_query_picture, parts, found, part)))
    ]
    made = await parts.pipeline.run(lambda: report_pdf.search(content, shown, pictures))
    return Response(made, media_type="application/pdf")


async def _content(
    parts: Services, found: Collection, asked: desk_schemas.ReportBody, query: list[Part]
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The report, and the hits' thumbnails."""
    times = StageTimes()
    options = schemas.SearchOptions.model_validate(
        asked.model_dump(include=set(schemas.SearchOptions.model_fields))
    )
    check_rerank(query, options)
    vector = await parts.pipeline.vector(found.name, query, times)
    checked = check_vector(vector, found.encoder.dimension, found.settings.metric)
    info = found.describe()
    asking = [Part(vector=checked)]
    result = await parts.pipeline.search(found.name, asking, options, times)
    shares, compared = await parts.pipeline.run(
        lambda: report.percentiles(found, checked, result.hits, asked.class_field)
    )
    hits, pictures = [], {}
    for rank, hit in enumerate(result.hits, start=1 + options.offset):
        record = await parts.pipeline.run(partial(found.get, hit.id))
        picture = await parts.pipeline.run(partial(found.thumbnail, hit.id))
        if picture is not None:
            pictures[hit.id] = picture
        hits.append(
            {
                "rank": rank,
                "id": hit.id,
                "score": round(hit.score, 6),
                **shares[hit.id],
                "group": hit.group,
                "sequence": record.sequence,
                "stored": record.updated,
                "metadata": hit.metadata if options.with_metadata else {},
                "thumbnail_sha256": None if picture is None else _sha256(picture),
            }
        )
    content: dict[str, Any] = {
        "format": report.FORMAT,
        "kind": "search",
        "created": iso_time(time.time_ns() // 1000),
        "server": f"vitrine-server {version('vitrine-server')}",
        "collection": {
            "name": info.name,
            "count": info.count,
            "sequence": info.sequence,
            "snapshot": result.snapshot,
            "settings": info.settings.model_dump(),
            "index": {"family": info.index.get("family")},
        },
        "encoder": {"name": info.encoder.name, "fingerprint": info.encoder.fingerprint},
        "query": [_described(part) for part in query],
        "options": options.model_dump() | {"class_field": asked.class_field},
        "compared": compared,
        "hits": hits,
    }
    return content | {"digest": report.digest(content)}, pictures


def _described(part: Part) -> dict[str, Any]:
    shown: dict[str, Any] = {"weight": part.weight}
    if part.image is not None:
        return shown | {"image_sha256": _sha256(part.image), "image_bytes": len(part.image)}
    if part.vector is not None:
        return shown | {"vector": part.vector}
    return shown | ({"text": part.text} if part.text is not None else {"item_id": part.item_id})


def _query_picture(parts: Services, found: Collection, part: Part) -> bytes | None:
    if part.image is not None:
        preprocessing = parts.encoder.info.preprocessing
        return images.decode_with_thumbnail(part.image, preprocessing).thumbnail
    return found.thumbnail(part.item_id) if part.item_id is not None else None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
