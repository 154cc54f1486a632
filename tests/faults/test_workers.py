"""VITRINE_WORKERS: the same answers as one process gives, and what a killed process costs."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import psutil
import pytest
from separate import FULL, Separate, separate
from standing import DIMENSION, SEARCH, StandIn, exchange, picture, post, until

from vitrine_server.app import create_app
from vitrine_server.config import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow

ITEMS = "/v1/collections/default/items"
RATE = 20
KEYS = {"root": "admin", "limited": f"read {RATE}", "reader": "read"}
ROOT = {"Authorization": "Bearer root"}
RECOVERY_S = 60.0
KILLS = 10 if FULL else 1


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("keys") / "keys"
    lines = []
    for key, rights in KEYS.items():
        scope, *rate = rights.split()
        lines.append(" ".join([key, scope, hashlib.sha256(key.encode()).hexdigest(), *rate]))
    file.write_text("\n".join(lines))
    return file


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Iterator[Separate]:
    """One server with two fronts for all tests here."""
    folder = tmp_path_factory.mktemp("workers")
    with separate(folder, workers=2, api_keys=str(keys), cache_mb=8) as running:
        yield running


@asynccontextmanager
async def alone(folder: Path, keys: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The application in this process."""
    app = create_app(Settings(data=folder, api_keys=keys), encoder=StandIn())
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://vitrine") as client:
            yield client


def script() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Calls that depend on one another: method, path, what httpx takes."""
    vectors = np.random.default_rng(5).normal(size=(40, DIMENSION)).round(4).tolist()
    yield "PUT", "/v1/collections/shoes", {"json": {"fields": {"price": "number"}}}
    for seed in range(6):
        metadata = {"group": f"g{seed % 2}", "price": seed, "note": "ä\u2028", "x": [1, 2.5]}
        params = {"metadata": json.dumps(metadata)}
        yield "PUT", f"{ITEMS}/folder%2F{seed}", {"content": picture(seed), "params": params}
    lines = [{"id": f"v{at}", "vector": vector} for at, vector in enumerate(vectors[:30])]
    encoded = base64.b64encode(picture(50)).decode()
    lines += [{"id": "bad", "vector": [1.0]}, {"id": "picture", "image": encoded}, {"id": "junk"}]
    body = "\n".join(json.dumps(line) for line in lines)
    yield "POST", f"{ITEMS}:batch", {"content": body}
    yield "POST", f"{ITEMS}:batch", {"content": ""}
    kept = "/v1/collections/kept"
    yield "PUT", kept, {"json": {"quality": "keep"}}
    for name in ("one", "same"):
        yield "PUT", f"{kept}/items/{name}", {"content": picture(50)}
    pair = [{"id": name, "image": encoded} for name in ("again", "and-again")]
    yield "POST", f"{kept}/items:batch", {"content": "\n".join(map(json.dumps, pair))}
    yield "POST", f"{kept}/search", {"json": {"item_id": "one"}}
    for vector in vectors[28:33]:
        yield "POST", SEARCH, {"json": {"vector": vector, "k": 7, "offset": 2}}
    yield "POST", SEARCH, {"content": picture(3), "params": {"k": 40}}
    yield "POST", SEARCH, {"content": picture(99), "params": {"group_by": "group"}}
    yield "POST", SEARCH, {"json": {"item_id": "folder/2", "with_vector": True}}
    yield "POST", SEARCH, {"json": {"item_id": "folder/2", "with_metadata": False}}
    yield "POST", SEARCH, {"json": {"item_id": "v1", "filter": {"price": {"gte": 2}}}}
    weighted = [{"vector": vectors[0]}, {"item_id": "folder/1", "weight": -0.5}]
    yield "POST", SEARCH, {"json": {"queries": weighted}}
    yield "POST", SEARCH, {"json": {"vector": vectors[0], "min_score": 0.999}}
    for wrong in (
        {"vector": [1.0]},
        {"vector": [0] * DIMENSION},
        {"item_id": "none"},
        {"text": "chair"},
        {"vector": vectors[0], "k": 5000},
        {"vector": vectors[0], "filter": {"nothing": 1}},
        {"vector": vectors[0], "filter": {"price": {"is": 1}}},
        {},
    ):
        yield "POST", SEARCH, {"json": wrong}
    yield "POST", SEARCH, {"content": b"no picture"}
    yield "POST", SEARCH, {"content": b"{", "headers": {"content-type": "application/json"}}
    for path in ("/v1/collections/none/search", "/v1/collections/none/items:batch"):
        yield "POST", path, {"json": {"vector": vectors[0]}}
    yield "POST", "/v1/collections/shoes/search", {"json": {"vector": vectors[0]}}
    shoe = {"vector": vectors[0], "metadata": {"price": "cheap"}}
    yield "PUT", "/v1/collections/shoes/items/a", {"json": shoe}
    yield "PUT", f"{ITEMS}/%00", {"content": picture(1)}
    uri = f"data:image/png;base64,{encoded}"
    yield "POST", "/v1/embeddings", {"json": {"input": [uri, uri]}}
    yield "GET", f"{ITEMS}/folder%2F3/image", {}
    yield "DELETE", f"{ITEMS}/v3", {}
    yield "DELETE", f"{ITEMS}/v3", {}
    yield "POST", SEARCH, {"json": {"vector": vectors[3], "k": 1}}
    yield "POST", SEARCH, {"json": {"vector": vectors[3]}, "headers": {"authorization": ""}}
    yield "PUT", f"{ITEMS}/x", {"content": b"", "headers": {"authorization": "Bearer reader"}}
    for method, path in (("GET", SEARCH), ("POST", "/v1/none"), ("GET", "/v1/collections/shoes")):
        yield method, path, {}
    yield "DELETE", "/v1/collections/shoes", {}
    yield "POST", "/v1/collections/shoes/search", {"json": {"vector": vectors[0]}}
    yield "GET", "/openapi.json", {}
    yield "OPTIONS", SEARCH, {}


async def test_answers_are_those_of_one_process(
    server: Separate, keys: Path, tmp_path: Path
) -> None:
    async with alone(tmp_path, keys) as expected, client(server) as fronts:
        for method, path, options in script():
            headers = {**ROOT, **options.pop("headers", {})}
            wanted = await expected.request(method, path, headers=headers, **options)
            given = await fronts.request(method, path, headers=headers, **options)
            where = f"{method} {path} {str(options)[:120]}"
            assert given.status_code == wanted.status_code, f"{where}: {given.text[:300]}"
            assert _timeless(given.content) == _timeless(wanted.content), where
            for name in ("content-type", "retry-after", "allow", "www-authenticate"):
                assert given.headers.get(name) == wanted.headers.get(name), where
            assert len(given.headers.get_list("x-request-id")) == 1
            assert len(given.headers.get_list("date")) == 1


async def test_a_write_is_seen_through_every_front(server: Separate) -> None:
    async with (
        client(server) as anew,
        httpx.AsyncClient(base_url=server.url, headers=ROOT) as writing,
    ):
        for turn in range(8):
            image = picture(500 + turn)
            (await writing.put(f"{ITEMS}/mine", content=image)).raise_for_status()
            for _ in range(4):
                answer = await anew.post(SEARCH, content=image, params={"k": 1})
                assert answer.json()["hits"][0]["id"] == "mine"
                assert answer.json()["hits"][0]["score"] == pytest.approx(1, abs=1e-5)
            (await writing.delete(f"{ITEMS}/mine")).raise_for_status()
            answer = await anew.post(SEARCH, content=image, params={"k": 1})
            assert [hit["id"] for hit in answer.json()["hits"]] != ["mine"]


async def test_a_collection_is_what_it_was_made_last_for_every_front(server: Separate) -> None:
    """Fronts know settings by heart: a new collection of the same name must not be the old one."""
    path = "/v1/collections/changing"
    item = {"vector": [1.0] * DIMENSION, "metadata": {"price": "cheap"}}
    async with client(server) as anew:
        for kind, status in (("number", 422), ("keyword", 200), ("number", 422)):
            (await anew.put(path, json={"fields": {"price": kind}})).raise_for_status()
            for _ in range(6):
                answer = await anew.put(f"{path}/items/a", json=item)
                assert answer.status_code == status, answer.text
            (await anew.delete(path)).raise_for_status()
            for _ in range(6):
                answer = await anew.put(f"{path}/items/a", json=item)
                assert answer.json()["code"] == "collection_not_found"


async def test_metrics_are_one_sum(server: Separate) -> None:
    name = 'vitrine_requests_total{method="POST",route="%s",status="200"}'
    wanted = name % "/v1/collections/{collection}/search"

    async with client(server) as anew:

        async def count() -> float:
            text = (await anew.get("/metrics")).text
            found = re.search(f"^{re.escape(wanted)} (.*)$", text, re.MULTILINE)
            assert text.count("# TYPE vitrine_stage_seconds histogram") == 1
            return float(found[1]) if found else 0.0

        before = await count()
        for _ in range(16):
            answer = await anew.post(SEARCH, json={"vector": [1.0] * DIMENSION})
            assert answer.status_code == 200
        assert [await count() for _ in range(4)] == [before + 16] * 4


async def test_a_keys_rate_holds_for_all_fronts_together(server: Separate) -> None:
    body = json.dumps({"vector": [1.0] * DIMENSION}).encode()
    options = {"authorization": "Bearer limited", "content_type": "application/json"}
    request = post(SEARCH, body, connection="close", **options)
    statuses: list[int] = []
    started = time.monotonic()

    async def ask() -> None:
        while time.monotonic() < started + 3:
            statuses.append((await exchange(server.port, request)).status)

    await asyncio.gather(*(ask() for _ in range(8)))
    assert set(statuses) == {200, 429}
    # a bucket holds two seconds of its rate; a front notices after a moment what others let through
    fair = 2 * RATE + RATE * (time.monotonic() - started)
    assert statuses.count(200) <= fair + RATE * 2


@dataclass
class Load:
    """Clients that know the answers. failures: when something else than 200 came, and what."""

    server: Separate
    answered: int = 0
    stopped: bool = False
    wrong: list[str] = field(default_factory=list)
    failures: list[tuple[float, int]] = field(default_factory=list)

    async def ask(self, number: int) -> None:
        vectors = np.random.default_rng(7).normal(size=(64, DIMENSION)).round(4).tolist()
        while not self.stopped:
            number = (number + 1) % len(vectors)
            body = json.dumps({"vector": vectors[number], "k": 1}).encode()
            headers = {"content_type": "application/json", "authorization": "Bearer root"}
            answer = await exchange(self.server.port, post(SEARCH, body, **headers))
            if answer.status != 200:
                self.failures.append((time.monotonic(), answer.status))
                await asyncio.sleep(0.02)
                continue
            self.answered += 1
            if f'"id":"known-{number}"'.encode() not in answer.text:
                self.wrong.append(answer.text.decode())

    async def fill(self) -> None:
        vectors = np.random.default_rng(7).normal(size=(64, DIMENSION)).round(4).tolist()
        lines = [json.dumps({"id": f"known-{at}", "vector": v}) for at, v in enumerate(vectors)]
        async with client(self.server) as anew:
            answer = await anew.post(f"{ITEMS}:batch", content="\n".join(lines))
        assert answer.json()["stored"] == 64


@pytest.mark.timeout(90 * KILLS)
@pytest.mark.parametrize("victim", ["front", "owner"])
async def test_a_killed_process_is_back_and_nothing_is_wrong(server: Separate, victim: str) -> None:
    load = Load(server)
    await load.fill()
    clients = [asyncio.create_task(load.ask(number)) for number in range(6)]
    for _ in range(KILLS):
        await asyncio.sleep(0.5)
        process = _running(server, victim)[0]
        load.failures.clear()
        killed = time.monotonic()
        process.kill()
        await _back(server, victim, process.pid)
        await until(lambda least=load.answered + 200: load.answered >= least)
        statuses = {status for _, status in load.failures}
        if victim == "front":
            # what it was answering, and what waited for it, is lost; the other front goes on
            assert statuses <= {0}
            assert len(load.failures) < 30
        else:
            assert statuses <= {0, 503}
            last = max((moment for moment, _ in load.failures), default=killed)
            assert last - killed < RECOVERY_S
    load.stopped = True
    await asyncio.gather(*clients)
    assert load.wrong == []


async def test_without_an_owner_a_client_is_told_when_to_come_back(server: Separate) -> None:
    (owner,) = _running(server, "owner")
    owner.kill()
    async with client(server) as anew:
        answers = [
            await anew.post(SEARCH, json={"vector": [1.0] * DIMENSION}),
            await anew.put(f"{ITEMS}/lost", content=picture(1)),
            await anew.get("/v1/collections"),
        ]
        ready = await anew.get("/readyz")
    for answer in answers:
        assert answer.status_code == 503
        assert answer.json()["code"] == "index_unavailable"
        assert int(answer.headers["retry-after"]) >= 1
    assert ready.status_code == 503
    await _back(server, "owner", owner.pid)


def client(server: Separate) -> httpx.AsyncClient:
    """Each call over a new connection, so through any front."""
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.AsyncClient(base_url=server.url, headers=ROOT, timeout=30, limits=limits)


def _running(server: Separate, role: str) -> list[psutil.Process]:
    found = []
    for each in psutil.Process(server.process.pid).children():
        with suppress(psutil.NoSuchProcess):  # a zombie has no command line
            if role in each.cmdline():
                found.append(each)
    return found


async def _back(server: Separate, role: str, before: int) -> None:
    """Wait until another process has the role and all are ready again."""
    deadline = time.monotonic() + RECOVERY_S
    count = 2 if role == "front" else 1
    while True:
        running = [each.pid for each in _running(server, role)]
        if before not in running and len(running) == count and server.is_ready:
            return
        assert time.monotonic() < deadline, server.log.read_text()
        await asyncio.sleep(0.1)


def _timeless(content: bytes) -> bytes:
    """An answer without what is different each time."""
    text = re.sub(rb'"timings_ms":\{[^}]*\}', b"", content)
    return re.sub(rb'"(created|updated)":"[^"]*"', b"", text)
