"""Watches through the API: what fires, once, filters, webhooks and their signatures."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest

from vitrine_server import webhooks
from vitrine_server.app import create_app
from vitrine_server.config import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fastapi import FastAPI

BASE = "/v1/collections/default"
WAIT_S = 20.0


async def alerts(http: httpx.AsyncClient, count: int, **options: Any) -> list[dict[str, Any]]:
    """Wait for so many alerts, and a little for one too many."""
    for _ in range(int(WAIT_S / 0.1)):
        found = (await http.get(f"{BASE}/alerts", params=options)).json()["alerts"]
        if len(found) >= count:
            break
        await asyncio.sleep(0.1)
    await asyncio.sleep(0.7)
    found = (await http.get(f"{BASE}/alerts", params=options)).json()["alerts"]
    assert len(found) == count, found
    return list(found)


def near(vector: np.ndarray[Any, Any], cosine: float) -> list[float]:
    """A vector at this cosine to a unit vector."""
    other = np.roll(vector, 1)
    other = other - vector * (vector @ other)
    other /= np.linalg.norm(other)
    return list(cosine * vector + np.sqrt(1 - cosine**2) * other)


async def test_an_item_fires_once_and_only_above_the_score(http: httpx.AsyncClient) -> None:
    vector = np.random.default_rng(0).standard_normal(192)
    vector /= np.linalg.norm(vector)
    before = {"vector": near(vector, 0.99)}
    await http.put(f"{BASE}/items/before", json=before)
    body = {"id": "mine", "vector": vector.tolist(), "min_score": 0.9}
    made = await http.post(f"{BASE}/watches", json=body)
    assert made.status_code == 200, made.text
    assert made.json()["query"] == {"parts": [{"weight": 1.0, "vector": 192}]}
    for item, cosine in {"near": 0.95, "far": 0.85, "same": 1.0}.items():
        await http.put(f"{BASE}/items/{item}", json={"vector": near(vector, cosine)})
    found = await alerts(http, 2)
    assert {alert["item"]: round(alert["score"], 3) for alert in found} == {
        "near": 0.95,
        "same": 1.0,
    }
    await http.put(f"{BASE}/items/near", json={"vector": near(vector, 0.97)})
    await http.put(f"{BASE}/items/last", json={"vector": near(vector, 0.96)})
    found = await alerts(http, 1, after=found[-1]["number"])
    assert [alert["item"] for alert in found] == ["last"]


async def test_images_filters_and_the_list(
    http: httpx.AsyncClient, picture: Callable[..., bytes]
) -> None:
    await http.put(f"{BASE}/items/query", content=picture(1))
    body = {
        "queries": [{"item_id": "query"}],
        "min_score": 0.99,
        "filter": {"class": "chair", "price": {"gte": 5}},
    }
    made = (await http.post(f"{BASE}/watches", json=body)).json()
    listed = (await http.get(f"{BASE}/watches")).json()["watches"]
    assert listed == [{key: made[key] for key in made if key != "secret"}]
    for item, metadata in {
        "good": {"class": "chair", "price": 7},
        "cheap": {"class": "chair", "price": 2},
        "table": {"class": "table", "price": 9},
        "bare": {},
    }.items():
        params = {"metadata": json.dumps(metadata)}
        await http.put(f"{BASE}/items/{item}", content=picture(1), params=params)
    assert [alert["item"] for alert in await alerts(http, 1)] == ["good"]
    assert (await http.delete(f"{BASE}/watches/{made['id']}")).json()["watches"] == []
    gone = await http.delete(f"{BASE}/watches/{made['id']}")
    assert (gone.status_code, gone.json()["code"]) == (404, "watch_not_found")
    again = {**body, "id": "again"}
    assert (await http.post(f"{BASE}/watches", json=again)).status_code == 200
    assert (await http.post(f"{BASE}/watches", json=again)).status_code == 409
    await alerts(http, 1)  # what was there before the watch does not fire it


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"min_score": None}, "min_score"),
        ({"item_id": "x"}, "image"),
        ({"filter": {"price": {"lt": []}}}, "filter.price.lt"),
        ({"webhook": "https://example.org/hook"}, "webhook"),
        ({"webhook": "ftp://example.org"}, "webhook"),
        ({"colour": 1}, "colour"),
    ],
)
async def test_a_bad_watch_names_its_field(
    http: httpx.AsyncClient, change: dict[str, Any], field: str
) -> None:
    body = {"vector": [1.0] * 192, "min_score": 0.5} | change
    answer = await http.post(f"{BASE}/watches", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert answer.json()["accepted"]


class Receiver(BaseHTTPRequestHandler):
    """Fails the first call, takes the others."""

    received: list[tuple[str, bytes]]
    refuse: int

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        type(self).received.append((self.headers[webhooks.SIGNATURE], body))
        self.send_response(500 if len(type(self).received) <= type(self).refuse else 204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def receiver() -> Iterator[tuple[str, type[Receiver]]]:
    handler = type("Mine", (Receiver,), {"received": [], "refuse": 1})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://localhost:{server.server_port}/hook?x=1", handler
        server.shutdown()
        thread.join()


async def test_a_webhook_is_signed_and_tried_again(
    app: FastAPI, tmp_path: Path, receiver: tuple[str, type[Receiver]]
) -> None:
    url, handler = receiver
    settings = Settings(data=tmp_path / "other", webhook_networks=("127.0.0.0/8",))
    app = create_app(settings, encoder=app.state.services.encoder)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://vitrine") as http:
            body = {"vector": [1.0] * 192, "min_score": 0.9, "webhook": url}
            secret = (await http.post(f"{BASE}/watches", json=body)).json()["secret"]
            await http.put(f"{BASE}/items/a", json={"vector": [1.0] * 192})
            for _ in range(int(WAIT_S / 0.1)):
                (alert,) = (await http.get(f"{BASE}/alerts")).json()["alerts"] or [{}]
                if alert.get("delivered"):
                    break
                await asyncio.sleep(0.1)
    assert alert["attempts"] == 2
    assert len(handler.received) == 2
    told, content = handler.received[1]
    moment, digest = (part.partition("=")[2] for part in told.split(","))
    expected = hmac.new(secret.encode(), moment.encode() + b"." + content, hashlib.sha256)
    assert digest == expected.hexdigest()
    assert json.loads(content)["item"] == "a"
    assert json.loads(content)["number"] == alert["number"]


@pytest.mark.parametrize("networks", [(), ("203.0.113.0/24",), ("10.0.0.0/8", "fc00::/7")])
def test_an_address_that_is_not_allowed_is_not_connected_to(
    networks: tuple[str, ...], receiver: tuple[str, type[Receiver]]
) -> None:
    url, handler = receiver
    port = url.split(":")[2].split("/")[0]
    for host in ("localhost", "127.0.0.1", "[::ffff:127.0.0.1]", "0.0.0.0", "[::1]", "2130706433"):
        with pytest.raises(webhooks.NotDelivered):
            webhooks.post(f"http://{host}:{port}/", b"{}", secret="s", networks=networks)
    assert handler.received == []
