"""Copies of one image and duplicates of a catalogue, through the API."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from standins import scene

from vitrine_server import transformations

if TYPE_CHECKING:
    import httpx
    from numpy.typing import NDArray

COPIES = "/v1/collections/default/copies"
DUPLICATES = "/v1/collections/default/duplicates"
CALIBRATION = "/v1/collections/default/copies/calibration"


async def store(http: httpx.AsyncClient, item_id: str, pixels: NDArray[np.uint8]) -> None:
    path = f"/v1/collections/default/items/{item_id}"
    answer = await http.put(path, content=transformations.encode(pixels))
    assert answer.status_code == 200, answer.text


@pytest.fixture
async def catalogue(http: httpx.AsyncClient) -> None:
    for seed in range(8):
        await store(http, str(seed), scene(seed))


@pytest.mark.usefixtures("catalogue")
@pytest.mark.parametrize("change", transformations.ALL)
async def test_a_changed_picture_is_found(http: httpx.AsyncClient, change: str) -> None:
    changed = transformations.ALL[change](scene(3), np.random.default_rng(1))
    answer = await http.post(COPIES, content=transformations.encode(changed))
    found = answer.json()
    assert answer.status_code == 200, answer.text
    assert [copy["id"] for copy in found["copies"]] == ["3"]
    best = found["copies"][0]
    assert best["copy"] is True
    assert best["score"] >= found["threshold"]
    assert best["evidence"]["alignment"]["points"] > 10
    assert set(found["timings_ms"]) >= {"decode", "encode", "search", "compare"}


@pytest.mark.usefixtures("catalogue")
async def test_the_evidence_says_what_was_done(http: httpx.AsyncClient) -> None:
    rng = np.random.default_rng(2)
    flipped = transformations.encode(transformations.flip(scene(5), rng))
    evidence = (await http.post(COPIES, content=flipped)).json()["copies"][0]["evidence"]
    assert evidence["hash"]["orientation"] == "mirrored"
    assert evidence["hash"]["distance"] <= 4
    assert evidence["alignment"]["mirrored"] is True
    shot = transformations.encode(transformations.screenshot(scene(5), rng))
    evidence = (await http.post(COPIES, content=shot)).json()["copies"][0]["evidence"]
    assert evidence["hash"]["part"] == "region"


@pytest.mark.usefixtures("catalogue")
async def test_another_picture_has_no_copy(http: httpx.AsyncClient) -> None:
    for seed in range(100, 110):
        answer = await http.post(COPIES, content=transformations.encode(scene(seed)))
        assert answer.json()["copies"] == []
    shown = await http.post(
        COPIES, content=transformations.encode(scene(100)), params={"min_score": 0, "k": 3}
    )
    assert [copy["copy"] for copy in shown.json()["copies"]] == [False] * 3


@pytest.mark.usefixtures("catalogue")
async def test_a_stored_item_is_not_its_own_copy(http: httpx.AsyncClient) -> None:
    await store(http, "again", scene(4))
    found = (await http.post(COPIES, json={"item_id": "4"})).json()["copies"]
    assert [copy["id"] for copy in found] == ["again"]
    await http.delete("/v1/collections/default/items/again")
    assert (await http.post(COPIES, json={"item_id": "4"})).json()["copies"] == []


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 422, "image"),
        ({"item_id": "a", "image": ""}, 422, "image"),
        ({"item_id": "none"}, 404, "id"),
        ({"item_id": "vector"}, 422, "item_id"),
        ({"item_id": "0", "k": 0}, 422, "k"),
        ({"item_id": "0", "min_score": 2}, 422, "min_score"),
        ({"item_id": "0", "colour": 1}, 422, "colour"),
        ({"image": base64.b64encode(b"GIF89a").decode()}, 422, "image"),
    ],
)
async def test_a_bad_query_names_its_field(
    http: httpx.AsyncClient, body: dict[str, Any], status: int, field: str
) -> None:
    vector = {"vector": np.ones(192).tolist()}
    await http.put("/v1/collections/default/items/vector", json=vector)
    answer = await http.post(COPIES, json=body)
    assert (answer.status_code, answer.json()["field"]) == (status, field), answer.text


async def test_duplicates_come_as_groups(http: httpx.AsyncClient) -> None:
    rng = np.random.default_rng(3)
    for seed in range(6):
        await store(http, f"{seed}", scene(seed))
    await store(http, "1-jpeg", transformations.jpeg(scene(1), rng))
    await store(http, "1-grey", transformations.grey(scene(1), rng))
    await store(http, "4-grey", transformations.grey(scene(4), rng))
    answer = await http.get(DUPLICATES)
    assert answer.headers["content-type"] == "application/x-ndjson"
    events = [json.loads(line) for line in answer.text.splitlines()]
    groups = [event["items"] for event in events if event["event"] == "group"]
    assert [{item["id"] for item in group} for group in groups] == [
        {"1", "1-jpeg", "1-grey"},
        {"4", "4-grey"},
    ]
    assert groups[1][0]["id"] == "4"
    assert groups[1][1]["copy_of"] == "4"
    assert events[-1]["event"] == "end"
    assert (events[-1]["groups"], events[-1]["items"], events[-1]["catalogue"]) == (2, 5, 9)


@pytest.mark.slow
async def test_a_calibration_is_measured_kept_and_forgotten(http: httpx.AsyncClient) -> None:
    few = await http.post(CALIBRATION, json={"sample": 8})
    assert (few.status_code, few.json()["field"]) == (422, "collection")
    for seed in range(10):
        await store(http, str(seed), scene(seed))
    assert (await http.get(CALIBRATION)).json()["calibration"]["source"] == "default"
    body = {"sample": 8, "false_positive_rate": 0.02}
    started = await http.post(CALIBRATION, json=body)
    assert started.json()["job"]["state"] == "running"
    assert (await http.post(CALIBRATION, json=body)).status_code == 409
    for _ in range(6000):
        found = (await http.get(CALIBRATION)).json()
        if found["job"]["state"] != "running":
            break
        await asyncio.sleep(0.05)
    assert found["job"]["state"] == "done", found["job"]["error"]
    assert found["job"]["done"] == 8 * len(transformations.ALL)
    assert found["calibration"]["source"] == "measured"
    assert set(found["job"]["recall"]) == set(transformations.ALL)
    assert min(found["job"]["recall"].values()) >= 0.9
    rows = found["job"]["table"]
    assert [row["threshold"] for row in rows] == sorted(
        [row["threshold"] for row in rows], reverse=True
    )
    assert (await http.post(COPIES, json={"item_id": "1"})).json()["copies"] == []
    assert (await http.delete(CALIBRATION)).json()["calibration"]["source"] == "default"
