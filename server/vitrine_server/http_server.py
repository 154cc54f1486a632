"""uvicorn with the limits that it lacks, and a drain that lets accepted requests finish.

uvicorn bounds the pause between two requests of a connection, nothing else: not how long a header
or a body may take, how long headers may be, how many connections there are, or how long an answer
may lie unread. Here each connection notes when its present phase began, and a sweep every half
second cuts off those that take too long; a request costs two assignments, not timers.

A client that goes away cancels the work that its request started.
"""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import orjson
import uvicorn
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from vitrine_server import memory
from vitrine_server.errors import BadRequest, HeadersTooLarge, RequestTimeout
from vitrine_server.observe import DISCONNECTED, TASK, request_id
from vitrine_server.rendering import PROBLEM, problem, problem_headers
from vitrine_server.shedding import STATE

if TYPE_CHECKING:
    import asyncio
    import socket
    from pathlib import Path
    from types import FrameType

    from starlette.types import ASGIApp, Scope

    from vitrine_server.config import Settings
    from vitrine_server.errors import VitrineError
    from vitrine_server.shedding import Shedding

_SWEEP_TICKS = 5  # of uvicorn's main loop, each 0.1 s
_HEADER_S = 10.0
_HEADER_BYTES = 32_768
_MAX_HEADERS = 100
# A body in tiny chunks costs a callback each: this many are free, then one for each 64 bytes.
_FREE_PIECES = 4096
_BYTES_A_PIECE = 64
# A request makes about a hundred objects that the collector follows, and next to no cycles.
_OBJECTS_A_COLLECTION = 2500


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one connection may cost.

    header_s: from a request's first byte (or the connection's start) to the end of its headers.
    body_s: from there to the end of the body. answer_s: an answer that is not read. connections:
    open at once.
    """

    header_s: float
    body_s: float
    answer_s: float
    header_bytes: int
    connections: int


class Drain:
    """Whether the server is about to stop: not ready any more, but still answering."""

    def __init__(self) -> None:
        self.started = False


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *, limits: Limits, drain: Drain, **options: Any) -> None:
        super().__init__(**options)
        self._limits = limits
        self._drain = drain
        self._head_bytes = 0
        self._body_bytes = 0
        self._pieces = 0
        self._messages = 0
        self._in_head = False
        self._refusal: VitrineError | None = None
        self._shedding: Shedding | None = self.app_state.get(STATE)
        # when the client began what it has not finished: a header, a body, taking an answer
        self._header_since: float | None = time.monotonic()
        self._body_since: float | None = None
        self._unread_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if (cycle := self._current()) is not None and not cycle.response_complete:
            scope = cast("dict[str, Any]", cycle.scope)
            if (task := scope.get(TASK)) is not None:
                scope[DISCONNECTED] = True
                task.cancel()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        begins = not self._in_head and self._body_since is None
        if self._header_since is None and begins:
            self._header_since = time.monotonic()
        messages = self._messages
        super().data_received(data)
        # what is all of one head; more was sent ahead where another message began on the way
        if self._header_since is not None and self._messages - messages <= begins:
            # counted here as well: the parser collects an endless header without a callback
            self._head_bytes += len(data)
            if self._head_bytes > self._limits.header_bytes:
                self._refuse(self._headers_too_large())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._messages += 1
        self._in_head = True
        self._header_since = time.monotonic()
        self._head_bytes = self._body_bytes = self._pieces = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if len(self.headers) > _MAX_HEADERS or len(value) > self._limits.header_bytes:
            self._refusal = self._headers_too_large()
            raise self._refusal

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._in_head = False
        self._header_since = None
        self._head_bytes = 0
        self._body_since = time.monotonic()
        if self._drain.started:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._pieces += 1
        self._body_bytes += len(body)
        if self._pieces > _FREE_PIECES + self._body_bytes // _BYTES_A_PIECE:
            self._refusal = BadRequest(
                "The body comes in too many small chunks.",
                field="body",
                accepted=f"chunks of at least {_BYTES_A_PIECE} bytes",
            )
            raise self._refusal
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._body_since = None
        if self.cycle.response_complete and self.timeout_keep_alive_task is None:
            # uvicorn's clock began with the answer and was stopped by the rest of the body
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        error = None
        # requests that were sent ahead, and a client that does not read, are left to uvicorn: it
        # comes here from one answer to the next, and the application's answers wait
        here = cycle.keep_alive and not self.pipeline and not self.flow.write_paused
        if self._shedding is not None and here and not self._drain.started:
            error = self._shedding.refusal(cast("Scope", cycle.scope))
        if error is None:
            super()._start_asgi_task(cycle, app)
            return
        cycle.response_started = cycle.response_complete = True
        self._write(error, (b"x-request-id", request_id(cast("Scope", cycle.scope))))
        self.on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What uvicorn answers when the parser gives up, or one of the callbacks above."""
        self._refuse(self._refusal or BadRequest("This is not HTTP/1.1.", accepted="HTTP/1.1"))

    def sweep(self, now: float) -> None:
        """Cut the connection off when its client has taken too long over something."""
        limits = self._limits
        if self._header_since is not None and now - self._header_since > limits.header_s:
            self._refuse(_too_slow("headers", limits.header_s))
        elif self._body_since is not None and now - self._body_since > limits.body_s:
            self._refuse(_too_slow("body", limits.body_s))
        elif self.transport.get_write_buffer_size() == 0:
            self._unread_since = None
        elif self._unread_since is None:
            self._unread_since = now
        elif now - self._unread_since > limits.answer_s:
            self.transport.abort()

    def _current(self) -> RequestResponseCycle | None:
        return self.cycle  # None before the first request, whatever its type says

    def _headers_too_large(self) -> HeadersTooLarge:
        return HeadersTooLarge(
            "The headers are too large.",
            field="headers",
            accepted=f"at most {_MAX_HEADERS} headers and {self._limits.header_bytes} bytes",
        )

    def _refuse(self, error: VitrineError) -> None:
        """Answer outside of the application, where that is still possible, and hang up."""
        cycle = self._current()
        if cycle is not None and cycle.response_started and not cycle.response_complete:
            self.transport.abort()  # in the middle of another answer
            return
        self._write(error, (b"connection", b"close"))
        self.transport.close()

    def _write(self, error: VitrineError, header: tuple[bytes, bytes]) -> None:
        """The whole answer; `header` is one more of its headers."""
        text = orjson.dumps(problem(error))
        lines = [STATUS_LINE[error.status]]
        for name, value in (*self.server_state.default_headers, header):
            lines += [name, b": ", value, b"\r\n"]
        for key, told in problem_headers(error).items():
            lines.append(f"{key}: {told}\r\n".encode())
        head = f"content-type: {PROBLEM}\r\ncontent-length: {len(text)}\r\n\r\n"
        self.transport.write(b"".join([*lines, head.encode(), text]))


class Server(uvicorn.Server):
    """Stops in two steps: not ready for `drain_s`, then no new connections.

    Between the two, requests are answered as before, and each answer ends its connection; so a load
    balancer that watches /readyz has sent its last request before a connection is refused.
    """

    def __init__(self, config: uvicorn.Config, *, drain: Drain, drain_s: float) -> None:
        super().__init__(config)
        self._drain = drain
        self._drain_s = drain_s
        self._exit_at = float("inf")

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until SIGTERM or Ctrl-C, in a process that does nothing else."""
        # what is there now stays: looking through it again and again is a tenth of a request's time
        gc.collect()
        gc.freeze()
        gc.set_threshold(_OBJECTS_A_COLLECTION)
        memory.bound()
        super().run(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or Ctrl-C; a second one stops without the first step, a third at once."""
        if not self._drain.started:
            self._drain.started = True
            self._exit_at = time.monotonic() + self._drain_s
        elif self.should_exit:
            self.force_exit = True
        else:
            self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        if counter % _SWEEP_TICKS == 0:
            now = time.monotonic()
            for connection in list(self.server_state.connections):
                cast("Protocol", connection).sweep(now)
        if time.monotonic() >= self._exit_at:
            self.should_exit = True
        return await super().on_tick(counter)


def make_server(
    app: ASGIApp, settings: Settings, *, drain: Drain, unix_socket: Path | None = None
) -> Server:
    """The HTTP server of an application; `serve()` runs it until SIGTERM or Ctrl-C.

    unix_socket: where it listens instead of the settings' address.
    """
    limits = Limits(
        header_s=min(_HEADER_S, settings.client_timeout_s),
        body_s=settings.client_timeout_s,
        answer_s=settings.client_timeout_s,
        header_bytes=_HEADER_BYTES,
        connections=settings.max_connections,
    )
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.http_port,
        uds=None if unix_socket is None else str(unix_socket),
        loop="uvloop",
        http=cast("type[asyncio.Protocol]", partial(Protocol, limits=limits, drain=drain)),
        ws="none",
        access_log=False,
        log_level="error",
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=int(settings.request_timeout_s) + 1,
    )
    return Server(config, drain=drain, drain_s=settings.drain_s)


def _too_slow(what: str, limit_s: float) -> RequestTimeout:
    return RequestTimeout(
        f"The {what} took too long to arrive.", field=what, accepted=f"all of it in {limit_s:g} s"
    )
