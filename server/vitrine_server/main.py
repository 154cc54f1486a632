"""The sidecar's process: `python -m vitrine_server.main` serves HTTP until SIGTERM."""

from __future__ import annotations

import sys

from vitrine_server import logs
from vitrine_server.api_keys import KeysUnusable
from vitrine_server.app import create_app
from vitrine_server.config import ConfigError, Settings, load_settings
from vitrine_server.http_server import Drain, make_server
from vitrine_server.manifest import ManifestError


def run(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C; accepted requests are finished first."""
    logs.configure(log_format=settings.log_format)
    drain = Drain()
    make_server(
        create_app(settings, drain=drain, with_grpc=settings.grpc_port > 0), settings, drain=drain
    ).run()


def main() -> None:
    try:
        run(load_settings())
    except (ConfigError, KeysUnusable, ManifestError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
