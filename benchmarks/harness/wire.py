"""A bare HTTP/1.1 client: bytes out, status, headers and body back.

A general client spends up to half a millisecond of CPU on a request; on the machine that it loads
that is the server's time. This one takes some tens of microseconds, and does no more than the
benchmarks need: keep-alive, Content-Length.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

# A whole request, or its pieces in order, which are sent as they lie.
Request: TypeAlias = "bytes | tuple[bytes | memoryview, ...]"

STAGES = ("decode", "queue", "encode", "search", "hydrate")
_END = b"\r\n\r\n"


class WireError(Exception):
    """The connection broke, or the answer is not HTTP with a Content-Length."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    head: bytes
    body: bytes

    def header(self, name: str) -> str | None:
        """Value of a header; names are in lower case."""
        at = self.head.lower().find(b"\r\n" + name.encode() + b":")
        if at < 0:
            return None
        line = self.head[at + 2 :].split(b"\r\n", 1)[0]
        return line.split(b":", 1)[1].strip().decode("latin-1")

    def stages_ms(self) -> dict[str, float]:
        """Milliseconds a stage that the server reports."""
        return stages_ms(self.header("server-timing") or "")


def stages_ms(server_timing: str) -> dict[str, float]:
    """Milliseconds by name, from a Server-Timing header (W3C)."""
    stages = {}
    for entry in server_timing.split(","):
        name, _, rest = entry.strip().partition(";dur=")
        if rest:
            stages[name] = float(rest)
    return stages


def authorization() -> dict[str, str]:
    """The header that a server with API keys asks for: VITRINE_API_KEY, as in the client."""
    key = os.environ.get("VITRINE_API_KEY")
    return {"authorization": f"Bearer {key}"} if key else {}


@dataclass(frozen=True, slots=True)
class Target:
    """common: headers of every request."""

    host: str
    port: int
    common: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, url: str) -> Target:
        """A Vitrine, with the environment's API key."""
        parts = urlsplit(url)
        return cls(parts.hostname or "127.0.0.1", parts.port or 80, authorization())

    def encode(
        self, method: str, path: str, *, headers: Mapping[str, str], body: bytes = b""
    ) -> bytes:
        """A whole request as bytes."""
        return self.head(method, path, headers=headers, length=len(body)) + body

    def head(self, method: str, path: str, *, headers: Mapping[str, str], length: int) -> bytes:
        """All of a request before its body of `length` bytes."""
        lines = [f"{method} {path} HTTP/1.1", f"host: {self.host}:{self.port}"]
        lines += [f"{name}: {value}" for name, value in (*self.common.items(), *headers.items())]
        lines.append(f"content-length: {length}")
        return "\r\n".join(lines).encode() + _END


class Connection(asyncio.Protocol):
    """One keep-alive connection; one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._needed: int | None = None  # bytes of the whole answer, once its head is there
        self._answer: asyncio.Future[Answer] | None = None

    @classmethod
    async def open(cls, target: Target) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, target.host, target.port)
        return connection

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: Request) -> asyncio.Future[Answer]:
        """Write a request now; the future is its answer. Raises WireError when it is closed."""
        if self._transport is None or not self.is_open:
            raise WireError("the connection is closed")
        self._answer = asyncio.get_running_loop().create_future()
        if isinstance(request, bytes):
            self._transport.write(request)
        else:
            self._transport.writelines(request)
        return self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._needed is None:
            end = self._buffer.find(_END)
            if end < 0:
                return
            self._needed = self._length(end)
        if len(self._buffer) >= self._needed:
            self._finish(self._needed)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(WireError(f"the server closed the connection ({exc or 'no reason'})"))

    def _length(self, end: int) -> int:
        head = bytes(self._buffer[:end]).lower()
        at = head.find(b"\r\ncontent-length:")
        if at < 0:
            self._fail(WireError("the answer has no Content-Length"))
            self.close()
            return 2**62
        return end + len(_END) + int(head[at + 17 :].split(b"\r\n", 1)[0])

    def _finish(self, needed: int) -> None:
        whole = bytes(self._buffer[:needed])
        del self._buffer[:needed]
        self._needed = None
        head, body = whole.split(_END, 1)
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result(Answer(int(head[9:12]), head, body))
        if b"\r\nconnection: close" in head.lower():
            self.close()

    def _fail(self, error: WireError) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(error)


class Pool:
    """Idle connections to one server; opens another when none is idle."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._idle: list[Connection] = []
        self.opened = 0

    def idle(self) -> Connection | None:
        """An open connection that waits for work, or None."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return None

    async def take(self) -> Connection:
        connection = self.idle()
        if connection is not None:
            return connection
        self.opened += 1
        try:
            return await Connection.open(self._target)
        except OSError as error:
            raise WireError(f"no connection: {error}") from None

    def give(self, connection: Connection) -> None:
        if connection.is_open:
            self._idle.append(connection)

    async def warm(self, count: int) -> None:
        """Open connections ahead of their use."""
        for connection in [await self.take() for _ in range(count)]:
            self.give(connection)

    def close(self) -> None:
        for connection in self._idle:
            connection.close()


async def fetch(pool: Pool, request: Request, *, timeout_s: float) -> Answer:
    """One exchange on a connection of the pool. Raises WireError or TimeoutError."""
    connection = await pool.take()
    try:
        answer = await asyncio.wait_for(connection.send(request), timeout_s)
    except BaseException:
        connection.close()
        raise
    pool.give(connection)
    return answer


def json_request(target: Target, method: str, path: str, body: Any) -> bytes:
    return target.encode(
        method,
        path,
        headers={"content-type": "application/json"},
        body=json.dumps(body).encode(),
    )
