"""Alive, ready, metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from vitrine_server.errors import VitrineError
from vitrine_server.rendering import json_response
from vitrine_server.routes.declare import route
from vitrine_server.services import services

router = APIRouter()


@route(router, "GET", "/healthz", scope=None)
async def health(request: Request) -> Response:
    return json_response({"status": "ok"})


@route(router, "GET", "/readyz", scope=None)
async def ready(request: Request) -> Response:
    parts = services(request)
    checks: dict[str, Any] = {"encoder": "ok", "store": "ok", "server": "ok"}
    if parts.drain.started:
        checks["server"] = "stopping"
    try:
        await parts.encoder.check()
    except VitrineError as error:
        checks["encoder"] = error.detail
    if parts.catalogue.damaged:
        names = ", ".join(sorted(parts.catalogue.damaged))
        checks["store"] = f"damaged collections: {names}"
    able = checks["encoder"] == checks["server"] == "ok"
    return json_response({"ready": able, "checks": checks}, status=200 if able else 503)


@route(router, "GET", "/metrics", scope="read", media_type="text/plain")
async def metrics(request: Request) -> Response:
    return Response(services(request).metrics.render(), media_type="text/plain; version=0.0.4")
