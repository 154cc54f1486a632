"""Passes a request on to the owner as the HTTP that it is, and its answer back.

For what is not worth a message of its own: collections, copies, reports, watches, the page, …. Body
and answer are passed on piece by piece, each request over a connection of its own, so one that is
slow or given up concerns nobody else.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httptools

from vitrine_server.observe import DISCONNECTED, TASK
from vitrine_server.rendering import problem_response
from vitrine_server.workers.link import unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.types import Message, Receive, Scope, Send

_PIECE = 65536
# They belong to one connection (RFC 9110, 7.6.1), or are written anew by each server.
_OWN = frozenset(
    (
        b"connection",
        b"date",
        b"expect",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)


class Forward:
    """ASGI application. An owner that cannot be reached is answered 503 with Retry-After."""

    def __init__(self, socket: Path) -> None:
        self._socket = str(socket)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[TASK] = asyncio.current_task()
        try:
            await self._exchange(scope, receive, send)
        except asyncio.CancelledError:
            if not scope.get(DISCONNECTED):
                raise

    async def _exchange(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer(scope["method"])
        try:
            reader, writer = await asyncio.open_unix_connection(self._socket)
        except OSError:
            await problem_response(unavailable())(scope, receive, send)
            return
        sending = asyncio.create_task(_send_request(scope, receive, writer))
        try:
            while not answer.complete:
                # an answer may come before the body was read: a refusal
                for message in answer.feed(await reader.read(_PIECE)):
                    await send(message)
        except (OSError, httptools.HttpParserError, EOFError):
            if answer.started:
                raise  # the answer has begun: all that is left is to cut it off
            await problem_response(unavailable())(scope, receive, send)
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await sending
            writer.close()


async def _send_request(scope: Scope, receive: Receive, writer: asyncio.StreamWriter) -> None:
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    headers = [(name, value) for name, value in scope["headers"] if name not in _OWN]
    chunked = any(name == b"transfer-encoding" for name, _ in scope["headers"])
    headers += [(b"connection", b"close")]
    headers += [(b"transfer-encoding", b"chunked")] if chunked else []
    lines = [b"%b %b HTTP/1.1" % (scope["method"].encode(), target)]
    lines += [b"%b: %b" % header for header in headers]
    writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        piece, more = message.get("body", b""), message.get("more_body", False)
        if chunked and piece:
            piece = b"%x\r\n%b\r\n" % (len(piece), piece)
        writer.write(piece if more or not chunked else piece + b"0\r\n\r\n")
        await writer.drain()


class _Answer:
    """Parses an answer into what an ASGI application sends."""

    def __init__(self, method: str) -> None:
        self.started = False
        self.complete = False
        self._without_body = method == "HEAD"
        self._headers: list[tuple[bytes, bytes]] = []
        self._messages: list[Message] = []
        self._parser: Any = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> list[Message]:
        """What can be sent now. Raises HttpParserError, EOFError."""
        if not data:
            raise EOFError
        self._parser.feed_data(data)
        messages, self._messages = self._messages, []
        return messages

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() not in _OWN:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.started = True
        status = self._parser.get_status_code()
        self._messages.append(
            {"type": "http.response.start", "status": status, "headers": self._headers}
        )
        if self._without_body:
            self.on_message_complete()

    def on_body(self, body: bytes) -> None:
        self._messages.append({"type": "http.response.body", "body": body, "more_body": True})

    def on_message_complete(self) -> None:
        if not self.complete:
            self.complete = True
            self._messages.append({"type": "http.response.body", "body": b""})
