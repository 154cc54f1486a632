"""The sidecar with an encoder that stands in for Triton, as a process of its own.

`python served_process.py '{"settings": {…}, "encoder": {…}}'` serves until SIGTERM; with workers it
starts itself again for each of their processes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from standing import StandIn

from vitrine_server import logs
from vitrine_server.app import create_app
from vitrine_server.config import Settings
from vitrine_server.http_server import Drain, make_server
from vitrine_server.workers import front, owner, processes


def main() -> None:
    asked = json.loads(sys.argv[1])
    settings = Settings(**asked["settings"])
    match sys.argv[2:]:
        case []:
            if settings.workers:
                program = [sys.executable, __file__, sys.argv[1]]
                sys.exit(processes.serve(settings, program=program))
            logs.configure(log_format="json")
            drain = Drain()
            app = create_app(
                settings,
                encoder=StandIn(**asked["encoder"]),
                drain=drain,
                with_grpc="grpc_port" in asked["settings"],
            )
            make_server(app, settings, drain=drain).run()
        case ["owner", folder]:
            owner.run(settings, Path(folder), encoder=StandIn(**asked["encoder"]))
        case ["front", folder, number]:
            encoder = StandIn(**asked["encoder"])
            front.run(settings, Path(folder), int(number), encoder=encoder)


if __name__ == "__main__":
    main()
