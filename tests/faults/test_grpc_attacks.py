"""Damaged pictures and damaged messages over gRPC: an answer or a refusal, never a failure."""

from __future__ import annotations

import asyncio
import random
import socket
from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from mutants import FORMATS, good, mutant
from separate import FULL, Separate, separate

from vitrine_server import vitrine_search_pb2 as messages
from vitrine_server.grpc_api import SERVICE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

pytestmark = pytest.mark.slow

MUTANTS = 10_000 if FULL else 360
MESSAGES = 20_000 if FULL else 1000
IN_FLIGHT = 8
REFUSED = grpc.StatusCode.INVALID_ARGUMENT
OK = grpc.StatusCode.OK


def server(folder: Path) -> tuple[AbstractContextManager[Separate], str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return separate(folder, grpc_port=port), f"127.0.0.1:{port}"


async def status(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return OK


async def each(count: int, send: Callable[[int], Any]) -> None:
    """send(0), send(1), …, some at a time."""
    numbers = iter(range(count))

    async def run() -> None:
        for number in numbers:
            await send(number)

    await asyncio.gather(*(run() for _ in range(IN_FLIGHT)))


@pytest.mark.timeout(1800)
async def test_mutants(tmp_path: Path) -> None:
    found: Counter[grpc.StatusCode] = Counter()
    running, address = server(tmp_path)
    with running as process:
        async with grpc.aio.insecure_channel(address) as channel:
            query = channel.unary_unary(
                f"/{SERVICE}/Query",
                request_serializer=messages.QueryRequest.SerializeToString,
                response_deserializer=messages.QueryResponse.FromString,
            )

            async def search(image: bytes) -> grpc.StatusCode:
                request = messages.QueryRequest(parts=[messages.QueryPart(image=image)])
                return await status(query(request, timeout=30))

            for name in FORMATS:
                assert await search(good(name)) is OK, name
            process.forget_peak()
            before = process.rss_mb

            async def send(seed: int) -> None:
                code = await search(mutant(seed)[1])
                found[code] += 1
                assert code in (OK, REFUSED), f"seed {seed}: {code}"

            await each(MUTANTS, send)
            peak = process.peak_rss_mb - before
    counts = {code.name: count for code, count in found.items()}
    print(f"{MUTANTS} mutants over gRPC: {counts}, peak RSS {peak:.0f} MB above the start")
    assert min(found[OK], found[REFUSED]) > MUTANTS / 10
    assert peak < 400


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Flipped bits, a cut, other bytes, or nothing but noise."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 3, 10))):
        kind = chance.randrange(4)
        at = chance.randrange(len(changed) + 1)
        if kind == 0 and changed:
            changed[at % len(changed)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del changed[at:]
        elif kind == 2:
            changed[at:at] = chance.randbytes(chance.randrange(1, 12))
        elif chance.random() < 0.1:
            changed = bytearray(chance.randbytes(chance.randrange(200)))
    return bytes(changed)


async def test_damaged_messages(tmp_path: Path) -> None:
    vector = messages.Vector(values=[0.5] * 192)
    query = messages.QueryRequest(
        collection="default",
        parts=[messages.QueryPart(vector=vector, weight=2), messages.QueryPart(item_id="a")],
        k=3,
        filter='{"shelf": [1, 2]}',
        group_by="group",
        min_score=0.25,
    ).SerializeToString()
    item = messages.IngestRequest(id="a", vector=vector, metadata='{"shelf": 1}')
    item_bytes = item.SerializeToString()
    found: dict[str, Counter[grpc.StatusCode]] = {"Query": Counter(), "Ingest": Counter()}
    running, address = server(tmp_path)
    with running:
        async with grpc.aio.insecure_channel(address) as channel:
            ask = channel.unary_unary(f"/{SERVICE}/Query")
            store = channel.stream_stream(f"/{SERVICE}/Ingest")

            async def stored(data: bytes) -> grpc.StatusCode:
                async def requests() -> AsyncIterator[bytes]:
                    yield item_bytes
                    yield data

                async def read() -> None:
                    async for _ in store(requests(), timeout=30):
                        pass

                return await status(read())

            assert await stored(item_bytes) is OK
            assert await status(ask(query, timeout=30)) is OK
            assert await status(ask(b"\xff", timeout=30)) is REFUSED
            assert await stored(b"\xff") is REFUSED

            async def send(seed: int) -> None:
                chance = random.Random(seed)
                if seed % 4:
                    code = await status(ask(damaged(query, chance), timeout=30))
                    found["Query"][code] += 1
                    # another name of a collection or an item is a good question
                    assert code in (OK, REFUSED, grpc.StatusCode.NOT_FOUND), f"seed {seed}: {code}"
                else:
                    code = await stored(damaged(item_bytes, chance))
                    found["Ingest"][code] += 1
                    assert code in (OK, REFUSED), f"seed {seed}: {code}"

            await each(MESSAGES, send)
            for path in (f"/{SERVICE}/Nothing", "/vitrine.v1.Nothing/Query", "/nothing"):
                call = channel.unary_unary(path)(random.Random(1).randbytes(50), timeout=30)
                assert await status(call) is grpc.StatusCode.UNIMPLEMENTED
            assert await status(ask(query, timeout=30)) is OK
    counts = {
        name: {code.name: count for code, count in codes.items()} for name, codes in found.items()
    }
    print(f"{MESSAGES} damaged messages: {counts}")
    for codes in found.values():
        assert min(codes[OK], codes[REFUSED]) > sum(codes.values()) / 20
