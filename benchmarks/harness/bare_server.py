"""The application with two routes that do nothing: what any request costs on this server.

`python -m harness.bare_server` takes the settings of the server from the environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from vitrine_server.app import create_app
from vitrine_server.config import load_settings
from vitrine_server.http_server import Drain, make_server
from vitrine_server.rendering import json_response

if TYPE_CHECKING:
    from starlette.requests import Request

NOTHING = "/bare/nothing"
ECHO = "/bare/echo"


async def nothing(request: Request) -> Response:
    """A short JSON answer; the body is read and dropped."""
    await request.body()
    return json_response({"ok": True})


async def echo(request: Request) -> Response:
    """The body, as it came."""
    return Response(await request.body(), media_type="application/octet-stream")


def main() -> None:
    settings, drain = load_settings(), Drain()
    app = create_app(settings, drain=drain)
    app.router.routes[:0] = [
        Route(NOTHING, nothing, methods=["POST"]),
        Route(ECHO, echo, methods=["POST"]),
    ]
    make_server(app, settings, drain=drain).run()


if __name__ == "__main__":
    main()
