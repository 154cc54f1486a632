"""The server without Triton: `python -m vitrine_server.main` serves HTTP until SIGTERM."""

from __future__ import annotations

import sys

from vitrine_server import logs
from vitrine_server.addresses import CannotServe
from vitrine_server.api_keys import KeysUnusable
from vitrine_server.app import create_app
from vitrine_server.config import ConfigError, Settings, load_settings
from vitrine_server.http_server import Drain, make_server
from vitrine_server.manifest import ManifestError
from vitrine_server.supervisor import StartFailed
from vitrine_server.workers import processes


def run(settings: Settings) -> int:
    """Serve until SIGTERM or Ctrl-C; accepted requests are finished first. The exit code."""
    if settings.workers:
        return processes.serve(settings)
    logs.configure(log_format=settings.log_format)
    drain = Drain()
    make_server(
        create_app(settings, drain=drain, with_grpc=settings.grpc_port > 0), settings, drain=drain
    ).run()
    return 0


def main() -> None:
    try:
        sys.exit(run(load_settings()))
    except (CannotServe, ConfigError, KeysUnusable, ManifestError, StartFailed) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
