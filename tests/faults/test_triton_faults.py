"""Triton killed, hung, failing, or answering garbage: 503 or 504, never a wrong vector.

The Triton here misbehaves on demand; `tests/e2e/test_serve.py` kills the real one.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from false_triton import FalseTriton, encoder_of
from separate import FULL
from standing import SEARCH, exchange, picture, post, serving, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from standing import Raw, Running

pytestmark = pytest.mark.slow

KNOWN = 12
DOWN_S = 30.0 if FULL else 4.0
QUERIES = [post(SEARCH + "?k=1", picture(n), X_Request_Timeout="3") for n in range(KNOWN)]
READY = b"GET /readyz HTTP/1.1\r\nhost: a\r\n\r\n"


@asynccontextmanager
async def searching(folder: Path) -> AsyncIterator[tuple[Running, FalseTriton]]:
    """A server with known pictures in it, over a Triton that can be told to misbehave."""
    triton = FalseTriton()
    await triton.start()
    try:
        async with serving(folder, encoder=encoder_of(triton)) as running:
            for number in range(KNOWN):
                path = f"/v1/collections/default/items/{number}"
                request = post(path, picture(number)).replace(b"POST", b"PUT", 1)
                assert (await exchange(running.port, request)).status == 200
            yield running, triton
    finally:
        await triton.kill()


def is_right(number: int, answer: Raw) -> bool:
    hits = json.loads(answer.text.split(b"\r\n\r\n", 1)[1])["hits"]
    return bool(hits[0]["id"] == str(number) and hits[0]["score"] > 0.999)


class Clients:
    """Clients that ask again at once, whatever they were told: what a retry storm looks like."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.statuses: dict[int, int] = {}
        self.wrong = 0
        self.slowest_refusal_s = 0.0
        self.stopped = False

    async def run(self, count: int = 6) -> None:
        await asyncio.gather(*(self._ask(number) for number in range(count)))

    async def _ask(self, number: int) -> None:
        while not self.stopped:
            number = (number + 5) % KNOWN
            answer = await exchange(self.port, QUERIES[number])
            self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
            if answer.status == 200:
                self.wrong += not is_right(number, answer)
            elif answer.status == 503:
                assert b"retry-after" in answer.text.lower()
                self.slowest_refusal_s = max(self.slowest_refusal_s, answer.seconds)
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("mode", ["short", "long", "nan", "zero", "unnormalised", "failing"])
async def test_a_bad_answer_is_no_answer(tmp_path: Path, mode: str) -> None:
    async with searching(tmp_path) as (running, triton):
        triton.mode = mode
        for query in QUERIES:
            assert (await exchange(running.port, query)).status == 503
        assert (await exchange(running.port, READY)).status == 503
        assert (await exchange(running.port, READY.replace(b"ready", b"health"))).status == 200
        triton.mode = "good"
        started = time.monotonic()
        await until_right(running.port)
        print(f"{mode}: right again after {time.monotonic() - started:.2f} s")


async def until_right(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        answer = await exchange(port, QUERIES[3])
        if answer.status == 200:
            assert is_right(3, answer)
            return
        assert time.monotonic() < deadline, f"still {answer.text!r}"
        await asyncio.sleep(0.05)


async def test_killed_under_load_and_back(tmp_path: Path) -> None:
    async with searching(tmp_path) as (running, triton):
        clients = Clients(running.port)
        load = asyncio.create_task(clients.run())
        await until(lambda: clients.statuses.get(200, 0) > 20)
        await triton.kill()
        await until(lambda: clients.statuses.get(503, 0) > 20)
        await triton.start()
        back = time.monotonic()
        good = clients.statuses[200]
        await until(lambda: clients.statuses[200] > good)
        recovered_s = time.monotonic() - back
        clients.stopped = True
        await load
    print(
        f"killed: {clients.statuses}, {clients.wrong} wrong, slowest 503 "
        f"{clients.slowest_refusal_s * 1e3:.0f} ms, right again {recovered_s:.2f} s after its start"
    )
    assert clients.wrong == 0
    assert set(clients.statuses) <= {200, 503, 504}
    assert recovered_s < 6


async def test_another_engine_after_a_restart_is_refused(tmp_path: Path) -> None:
    async with searching(tmp_path) as (running, triton):
        await triton.kill()
        triton.mode = "other"
        await triton.start()
        statuses = set()
        for _ in range(3):
            for query in QUERIES:
                statuses.add((await exchange(running.port, query)).status)
            await asyncio.sleep(0.5)
        assert statuses == {503}
        triton.mode = "good"
        await until_right(running.port)


async def test_a_hung_triton_is_left_alone(tmp_path: Path) -> None:
    async with searching(tmp_path) as (running, triton):
        clients = Clients(running.port)
        triton.mode = "hung"
        load = asyncio.create_task(clients.run())
        started = time.monotonic()
        await until(lambda: clients.statuses.get(503, 0) > 20, limit_s=30)
        found_s = time.monotonic() - started
        triton.mode = "good"
        back = time.monotonic()
        await until(lambda: clients.statuses.get(200, 0) > 10, limit_s=30)
        recovered_s = time.monotonic() - back
        clients.stopped = True
        await load
    print(f"hung: {clients.statuses}, found in {found_s:.1f} s, recovered in {recovered_s:.1f} s")
    assert clients.wrong == 0
    assert set(clients.statuses) <= {200, 429, 503, 504}


@pytest.mark.timeout(120)
async def test_retrying_clients_do_not_keep_it_down(tmp_path: Path) -> None:
    async with searching(tmp_path) as (running, triton):
        clients = Clients(running.port)
        triton.mode = "failing"
        before = triton.calls
        load = asyncio.create_task(clients.run())
        await asyncio.sleep(DOWN_S)
        asked, reached = sum(clients.statuses.values()), triton.calls - before
        triton.mode = "good"
        back = time.monotonic()
        await until(lambda: clients.statuses.get(200, 0) > 0)
        recovered_s = time.monotonic() - back
        clients.stopped = True
        await load
    print(
        f"down for {DOWN_S:g} s: clients asked {asked} times, {reached} calls reached Triton "
        f"({reached / asked:.3f} a call), recovered in {recovered_s:.2f} s"
    )
    assert asked > 100
    assert reached < 0.2 * asked
    assert reached < 12 + 3 * DOWN_S
    assert clients.wrong == 0
