"""When does the supervisor find that a Triton which answers its health checks is stuck?"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from vitrine_server.health import TritonHealth

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STUCK_S = 0.2


class Figures:
    """The server's side: what Triton's metrics page says."""

    def __init__(self) -> None:
        self.succeeded = self.failed = self.pending = 0

    def page(self) -> str:
        return (
            "# HELP nv_inference_request_success Number of successful inference requests\n"
            f'nv_inference_request_success{{model="image_encoder",version="1"}} {self.succeeded}\n'
            f'nv_inference_request_failure{{model="a",reason="REJECTED"}} {self.failed}\n'
            f'nv_inference_request_failure{{model="a",reason="BACKEND"}} 0\n'
            f'nv_inference_pending_request_count{{model="image_encoder"}} {self.pending}\n'
        )


@asynccontextmanager
async def triton(figures: Figures) -> AsyncIterator[TritonHealth]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\n\r\n{figures.page()}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield TritonHealth(host="127.0.0.1", http_port=port, metrics_port=port, stuck_s=STUCK_S)


async def broken(health: TritonHealth) -> str | None:
    # Our own process stands for Triton's: it has no dead children.
    return await health.broken(os.getpid())


async def looks(health: TritonHealth, figures: Figures, *, failures: int, successes: int) -> bool:
    """Look several times for longer than STUCK_S, while requests fail and succeed."""
    for _ in range(6):
        figures.failed += failures
        figures.succeeded += successes
        if await broken(health):
            return True
        await asyncio.sleep(STUCK_S / 3)
    return False


async def test_an_idle_triton_is_left_alone() -> None:
    figures = Figures()
    async with triton(figures) as health:
        assert not await looks(health, figures, failures=0, successes=0)


async def test_an_overloaded_triton_is_left_alone() -> None:
    figures = Figures()
    figures.pending = 100
    async with triton(figures) as health:
        assert not await looks(health, figures, failures=50, successes=1)


@pytest.mark.parametrize(("pending", "failures"), [(3, 0), (0, 1)])
async def test_a_triton_that_answers_nothing_is_stuck(pending: int, failures: int) -> None:
    figures = Figures()
    async with triton(figures) as health:
        assert not await looks(health, figures, failures=0, successes=1)
        figures.pending = pending
        assert await looks(health, figures, failures=failures, successes=0)


async def test_a_success_ends_the_suspicion() -> None:
    figures = Figures()
    async with triton(figures) as health:
        figures.failed = 1
        assert await broken(health) is None
        await asyncio.sleep(1.5 * STUCK_S)
        figures.succeeded = 1
        assert await broken(health) is None
        figures.failed = 2
        assert await broken(health) is None


async def test_a_closed_metrics_port_is_no_reason() -> None:
    async with triton(Figures()) as health:
        pass
    assert await broken(health) is None
    assert not await health.alive()
