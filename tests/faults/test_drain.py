"""SIGTERM under load: not ready first, then every accepted request is answered, then the end."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from typing import TYPE_CHECKING

import pytest
from separate import FULL, Separate, separate
from standing import SEARCH, exchange, picture, post

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

ROUNDS = {0: 50 if FULL else 3, 2: 25 if FULL else 1}  # by workers
CLIENTS = 12
QUERIES = [post(SEARCH, picture(number), Connection="close") for number in range(20)]
READY = b"GET /readyz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


class Load:
    """Clients behind a load balancer: it asks /readyz, and sends nothing to who is not ready."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.ready = True
        self.accepted = 0
        self.lost: list[int] = []
        self.saw_not_ready = 0.0

    async def watch(self) -> None:
        while self.ready:
            answer = await exchange(self.port, READY)
            if answer.status != 200:
                self.ready = False
                self.saw_not_ready = time.perf_counter()
                assert answer.status == 503, "connections were refused before it said not ready"
            await asyncio.sleep(0.02)

    async def ask(self, number: int) -> None:
        while self.ready:
            answer = await exchange(self.port, QUERIES[number % len(QUERIES)])
            self.accepted += 1
            number += 1
            if answer.status != 200:
                self.lost.append(answer.status)


async def one_round(server: Separate, chance: random.Random) -> tuple[Load, float]:
    load = Load(server.port)
    clients = [asyncio.create_task(load.ask(number)) for number in range(CLIENTS)]
    watch = asyncio.create_task(load.watch())
    await asyncio.sleep(chance.uniform(0.2, 0.8))
    terminated = time.perf_counter()
    server.process.send_signal(signal.SIGTERM)
    await asyncio.gather(watch, *clients)
    code = await asyncio.to_thread(server.process.wait, 30)
    assert code == 0
    return load, time.perf_counter() - terminated


@pytest.mark.timeout(60 * ROUNDS[0])
@pytest.mark.parametrize("workers", ROUNDS)
async def test_no_accepted_request_is_lost(tmp_path: Path, workers: int) -> None:
    rounds = ROUNDS[workers]
    chance = random.Random(1)
    accepted, lost, stops = 0, [], []
    for number in range(rounds):
        folder = tmp_path / str(number)
        folder.mkdir()
        with separate(folder, image_s=0.004, workers=workers, grpc_port=0) as server:
            load, seconds = await one_round(server, chance)
            accepted += load.accepted
            lost += load.lost
            stops.append(seconds)
    print(
        f"{rounds} × SIGTERM under load, {workers} workers: {accepted} accepted requests, "
        f"{len(lost)} lost {lost}, stopped in {max(stops):.1f} s at most"
    )
    assert accepted > 20 * rounds
    assert lost == []


async def test_a_long_request_is_finished(tmp_path: Path) -> None:
    with separate(tmp_path, image_s=2.0, drain_s=0.2) as server:
        slow = asyncio.create_task(exchange(server.port, QUERIES[0]))
        await asyncio.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.6)
        refused = await exchange(server.port, READY)
        assert refused.status == 0, "new connections are still taken"
        assert (await slow).status == 200
        assert await asyncio.to_thread(server.process.wait, 10) == 0
