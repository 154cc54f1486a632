"""What fronts and owner say to one another, without the processes."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from vitrine_server import errors, metrics_sum
from vitrine_server.api_keys import Keys
from vitrine_server.config import Settings
from vitrine_server.records import Hit, NewItem, SearchQuery, SearchResult
from vitrine_server.shown import shown
from vitrine_server.workers import wire
from vitrine_server.workers.front import share
from vitrine_server.workers.link import Link
from vitrine_server.workers.wire import Message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

RNG = np.random.default_rng(0)


def vector() -> np.typing.NDArray[np.float32]:
    return RNG.normal(size=5).astype(np.float32)


def test_queries_arrive_as_they_were() -> None:
    queries = [
        SearchQuery(vector(), 3),
        SearchQuery(
            vector()[:2],
            7,
            2,
            {"price": {"lt": 3}},
            "group",
            -0.25,
            with_vector=True,
            views=(vector(), vector()),
        ),
        SearchQuery(vector(), 1, rerank=True),
    ]
    content, body = wire.packed_queries(queries, 12.5)
    received, deadline = wire.queries_of(_over(content), body)
    assert deadline == 12.5
    for sent, got in zip(queries, received, strict=True):
        np.testing.assert_array_equal(got.vector, sent.vector)
        assert got.vector.dtype == np.float32
        for name in ("k", "offset", "filter", "group_by", "min_score", "with_vector", "rerank"):
            assert getattr(got, name) == getattr(sent, name)
        for sent_view, got_view in zip(sent.views, got.views, strict=True):
            np.testing.assert_array_equal(got_view, sent_view)


def test_results_arrive_as_they_were() -> None:
    score = float(np.float32(0.1))
    hits = (
        Hit(shown("ä/1", "g", b'{"group":"g","x":[1,2.50]}'), score, vector()),
        Hit(shown("b", None, b"{}"), -0.0, None, 0.25),
    )
    refused = errors.InvalidFilter("No.", code="unknown_field", field="filter.x", accepted="y")
    results = [
        SearchResult(hits, "exact@7", 0.1, 0.2, known=True),
        refused,
        SearchResult((), "s", 0.0, 0.0, fallback="gpu_flat cannot filter"),
    ]
    message = wire.results_message(results)
    found, error, empty = wire.results_of(Message("ok", _over(message.content), message.body))
    assert isinstance(found, SearchResult)
    assert (found.snapshot, found.search_s, found.hydrate_s) == ("exact@7", 0.1, 0.2)
    assert found.known
    assert found.fallback is None
    for sent, got in zip(hits, found.hits, strict=True):
        assert got.item == sent.item
        assert repr(got.score) == repr(sent.score)
    np.testing.assert_array_equal(found.hits[0].vector, hits[0].vector)  # type: ignore[arg-type]
    assert found.hits[1].vector is None
    assert [hit.rerank_score for hit in found.hits] == [None, 0.25]
    assert empty == results[2]
    assert type(error) is errors.InvalidFilter
    assert vars(error) == vars(refused)


def test_items_arrive_as_they_were() -> None:
    items = [
        NewItem("a", vector(), {"group": "g", "n": 1.5}, b"jpeg", "ab" * 32, (2**64 - 1, 0)),
        NewItem("b", vector(), {}),
    ]
    content, body = wire.packed_items(items)
    for sent, got in zip(items, wire.items_of(_over(content), body), strict=True):
        np.testing.assert_array_equal(got.vector, sent.vector)
        for name in ("id", "metadata", "thumbnail", "image_sha256", "hashes"):
            assert getattr(got, name) == getattr(sent, name)


@pytest.mark.parametrize("kind", wire.kinds().values())
def test_every_error_is_raised_as_it_was(kind: type[errors.VitrineError]) -> None:
    if kind is errors.CollectionNotFound:
        error: errors.VitrineError = errors.CollectionNotFound("shoes")
    elif kind is errors.ItemNotFound:
        error = errors.ItemNotFound("a", "shoes")
    else:
        error = kind("Why.", field="k", accepted="1", retry_after_s=2.5)
    got = wire.error_of(_over(wire.error_content(error)))
    assert type(got) is kind
    assert vars(got) == vars(error)
    assert str(got) == str(error)


async def test_calls_are_answered_out_of_order(tmp_path: Path) -> None:
    async def answer(message: Message) -> Message:
        await asyncio.sleep(message.content / 1000)
        return Message("ok", message.content, message.body * 2)

    async with linked(tmp_path, answer) as (link, _):
        calls = (link.call(Message("wait", ms, b"%d" % ms)) for ms in (60, 0, 30))
        answers = await asyncio.gather(*calls)
        assert [(each.content, each.body) for each in answers] == [
            (60, b"6060"),
            (0, b"00"),
            (30, b"3030"),
        ]
        with pytest.raises(errors.DeadlineExceeded):
            await link.call(Message("wait", 10_000), deadline=time.monotonic() + 0.05)


async def test_errors_and_lost_connections_are_raised(tmp_path: Path) -> None:
    async def answer(message: Message) -> Message:
        if message.kind == "refuse":
            raise errors.Overloaded("Full.", retry_after_s=3)
        await asyncio.sleep(60)
        raise AssertionError

    async with linked(tmp_path, answer) as (link, other):
        with pytest.raises(errors.Overloaded) as refused:
            await link.call(Message("refuse"))
        assert refused.value.retry_after_s == 3
        waiting = asyncio.create_task(link.call(Message("wait")))
        await asyncio.sleep(0.05)
        other.close()
        with pytest.raises(errors.Unavailable) as lost:
            await waiting
        assert (lost.value.code, lost.value.retry_after_s) == ("index_unavailable", 1)
        with pytest.raises(errors.Unavailable):
            await link.call(Message("wait"))


async def test_what_is_no_frame_ends_the_connection(tmp_path: Path) -> None:
    async def answer(message: Message) -> Message:
        raise AssertionError("nothing was asked")

    async with linked(tmp_path, answer) as (link, _):
        for junk in (b"\xff" * 64, b"\x03\0\0\0\0\0\0\0{]}"):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "socket"))
            writer.write(junk)
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
        assert not link._writer.is_closing()


def test_figures_of_processes_are_added_up() -> None:
    def counted(requests: int, ready: int) -> metrics_sum.Snapshot:
        registry = CollectorRegistry()
        Counter("asked", "Asked", ["route"], registry=registry).labels("/a").inc(requests)
        Gauge("encoder_ready", "Ready", registry=registry).set(ready)
        Gauge("inside", "Inside", registry=registry).set(requests)
        seconds = Histogram("seconds", "Seconds", buckets=(1, 2), registry=registry)
        for _ in range(requests):
            seconds.observe(1.5)
        return metrics_sum.snapshot(registry)

    both = metrics_sum.total([counted(2, 1), counted(3, 0)])
    text = metrics_sum.render(both).decode()
    for line in (
        'asked_total{route="/a"} 5.0',
        "encoder_ready 0.0",
        "inside 5.0",
        'seconds_bucket{le="1.0"} 0.0',
        'seconds_bucket{le="2.0"} 5.0',
        'seconds_bucket{le="+Inf"} 5.0',
        "seconds_sum 7.5",
    ):
        assert line in text.splitlines()
    # a process that has ended is still counted, but nothing is inside it any more
    left = metrics_sum.render(
        metrics_sum.total([metrics_sum.counts(counted(2, 1)), counted(3, 1)])
    ).decode()
    assert 'asked_total{route="/a"} 5.0' in left
    assert "inside 3.0" in left


def test_a_keys_rate_is_counted_in_one_place(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"shop read {'a' * 64} 10\nfree read {'b' * 64}\n")
    owner, *fronts = (Keys(file) for _ in range(3))
    callers = [keys._known[0][1] for keys in (owner, *fronts)]
    for who in callers[1:]:
        who.charge(15)  # of a bucket of 20
    for keys in fronts:
        spent = keys.take_spent()
        assert list(spent.values()) == [15]
        keys.correct(owner.settle(spent))
        assert keys.take_spent() == {}
    assert callers[0]._tokens == pytest.approx(-10, abs=1)
    with pytest.raises(errors.Overloaded) as refused:
        callers[2].charge(1)
    assert refused.value.retry_after_s == pytest.approx(1.1, abs=0.2)


def test_fronts_share_what_the_settings_allow() -> None:
    settings = Settings(workers=3, cache_mb=30, decode_threads=4, max_connections=100)
    shared = share(settings)
    assert (shared.cache_mb, shared.decode_threads, shared.max_connections) == (10, 2, 34)
    assert share(Settings(workers=64)).max_buffered_mb == settings.max_body_mb


@asynccontextmanager
async def linked(
    folder: Path, answer: Callable[[Message], Awaitable[Message]]
) -> AsyncIterator[tuple[Link, Link]]:
    """A link, and its other side, which answers."""
    accepted: asyncio.Future[Link] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other = Link(reader, writer, answer)
        if not accepted.done():
            accepted.set_result(other)
        await other.run()

    server = await asyncio.start_unix_server(serve, str(folder / "socket"))
    link = await Link.connect(str(folder / "socket"), answer)
    running = asyncio.create_task(link.run())
    try:
        yield link, await accepted
    finally:
        link.close()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        server.close()


def _over(content: object) -> object:
    """As it comes out of a frame."""
    data = wire.frame(1, Message("ok", content))
    return wire.orjson.loads(data[8:])[2]
