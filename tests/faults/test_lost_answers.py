"""Answers that are lost on the wire after the work was done: the client asks again, one item."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np
import pytest
from separate import FULL
from standing import DIMENSION, picture, serving

from vitrine_client import AsyncClient, Item, Query, errors
from vitrine_client.retry import Retry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.slow

WRITES = 2000 if FULL else 120
IDS = 40
PATIENT = Retry(patience_s=60, backoff_s=0.002, share=1, burst=10 * WRITES)


class Wire:
    """A proxy on loopback that hands requests on, and loses some of the answers."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._chance = random.Random(26)
        self.answers = self.lost = 0
        self._connections: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._connections.add(asyncio.create_task(self._connected(reader, writer)))

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        asking = asyncio.create_task(_hand_on(reader, to_server))
        try:
            # an answer of a write is far below one read
            while answer := await from_server.read(1 << 20):
                self.answers += 1
                if self._chance.random() < 0.3:
                    # the work is done; all of the answer is lost, or its end
                    self.lost += 1
                    writer.write(answer[: self._chance.choice((0, 20, len(answer) - 1))])
                    break
                writer.write(answer)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            asking.cancel()
            for end in (writer, to_server):
                end.close()
                with suppress(ConnectionError):
                    await end.wait_closed()


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()


@pytest.mark.timeout(600)
async def test_a_lost_answer_makes_no_second_item(tmp_path: Path) -> None:
    chance = random.Random(1)
    axes = np.random.default_rng(1).standard_normal((IDS, DIMENSION)).astype(np.float32)
    expected: dict[str, int] = {}
    async with serving(tmp_path / "data") as running:
        wire = Wire(running.port)
        async with wire.listening() as url, AsyncClient(url, retry=PATIENT) as client:
            for version in range(WRITES):
                numbers = chance.sample(range(IDS), 3)
                names = [f"i{number}" for number in numbers]
                kind = chance.choice(("image", "vector", "batch", "metadata", "delete"))
                fields = {"version": version}
                if kind == "batch":
                    items = [
                        Item(id=name, vector=axes[number], metadata=fields)
                        for name, number in zip(names, numbers, strict=True)
                    ]
                    assert all(result.error is None for result in await client.put_items(items))
                    expected |= dict.fromkeys(names, version)
                    continue
                name, number = names[0], numbers[0]
                if kind == "delete":
                    await _delete(client, name)
                    expected.pop(name, None)
                    continue
                if kind == "metadata" and name in expected:
                    await client.put_metadata(name, fields)
                elif kind == "image":
                    await client.put_item(name, image=picture(number), metadata=fields)
                else:
                    await client.put_item(name, vector=axes[number], metadata=fields)
                expected[name] = version
        async with AsyncClient(running.url) as client:
            everything = Query(vector=axes[0])
            hits = (await client.search(queries=[everything], k=10 * IDS)).hits
            count = (await client.get_collection("default")).count
    print(f"{wire.lost} of {wire.answers} answers lost, {len(hits) - len(expected)} duplicates")
    assert wire.lost > WRITES / 10
    assert sorted(hit.id for hit in hits) == sorted(expected)
    assert {hit.id: (hit.metadata or {})["version"] for hit in hits} == expected
    assert count == len(expected)


async def _delete(client: AsyncClient, name: str) -> None:
    """Until it is answered: a client does not repeat a delete by itself, as the second fails."""
    while True:
        try:
            await client.delete_item(name)
        except errors.ItemNotFound:
            return
        except (errors.ConnectionLost, errors.UnexpectedAnswer):
            continue
        return
