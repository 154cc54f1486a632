"""A server with a known behaviour, to hold the generators against: it answers every request after
a fixed time, but for one stall, in which it answers nobody.

    python -m harness.stall_server --service-ms 5 --stall-at 3 --stall-s 1

prints its port, then serves until its standard input closes. Times count from the first request.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import cast

BODY = b'{"hits": []}'
RESPONSE = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    b"server-timing: search;dur=1.5\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)
)


class StallServer:
    def __init__(self, *, service_s: float, stall_at_s: float, stall_s: float) -> None:
        self._service_s = service_s
        self._stall_at_s = stall_at_s
        self._stall_s = stall_s
        self._first: float | None = None

    def answer_in_s(self) -> float:
        """Seconds until a request that comes now is answered."""
        now = time.perf_counter()
        self._first = self._first or now
        since = now - self._first
        ready = since + self._service_s
        if self._stall_at_s <= ready < self._stall_at_s + self._stall_s:
            ready = self._stall_at_s + self._stall_s
        return ready - since


class _Connection(asyncio.Protocol):
    def __init__(self, server: StallServer) -> None:
        self._server = server
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, body = self._buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0].strip()
        if len(body) >= int(length or 0):
            self._buffer = b""
            loop = asyncio.get_running_loop()
            loop.call_later(self._server.answer_in_s(), self._respond)

    def _respond(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(RESPONSE)


async def _serve(server: StallServer) -> None:
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: _Connection(server), "127.0.0.1", 0)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    listener.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--service-ms", type=float, default=5.0)
    parser.add_argument("--stall-at", type=float, default=0.0)
    parser.add_argument("--stall-s", type=float, default=0.0)
    options = parser.parse_args()
    server = StallServer(
        service_s=options.service_ms / 1e3, stall_at_s=options.stall_at, stall_s=options.stall_s
    )
    asyncio.run(_serve(server))


if __name__ == "__main__":
    main()
