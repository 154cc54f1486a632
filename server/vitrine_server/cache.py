"""Embeddings by content: what was embedded once is not embedded again, and never twice at a time.

A key is the SHA-256 of an image's bytes or of a text; the memory belongs to one vector space, and
Redis keys carry its fingerprint. Identical requests in flight share one computation.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import structlog
from redis import RedisError
from redis import asyncio as redis

from vitrine_server.errors import DeadlineExceeded, VitrineError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from numpy.typing import NDArray

Kind = Literal["image", "text"]
Outcome = Literal["hit", "shared", "remote", "miss"]

# Key, array object and dictionary node around the values of one vector.
_ENTRY_BYTES = 300
_REMOTE_TIMEOUT_S = 0.1
_REMOTE_PAUSE_S = 5.0
_REMOTE_TTL_S = 30 * 24 * 3600
_MAX_PENDING = 256

_log = structlog.get_logger(__name__)


class EmbeddingCache:
    """The least recently used embeddings leave first. Lives on one event loop.

    max_bytes: 0 keeps none, but identical requests in flight still share their work.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        remote: RemoteCache | None,
        count: Callable[[Kind, Outcome], None],
    ) -> None:
        self._max_bytes = max_bytes
        self._remote = remote
        self._count = count
        self._memory: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._flights: dict[bytes, asyncio.Future[NDArray[np.float32] | VitrineError | None]] = {}
        self.bytes = 0

    async def get(
        self,
        kind: Kind,
        digest: bytes,
        compute: Callable[[], Awaitable[NDArray[np.float32]]],
        *,
        deadline: float,
    ) -> NDArray[np.float32]:
        """The embedding (D,) of a content, read-only. `deadline`: time.monotonic clock.

        Raises what `compute` raises, DeadlineExceeded.
        """
        key = kind[:1].encode() + digest
        while True:
            found = self._memory.get(key)
            if found is not None:
                self._memory.move_to_end(key)
                self._count(kind, "hit")
                return found
            flight = self._flights.get(key)
            if flight is None:
                return await self._lead(kind, key, compute)
            await asyncio.wait({flight}, timeout=deadline - time.monotonic())
            if not flight.done():
                raise DeadlineExceeded("The request's deadline passed.")
            outcome = flight.result()
            if isinstance(outcome, VitrineError):
                raise outcome
            if outcome is not None:
                self._count(kind, "shared")
                return outcome

    async def close(self) -> None:
        if self._remote is not None:
            await self._remote.close()

    async def _lead(
        self, kind: Kind, key: bytes, compute: Callable[[], Awaitable[NDArray[np.float32]]]
    ) -> NDArray[np.float32]:
        """Compute for everybody who waits; when this request is given up, one of them goes on."""
        flight = asyncio.get_running_loop().create_future()
        self._flights[key] = flight
        outcome: NDArray[np.float32] | VitrineError | None = None
        try:
            vector = None if self._remote is None else await self._remote.get(key)
            if vector is not None:
                self._count(kind, "remote")
            else:
                self._count(kind, "miss")
                # a row of a batch would keep the whole batch alive
                vector = (await compute()).copy()
                vector.flags.writeable = False
                if self._remote is not None:
                    self._remote.put(key, vector)
            self._keep(key, vector)
            outcome = vector
        except DeadlineExceeded:
            raise  # the others may have more time
        except VitrineError as error:
            outcome = error
            raise
        finally:
            del self._flights[key]
            flight.set_result(outcome)
        return vector

    def _keep(self, key: bytes, vector: NDArray[np.float32]) -> None:
        size = vector.nbytes + _ENTRY_BYTES
        if size > self._max_bytes:
            return
        self._memory[key] = vector
        self.bytes += size
        while self.bytes > self._max_bytes:
            _, oldest = self._memory.popitem(last=False)
            self.bytes -= oldest.nbytes + _ENTRY_BYTES


class RemoteCache:
    """A Redis or Valkey that several servers share. Without it the answers are the same, later."""

    def __init__(self, url: str, *, fingerprint: str, dimension: int) -> None:
        """Raises ValueError for an address that is not redis://, rediss:// or unix://."""
        self._prefix = f"vitrine:{fingerprint}:".encode()
        self._dimension = dimension
        self._client: redis.Redis = redis.Redis.from_url(
            url, socket_timeout=_REMOTE_TIMEOUT_S, socket_connect_timeout=_REMOTE_TIMEOUT_S
        )
        self._paused_until = 0.0
        self._down = False
        self._pending: set[asyncio.Task[None]] = set()

    async def get(self, key: bytes) -> NDArray[np.float32] | None:
        value = await self._ask(self._client.get(self._prefix + key))
        if value is None or len(value) != 4 * self._dimension:
            return None
        vector = np.frombuffer(value, np.float32)
        if not abs(float(vector @ vector) - 1) < 0.01:  # also true for NaN
            return None
        return vector

    def put(self, key: bytes, vector: NDArray[np.float32]) -> None:
        """Store in the background; dropped while too much waits already."""
        if len(self._pending) >= _MAX_PENDING:
            return
        task = asyncio.create_task(self._put(key, vector.tobytes()))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def close(self) -> None:
        if self._pending:
            await asyncio.wait(self._pending, timeout=1)
        await self._client.aclose()

    async def _put(self, key: bytes, value: bytes) -> None:
        await self._ask(self._client.set(self._prefix + key, value, ex=_REMOTE_TTL_S))

    async def _ask(self, call: Awaitable[Any]) -> Any:
        """The reply, None when there is none: one warning an outage, then a pause."""
        if time.monotonic() < self._paused_until:
            close = getattr(call, "close", None)
            if close is not None:
                close()
            return None
        try:
            reply = await call
        except (RedisError, OSError, asyncio.TimeoutError) as error:
            self._paused_until = time.monotonic() + _REMOTE_PAUSE_S
            if not self._down:
                self._down = True
                _log.warning("the shared cache does not answer", error=type(error).__name__)
            return None
        if self._down:
            self._down = False
            _log.info("the shared cache answers again")
        return reply
