"""One connection between a front and the owner; both sides may call the other over it."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from vitrine_server.errors import DeadlineExceeded, Overloaded, Unavailable, VitrineError
from vitrine_server.workers.wire import (
    Malformed,
    Message,
    error_content,
    error_of,
    frame,
    read_frame,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MAX_CALLS = 1024
STREAM_LIMIT = 1 << 20

_log = structlog.get_logger(__name__)


def unavailable() -> Unavailable:
    """What a front answers while there is no owner."""
    return Unavailable(
        "The process that holds the index does not answer; it is being started again.",
        code="index_unavailable",
        retry_after_s=1,
    )


class Link:
    """Lives on one event loop. At most MAX_CALLS calls of this side are under way.

    handle: answers a call of the other side; a VitrineError that it raises is raised there.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        handle: Callable[[Message], Awaitable[Message]],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._handle = handle
        self._calls: dict[int, asyncio.Future[Message]] = {}
        self._answers: set[asyncio.Task[None]] = set()
        self._number = 0

    @classmethod
    async def connect(cls, path: str, handle: Callable[[Message], Awaitable[Message]]) -> Link:
        """Raises OSError when nobody listens there."""
        return cls(*await asyncio.open_unix_connection(path, limit=STREAM_LIMIT), handle)

    async def call(self, message: Message, *, deadline: float = math.inf) -> Message:
        """The other side's answer. `deadline`: time.monotonic clock.

        Raises what the other side raised, Unavailable (`index_unavailable`) when the connection is
        lost, DeadlineExceeded, Overloaded.
        """
        if self._writer.is_closing():
            raise unavailable()
        if len(self._calls) >= MAX_CALLS:
            raise Overloaded("Too many requests wait for the index.", retry_after_s=1)
        self._number += 1
        number = self._number
        data = frame(number, message)
        future = asyncio.get_running_loop().create_future()
        self._calls[number] = future
        try:
            self._writer.write(data)
            left_s = None if deadline == math.inf else max(0.0, deadline - time.monotonic())
            return await asyncio.wait_for(future, left_s)
        except asyncio.TimeoutError:
            raise DeadlineExceeded("The request's deadline passed.") from None
        finally:
            del self._calls[number]

    async def run(self) -> None:
        """Read until the connection ends; calls that wait then raise Unavailable."""
        try:
            while True:
                number, message = await read_frame(self._reader)
                if message.kind in ("ok", "error"):
                    self._settle(number, message)
                else:
                    task = asyncio.create_task(self._answer(number, message))
                    self._answers.add(task)
                    task.add_done_callback(self._answers.discard)
        except (asyncio.IncompleteReadError, OSError):
            pass
        except Malformed as error:
            _log.error("a connection between processes is closed", reason=str(error))
        finally:
            self.close()

    def close(self) -> None:
        """Hang up."""
        self._writer.close()
        for future in self._calls.values():
            if not future.done():
                future.set_exception(unavailable())

    def _settle(self, number: int, message: Message) -> None:
        future = self._calls.get(number)  # none when its caller gave up
        if future is None or future.done():
            return
        if message.kind == "ok":
            future.set_result(message)
        else:
            future.set_exception(error_of(message.content))

    async def _answer(self, number: int, message: Message) -> None:
        try:
            answer = frame(number, await self._handle(message))
        except VitrineError as error:
            answer = frame(number, Message("error", error_content(error)))
        except Exception as error:
            _log.error("a call between processes failed", kind=message.kind, exc_info=error)
            failed = VitrineError("The server failed; its log has the reason.")
            answer = frame(number, Message("error", error_content(failed)))
        with suppress(OSError):
            self._writer.write(answer)
            await self._writer.drain()
