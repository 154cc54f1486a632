"""Clients that dribble, stall, lie about lengths, send endless headers or never read."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from bystander import alone, bystander, p99_ms
from separate import FULL, separate
from standing import SEARCH, exchange, picture, post, serving

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SLOW = 500 if FULL else 150
LIMIT_S = 3.0


UNFINISHED = post(SEARCH, picture(0))[:-5000]


async def dribble(port: int, number: int) -> float:
    """Send a header or a body byte by byte; the seconds until the server has cut it off."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    started = time.perf_counter()
    if number % 2:
        writer.write(UNFINISHED)
    else:
        writer.write(b"GET /v1/collections HTTP/1.1\r\nx-slow: ")
    try:
        while time.perf_counter() - started < 30:
            writer.write(b"a")
            await writer.drain()
            with suppress(asyncio.TimeoutError):
                if await asyncio.wait_for(reader.read(4096), 0.25) == b"":
                    break
    except OSError:
        pass
    finally:
        writer.close()
    return time.perf_counter() - started


async def test_many_slow_connections(tmp_path: Path) -> None:
    with separate(tmp_path, client_timeout_s=LIMIT_S) as server:
        await alone(server.port, 1)
        descriptors = server.descriptors
        quiet = await alone(server.port, 3)
        async with bystander(server.port) as beside:
            cut = await asyncio.gather(*(dribble(server.port, number) for number in range(SLOW)))
        await asyncio.sleep(1)
        left = server.descriptors - descriptors
    print(
        f"{SLOW} slow connections: cut after {max(cut):.1f} s at most, bystanders' p99 "
        f"{p99_ms(beside):.0f} ms beside {p99_ms(quiet):.0f} ms alone, {left} descriptors left"
    )
    assert max(cut) < LIMIT_S + 5
    assert left <= 2


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"", 408),
        (b"GET /healthz HTTP/1.1\r\nx: ", 408),
        (post(SEARCH, b"a" * 100)[:-50], 408),
        (b"GET /healthz HTTP/1.1\r\nx: " + b"a" * 40_000, 431),
        (b"GET /healthz HTTP/1.1\r\nx: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET /healthz HTTP/1.1\r\n" + b"x: a\r\n" * 200 + b"\r\n", 431),
        (b"GET /" + b"a" * 40_000, 431),
        (b"hello\r\n\r\n", 400),
        (post(SEARCH, b"").replace(b"length: 0", b"length: -1"), 400),
        (post(SEARCH, b"").replace(b"length: 0", b"length: 1x"), 400),
        (post(SEARCH, b"").replace(b"length: 0", b"length: 99999999999"), 413),
        (post(SEARCH, b"abc").replace(b"host: test", b"transfer-encoding: chunked"), 400),
    ],
)
async def test_a_request_that_is_none(tmp_path: Path, request_text: bytes, status: int) -> None:
    async with serving(tmp_path, client_timeout_s=0.5) as running:
        answer = await exchange(running.port, request_text)
        assert answer.status == status, answer.text
        assert answer.seconds < 3
        assert b"application/problem+json" in answer.text
        good = await exchange(running.port, b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        assert good.status == 200


async def test_requests_that_are_sent_ahead(tmp_path: Path) -> None:
    """A long piece that ends within a header is not all header."""
    asked = b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n"
    async with serving(tmp_path) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(asked * 1200 + asked[:20])
        await asyncio.sleep(0.2)
        writer.write(asked[20:-2] + b"connection: close\r\n\r\n")
        answers = await asyncio.wait_for(reader.read(), 20)
        writer.close()
    assert answers.count(b"HTTP/1.1 200") == 1201


async def test_an_answer_that_is_not_read(tmp_path: Path) -> None:
    async with serving(tmp_path, client_timeout_s=0.5) as running:
        connections = running.server.server_state.connections
        _, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=1024)
        writer.transport.pause_reading()
        asked = b"GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n"
        writer.write(asked * 400)
        await asyncio.sleep(0.2)
        assert len(connections) == 1
        for _ in range(80):
            if not connections:
                break
            await asyncio.sleep(0.1)
        assert not connections
        writer.transport.abort()


async def test_more_connections_than_allowed(tmp_path: Path) -> None:
    async with serving(tmp_path, max_connections=5) as running:
        pairs = [await asyncio.open_connection("127.0.0.1", running.port) for _ in range(9)]
        await asyncio.sleep(0.3)
        assert len(running.server.server_state.connections) == 5
        for _, writer in pairs:
            writer.transport.abort()
        await asyncio.sleep(0.3)
        answer = await exchange(running.port, b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        assert answer.status == 200
