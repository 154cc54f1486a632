"""Many mixed queries at once, with known answers, cancels and poison: none gets another's answer.

The same load for half an hour is the soak: memory and descriptors stay flat.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import time
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from mutants import mutant
from separate import FULL, separate
from standing import SEARCH, averages, exchange, picture, post, serving

from vitrine_server import images
from vitrine_server.manifest import Preprocessing

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

KNOWN = 40
QUERIES = 100_000 if FULL else 1500
SOAK_S = 1800.0 if FULL else 12.0
IN_FLIGHT = 24
PREPROCESSING = Preprocessing(size=224, resize="letterbox", mean=(0, 0, 0), std=(1, 1, 1))
JSON = "application/json"


class Mixed:
    """Queries whose right answer is known, and others that must not disturb them."""

    def __init__(self, port: int, *, hostile: float) -> None:
        self._port = port
        self._hostile = hostile
        self.pictures = [picture(number, size=(64, 48)) for number in range(KNOWN)]
        vectors = [averages(images.decode(data, PREPROCESSING)) for data in self.pictures]
        self._by_vector = [[float(value) for value in vector] for vector in vectors]
        self.asked = self.answered = self.mismatched = self.refused = self.given_up = 0
        self.failed: list[tuple[int, bytes]] = []

    async def store(self) -> None:
        for number, data in enumerate(self.pictures):
            path = f"/v1/collections/default/items/{number}"
            request = post(path, data).replace(b"POST", b"PUT", 1)
            assert (await exchange(self._port, request)).status == 200

    async def ask(self, chance: random.Random) -> None:
        """One query of the mix."""
        self.asked += 1
        number = chance.randrange(KNOWN)
        kind = chance.random()
        if kind < self._hostile:
            await self._poison(chance)
        elif kind < self._hostile + 0.05:
            await self._give_up(number, chance)
        else:
            await self._known(number, chance)

    async def _known(self, number: int, chance: random.Random) -> None:
        kind = chance.randrange(4)
        if kind == 0:
            request = post(f"{SEARCH}?k=1", self._salted(number, chance))
        else:
            body: dict[str, Any] = {"k": 1}
            if kind == 1:
                body["vector"] = self._by_vector[number]
            elif kind == 2:
                body["item_id"] = str(number)
            else:
                other = chance.randrange(KNOWN)
                body["queries"] = [
                    {"item_id": str(number), "weight": 3},
                    {"vector": self._by_vector[other], "weight": 0.01},
                ]
            request = post(SEARCH, json.dumps(body).encode(), Content_Type=JSON)
        answer = await exchange(self._port, request)
        if answer.status == 200:
            self.answered += 1
            hits = json.loads(answer.text.split(b"\r\n\r\n", 1)[1])["hits"]
            self.mismatched += hits[0]["id"] != str(number) or hits[0]["score"] < 0.99
        elif answer.status in (429, 503):
            self.refused += 1
        else:
            self.failed.append((answer.status, answer.text[:200]))

    async def _poison(self, chance: random.Random) -> None:
        _, data = mutant(chance.randrange(10**6))
        answer = await exchange(self._port, post(SEARCH, data))
        if answer.status not in (200, 413, 415, 422, 429):
            self.failed.append((answer.status, answer.text[:200]))

    async def _give_up(self, number: int, chance: random.Random) -> None:
        self.given_up += 1
        if chance.random() < 0.5:
            timeout = f"{chance.uniform(0.0005, 0.02):.4f}"
            request = post(SEARCH, self._salted(number, chance), X_Request_Timeout=timeout)
            await exchange(self._port, request)
            return
        _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(post(SEARCH, self._salted(number, chance)))
        await asyncio.sleep(chance.uniform(0, 0.02))
        writer.transport.abort()

    def _salted(self, number: int, chance: random.Random) -> bytes:
        # bytes after a PNG's end change its hash and nothing else: no cache answers
        return self.pictures[number] + chance.randbytes(4)


async def run(mixed: Mixed, *, queries: int, until: float = float("inf")) -> None:
    numbers = iter(range(queries))

    async def client(seed: int) -> None:
        chance = random.Random(seed)
        for _ in numbers:
            if time.monotonic() > until:
                return
            await mixed.ask(chance)

    await asyncio.gather(*(client(seed) for seed in range(IN_FLIGHT)))


@pytest.mark.timeout(7200)
async def test_nobody_gets_the_answer_of_another(tmp_path: Path) -> None:
    with separate(tmp_path, max_wait_s=10) as server:
        mixed = Mixed(server.port, hostile=0.1)
        await mixed.store()
        await run(mixed, queries=QUERIES)
    print(
        f"{mixed.asked} mixed queries: {mixed.answered} known answers, {mixed.mismatched} mixed "
        f"up, {mixed.given_up} given up, {mixed.refused} refused, {len(mixed.failed)} failed"
    )
    assert mixed.answered > 0.7 * mixed.asked
    assert mixed.mismatched == 0
    assert mixed.failed == []


@pytest.mark.timeout(SOAK_S * 2 + 120)
async def test_memory_and_descriptors_stay_flat(tmp_path: Path) -> None:
    samples: list[tuple[float, float, int]] = []
    with separate(tmp_path) as server:
        mixed = Mixed(server.port, hostile=0.05)
        await mixed.store()
        await run(mixed, queries=300)  # what is allocated once, is
        started = time.monotonic()
        load = asyncio.create_task(run(mixed, queries=10**9, until=started + SOAK_S))
        while not load.done():
            samples.append((time.monotonic() - started, server.rss_mb, server.descriptors))
            await asyncio.sleep(SOAK_S / 60)
        await load
        await asyncio.sleep(0.5)
        left = server.descriptors
    seconds, rss, descriptors = (np.array(column, float) for column in zip(*samples, strict=True))
    half = len(rss) // 2
    end = float(np.median(rss[-5:]))  # a sample may fall into the decode of a large picture
    slope = float(np.polyfit(seconds[half:], rss[half:], 1)[0]) * 3600
    print(
        f"{SOAK_S:.0f} s, {mixed.asked} queries, {len(mixed.failed)} failed: RSS {rss[0]:.0f} → "
        f"{end:.0f} MB (second half {slope:+.0f} MB/h), descriptors {descriptors.min():.0f} to "
        f"{descriptors.max():.0f}, {left} at the end"
    )
    assert mixed.failed == []
    assert mixed.mismatched == 0
    assert end < rss[0] + (30 if FULL else 60)
    assert left <= descriptors.min() + 3


async def test_a_dropped_collection_is_let_go(tmp_path: Path) -> None:
    async with serving(tmp_path) as running:
        folder = "/v1/collections/short"
        made = post(folder, b"{}", Content_Type=JSON).replace(b"POST", b"PUT", 1)
        assert (await exchange(running.port, made)).status == 200
        assert (await exchange(running.port, post(f"{folder}/search", picture(1)))).status == 200
        dropped = weakref.ref(running.app.state.services.catalogue.get("short"))
        gone = post(folder, b"").replace(b"POST", b"DELETE", 1)
        assert (await exchange(running.port, gone)).status == 200
        gc.collect()
        assert dropped() is None, "its index is still in memory"
