"""Images that are flagged, skipped or refused, and scans that are cleaned up before encoding."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from standins import scene

from vitrine_server import cleanup, quality, transformations

if TYPE_CHECKING:
    import httpx
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]

PATH = "/v1/collections/scans"


def bad() -> dict[str, Pixels]:
    noise = np.random.default_rng(0).normal(245, 3, (300, 260, 3))
    return {
        "blank": noise.clip(0, 255).astype(np.uint8),
        "tiny": np.asarray(cv2.resize(scene(1), (40, 50), interpolation=cv2.INTER_AREA), np.uint8),
        "blurred": np.asarray(cv2.GaussianBlur(scene(2), (0, 0), 8), np.uint8),
    }


async def made(http: httpx.AsyncClient, **settings: Any) -> None:
    answer = await http.put(PATH, json=settings)
    assert answer.status_code == 200, answer.text


async def put(http: httpx.AsyncClient, item_id: str, pixels: Pixels) -> httpx.Response:
    return await http.put(f"{PATH}/items/{item_id}", content=transformations.encode(pixels))


async def test_flagged_images_are_kept_and_can_be_filtered(http: httpx.AsyncClient) -> None:
    await made(http, quality="keep")
    assert (await put(http, "good", scene(0))).json().keys() == {"id", "sequence"}
    for flag, pixels in bad().items():
        answer = (await put(http, flag, pixels)).json()
        assert (answer["flags"], answer["sequence"] > 0) == ([flag], True)
        assert (await http.get(f"{PATH}/items/{flag}")).json()["metadata"] == {"quality": [flag]}
    again = (await put(http, "again", scene(0))).json()
    assert again["flags"] == ["duplicate"]
    found = await http.get(f"{PATH}/items/again")
    assert found.json()["metadata"] == {"quality": ["duplicate"], "duplicate_of": "good"}
    body = {"item_id": "good", "filter": {"not": {"quality": ["duplicate", "blurred"]}}}
    hits = (await http.post(f"{PATH}/search", json=body)).json()["hits"]
    assert {hit["id"] for hit in hits} == {"good", "blank", "tiny"}


async def test_an_item_is_no_duplicate_of_its_own_older_version(http: httpx.AsyncClient) -> None:
    await made(http, quality="refuse")
    for _ in range(2):
        assert (await put(http, "good", scene(0))).status_code == 200


async def test_flagged_images_are_skipped(http: httpx.AsyncClient) -> None:
    await made(http, quality="skip")
    await put(http, "good", scene(0))
    answer = await put(http, "bad", bad()["blurred"])
    assert (answer.status_code, answer.json()["skipped"]) == (200, True)
    assert "sequence" not in answer.json()
    assert (await http.get(f"{PATH}/items/bad")).status_code == 404
    parts = [("image", (name, transformations.encode(one))) for name, one in bad().items()]
    parts += [("image", ("copy", transformations.encode(scene(0))))]
    parts += [("image", ("fine", transformations.encode(scene(5))))]
    answer = await http.post(f"{PATH}/items:batch", files=parts)
    told = answer.json()
    assert (told["stored"], told["failed"], told["skipped"]) == (1, 0, 4)
    assert {item["id"]: item.get("flags") for item in told["items"]} == {
        "blank": ["blank"],
        "tiny": ["tiny"],
        "blurred": ["blurred"],
        "copy": ["duplicate"],
        "fine": None,
    }
    assert (await http.get(PATH)).json()["count"] == 2


async def test_flagged_images_are_refused(http: httpx.AsyncClient) -> None:
    await made(http, quality="refuse")
    await put(http, "good", scene(0))
    for flag, pixels in {**bad(), "duplicate": scene(0)}.items():
        answer = await put(http, flag, pixels)
        problem = answer.json()
        told = (answer.status_code, problem["code"], problem["field"])
        assert told == (422, f"image_{flag}", "image")
        assert problem["accepted"]
    assert "'good'" in problem["detail"]


@pytest.mark.parametrize("action", ["keep", "skip", "refuse"])
async def test_equal_images_of_one_batch(http: httpx.AsyncClient, action: str) -> None:
    await made(http, quality=action)
    one, other = (transformations.encode(scene(number)) for number in (0, 1))
    parts = [("first", one), ("other", other), ("again", one)]
    answer = await http.post(f"{PATH}/items:batch", files=[("image", part) for part in parts])
    told = answer.json()
    counts = {"keep": (3, 0, 0), "skip": (2, 1, 0), "refuse": (2, 0, 1)}[action]
    assert (told["stored"], told["skipped"], told["failed"]) == counts
    again = told["items"][2]
    if action == "refuse":
        assert again["error"]["code"] == "image_duplicate"
        assert "'first'" in again["error"]["detail"]
    else:
        assert again["flags"] == ["duplicate"]
    assert not any("flags" in told["items"][at] for at in (0, 1))
    if action == "keep":
        stored = (await http.get(f"{PATH}/items/again")).json()["metadata"]
        assert stored == {"quality": ["duplicate"], "duplicate_of": "first"}


async def test_a_setting_that_does_not_exist(http: httpx.AsyncClient) -> None:
    for settings, field in (({"quality": "shout"}, "quality"), ({"cleanup": ["x"]}, "cleanup.0")):
        answer = await http.put(PATH, json=settings)
        assert (answer.status_code, answer.json()["field"]) == (422, field)


@pytest.mark.parametrize(("level", "flag"), [(0, "blank"), (128, "blank"), (255, "blank")])
def test_one_colour_is_blank(level: int, flag: str) -> None:
    assert quality.flags(np.full((200, 300), level, np.uint8)) == (flag,)


def test_a_veil_is_uniform() -> None:
    grey = cv2.cvtColor(scene(3), cv2.COLOR_RGB2GRAY).astype(np.float32)
    veiled = (200 + (grey - 128) / 8).clip(0, 255).astype(np.uint8)
    assert quality.flags(veiled) in (("uniform",), ("blank",))


def drawing() -> Pixels:
    """An upright page with a few shapes: (400, 300, 3)."""
    pixels = np.full((400, 300, 3), 255, np.uint8)
    cv2.rectangle(pixels, (90, 120), (210, 280), (0, 0, 0), 2)
    cv2.line(pixels, (90, 200), (210, 200), (0, 0, 0), 2)
    cv2.circle(pixels, (150, 160), 25, (0, 0, 0), 2)
    return pixels


def scanned(pixels: Pixels) -> Pixels:
    """Turned by 3 degrees, grey, with specks."""
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 3.0, 1.0)
    turned = cv2.warpAffine(pixels, matrix, (width, height), borderValue=(255, 255, 255))
    dull = (turned.astype(np.float32) * 0.6 + 60).astype(np.uint8)
    rng = np.random.default_rng(4)
    for x, y in rng.integers(5, 290, (25, 2)).tolist():
        dull[y, x] = 20
    return np.asarray(dull, np.uint8)


def test_each_step_does_what_it_says() -> None:
    fill = (255, 255, 255)
    bad_scan = scanned(drawing())
    straight = cleanup.clean(bad_scan, ["deskew"], (213, 213, 213))
    rows = (straight.min(axis=2) < 130).sum(axis=1)
    assert rows.max() > 110  # the rectangle's sides lie along the rows again
    assert (bad_scan.min(axis=2) < 130).sum(axis=1).max() < 90
    clear = cleanup.clean(bad_scan, ["despeckle"], fill)
    assert int((clear.max(axis=2) < 30).sum()) <= 4  # one may touch a line
    assert abs(int((clear < 120).sum()) - int((bad_scan < 120).sum())) < 400
    cut = cleanup.clean(drawing(), ["crop"], fill)
    assert 120 <= cut.shape[1] <= 140
    assert 160 <= cut.shape[0] <= 180
    strong = cleanup.clean(bad_scan, ["contrast"], fill)
    assert (int(strong.min()), int(strong.max())) == (0, 255)
    assert cleanup.clean(bad_scan, [], fill) is bad_scan


@pytest.mark.parametrize("step", cleanup.STEPS)
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 500, 3), (40, 3, 3), (200, 200, 3)])
def test_no_picture_is_too_odd(step: cleanup.Step, shape: tuple[int, ...]) -> None:
    for pixels in (np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)):
        cleaned = cleanup.clean(pixels, [step], (255, 255, 255))
        assert (cleaned.dtype, cleaned.ndim, cleaned.shape[2]) == (np.uint8, 3, 3)
        assert cleaned.size > 0


async def test_a_scan_is_found_by_the_clean_page(http: httpx.AsyncClient) -> None:
    await made(http, cleanup=["deskew", "despeckle", "crop", "contrast"])
    assert (await http.get(PATH)).json()["cleanup"] == list(cleanup.STEPS)
    await put(http, "scan", scanned(drawing()))
    await http.put("/v1/collections/default/items/scan", content=_png(scanned(drawing())))
    page = transformations.encode(drawing())
    scores = {}
    for name in ("scans", "default"):
        answer = await http.post(f"/v1/collections/{name}/search", content=page)
        scores[name] = answer.json()["hits"][0]["score"]
    assert scores["scans"] > scores["default"] + 0.01


async def test_the_same_image_is_encoded_apart_for_each_clean_up(http: httpx.AsyncClient) -> None:
    """Caches are keyed by content: here one content has two embeddings."""
    await made(http, cleanup=["crop"])
    image = transformations.encode(drawing())
    vectors = []
    for name in ("default", "scans", "default"):
        await http.put(f"/v1/collections/{name}/items/one", content=image)
        body = {"item_id": "one", "with_vector": True}
        answer = await http.post(f"/v1/collections/{name}/search", json=body)
        vectors.append(answer.json()["hits"][0]["vector"])
        found = await http.post(f"/v1/collections/{name}/search", content=image)
        assert found.json()["hits"][0]["score"] == pytest.approx(1, abs=1e-5)
    assert vectors[0] == vectors[2]
    assert float(np.dot(vectors[0], vectors[1])) < 0.999


async def test_evidence_is_of_cleaned_pictures(http: httpx.AsyncClient) -> None:
    await made(http, cleanup=["crop"])
    await put(http, "one", drawing())
    image = transformations.encode(drawing())
    copies = await http.post(f"{PATH}/copies", content=image, params={"min_score": 0})
    assert copies.json()["copies"][0]["evidence"]["deep"]["cosine"] == pytest.approx(1, abs=1e-3)
    body = {"a": {"item_id": "one", "collection": "scans"}}
    body["b"] = body["a"]
    compared = await http.post("/v1/compare", content=json.dumps(body))
    assert compared.status_code == 200, compared.text
    assert compared.json()["shown_score"] == pytest.approx(1, abs=1e-3)


def _png(pixels: Pixels) -> bytes:
    encoded = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1]
    return bytes(encoded.tobytes())
