"""The sidecar with an encoder that stands in for Triton, as a process of its own.

`python served_process.py '{"settings": {…}, "encoder": {…}}'` serves until SIGTERM.
"""

from __future__ import annotations

import json
import sys

from standing import StandIn

from vitrine_server import logs
from vitrine_server.app import create_app
from vitrine_server.config import Settings
from vitrine_server.http_server import Drain, make_server


def main() -> None:
    asked = json.loads(sys.argv[1])
    logs.configure(log_format="json")
    settings = Settings(**asked["settings"])
    drain = Drain()
    app = create_app(
        settings,
        encoder=StandIn(**asked["encoder"]),
        drain=drain,
        with_grpc="grpc_port" in asked["settings"],
    )
    make_server(app, settings, drain=drain).run()


if __name__ == "__main__":
    main()
