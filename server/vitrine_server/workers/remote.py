"""The owner's collections, as the pipeline of a front uses them.

What a front knows of a collection (its settings, its vector space) it has asked for, and it forgets
it before a change of the catalogue is answered. The `token` stands for one collection: after a
collection was dropped and made anew, requests that began before still mean the old one.
"""

from __future__ import annotations

import asyncio
import math
import re
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from vitrine_server import deadlines
from vitrine_server.bodies import path_segment
from vitrine_server.errors import VitrineError
from vitrine_server.records import CollectionSettings, EncoderIdentity, HashMatch
from vitrine_server.search_batches import gathered
from vitrine_server.workers import wire
from vitrine_server.workers.link import Link, unavailable
from vitrine_server.workers.wire import Message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from starlette.types import ASGIApp, Receive, Scope, Send

    from vitrine_server.records import NewItem, SearchQuery, SearchResult
    from vitrine_server.search_batches import InThread, Searches

# One on its way while the owner works on the other.
_SEARCH_CALLS = 2
_LEARN_S = 2.0
_RECONNECT_S = 0.05
_NAMED = re.compile(r"/v1/collections/([^/]+)/")


class Owner:
    """The connection to the owner, made again whenever it is lost."""

    def __init__(self, path: Path) -> None:
        self.connected = asyncio.Event()
        self._path = path
        self._link: Link | None = None

    async def call(self, message: Message, *, deadline: float = math.inf) -> Message:
        """Raises what `Link.call` raises; Unavailable at once when there is no connection."""
        if self._link is None:
            raise unavailable()
        return await self._link.call(message, deadline=deadline)

    async def stay_connected(
        self, handle: Callable[[Message], Awaitable[Message]], on_connect: Callable[[], None]
    ) -> None:
        """Runs until it is cancelled. handle: answers the owner's calls. on_connect: what was
        known of the owner may be out of date.
        """
        while True:
            with suppress(OSError):
                link = await Link.connect(str(self._path), handle)
                on_connect()
                self._link = link
                self.connected.set()
                try:
                    await link.run()
                finally:
                    self._link = None
                    self.connected.clear()
                    link.close()
            await asyncio.sleep(_RECONNECT_S)


class RemoteCollection:
    """One collection of the owner's, as a front knows it."""

    def __init__(self, owner: Owner, name: str, description: dict[str, Any]) -> None:
        """description: the owner's answer to "learn"."""
        self.name = name
        self.settings = CollectionSettings.model_validate(description["settings"])
        self.encoder = EncoderIdentity(**description["encoder"])
        self._token: int = description["token"]
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._gathered: Searches | None = None

    def searches(self, in_thread: InThread) -> Searches:
        """Searches gathered into batches for the owner."""
        if self._gathered is None:
            self._gathered = gathered(self._search, concurrency=_SEARCH_CALLS)
        return self._gathered

    async def _search(
        self, queries: Sequence[SearchQuery], deadline: float
    ) -> list[SearchResult | VitrineError]:
        message = self._message("search", *wire.packed_queries(queries, deadline))
        return wire.results_of(await self._owner.call(message, deadline=deadline))

    def upsert(self, items: Sequence[NewItem]) -> asyncio.Future[list[int]]:
        """As `Collection.upsert`; every error is in the future."""
        return asyncio.ensure_future(self._upsert(items))

    def vector(self, item_id: str) -> NDArray[np.float32]:
        """As `Collection.vector`; blocking, not for the event loop."""
        return wire.vector_of(self._wait(self._message("vector", item_id)))

    def near_hashes(
        self, hashes: Sequence[int], *, max_distance: int, limit: int
    ) -> list[HashMatch]:
        """As `Collection.near_hashes`; blocking, not for the event loop."""
        found = self._wait(self._message("near", [hashes, max_distance, limit])).content
        return [HashMatch(*match) for match in found]

    def keep_original(self, image: bytes) -> str:
        """As `Collection.keep_original`; blocking, not for the event loop."""
        digest: str = self._wait(self._message("keep", None, image)).content
        return digest

    async def _upsert(self, items: Sequence[NewItem]) -> list[int]:
        # without a deadline, as in one process: what the disk has begun is worth waiting for
        answer = await self._owner.call(self._message("upsert", *wire.packed_items(items)))
        sequences: list[int] = answer.content
        return sequences

    def _message(self, kind: str, content: object, body: bytes = b"") -> Message:
        return Message(kind, [self.name, self._token, content], body)

    def _wait(self, message: Message) -> Message:
        return asyncio.run_coroutine_threadsafe(self._owner.call(message), self._loop).result()


class RemoteCatalogue:
    """The collections that requests name. Lives on one event loop."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._known: dict[str, RemoteCollection] = {}
        self._changes = 0
        # one request means one collection from its beginning to its end
        self._named: ContextVar[RemoteCollection | VitrineError] = ContextVar("named")

    async def learn(self, name: str) -> None:
        """Make sure that `get` has an answer for this request; it raises what was raised here."""
        found: RemoteCollection | VitrineError | None = self._known.get(name)
        if found is None:
            changes = self._changes
            try:
                answer = await self._owner.call(
                    Message("learn", name), deadline=deadlines.within(_LEARN_S)
                )
                found = RemoteCollection(self._owner, name, answer.content)
                if changes == self._changes:
                    self._known[name] = found
            except VitrineError as error:
                found = error
        self._named.set(found)

    def get(self, name: str) -> RemoteCollection:
        """Raises CollectionNotFound, Unavailable."""
        found = self._named.get()
        if isinstance(found, VitrineError):
            raise found
        return found

    def forget(self, name: str | None = None) -> None:
        """A collection, or all, may have changed."""
        self._changes += 1
        if name is None:
            self._known.clear()
        else:
            self._known.pop(name, None)


class Learn:
    """ASGI middleware: the collection that a path names is known before its handler runs."""

    def __init__(self, app: ASGIApp, *, catalogue: RemoteCatalogue) -> None:
        self._app = app
        self._catalogue = catalogue

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (found := _NAMED.match(scope["path"])):
            await self._catalogue.learn(path_segment(found[1]))
        await self._app(scope, receive, send)
