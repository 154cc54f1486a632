"""Reports of a comparison: the same figures as the comparison, and the same document again."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vitrine_server import figures

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

REPORTS = "/v1/compare/reports"


@pytest.fixture
async def sides(http: httpx.AsyncClient, picture: Callable[..., bytes]) -> dict[str, Any]:
    for seed in range(6):
        metadata = {"class": "lamp" if seed % 2 else "chair", "title": "=1+1"}
        await http.put(
            f"/v1/collections/default/items/{seed}",
            content=picture(seed),
            params={"metadata": json.dumps(metadata)},
        )
    return {
        "a": {"image": base64.b64encode(picture(3)).decode()},
        "b": {"item_id": "3", "collection": "default"},
    }


async def test_it_holds_what_the_comparison_says(
    http: httpx.AsyncClient, sides: dict[str, Any], picture: Callable[..., bytes]
) -> None:
    found = (await http.post("/v1/compare", json=sides)).json()
    answer = await http.post(REPORTS, json=sides | {"class_field": "class"})
    report = answer.json()
    assert answer.status_code == 200, answer.text
    assert report["kind"] == "comparison"
    assert report["score"] == pytest.approx(found["score"], abs=1e-4)
    assert report["encoder"] == found["encoder"]
    assert report["a"]["image_sha256"] == hashlib.sha256(picture(3)).hexdigest()
    assert (report["b"]["item_id"], report["b"]["sequence"]) == ("3", 4)
    assert report["b"]["fall_top"] == pytest.approx(found["b"]["fall_top"], abs=1e-4)
    assert np.allclose(report["b"]["heat"], found["b"]["heat"], atol=1e-4)
    assert len(report["matches"]) == len(found["matches"])
    place = report["percentile"]
    assert (place["class"], place["class_items"], place["compared"]) == ("lamp", 3, 6)
    assert place["percentile"] == 100.0
    assert report["collection"]["count"] == 6


async def test_the_digest_is_the_states(http: httpx.AsyncClient, sides: dict[str, Any]) -> None:
    one, two = [(await http.post(REPORTS, json=sides)).json() for _ in range(2)]
    assert one["created"] < two["created"]
    assert one["digest"] == two["digest"]
    await http.delete("/v1/collections/default/items/0")
    assert (await http.post(REPORTS, json=sides)).json()["digest"] != one["digest"]


async def test_csv_pdf_and_two_images(http: httpx.AsyncClient, sides: dict[str, Any]) -> None:
    answer = await http.post(REPORTS, json=sides | {"format": "csv"})
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert row["b_item_id"] == "3"
    assert json.loads(row["b_metadata"])["title"] == "=1+1"
    answer = await http.post(REPORTS, json=sides | {"format": "pdf"})
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.content.startswith(b"%PDF-")
    assert answer.content.count(b"/Subtype /Image") >= 4
    images = {"a": sides["a"], "b": sides["a"]}
    report = (await http.post(REPORTS, json=images)).json()
    assert (report["percentile"], report["collection"]) == (None, None)
    for format in ("csv", "pdf"):
        answer = await http.post(REPORTS, json=images | {"format": format})
        assert answer.status_code == 200


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"format": "docx"}, 422, "format"),
        ({"a": {}}, 422, "a"),
        ({"b": {"item_id": "none"}}, 404, "b.item_id"),
    ],
)
async def test_refusals_name_the_field(
    http: httpx.AsyncClient, sides: dict[str, Any], change: dict[str, Any], status: int, field: str
) -> None:
    answer = await http.post(REPORTS, json=sides | change)
    assert (answer.status_code, answer.json()["field"]) == (status, field)


def test_warm_patches_are_orange_and_cool_ones_blue() -> None:
    map = np.zeros((8, 8), np.float32)
    map[1, 1], map[6, 6] = 1.0, -1.0
    drawn = figures.heat(np.full((256, 256, 3), 255, np.uint8), map).astype(int)
    warm, cool, none = drawn[48, 48], drawn[208, 208], drawn[48, 208]
    assert warm[0] > warm[2] + 100
    assert cool[2] > cool[0] + 100
    assert none.tolist() == [255, 255, 255]
