"""Alive, ready, metrics."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
from fastapi import APIRouter, Request, Response

from vitrine_server.errors import Unavailable, VitrineError
from vitrine_server.rendering import PROBLEM, json_response, problem
from vitrine_server.routes.declare import route
from vitrine_server.services import core, services

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vitrine_server.services import Core

# A decode takes a second at most; a thread that is stuck in one comes back with a new process only.
_STUCK_S = 30.0
_CHECK_S = 1.5  # the supervisor and orchestrators wait about two seconds

router = APIRouter()


@route(router, "GET", "/healthz", scope=None)
async def health(request: Request) -> Response:
    """Whether the process should live: its loop answers, and no decode is stuck in a thread."""
    stuck_s = core(request).pipeline.longest_decode_s
    if stuck_s > _STUCK_S:
        raise Unavailable(f"An image has been decoding for {stuck_s:.0f} s.", code="wedged")
    return json_response({"status": "ok"})


@route(router, "GET", "/readyz", scope=None)
async def ready(request: Request) -> Response:
    parts = services(request)
    checks = {**await readiness(parts), "store": "ok"}
    if parts.catalogue.damaged:
        names = ", ".join(sorted(parts.catalogue.damaged))
        checks["store"] = f"damaged collections: {names}"
    if checks["encoder"] == checks["server"] == "ok":
        return json_response({"ready": True, "checks": checks})
    return not_ready(checks)


async def readiness(parts: Core) -> dict[str, str]:
    """Of this process: "ok", or why it should not be asked."""
    checks = {"encoder": "ok", "server": "stopping" if parts.drain.started else "ok"}
    try:
        await asyncio.wait_for(parts.encoder.check(), _CHECK_S)
    except VitrineError as error:
        checks["encoder"] = error.detail
    except asyncio.TimeoutError:
        checks["encoder"] = f"The encoder did not answer within {_CHECK_S:g} s."
    return checks


def not_ready(checks: Mapping[str, str]) -> Response:
    """503 as a problem, with `ready` and `checks` as a 200 has them."""
    failed = "; ".join(f"{name}: {found}" for name, found in checks.items() if found != "ok")
    shown = problem(Unavailable(failed, code="not_ready")) | {"ready": False, "checks": checks}
    return Response(orjson.dumps(shown), 503, media_type=PROBLEM)


@route(router, "GET", "/metrics", scope="read", media_type="text/plain")
async def metrics(request: Request) -> Response:
    text = await services(request).metrics.render()
    return Response(text, media_type="text/plain; version=0.0.4")
