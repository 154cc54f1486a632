"""Answers: JSON, and errors as RFC 9457 problem details."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from starlette.responses import Response

from vitrine_server.errors import forget_frames

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vitrine_server.errors import VitrineError
    from vitrine_server.metrics import StageTimes
    from vitrine_server.services import Core

PROBLEM = "application/problem+json"


def json_response(
    content: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """NumPy arrays become lists."""
    text = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(text, status, headers=headers, media_type="application/json")


def timed_response(parts: Core, answer: object, times: StageTimes) -> Response:
    """Show the stage times in Server-Timing and count them in the metrics."""
    parts.metrics.observe_stages(times)
    return json_response(answer, headers={"Server-Timing": times.server_timing()})


def problem(error: VitrineError) -> dict[str, Any]:
    """Problem details of an error, which ends here."""
    forget_frames(error)
    shown: dict[str, Any] = {
        "type": f"urn:vitrine:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
    }
    if error.field is not None:
        shown["field"] = error.field
    if error.accepted is not None:
        shown["accepted"] = error.accepted
    return shown


def problem_headers(error: VitrineError) -> dict[str, str]:
    """What an error says in headers."""
    if error.retry_after_s is None:
        return {}
    return {"retry-after": str(max(1, round(error.retry_after_s)))}


def problem_response(error: VitrineError) -> Response:
    return Response(
        orjson.dumps(problem(error)),
        error.status,
        headers=problem_headers(error),
        media_type=PROBLEM,
    )
