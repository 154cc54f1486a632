"""Two pictures: their score and the evidence for it."""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import cv2
import simplejpeg
from fastapi import APIRouter, Request, Response

from vitrine_server import (
    bodies,
    comparison_report,
    desk_schemas,
    figures,
    report_pdf,
    schemas,
)
from vitrine_server.catalogue import DEFAULT
from vitrine_server.compare import Source
from vitrine_server.errors import Invalid
from vitrine_server.metrics import StageTimes
from vitrine_server.rendering import json_response
from vitrine_server.routes.declare import body_of, route
from vitrine_server.services import services

if TYPE_CHECKING:
    from vitrine_server.compare import Comparison, Side
    from vitrine_server.explain import Pixels

_VIEW_QUALITY = 85

router = APIRouter()


@route(
    router,
    "POST",
    "/v1/compare",
    scope="read",
    answer=schemas.CompareAnswer,
    body=body_of(bodies.JSON, "CompareBody"),
)
async def compare(request: Request) -> Response:
    """Score, heat maps, matching regions, and for drawings what differs after alignment."""
    parts = services(request)
    body = await bodies.read(request, parts.max_body_bytes)
    asked = bodies.parse_json(schemas.CompareBody, body)
    found = await parts.comparer.compare(_source(asked.a, "a"), _source(asked.b, "b"))
    info = parts.encoder.info
    shown = _shown(found)
    return json_response(shown | {"encoder": {"name": info.name, "fingerprint": info.fingerprint}})


@route(
    router,
    "POST",
    "/v1/compare/reports",
    scope="read",
    answer=desk_schemas.ComparisonReportAnswer,
    body=body_of(bodies.JSON, "ComparisonReportBody"),
)
async def make_report(request: Request) -> Response:
    """Compare, and say everything that the answer rests on; `format`: json, csv or pdf."""
    parts = services(request)
    body = await bodies.read(request, parts.max_body_bytes)
    asked = bodies.parse_json(desk_schemas.ComparisonReportBody, body)
    a, b = _source(asked.a, "a"), _source(asked.b, "b")
    found = await parts.comparer.compare(a, b)
    content = await comparison_report.content(
        parts, a, b, found, class_field=asked.class_field, times=StageTimes()
    )
    if asked.format == "json":
        return json_response(content)
    if asked.format == "csv":
        return Response(comparison_report.as_csv(content), media_type="text/csv")
    made = await parts.pipeline.run(lambda: report_pdf.comparison(content, figures.of(found)))
    return Response(made, media_type="application/pdf")


def _source(given: schemas.CompareSource, where: str) -> Source:
    if (given.image is None) == (given.item_id is None) or (given.image and given.collection):
        raise Invalid(
            f"{where} must be one picture.",
            field=where,
            accepted="image (base64), or item_id with its collection",
        )
    if given.item_id is not None:
        return Source(where, collection=given.collection or DEFAULT, item_id=given.item_id)
    return Source(where, image=bodies.decode_base64(given.image or "", field=f"{where}.image"))


def _shown(found: Comparison) -> dict[str, Any]:
    difference = None
    if found.difference is not None:
        difference = {
            "pose": asdict(found.difference.pose),
            "agreement": found.difference.agreement,
            "overlay": _png(found.difference.overlay),
        }
    a, b = (_side(side) for side in found.sides)
    return {
        "score": found.score,
        "shown_score": found.shown_score,
        "a": a,
        "b": b,
        "matches": [asdict(match) for match in found.matches],
        "difference": difference,
    }


def _side(side: Side) -> dict[str, Any]:
    jpeg = simplejpeg.encode_jpeg(side.view, _VIEW_QUALITY, colorspace="RGB")
    return {
        "view": _data_uri("image/jpeg", jpeg),
        "heat": side.heat,
        "fall_top": side.fall_top,
        "fall_random": side.fall_random,
    }


def _png(pixels: Pixels) -> str:
    _, encoded = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    return _data_uri("image/png", encoded.tobytes())


def _data_uri(media_type: str, data: bytes) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
