"""POST /v1/compare: evidence that holds, and a search that never waits behind it."""

from __future__ import annotations

import asyncio
import base64
import io
import time
from typing import TYPE_CHECKING, Any

import cv2
import httpx
import numpy as np
import pytest
from PIL import Image, ImageDraw
from standins import AverageEncoder

from vitrine_server import compare, explain, overlay
from vitrine_server.app import create_app
from vitrine_server.config import Settings
from vitrine_server.encoder import Encoded

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


SIDE = 448
ITEMS = "/v1/collections/default/items"


def _drawing(*, lamp: bool = True, cross: bool = False) -> NDArray[np.uint8]:
    """Lines on white, with no symmetry: a lamp on the left, a cross below on the right."""
    image = Image.new("RGB", (SIDE, SIDE), "white")
    pen = ImageDraw.Draw(image)
    if lamp:
        pen.polygon([(80, 170), (200, 170), (170, 90), (110, 90)], outline="black", width=4)
        pen.line([(140, 170), (140, 300)], fill="black", width=4)
        pen.rectangle([100, 300, 200, 320], outline="black", width=4)
    if cross:
        pen.line([(300, 300), (390, 390)], fill="black", width=5)
        pen.line([(390, 300), (300, 390)], fill="black", width=5)
    return np.asarray(image)


def _encoded(pixels: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


async def _compare(http: httpx.AsyncClient, a: dict[str, Any], b: dict[str, Any]) -> Any:
    answer = await http.post("/v1/compare", json={"a": a, "b": b})
    assert answer.status_code == 200, answer.text
    return answer.json()


def _pixels(uri: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


async def test_a_picture_compared_with_itself(http: httpx.AsyncClient) -> None:
    picture = {"image": _encoded(_drawing(cross=True))}
    found = await _compare(http, picture, picture)
    assert found["score"] == pytest.approx(1, abs=1e-5)
    assert found["matches"]
    assert all(match["a"] == match["b"] for match in found["matches"])
    assert found["difference"]["agreement"] == 1
    assert found["difference"]["pose"]["mirrored"] is False
    lines = _pixels(found["difference"]["overlay"])
    assert {tuple(colour) for colour in lines.reshape(-1, 3)} == {(255,) * 3, (34,) * 3}
    assert _pixels(found["a"]["view"]).shape == (SIDE, SIDE, 3)


async def test_heat_is_the_fall_of_the_score_when_a_patch_is_blanked(
    http: httpx.AsyncClient,
) -> None:
    a, b = _drawing(cross=True), _drawing()
    found = await _compare(http, {"image": _encoded(a)}, {"image": _encoded(b)})
    encoder = AverageEncoder()

    async def vector(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return (await encoder.encode(pixels, deadline=0)).embedding

    small = cv2.resize(a, (224, 224), interpolation=cv2.INTER_AREA)
    other = await vector(cv2.resize(b, (224, 224), interpolation=cv2.INTER_AREA))
    expected = np.zeros((8, 8))
    for row in range(8):
        for column in range(8):
            hidden = small.copy()
            hidden[28 * row : 28 * row + 28, 28 * column : 28 * column + 28] = 255
            expected[row, column] = (await vector(small) - await vector(hidden)) @ other
    np.testing.assert_allclose(found["a"]["heat"], expected, atol=1e-5)
    # what only one of them shows speaks against the score: blanking it does not lower it
    assert np.array(found["a"]["heat"])[5:, 5:].max() <= 0
    for side in (found["a"], found["b"]):
        assert side["fall_top"] > 2 * abs(side["fall_random"])


async def test_the_score_is_the_one_that_search_gives(
    http: httpx.AsyncClient, picture: Callable[..., bytes]
) -> None:
    query = picture(2)
    (await http.put(f"{ITEMS}/one", content=picture(1))).raise_for_status()
    hits = (await http.post("/v1/collections/default/search", content=query)).json()["hits"]
    found = await _compare(http, {"image": base64.b64encode(query).decode()}, {"item_id": "one"})
    assert found["score"] == pytest.approx(hits[0]["score"], abs=1e-5)
    assert found["shown_score"] == pytest.approx(found["score"], abs=0.02)
    assert found["difference"] is None  # colour pictures have no lines to lay over each other


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 12, 95])
def test_alignment_finds_the_pose(degrees: float, mirrored: bool) -> None:
    drawing = _drawing(cross=True)
    moved = drawing[:, ::-1] if mirrored else drawing
    turn = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), degrees, 0.8)
    turn[:, 2] += (20, -12)
    moved = cv2.warpAffine(
        np.ascontiguousarray(moved), turn, (SIDE, SIDE), borderValue=(255, 255, 255)
    )
    found = overlay.difference(drawing, moved)
    assert found.agreement > 0.95
    assert found.pose.mirrored is mirrored
    assert found.pose.scale == pytest.approx(1 / 0.8, abs=0.04)
    assert overlay.difference(drawing, _drawing(lamp=False, cross=True)).agreement < 0.8


def test_matches_are_mutual_and_apart() -> None:
    places = [(0, 0), (0, 1), (4, 4)]
    vectors = np.array([[1, 0, 0], [0.9, 0.1, 0], [0, 0, 1]], np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = explain.best_matches(places, vectors, places, vectors)
    assert [match.a for match in found] in (
        [(0, 0, 0.25, 0.25), (0.5, 0.5, 0.25, 0.25)],
        [(0.125, 0, 0.25, 0.25), (0.5, 0.5, 0.25, 0.25)],
        [(0.5, 0.5, 0.25, 0.25), (0, 0, 0.25, 0.25)],
    )
    assert explain.best_matches([], vectors[:0], places, vectors) == []


@pytest.mark.parametrize(
    ("a", "status", "code", "field"),
    [
        ({}, 422, "invalid_parameter", "a"),
        ({"image": "AAAA", "item_id": "x"}, 422, "invalid_parameter", "a"),
        ({"image": "?"}, 422, "invalid_parameter", "a.image"),
        ({"image": ""}, 422, "invalid_image", "a.image"),
        ({"image": "AAAA"}, 415, "unsupported_media_type", "a.image"),
        ({"item_id": "nobody"}, 404, "item_not_found", "a.item_id"),
        ({"item_id": "x", "collection": "none"}, 404, "collection_not_found", "a.collection"),
        ({"item_id": "bare"}, 404, "image_not_found", "a.item_id"),
    ],
)
async def test_refusals_name_the_field(
    http: httpx.AsyncClient, a: dict[str, str], status: int, code: str, field: str
) -> None:
    (await http.put(f"{ITEMS}/bare", json={"vector": [1.0] * 192})).raise_for_status()
    b = {"image": _encoded(_drawing())}
    answer = await http.post("/v1/compare", json={"a": a, "b": b})
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["field"]) == (status, code, field)
    assert problem["accepted"]


class SlowEncoder(AverageEncoder):
    """One image at a time, 5 ms each: what is in front of a search can be counted."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = asyncio.Lock()
        self.done = 0

    async def encode(self, pixels: NDArray[np.uint8], *, deadline: float) -> Encoded:
        async with self._turn:
            await asyncio.sleep(0.005)
            self.done += 1
            cells = pixels[14::28, 14::28].reshape(-1) - 127.3
            return Encoded((cells / np.linalg.norm(cells)).astype(np.float32), 0.0, 0.0)


async def test_a_search_meets_at_most_a_handful_of_a_comparison(
    tmp_path: Path, picture: Callable[..., bytes]
) -> None:
    encoder = SlowEncoder()
    app = create_app(Settings(data=tmp_path), encoder=encoder)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://vitrine") as http,
    ):
        cross = {"image": _encoded(_drawing(lamp=False, cross=True))}
        two = {"a": cross, "b": cross}
        body = picture(3)
        comparing = [asyncio.create_task(http.post("/v1/compare", json=two)) for _ in range(7)]
        searched = 0
        while not all(task.done() for task in comparing):
            before = encoder.done
            answer = await http.post("/v1/collections/default/search", content=body)
            assert answer.status_code == 200
            searched += 1
            # its own image, and at most one handful that had begun before it came
            assert encoder.done - before <= compare.HANDFUL + 1
            await asyncio.sleep(0.02)
        statuses = sorted(task.result().status_code for task in comparing)
    assert searched > 10
    assert statuses == [200] * (compare.MAX_WAITING + 1) + [429] * (6 - compare.MAX_WAITING)


async def test_under_steady_load_a_comparison_is_slow_but_comes(
    app: Any, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "_CALM_WAIT_S", 0.005)
    monkeypatch.setattr(type(app.state.services.admission), "inside", 1)
    started = time.monotonic()
    picture = {"image": _encoded(_drawing())}
    found = await _compare(http, picture, picture)
    assert found["score"] == pytest.approx(1, abs=1e-5)
    assert time.monotonic() - started > 0.1
