"""A process that serves HTTP beside others on the same port, for the owner of the index.

It answers searches, writes of items and embeddings itself and passes everything else on. What the
settings allow is for the whole server: each front gets its share.
"""

from __future__ import annotations

import asyncio
import math
import re
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI, Request, Response
from starlette.middleware import Middleware

from vitrine_server import logs
from vitrine_server.assembly import Assembly
from vitrine_server.errors import VitrineError
from vitrine_server.http_server import Drain, make_server
from vitrine_server.metrics_sum import snapshot
from vitrine_server.routes import embeddings, items, search
from vitrine_server.routes.declare import route
from vitrine_server.routes.system import health, not_ready, readiness
from vitrine_server.services import core
from vitrine_server.workers import sockets
from vitrine_server.workers.forward import Forward
from vitrine_server.workers.remote import Learn, Owner, RemoteCatalogue
from vitrine_server.workers.wire import Message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.types import ASGIApp, Receive, Scope, Send

    from vitrine_server.api_keys import Keys
    from vitrine_server.config import Settings
    from vitrine_server.encoder import Encoder

_OWN_CALLS = re.compile(
    r"POST /v1/(collections/[^/]+/(search|items:batch)|embeddings)"
    r"|PUT /v1/collections/[^/]+/items/.+(?<!/metadata)"
    r"|GET /(healthz|readyz)"
)
_SPENT_S = 0.1
_OWNER_S = 10.0


def share(settings: Settings) -> Settings:
    """What one of the fronts may use of what the settings allow."""
    count = settings.workers
    body_mb = settings.max_body_mb
    return settings.model_copy(
        update={
            "cache_mb": settings.cache_mb / count,
            "decode_threads": math.ceil(settings.decode_threads / count),
            "encoder_calls": math.ceil(settings.encoder_calls / count),
            "max_connections": math.ceil(settings.max_connections / count),
            "max_buffered_mb": max(settings.max_buffered_mb / count, body_mb),
        }
    )


def create_front(
    settings: Settings, folder: Path, *, drain: Drain, encoder: Encoder | None = None
) -> ASGIApp:
    """The front as an ASGI application. folder: where the owner's sockets are.

    Raises what `create_app` raises.
    """
    assembly = Assembly(share(settings), encoder=encoder)
    owner = Owner(sockets.owner_calls(folder))
    catalogue = RemoteCatalogue(owner)
    forward = Forward(sockets.owner_http(folder))

    async def answer(message: Message) -> Message:
        if message.kind == "forget":
            catalogue.forget(message.content)
            return Message("ok")
        return Message("ok", snapshot(assembly.metrics.registry))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        tasks = [asyncio.create_task(owner.stay_connected(answer, catalogue.forget))]
        if assembly.keys is not None:
            tasks.append(asyncio.create_task(_count_spent(assembly.keys, owner)))
        try:
            async with assembly.open(catalogue, drain=drain, processes=settings.workers) as parts:
                app.state.services = parts
                # others may be serving: it takes no connection for which it would have no index
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(owner.connected.wait(), _OWNER_S)
                yield assembly.state(parts)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    router = APIRouter()
    route(router, "GET", "/healthz", scope=None)(health)

    @route(router, "GET", "/readyz", scope=None)
    async def ready(request: Request) -> Response:
        """Ready when this process is and the owner says that it is."""
        checks = await readiness(core(request))
        if set(checks.values()) == {"ok"}:
            return _Forwarded(forward)
        return not_ready(checks)

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    assembly.surround(
        app,
        [search.router, items.router, embeddings.router, router],
        before=[Middleware(Learn, catalogue=catalogue)],
    )
    return _Front(app, forward)


class _Front:
    """Own calls to the application, all others to the owner."""

    def __init__(self, app: ASGIApp, forward: Forward) -> None:
        self._app = app
        self._forward = forward

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            call = f"{scope['method']} {scope['raw_path'].decode('ascii', 'replace')}"
            if _OWN_CALLS.fullmatch(call) is None:
                await self._forward(scope, receive, send)
                return
        await self._app(scope, receive, send)


class _Forwarded(Response):
    """The owner's answer to the request."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self._forward = forward

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._forward(scope, receive, send)


async def _count_spent(keys: Keys, owner: Owner) -> None:
    """The owner counts what all fronts let through, so that a key's rate is for all of them."""
    while True:
        await asyncio.sleep(_SPENT_S)
        if spent := keys.take_spent():
            with suppress(VitrineError):
                keys.correct((await owner.call(Message("spend", spent))).content)


def run(settings: Settings, folder: Path, number: int, *, encoder: Encoder | None = None) -> None:
    """Serve until SIGTERM, as front `number`. encoder: instead of the published one."""
    logs.configure(log_format=settings.log_format)
    drain = Drain()
    app = create_front(settings, folder, drain=drain, encoder=encoder)
    private = socket.socket(socket.AF_UNIX)
    path = sockets.front_http(folder, number)
    path.unlink(missing_ok=True)
    private.bind(str(path))
    server = make_server(app, share(settings), drain=drain)
    server.run(sockets=[listener(settings), private])


def listener(settings: Settings) -> socket.socket:
    """One of several sockets on the server's port; the kernel spreads new connections over them.

    A socket that all fronts accept from gives a burst of connections to whoever wakes first, and
    keeps it there.
    """
    family, _, _, _, address = socket.getaddrinfo(
        settings.host, settings.http_port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    opened.bind(address)
    return opened
