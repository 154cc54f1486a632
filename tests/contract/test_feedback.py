"""Feedback through the API, and what training makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vitrine_training import data

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

BASE = "/v1/collections/default"


@pytest.fixture
async def items(http: httpx.AsyncClient) -> None:
    for at in range(3):
        vector = np.roll(np.arange(192.0), at).tolist()
        await http.put(f"{BASE}/items/{at}.png", json={"vector": vector})


async def say(http: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await http.post(f"{BASE}/feedback", json=body)


@pytest.mark.usefixtures("items")
async def test_feedback_is_kept_with_its_circumstances(http: httpx.AsyncClient) -> None:
    image = "sha256:" + "a" * 64
    first = await say(http, query="0.png", item="1.png", verdict="right", score=0.9, rank=1)
    assert first.json() == {"number": 1}
    await say(http, query=image, item="2.png", verdict="wrong", rank=2, note="another lamp")
    answer = (await http.get(f"{BASE}/feedback")).json()
    assert answer["next"] == 2
    one, two = answer["feedback"]
    assert (one["query"], one["item"], one["verdict"], one["score"], one["rank"]) == (
        "0.png",
        "1.png",
        "right",
        0.9,
        1,
    )
    assert (two["query"], two["note"], two["encoder"]) == (image, "another lamp", "averages")
    assert len(two["fingerprint"]) == 64
    assert two["created"].endswith("Z")
    later = await http.get(f"{BASE}/feedback", params={"after": 1})
    assert [row["number"] for row in later.json()["feedback"]] == [2]
    (quality,) = (await http.get(f"{BASE}/feedback/quality")).json()["quality"]
    assert (quality["right"], quality["wrong"], quality["precision"]) == (1, 1, 0.5)
    assert quality["first"] == 1.0


@pytest.mark.usefixtures("items")
async def test_training_reads_the_export(http: httpx.AsyncClient, tmp_path: Path) -> None:
    await say(http, query="0.png", item="1.png", verdict="right")
    await say(http, query="0.png", item="2.png", verdict="right")
    await say(http, query="sha256:" + "b" * 64, item="2.png", verdict="right")
    await say(http, query="0.png", item="1.png", verdict="wrong")
    answer = await http.get(f"{BASE}/feedback", params={"format": "csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    table = tmp_path / "feedback.csv"
    table.write_bytes(answer.content)
    numbers = np.zeros(3, np.int64)
    catalogue = data.Catalogue(
        pixels=np.zeros((3, 8, 8), np.uint8),
        design=numbers,
        family=numbers,
        subclass=numbers,
        class_names=[""],
        texts=[()] * 3,
        names=["0.png", "1.png", "2.png"],
    )
    assert data.read_feedback(table, catalogue) == [(0, 2, True), (0, 1, False)]


@pytest.mark.usefixtures("items")
@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"verdict": "maybe"}, 422, "verdict"),
        ({"item": "none"}, 404, "id"),
        ({"query": "none"}, 404, "id"),
        ({"query": "sha256:12"}, 422, "query"),
        ({"rank": 0}, 422, "rank"),
        ({"colour": 1}, 422, "colour"),
    ],
)
async def test_bad_feedback_names_its_field(
    http: httpx.AsyncClient, change: dict[str, Any], status: int, field: str
) -> None:
    answer = await say(http, **({"query": "0.png", "item": "1.png", "verdict": "right"} | change))
    assert (answer.status_code, answer.json()["field"]) == (status, field), answer.text
    assert (await http.get(f"{BASE}/feedback")).json()["feedback"] == []
