"""The embedding cache: one computation for many, what leaves first, Redis that comes and goes."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import subprocess
import time
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from redis import asyncio as redis
from structlog.testing import capture_logs

from vitrine_server import cache as caches
from vitrine_server.cache import EmbeddingCache, RemoteCache
from vitrine_server.errors import DeadlineExceeded, InvalidImage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

DIMENSION = 64
ENTRY = DIMENSION * 4 + 300
SERVER = shutil.which("valkey-server") or shutil.which("redis-server")


def digest(name: object) -> bytes:
    return hashlib.sha256(str(name).encode()).digest()


def unit_vector(seed: int) -> NDArray[np.float32]:
    vector = np.random.default_rng(seed).normal(size=DIMENSION)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


class Work:
    """Computes a vector as slowly as asked, and counts how often."""

    def __init__(self, vector: NDArray[np.float32], *, seconds: float = 0.0) -> None:
        self.vector = vector
        self.seconds = seconds
        self.calls = 0
        self.error: Exception | None = None

    async def __call__(self) -> NDArray[np.float32]:
        self.calls += 1
        await asyncio.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return self.vector


class Counted(EmbeddingCache):
    def __init__(self, *, max_bytes: int = 10**6, remote: RemoteCache | None = None) -> None:
        self.outcomes: Counter[str] = Counter()
        super().__init__(
            max_bytes=max_bytes,
            remote=remote,
            count=lambda kind, outcome: self.outcomes.update([outcome]),
        )

    def ask(
        self, name: object, work: Callable[[], Awaitable[NDArray[np.float32]]], limit_s: float = 10
    ) -> Awaitable[NDArray[np.float32]]:
        return self.get("image", digest(name), work, deadline=time.monotonic() + limit_s)


async def test_the_second_lookup_computes_nothing() -> None:
    cache, work = Counted(), Work(unit_vector(0))
    first, second = await cache.ask("a", work), await cache.ask("a", work)
    assert work.calls == 1
    assert np.array_equal(first, work.vector)
    assert np.array_equal(second, work.vector)
    assert cache.outcomes == {"miss": 1, "hit": 1}


async def test_a_text_and_an_image_of_the_same_bytes_are_two_things() -> None:
    cache, deadline = Counted(), time.monotonic() + 10
    image = await cache.get("image", digest("a"), Work(unit_vector(0)), deadline=deadline)
    text = await cache.get("text", digest("a"), Work(unit_vector(1)), deadline=deadline)
    assert not np.array_equal(image, text)


async def test_the_least_recently_used_leaves_first() -> None:
    cache = Counted(max_bytes=3 * ENTRY)
    for name in (0, 1, 2, 0, 3):
        await cache.ask(name, Work(unit_vector(name)))
    assert cache.bytes == 3 * ENTRY
    again = {name: Work(unit_vector(name)) for name in (0, 2, 3, 1)}
    for name, work in again.items():
        await cache.ask(name, work)
    assert {name: work.calls for name, work in again.items()} == {0: 0, 2: 0, 3: 0, 1: 1}


async def test_without_memory_requests_in_flight_still_share() -> None:
    cache, work = Counted(max_bytes=0), Work(unit_vector(0), seconds=0.02)
    await asyncio.gather(*(cache.ask("a", work) for _ in range(5)))
    assert work.calls == 1
    assert cache.outcomes == {"miss": 1, "shared": 4}
    await cache.ask("a", work)
    assert work.calls == 2


async def test_nobody_can_change_a_cached_vector() -> None:
    cache = Counted()
    vector = await cache.ask("a", Work(unit_vector(0)))
    with pytest.raises(ValueError, match="read-only"):
        vector[0] = 2


async def test_a_wrong_image_is_wrong_for_everybody_who_waits_and_is_not_remembered() -> None:
    cache, work = Counted(), Work(unit_vector(0), seconds=0.02)
    work.error = InvalidImage("broken")
    answers = await asyncio.gather(
        *(cache.ask("a", work) for _ in range(3)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [InvalidImage] * 3
    assert work.calls == 1
    work.error = None
    assert np.array_equal(await cache.ask("a", work), work.vector)


async def test_a_request_that_is_given_up_leaves_its_work_to_the_next() -> None:
    cache, slow, quick = Counted(), Work(unit_vector(0), seconds=60), Work(unit_vector(0))
    leader = asyncio.create_task(cache.ask("a", slow))
    await asyncio.sleep(0)
    followers = [asyncio.create_task(cache.ask("a", quick)) for _ in range(3)]
    await asyncio.sleep(0.01)
    leader.cancel()
    vectors = await asyncio.wait_for(asyncio.gather(*followers), 5)
    assert all(np.array_equal(vector, quick.vector) for vector in vectors)
    assert quick.calls == 1


async def test_each_request_keeps_its_own_deadline() -> None:
    cache, work = Counted(), Work(unit_vector(0), seconds=0.2)
    work.error = DeadlineExceeded("the leader's time is over")
    leader = asyncio.create_task(cache.ask("a", work))
    await asyncio.sleep(0)
    patient = asyncio.create_task(cache.ask("a", Work(unit_vector(1))))
    with pytest.raises(DeadlineExceeded):
        await cache.ask("a", work, limit_s=0.02)
    assert not leader.done()
    with pytest.raises(DeadlineExceeded):
        await leader
    assert np.array_equal(await patient, unit_vector(1))


class Redis:
    """A real server on a Unix socket of its own."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert SERVER is not None
        self._process = subprocess.Popen(
            [SERVER, "--port", "0", "--unixsocket", self.socket, "--save", ""],
            cwd=self.socket.parent,
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 10
        while not self.socket.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self.socket.unlink(missing_ok=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Redis]:
    if SERVER is None:
        pytest.skip("no valkey-server or redis-server here (apt install redis-server)")
    made = Redis(tmp_path)
    made.start()
    yield made
    made.stop()


def remote(server: Redis, fingerprint: str = "f" * 64) -> RemoteCache:
    return RemoteCache(server.url, fingerprint=fingerprint, dimension=DIMENSION)


async def test_servers_share_embeddings_of_one_vector_space(server: Redis) -> None:
    first, work = Counted(remote=remote(server)), Work(unit_vector(0))
    await first.ask("a", work)
    await first.close()
    second = Counted(remote=remote(server))
    assert np.array_equal(await second.ask("a", work), work.vector)
    assert second.outcomes == {"remote": 1}
    other = Counted(remote=remote(server, fingerprint="0" * 64))
    await other.ask("a", work)
    assert other.outcomes == {"miss": 1}
    await second.close()
    await other.close()


async def test_a_damaged_value_is_computed_again(server: Redis) -> None:
    client = redis.Redis.from_url(server.url)
    key = b"vitrine:" + b"f" * 64 + b":i"
    await client.set(key + digest("short"), b"12")
    await client.set(key + digest("nan"), np.full(DIMENSION, np.nan, np.float32).tobytes())
    await client.aclose()
    cache = Counted(remote=remote(server))
    for name in ("short", "nan"):
        assert np.array_equal(await cache.ask(name, Work(unit_vector(3))), unit_vector(3))
    assert cache.outcomes == {"miss": 2}
    await cache.close()


async def test_a_cache_that_is_down_costs_one_warning_and_never_an_answer(
    server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caches, "_REMOTE_PAUSE_S", 0.05)
    cache = Counted(max_bytes=0, remote=remote(server))
    await cache.ask("a", Work(unit_vector(0)))
    server.stop()
    with capture_logs() as logs:
        for name in range(20):
            assert np.array_equal(await cache.ask(name, Work(unit_vector(name))), unit_vector(name))
            await asyncio.sleep(0.01)
    assert [entry["log_level"] for entry in logs] == ["warning"]
    server.start()
    await asyncio.sleep(0.1)
    with capture_logs() as logs:
        await cache.ask("a", Work(unit_vector(0)))
    assert [entry["event"] for entry in logs] == ["the shared cache answers again"]
    await cache.close()
