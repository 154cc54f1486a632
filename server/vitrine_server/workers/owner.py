"""The process that owns the index: the whole application, on Unix sockets, and gRPC.

Fronts search and write over one of them, in messages; whatever else they are asked for comes as
HTTP to the other. Both lie in a folder that only this user can enter.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import structlog

from vitrine_server import logs
from vitrine_server.app import create_app
from vitrine_server.errors import BadRequest, CollectionNotFound, VitrineError
from vitrine_server.http_server import Drain, make_server
from vitrine_server.metrics_sum import Snapshot, counts, total
from vitrine_server.workers import sockets, wire
from vitrine_server.workers.link import STREAM_LIMIT, Link
from vitrine_server.workers.wire import Message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fastapi import FastAPI

    from vitrine_server.collection import Collection
    from vitrine_server.config import Settings
    from vitrine_server.encoder import Encoder
    from vitrine_server.services import Services

_FRONT_S = 1.0

_log = structlog.get_logger(__name__)


class Owner:
    """What fronts ask for. Lives on the event loop of the application."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._fronts: dict[Link, Snapshot] = {}
        self._gone: Snapshot = []  # what fronts counted that have ended
        self._numbers = itertools.count(time.time_ns())  # no number of an earlier owner's
        self._tokens: WeakKeyDictionary[Collection, int] = WeakKeyDictionary()
        self._collections: WeakValueDictionary[int, Collection] = WeakValueDictionary()
        self._loop = asyncio.get_running_loop()

    @asynccontextmanager
    async def listening(self, path: Path) -> AsyncIterator[None]:
        """Answers fronts until the block ends."""
        server = await asyncio.start_unix_server(self._serve, str(path), limit=STREAM_LIMIT)
        self._services.catalogue.on_change = self._on_change
        self._services.metrics.elsewhere = self._figures
        try:
            yield
        finally:
            server.close()
            for link in list(self._fronts):
                link.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(reader, writer, self._handle)
        self._fronts[link] = []
        try:
            await link.run()
        finally:
            self._gone = counts(total([self._gone, self._fronts.pop(link)]))

    async def _handle(self, message: Message) -> Message:
        if message.kind == "learn":
            return self._describe(message.content)
        if message.kind == "spend":
            keys = self._services.keys
            return Message("ok", keys.settle(message.content) if keys else {})
        name, token, content = message.content
        collection = self._collections.get(token)
        if collection is None:
            raise CollectionNotFound(name)
        return await self._work(collection, message.kind, content, message.body)

    async def _work(self, collection: Collection, kind: str, content: Any, body: bytes) -> Message:
        pipeline = self._services.pipeline
        if kind == "search":
            queries, deadline = wire.queries_of(content, body)
            return wire.results_message(
                await pipeline.answer(collection, queries, deadline=deadline)
            )
        if kind == "upsert":
            items = wire.items_of(content, body)
            return Message("ok", await asyncio.wrap_future(collection.upsert(items)))
        if kind == "vector":
            return wire.vector_message(await pipeline.run(lambda: collection.vector(content)))
        if kind == "near":
            hashes, max_distance, limit = content
            near = await pipeline.run(
                lambda: collection.near_hashes(hashes, max_distance=max_distance, limit=limit)
            )
            return Message("ok", [(match.id, match.distance) for match in near])
        if kind == "keep":
            return Message("ok", await pipeline.run(lambda: collection.keep_original(body)))
        raise BadRequest(f"There is no call {kind!r}.")

    def _describe(self, name: str) -> Message:
        collection = self._services.catalogue.get(name)
        token = self._tokens.get(collection)
        if token is None:
            token = self._tokens[collection] = next(self._numbers)
            self._collections[token] = collection
        return Message(
            "ok",
            {
                "token": token,
                "settings": collection.settings.model_dump(mode="json"),
                "encoder": asdict(collection.encoder),
            },
        )

    def _on_change(self, name: str) -> None:
        """In a thread, before a change of the catalogue is answered: no front goes by what was."""
        asyncio.run_coroutine_threadsafe(self._forget(name), self._loop).result()

    async def _forget(self, name: str) -> None:
        async def tell(link: Link) -> None:
            try:
                await link.call(Message("forget", name), deadline=time.monotonic() + _FRONT_S)
            except VitrineError:
                link.close()  # it asks for everything anew when it comes back

        await asyncio.gather(*(tell(link) for link in self._fronts))

    async def _figures(self) -> Snapshot:
        """What the fronts have counted, those that have ended included."""

        async def ask(link: Link) -> None:
            try:
                answer = await link.call(Message("figures"), deadline=time.monotonic() + _FRONT_S)
            except VitrineError as error:
                _log.warning("a front does not tell its figures", reason=error.detail)
                return
            if link in self._fronts:
                self._fronts[link] = answer.content

        await asyncio.gather(*(ask(link) for link in self._fronts))
        return total([self._gone, *self._fronts.values()])


def run(settings: Settings, folder: Path, *, encoder: Encoder | None = None) -> None:
    """Serve the fronts until SIGTERM. encoder: instead of the published one behind Triton."""
    logs.configure(log_format=settings.log_format)
    drain = Drain()
    app = create_app(settings, encoder=encoder, drain=drain, with_grpc=settings.grpc_port > 0)
    app.router.lifespan_context = _with_fronts(app, sockets.owner_calls(folder))
    make_server(app, settings, drain=drain, unix_socket=sockets.owner_http(folder)).run()


def _with_fronts(app: FastAPI, path: Path) -> Any:
    """The application's lifespan, within which fronts are answered."""
    inner = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[Any]:
        async with inner(application) as state, Owner(app.state.services).listening(path):
            yield state

    return lifespan
