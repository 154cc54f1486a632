"""Real images through the real Triton and FAISS: found, replaced, deleted, kept."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest
from serving import START_LIMIT_S, Server, eventually

from vitrine_client import Client
from vitrine_client.errors import ItemNotFound

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.triton, pytest.mark.slow]

PHOTOS = 120
# A full run takes VITRINE_TEST_KILLS=20.
KILLS = int(os.environ.get("VITRINE_TEST_KILLS", "3"))


@pytest.fixture(scope="module")
def photos(real_images: Path | None) -> dict[str, bytes]:
    if real_images is None:
        pytest.skip("no real images: VITRINE_TEST_DATA names no folder")
    paths = sorted((real_images / "photos").rglob("*.jpg"))
    step = max(1, len(paths) // PHOTOS)
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in paths[::step]}


def _best(client: Client, image: bytes) -> str | None:
    hits = client.search(image=image, k=1).hits
    return hits[0].id if hits else None


def _is_there(client: Client, item_id: str) -> bool:
    try:
        client.get_item(item_id)
    except ItemNotFound:
        return False
    return True


def test_every_photo_finds_itself_and_writes_survive_a_restart(
    server: Server, photos: dict[str, bytes]
) -> None:
    with Client(server.base_url) as client, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: client.put_item(one[0], image=one[1]), photos.items()))
        found = list(pool.map(lambda image: _best(client, image), photos.values()))
        assert found == list(photos)
        first, second, *_ = photos
        client.put_item(first, image=photos[second])
        client.delete_item(second)
        assert _best(client, photos[second]) == first
        server.restart()
        assert _best(client, photos[second]) == first
        assert client.get_collection("default").count == len(photos) - 1


def test_acknowledged_items_survive_kill_9_of_the_sidecar(
    published: Path, new_server: Callable[..., Server], photos: dict[str, bytes]
) -> None:
    server = new_server(published)
    server.start()
    images = list(photos.values())
    acknowledged: list[str] = []
    for turn in range(KILLS):
        killed = threading.Event()

        def ingest(worker: int, turn: int = turn, killed: threading.Event = killed) -> None:
            with httpx.Client(base_url=server.base_url, timeout=30) as http:
                for number, image in enumerate(images[worker::4]):
                    item_id = f"{turn}-{worker}-{number}"
                    path = f"/v1/collections/default/items/{item_id}"
                    try:
                        answer = http.put(path, content=image)
                    except httpx.TransportError:
                        return
                    if answer.status_code == 200:
                        acknowledged.append(item_id)
                    if killed.is_set():
                        return

        target = len(acknowledged) + 5 + turn
        with ThreadPoolExecutor(4) as pool:
            workers = [pool.submit(ingest, worker) for worker in range(4)]
            eventually(
                lambda target=target: len(acknowledged) >= target, limit_s=60, what="some items"
            )
            server.child("vitrine_server.main").send_signal(signal.SIGKILL)
            killed.set()
            for worker in workers:
                worker.result()
        eventually(lambda: server.ready, limit_s=START_LIMIT_S, what="the sidecar is back")
        with Client(server.base_url) as client:
            lost = [item_id for item_id in acknowledged if not _is_there(client, item_id)]
        assert lost == []
