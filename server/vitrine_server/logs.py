"""Structured logs: level, time, request and the name of its key; never an image or a key itself."""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING

import structlog

from vitrine_server import api_keys

if TYPE_CHECKING:
    from structlog.typing import EventDict, Processor, WrappedLogger

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


def enter(request_id: str) -> None:
    """Name the request that this task answers in its log lines."""
    _request_id.set(request_id)


def configure(*, log_format: str) -> None:
    """Log lines on standard error, for people ("text") or machines ("json")."""
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            _add_request,
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _add_request(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    if (request_id := _request_id.get()) is not None:
        event["request_id"] = request_id
        event["key"] = api_keys.caller().name
    return event
