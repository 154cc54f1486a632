"""ASGI middleware: every request has an id, is counted and timed, and fails in one place."""

from __future__ import annotations

import asyncio
import os
import re
import time
from typing import TYPE_CHECKING

import structlog

from vitrine_server import logs
from vitrine_server.errors import VitrineError
from vitrine_server.rendering import problem_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from vitrine_server.metrics import Metrics

REQUEST_ID = "X-Request-ID"
CLIENT_CLOSED_REQUEST = 499  # nginx's number for a client that did not wait for its answer
# Keys of the ASGI scope: what a lost connection cancels, and that it was lost.
TASK = "vitrine.task"
DISCONNECTED = "vitrine.disconnected"

_ACCEPTED_ID = re.compile(rb"[\w.:-]{1,128}")
_log = structlog.get_logger(__name__)


class Observe:
    """Counts and times requests; routes paths as they were sent, so an id may hold %2F.

    log_requests: a line for each request; what the server failed has one in any case.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics, log_requests: bool) -> None:
        self._app = app
        self._metrics = metrics
        self._log_requests = log_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["path"] = scope.get("raw_path", scope["path"].encode()).decode("ascii", "replace")
        scope[TASK] = asyncio.current_task()
        name = request_id(scope)
        logs.enter(name.decode())
        started = time.perf_counter()
        status = 0

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", name))
            await send(message)

        try:
            await self._app(scope, receive, observed)
        except asyncio.CancelledError:
            if not scope.get(DISCONNECTED):
                raise
            status = CLIENT_CLOSED_REQUEST
        except VitrineError as error:
            await problem_response(error)(scope, receive, observed)
        except Exception as error:
            _log.error("request failed", path=scope["path"], exc_info=error)
            if status:
                raise  # the answer has begun: all that is left is to cut it off
            failed = VitrineError("The server failed; its log has the reason.")
            await problem_response(failed)(scope, receive, observed)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "unknown")
            self._metrics.observe_request(
                method=scope["method"], route=route, status=status, seconds=seconds
            )
            if self._log_requests:
                _log.info(
                    "request",
                    method=scope["method"],
                    route=route,
                    status=status,
                    ms=round(seconds * 1e3, 1),
                )


def request_id(scope: Scope) -> bytes:
    """The caller's id, where it is one that a log can hold; otherwise a new one."""
    for header, value in scope["headers"]:
        if header == b"x-request-id" and _ACCEPTED_ID.fullmatch(value):
            return bytes(value)
    return os.urandom(8).hex().encode()
