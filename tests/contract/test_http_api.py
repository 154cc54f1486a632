"""The HTTP API as DESIGN fixes it: what works, and what each kind of bad input gets."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from standins import AverageEncoder

from vitrine_server.app import create_app
from vitrine_server.config import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fastapi import FastAPI

ITEMS = "/v1/collections/default/items"
SEARCH = "/v1/collections/default/search"
DIMENSION = 192


async def _put(http: httpx.AsyncClient, item_id: str, image: bytes, **metadata: Any) -> None:
    answer = await http.put(
        f"{ITEMS}/{item_id}", content=image, params={"metadata": json.dumps(metadata)}
    )
    assert answer.status_code == 200, answer.text


async def test_an_item_is_found_by_its_image_vector_and_id(
    http: httpx.AsyncClient, picture: Callable[..., bytes]
) -> None:
    for seed in range(6):
        await _put(http, f"folder%2F{seed}.png", picture(seed), group=f"g{seed % 2}", price=seed)
    found = (await http.post(SEARCH, content=picture(3), params={"k": 3})).json()
    assert found["hits"][0]["id"] == "folder/3.png"
    assert found["hits"][0]["score"] == pytest.approx(1, abs=1e-5)
    assert len(found["hits"]) == 3
    # its embedding is known from the ingest; an image that was never seen takes all stages
    assert set(found["timings_ms"]) == {"search", "hydrate"}
    unseen = (await http.post(SEARCH, content=picture(99))).json()
    assert set(unseen["timings_ms"]) == {"decode", "queue", "encode", "search", "hydrate"}
    same = (await http.post(SEARCH, json={"item_id": "folder/3.png", "with_vector": True})).json()
    assert same["hits"][0]["id"] == "folder/3.png"
    again = await http.post(SEARCH, json={"vector": same["hits"][0]["vector"], "k": 1})
    assert again.json()["hits"][0]["id"] == "folder/3.png"
    encoded = base64.b64encode(picture(3)).decode()
    assert (await http.post(SEARCH, json={"image": encoded})).json()["hits"][0]["id"] == (
        "folder/3.png"
    )


async def test_filter_groups_offset_and_min_score(
    http: httpx.AsyncClient, picture: Callable[..., bytes]
) -> None:
    for seed in range(6):
        await _put(http, str(seed), picture(seed), group=f"g{seed % 2}", price=seed)
    cheap = await http.post(SEARCH, content=picture(5), params={"filter": '{"price": {"lt": 3}}'})
    assert {hit["id"] for hit in cheap.json()["hits"]} == {"0", "1", "2"}
    grouped = (await http.post(SEARCH, json={"item_id": "5", "group_by": "group"})).json()["hits"]
    assert [hit["group"] for hit in grouped] == ["g1", "g0"]
    everything = (await http.post(SEARCH, json={"item_id": "5"})).json()["hits"]
    rest = (await http.post(SEARCH, json={"item_id": "5", "offset": 2})).json()["hits"]
    assert [hit["id"] for hit in rest] == [hit["id"] for hit in everything[2:]]
    best = (await http.post(SEARCH, json={"item_id": "5", "min_score": 0.999})).json()["hits"]
    assert [hit["id"] for hit in best] == ["5"]


async def test_a_write_is_seen_by_the_next_search(
    http: httpx.AsyncClient, picture: Callable[..., bytes]
) -> None:
    await _put(http, "a", picture(1))
    await _put(http, "a", picture(2))
    hits = (await http.post(SEARCH, content=picture(2))).json()["hits"]
    assert [hit["id"] for hit in hits] == ["a"]
    assert hits[0]["score"] == pytest.approx(1, abs=1e-5)
    assert (await http.delete(f"{ITEMS}/a")).status_code == 200
    assert (await http.post(SEARCH, content=picture(2))).json()["hits"] == []
    assert (await http.get(f"{ITEMS}/a")).json()["code"] == "item_not_found"


async def test_one_bad_item_of_a_batch_fails_alone(
    http: httpx.AsyncClient, picture: Callable[..., bytes]
) -> None:
    vector = np.ones(DIMENSION).tolist()
    lines = [
        {"id": "image", "image": base64.b64encode(picture()).decode()},
        {"id": "junk", "image": base64.b64encode(b"junk").decode()},
        {"id": "vector", "vector": vector, "metadata": {"group": "v"}},
        {"id": "short", "vector": [1.0]},
    ]
    body = "\n".join(json.dumps(line) for line in lines)
    answer = (await http.post(f"{ITEMS}:batch", content=body)).json()
    assert (answer["stored"], answer["failed"]) == (2, 2)
    codes = [item.get("error", {}).get("code") for item in answer["items"]]
    assert codes == [None, "unsupported_media_type", None, "invalid_vector"]
    files = [("image", ("a%2Fb", picture(1))), ("metadata", (None, '{"a/b": {"group": "g"}}'))]
    answer = (await http.post(f"{ITEMS}:batch", files=files)).json()
    assert answer["stored"] == 1
    assert (await http.get(f"{ITEMS}/a%2Fb")).json()["group"] == "g"


@pytest.mark.parametrize(
    ("line", "item_id", "code"),
    [
        (b'{"id": "a"', "line 1", "malformed_json"),
        (b'{"id": "a", "vector": [1], "colour": 1}', "a", "unknown_field"),
        (b'{"id": "a", "vector": [1], "image": ""}', "a", "invalid_parameter"),
        (b'{"id": "a", "image": "not base64!"}', "a", "invalid_parameter"),
        (b'{"id": "a", "vector": [NaN%s]}' % (b", 1" * (DIMENSION - 1)), "a", "invalid_vector"),
        (b'{"id": "a", "image": "", "metadata": {"x": NaN}}', "a", "invalid_parameter"),
        (b'{"id": 1, "image": ""}', "line 1", "invalid_parameter"),
        (b'{"image": ""}', "line 1", "invalid_parameter"),
        (b"[1]", "line 1", "invalid_parameter"),
        (b'{"id": "a", "metadata": {%s}}' % (b":" * 20_001), "line 1", "too_many_values"),
    ],
)
async def test_a_bad_line_of_a_batch_is_named(
    http: httpx.AsyncClient, line: bytes, item_id: str, code: str
) -> None:
    vector = b'{"id": "good", "vector": [%s1]}' % (b"1, " * (DIMENSION - 1))
    answer = (await http.post(f"{ITEMS}:batch", content=line + b"\n" + vector)).json()
    refused, stored = answer["items"]
    assert (refused["id"], refused["error"]["code"]) == (item_id, code)
    assert (stored["id"], "sequence" in stored) == ("good", True)


async def test_embeddings_have_the_shape_of_openai(
    http: httpx.AsyncClient, picture: Callable[..., bytes]
) -> None:
    uri = f"data:image/png;base64,{base64.b64encode(picture()).decode()}"
    answer = (await http.post("/v1/embeddings", json={"input": [uri, uri]})).json()
    assert answer["object"] == "list"
    assert [row["index"] for row in answer["data"]] == [0, 1]
    floats = np.asarray(answer["data"][0]["embedding"], np.float32)
    body = {"input": uri, "encoding_format": "base64"}
    packed = (await http.post("/v1/embeddings", json=body)).json()["data"][0]["embedding"]
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(packed), "<f4"), floats)


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({}, 422, "invalid_query", "image"),
        ({"item_id": "none"}, 404, "item_not_found", "id"),
        ({"text": "chair"}, 422, "text_not_supported", "text"),
        ({"vector": [1.0, 2.0]}, 422, "invalid_vector", "vector"),
        ({"vector": [0.0] * DIMENSION}, 422, "invalid_vector", "vector"),
        ({"vector": [1e300] * DIMENSION}, 422, "invalid_vector", "vector"),
        ({"vector": ["a"]}, 422, "invalid_parameter", "vector.0"),
        ({"item_id": "x", "k": 0}, 422, "invalid_parameter", "k"),
        ({"item_id": "x", "k": 10**9}, 422, "invalid_parameter", "k"),
        ({"item_id": "x", "offset": -1}, 422, "invalid_parameter", "offset"),
        ({"item_id": "x", "colour": 1}, 422, "unknown_field", "colour"),
        ({"item_id": "x", "filter": {"none": 1}}, 422, "unknown_field", "filter.none"),
        ({"item_id": "x", "filter": []}, 422, "invalid_parameter", "filter"),
        ({"item_id": "x", "group_by": "none"}, 422, "unknown_field", "group_by"),
        ({"item_id": "x", "rerank": "best"}, 422, "invalid_parameter", "rerank"),
        (
            {"item_id": "x", "rerank": "k_reciprocal", "group_by": "group"},
            422,
            "invalid_parameter",
            "rerank",
        ),
        ({"text": "chair", "rerank": "k_reciprocal"}, 422, "invalid_parameter", "rerank"),
        ({"image": "not base64!"}, 422, "invalid_parameter", "image"),
    ],
)
async def test_a_bad_search_names_its_field(
    http: httpx.AsyncClient,
    picture: Callable[..., bytes],
    body: dict[str, Any],
    status: int,
    code: str,
    field: str,
) -> None:
    await _put(http, "x", picture())
    answer = await http.post(SEARCH, json=body)
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["code"], problem["field"]) == (status, code, field)
    assert problem["accepted"]


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        (b"{", 400, "malformed_json"),
        (b"[" * 100_000, 400, "malformed_json"),
        (b'{"vector": [NaN]}', 422, "invalid_vector"),
        (b'{"vector": [Infinity]}', 422, "invalid_vector"),
        (b"\xff\xfe", 400, "malformed_json"),
    ],
)
async def test_malformed_json(http: httpx.AsyncClient, text: bytes, status: int, code: str) -> None:
    answer = await http.post(SEARCH, content=text, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/collections/none", 404, "collection_not_found"),
        ("POST", "/v1/collections/none/search", 404, "collection_not_found"),
        ("DELETE", "/v1/collections/none", 404, "collection_not_found"),
        ("PUT", "/v1/collections/Bad%20Name", 422, "invalid_name"),
        ("PUT", "/v1/collections/..%2F..%2Fetc", 422, "invalid_name"),
        ("GET", f"{ITEMS}/none", 404, "item_not_found"),
        ("GET", f"{ITEMS}/none/image", 404, "item_not_found"),
        ("GET", f"{ITEMS}/none/original", 404, "item_not_found"),
        ("DELETE", f"{ITEMS}/none", 404, "item_not_found"),
        ("GET", f"{ITEMS}/%00", 422, "invalid_id"),
        ("GET", f"{ITEMS}/{'x' * 600}", 422, "invalid_id"),
        ("GET", "/nothing", 404, "not_found"),
        ("PATCH", "/v1/collections", 405, "method_not_allowed"),
    ],
)
async def test_paths_that_lead_nowhere(
    http: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    answer = await http.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_refused_item_is_not_stored(
    http: httpx.AsyncClient, picture: Callable[..., bytes]
) -> None:
    whole = picture(kind="JPEG")
    refused = {
        "empty": (b"", 422),
        "truncated": (whole[: len(whole) // 2], 422),
        "text": (b"hello", 415),
        "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415),
        "tiff": (b"II*\x00" + bytes(100), 415),
    }
    for item_id, (body, status) in refused.items():
        assert (await http.put(f"{ITEMS}/{item_id}", content=body)).status_code == status
    for metadata in ("[]", '{"group": 1}', "{"):
        answer = await http.put(f"{ITEMS}/m", content=whole, params={"metadata": metadata})
        assert answer.status_code in (400, 422)
    assert (await http.get("/v1/collections/default")).json()["count"] == 0


async def test_an_original_comes_back_as_it_was_sent(
    tmp_path: Path, picture: Callable[..., bytes]
) -> None:
    app = create_app(Settings(data=tmp_path, keep_originals=True), encoder=AverageEncoder())
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://vitrine") as http,
    ):
        for name, kind, media_type in (("a", "WEBP", "image/webp"), ("b", "JPEG", "image/jpeg")):
            image = picture(1, kind=kind)
            await _put(http, name, image)
            answer = await http.get(f"{ITEMS}/{name}/original")
            assert answer.content == image
            assert answer.headers["content-type"] == media_type
            assert answer.headers["x-content-type-options"] == "nosniff"


async def test_openapi_describes_every_route(http: httpx.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    assert {
        "/v1/collections",
        "/v1/collections/{collection}",
        "/v1/collections/{collection}/items/{item_id}",
        "/v1/collections/{collection}/items/{item_id}/image",
        "/v1/collections/{collection}/items:batch",
        "/v1/collections/{collection}/search",
        "/v1/embeddings",
        "/healthz",
        "/readyz",
        "/metrics",
    } <= set(document["paths"])
    names = set(document["components"]["schemas"])
    text = json.dumps(document)
    for reference in set(text.split('"#/components/schemas/')[1:]):
        assert reference.split('"')[0] in names


async def test_metrics_count_what_happened(
    http: httpx.AsyncClient, picture: Callable[..., bytes]
) -> None:
    await _put(http, "a", picture())
    await http.post(SEARCH, content=picture())
    text = (await http.get("/metrics")).text
    assert 'vitrine_items{collection="default"} 1.0' in text
    assert 'vitrine_stage_seconds_count{stage="search"} 1.0' in text
    assert 'status="200"' in text


async def test_a_server_that_is_not_ready_says_so_as_a_problem(
    app: FastAPI, http: httpx.AsyncClient
) -> None:
    assert (await http.get("/readyz")).json()["ready"] is True
    app.state.services.drain.started = True
    answer = await http.get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "not_ready"
    assert problem["detail"] == "server: stopping"
    assert problem["ready"] is False
    assert problem["checks"] == {"encoder": "ok", "store": "ok", "server": "stopping"}
