"""Alive is not ready: what each says when Triton hangs, a decoder is stuck, the server stops."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

from false_triton import FalseTriton, encoder_of
from standing import SEARCH, exchange, picture, post, serving

from vitrine_server.routes import system

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

ALIVE = b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n"
READY = b"GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n"


async def test_a_hung_triton_is_not_ready_but_alive(tmp_path: Path) -> None:
    triton = FalseTriton()
    await triton.start()
    triton.mode = "hung"
    async with serving(tmp_path, encoder=encoder_of(triton)) as running:
        answer = await exchange(running.port, READY)
        assert answer.status == 503
        assert answer.seconds < 5
        assert (await exchange(running.port, ALIVE)).status == 200
        triton.mode = "good"
        assert (await exchange(running.port, READY)).status == 200
    await triton.kill()


async def test_a_stuck_decoder_is_not_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "_STUCK_S", 0.2)
    release = threading.Event()
    async with serving(tmp_path, decode_threads=2) as running:
        pipeline = running.app.state.services.pipeline
        assert (await exchange(running.port, ALIVE)).status == 200
        pipeline._decoders.submit(release.wait)
        await asyncio.sleep(0.4)
        answer = await exchange(running.port, ALIVE)
        assert answer.status == 503
        assert b'"code":"wedged"' in answer.text
        # the other thread still decodes
        assert (await exchange(running.port, post(SEARCH, picture(1)))).status == 200
        release.set()
        await asyncio.sleep(0.1)
        assert (await exchange(running.port, ALIVE)).status == 200
