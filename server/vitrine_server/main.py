"""The sidecar's process: `python -m vitrine_server.main` serves HTTP until SIGTERM."""

from __future__ import annotations

import logging
import sys

import structlog
import uvicorn

from vitrine_server.app import create_app
from vitrine_server.config import ConfigError, Settings, load_settings
from vitrine_server.manifest import ManifestError


def run(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C; accepted requests are finished first."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.http_port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=int(settings.request_timeout_s) + 1,
        server_header=False,
    )


def main() -> None:
    try:
        run(load_settings())
    except (ConfigError, ManifestError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
