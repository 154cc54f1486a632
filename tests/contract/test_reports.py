"""Reports: the same answer as the search, percentiles, and the same document for the same state."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

BASE = "/v1/collections/default"


@pytest.fixture
async def items(http: httpx.AsyncClient, picture: Callable[..., bytes]) -> None:
    for seed in range(8):
        metadata = {"class": "lamp" if seed % 2 else "chair", "group": f"g{seed}", "名": "=1+1"}
        await http.put(
            f"{BASE}/items/{seed}",
            content=picture(seed),
            params={"metadata": json.dumps(metadata)},
        )


@pytest.mark.usefixtures("items")
async def test_the_report_is_the_search_with_its_grounds(
    http: httpx.AsyncClient, picture: Callable[..., bytes]
) -> None:
    data = picture(3)
    body = {"image": base64.b64encode(data).decode(), "k": 5}
    found = (await http.post(f"{BASE}/search", json=body)).json()
    answer = await http.post(f"{BASE}/reports", json=body | {"class_field": "class"})
    report = answer.json()
    assert answer.status_code == 200, answer.text
    assert [hit["id"] for hit in report["hits"]] == [hit["id"] for hit in found["hits"]]
    assert report["hits"][0]["score"] == pytest.approx(found["hits"][0]["score"], abs=1e-5)
    assert report["query"] == [
        {
            "weight": 1.0,
            "image_sha256": hashlib.sha256(data).hexdigest(),
            "image_bytes": len(data),
        }
    ]
    assert report["encoder"] == found["encoder"]
    assert report["collection"]["snapshot"] == found["snapshot"]
    assert report["options"]["k"] == 5
    first = report["hits"][0]
    assert (first["rank"], first["class"], first["class_items"]) == (1, "lamp", 4)
    assert first["percentile"] == 100.0
    lamps = [hit["percentile"] for hit in report["hits"] if hit["class"] == "lamp"]
    assert lamps == sorted(lamps, reverse=True)
    thumbnail = (await http.get(f"{BASE}/items/3/image")).content
    assert first["thumbnail_sha256"] == hashlib.sha256(thumbnail).hexdigest()


@pytest.mark.usefixtures("items")
async def test_a_reranked_report_is_in_the_order_of_the_search(http: httpx.AsyncClient) -> None:
    body = {"item_id": "2", "rerank": "k_reciprocal"}
    found = (await http.post(f"{BASE}/search", json=body)).json()
    report = (await http.post(f"{BASE}/reports", json=body)).json()
    assert [hit["id"] for hit in report["hits"]] == [hit["id"] for hit in found["hits"]]
    assert report["options"]["rerank"] == "k_reciprocal"
    refused = await http.post(f"{BASE}/reports", json={"text": "a", "rerank": "k_reciprocal"})
    assert (refused.status_code, refused.json()["field"]) == (422, "rerank")


@pytest.mark.usefixtures("items")
async def test_the_digest_changes_with_the_state_alone(http: httpx.AsyncClient) -> None:
    body = {"item_id": "2", "k": 3}

    async def made() -> dict[str, Any]:
        return dict((await http.post(f"{BASE}/reports", json=body)).json())

    one, two = await made(), await made()
    assert one["created"] < two["created"]
    assert one["digest"] == two["digest"]
    kept = {key: value for key, value in one.items() if key not in ("created", "digest")}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert one["digest"] == hashlib.sha256(text.encode()).hexdigest()
    await http.delete(f"{BASE}/items/7")
    assert (await made())["digest"] != one["digest"]


@pytest.mark.usefixtures("items")
async def test_csv_and_pdf(http: httpx.AsyncClient) -> None:
    body = {"item_id": "2", "k": 4}
    answer = await http.post(f"{BASE}/reports", json=body | {"format": "csv"})
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4"]
    assert rows[0]["id"] == "2"
    assert json.loads(rows[0]["metadata"])["名"] == "=1+1"
    assert len({row["digest"] for row in rows}) == 1
    answer = await http.post(f"{BASE}/reports", json=body | {"format": "pdf"})
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.content.startswith(b"%PDF-")
    assert answer.content.rstrip().endswith(b"%%EOF")
    # the query and four hits
    assert answer.content.count(b"/Subtype /Image") >= 4


async def test_an_empty_collection_and_bad_requests(
    http: httpx.AsyncClient, picture: Callable[..., bytes]
) -> None:
    image = base64.b64encode(picture(1)).decode()
    for format in ("json", "csv", "pdf"):
        answer = await http.post(f"{BASE}/reports", json={"image": image, "format": format})
        assert answer.status_code == 200
    refused = await http.post(f"{BASE}/reports", json={"image": image, "format": "docx"})
    assert (refused.status_code, refused.json()["field"]) == (422, "format")
    refused = await http.post(f"{BASE}/reports", json={})
    assert (refused.status_code, refused.json()["field"]) == (422, "image")
