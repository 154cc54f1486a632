"""The client and the command against the real application, over a real socket."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import uvicorn

from vitrine_client import AsyncClient, Client, Item, Query, errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from fastapi import FastAPI

ODD_IDS = [
    "a/b/c.png",
    "x/image",
    "x/metadata",
    "100%25 sure.png",
    "a?b#c&d=e",
    "Ünï/漢字 椅.jpg",
    " ",
    "a\\b",
    "..x",
]


@pytest.fixture
async def url(app: FastAPI) -> AsyncIterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="error", lifespan="off", http="httptools")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        with suppress(asyncio.CancelledError):
            await serving


@pytest.fixture
async def client(url: str) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(url) as vitrine:
        yield vitrine


async def test_items_by_image_vector_and_batch(
    client: AsyncClient, picture: Callable[..., bytes], tmp_path: Path
) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(picture(1, kind="JPEG"))
    first = await client.put_item("a", image=file, metadata={"group": "g", "名": "椅子", "n": 1.5})
    second = await client.put_item("b", image=picture(2))
    assert second.sequence > first.sequence
    record = await client.get_item("a")
    assert record.metadata == {"group": "g", "名": "椅子", "n": 1.5}
    assert (record.group, record.sequence) == ("g", first.sequence)
    assert (await client.get_image("a")).startswith(b"\xff\xd8")
    vector = (await client.search(item_id="b", k=1, with_vector=True)).hits[0].vector
    assert vector is not None
    results = await client.put_items(
        [
            Item(id="copy", vector=vector, metadata={"from": "b"}),
            Item(id="bad", image=picture(3)[:50]),
            Item(id="c", image=picture(3)),
            Item(id="\n", image=picture(4)),
        ]
    )
    assert [type(result.error) for result in results] == [
        type(None),
        errors.InvalidImage,
        type(None),
        errors.Invalid,
    ]
    hits = (await client.search(vector=vector, k=2)).hits
    assert {hit.id for hit in hits} == {"b", "copy"}
    assert (await client.delete_item("copy")).id == "copy"
    with pytest.raises(errors.ItemNotFound):
        await client.delete_item("copy")
    await client.put_item("v", vector=vector)
    with pytest.raises(errors.NotFound) as caught:
        await client.get_image("v")
    assert caught.value.code == "image_not_found"


async def test_metadata_is_replaced_and_nothing_else(
    client: AsyncClient, picture: Callable[..., bytes]
) -> None:
    stored = await client.put_item("a", image=picture(1), metadata={"group": "g", "n": 1})
    before = (await client.search(image=picture(1), k=1, with_vector=True)).hits[0]
    changed = await client.put_metadata("a", {"n": 2})
    assert changed.sequence > stored.sequence
    assert (await client.get_item("a")).metadata == {"n": 2}
    assert (await client.get_image("a")).startswith(b"\xff\xd8")
    (found,) = (await client.search(image=picture(1), filter={"n": 2}, with_vector=True)).hits
    assert (found.id, found.group, found.vector) == ("a", None, before.vector)
    with pytest.raises(errors.ItemNotFound):
        await client.put_metadata("none", {})
    with pytest.raises(errors.Invalid) as caught:
        await client.put_metadata("a", {"group": 1})
    assert caught.value.field == "metadata.group"
    assert (await client.get_item("a")).metadata == {"n": 2}


async def test_an_original_that_was_not_kept(
    client: AsyncClient, picture: Callable[..., bytes]
) -> None:
    await client.put_item("a", image=picture(1))
    with pytest.raises(errors.NotFound) as caught:
        await client.get_original("a")
    assert caught.value.code == "original_not_kept"
    with pytest.raises(errors.ItemNotFound):
        await client.get_original("none")


async def test_views_of_one_design_score_each_group_by_their_mean(client: AsyncClient) -> None:
    axes = np.eye(192, dtype=np.float32)
    front, side = Query(vector=axes[0]), Query(vector=axes[1])
    # one image of "near" is almost the front and another the side; "sum" is between the two
    await client.put_item("front", vector=axes[0] + 0.2 * axes[2], metadata={"group": "near"})
    await client.put_item("side", vector=axes[1] + 0.2 * axes[3], metadata={"group": "near"})
    await client.put_item("between", vector=axes[0] + axes[1], metadata={"group": "sum"})
    (best, second) = (
        await client.search(queries=[front, side], combine="views", group_by="group")
    ).hits
    assert (best.group, second.group) == ("near", "sum")
    assert best.score == pytest.approx(1 / 1.04**0.5, abs=1e-5)
    assert second.score == pytest.approx(0.5**0.5, abs=1e-5)
    summed = (await client.search(queries=[front, side], group_by="group")).hits
    assert [hit.group for hit in summed] == ["sum", "near"]
    for wrong, field in (
        ({"queries": [front, side]}, "group_by"),
        ({"queries": [front, Query(vector=axes[1], weight=2)], "group_by": "group"}, "queries"),
    ):
        with pytest.raises(errors.Invalid) as caught:
            await client.search(combine="views", **wrong)  # type: ignore[arg-type]
        assert caught.value.field == field


async def test_reranked_hits_say_what_they_are_ordered_by(
    client: AsyncClient, picture: Callable[..., bytes]
) -> None:
    await client.put_items(
        [Item(id=str(seed), image=picture(seed), metadata={"n": seed}) for seed in range(30)]
    )
    asked: dict[str, Any] = {"image": picture(3), "k": 30, "filter": {"n": {"lt": 25}}}
    plain = (await client.search(**asked)).hits
    for options in ({}, {"with_vector": True}, {"with_metadata": False}):
        found = (await client.search(**asked, rerank="k_reciprocal", **options)).hits
        assert {hit.id: hit.score for hit in found} == {hit.id: hit.score for hit in plain}
        falling = [hit.rerank_score for hit in found]
        assert None not in falling
        assert falling == sorted(falling, reverse=True)  # type: ignore[type-var]
        assert [hit.metadata is None for hit in found] == [options == {"with_metadata": False}] * 25
        assert [hit.vector is None for hit in found] == [options != {"with_vector": True}] * 25
    assert [hit.id for hit in found] != [hit.id for hit in plain]
    assert [hit.rerank_score for hit in plain] == [None] * 25
    with pytest.raises(errors.Invalid) as caught:
        await client.search(**asked, rerank="k_reciprocal", group_by="group")
    assert caught.value.field == "rerank"


@pytest.mark.parametrize("item_id", ODD_IDS)
async def test_any_id_reaches_its_own_item(
    client: AsyncClient, picture: Callable[..., bytes], item_id: str
) -> None:
    await client.put_item("other", image=picture(2))
    await client.put_item(item_id, image=picture(1), metadata={"at": "single"})
    (result,) = await client.put_items([Item(id=item_id, image=picture(1), metadata={"at": "b"})])
    assert result.sequence is not None
    assert (await client.get_item(item_id)).metadata == {"at": "b"}
    assert (await client.get_image(item_id)).startswith(b"\xff\xd8")
    assert (await client.search(image=picture(1), k=1)).hits[0].id == item_id
    assert (await client.search(item_id=item_id, k=1)).hits[0].id == item_id
    assert (await client.delete_item(item_id)).id == item_id
    assert [hit.id for hit in (await client.search(image=picture(1))).hits] == ["other"]


async def test_search_options_with_an_image_and_with_json(
    client: AsyncClient, picture: Callable[..., bytes]
) -> None:
    for at in range(6):
        metadata = {"group": f"g{at % 3}", "price": at, "名": "a b&c=d" if at else "other"}
        await client.put_item(f"i{at}", image=picture(at), metadata=metadata)
    for query in ({"image": picture(4)}, {"item_id": "i4"}):
        result = await client.search(**query, k=3)
        assert [hit.id for hit in result.hits][:1] == ["i4"]
        assert len(result.hits) == 3
        assert result.encoder.name == "averages"
        assert result.timings_ms.keys() >= {"search", "hydrate"}
        assert len((await client.search(**query, offset=4)).hits) == 2
        assert len((await client.search(**query, group_by="group")).hits) == 3
        cheap = await client.search(**query, filter={"price": {"lt": 3}, "not": {"price": 0}})
        assert {hit.id for hit in cheap.hits} == {"i1", "i2"}
        assert len((await client.search(**query, filter={"名": "a b&c=d"})).hits) == 5
        near = await client.search(**query, min_score=0.999)
        assert [hit.id for hit in near.hits] == ["i4"]
        bare = (await client.search(**query, with_metadata=False, with_vector=True)).hits[0]
        assert bare.metadata is None
        assert bare.vector is not None
        assert np.linalg.norm(bare.vector) == pytest.approx(1, abs=1e-3)


async def test_combined_queries(client: AsyncClient, picture: Callable[..., bytes]) -> None:
    for at in (1, 2, 3):
        await client.put_item(str(at), image=picture(at))
    queries = [
        Query(item_id="1", weight=2.0),
        Query(image=picture(2)),
        Query(item_id="3", weight=-1),
    ]
    hits = (await client.search(queries=queries)).hits
    assert [hit.id for hit in hits] == ["1", "2", "3"]
    alone = (await client.search(queries=queries[:2])).hits
    assert hits[2].score < next(hit.score for hit in alone if hit.id == "3")


async def test_embeddings_are_what_search_uses(
    client: AsyncClient, picture: Callable[..., bytes]
) -> None:
    answer = await client.embeddings([picture(1), picture(2)])
    assert answer.model == "averages"
    assert answer.vectors.shape == (2, 192)
    await client.put_item("one", image=picture(1))
    hit = (await client.search(vector=answer.vectors[0])).hits[0]
    assert (hit.id, hit.score) == ("one", pytest.approx(1, abs=1e-5))


async def test_collections_come_and_go(client: AsyncClient, picture: Callable[..., bytes]) -> None:
    made = await client.put_collection("chairs", fields={"price": "number"}, index="exact")
    assert (made.name, made.fields, made.count) == ("chairs", {"price": "number"}, 0)
    assert made.index["setting"] == "exact"
    assert (
        await client.put_collection("chairs", fields={"price": "number"}, index="exact")
    ) == made
    with pytest.raises(errors.Conflict):
        await client.put_collection("chairs", metric="l2")
    with pytest.raises(errors.Invalid) as caught:
        await client.put_item("a", image=picture(1), metadata={"price": "x"}, collection="chairs")
    assert caught.value.field == "metadata.price"
    await client.put_item("a", image=picture(1), metadata={"price": 5}, collection="chairs")
    found = await client.get_collection("chairs")
    assert (found.count, found.dimension, found.encoder.name) == (1, 192, "averages")
    assert {entry.name for entry in await client.list_collections()} == {"default", "chairs"}
    await client.delete_collection("chairs")
    with pytest.raises(errors.CollectionNotFound):
        await client.get_item("a", collection="chairs")


async def test_health_and_readiness(client: AsyncClient) -> None:
    await client.health()
    assert (await client.ready()).ready


@pytest.mark.parametrize(
    ("call", "kind", "code", "field"),
    [
        ({"image": b"no image"}, errors.UnsupportedMedia, "unsupported_media_type", "image"),
        ({"image": b""}, errors.Invalid, "invalid_image", "image"),
        ({"image": b"\xff\xd8\xff\xe0 broken"}, errors.InvalidImage, "invalid_image", "image"),
        ({"vector": [1.0, 2.0]}, errors.InvalidVector, "invalid_vector", "vector"),
        ({"vector": [0.0] * 192}, errors.InvalidVector, "invalid_vector", "vector"),
        ({"item_id": "none"}, errors.ItemNotFound, "item_not_found", None),
        ({"item_id": "a", "k": 0}, errors.Invalid, "invalid_parameter", "k"),
        ({"item_id": "a", "k": 10**9}, errors.Invalid, "invalid_parameter", "k"),
        ({"item_id": "a", "filter": {"n": {"near": 1}}}, errors.InvalidFilter, None, None),
        ({"item_id": "a", "collection": "none"}, errors.CollectionNotFound, None, "collection"),
    ],
)
async def test_refusals_are_typed(
    client: AsyncClient,
    picture: Callable[..., bytes],
    call: dict[str, Any],
    kind: type[errors.ApiError],
    code: str | None,
    field: str | None,
) -> None:
    await client.put_item("a", image=picture(1), metadata={"n": 1})
    with pytest.raises(kind) as caught:
        await client.search(**call)
    assert code in (None, caught.value.code)
    assert field in (None, caught.value.field)
    assert caught.value.accepted


async def test_both_clients_and_a_large_ingest(
    url: str, client: AsyncClient, picture: Callable[..., bytes]
) -> None:
    def ingest() -> list[str]:
        items = (Item(id=f"{at:03}", image=picture(at)) for at in range(300))
        with Client(url) as synchronous:
            return [str(result.error) for result in synchronous.ingest(items) if result.error]

    assert await asyncio.to_thread(ingest) == []
    assert (await client.get_collection("default")).count == 300
    # more than a batch may hold: sent in halves
    items = [Item(id=f"{at:03}", image=picture(at % 5)) for at in range(300)]
    assert all(result.sequence for result in await client.put_items(items))


async def test_the_command(url: str, tmp_path: Path, picture: Callable[..., bytes]) -> None:
    root = tmp_path / "photos"
    for at in range(9):
        (root / f"design {at // 3}").mkdir(parents=True, exist_ok=True)
        (root / f"design {at // 3}" / f"{at}.png").write_bytes(picture(at))
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    (root / "words.png").write_text("no image")
    table = tmp_path / "m.csv"
    table.write_text("path,price\ndesign 0/0.png,5\ndesign 2/8.png,50\n")

    async def vitrine(*arguments: object) -> tuple[int | None, str, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "vitrine_client", *map(str, arguments)),
            env={**os.environ, "VITRINE_URL": url, "XDG_STATE_HOME": str(tmp_path / "state")},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    options = ["--metadata", table, "--group-from", "folder", "--collection", "designs"]
    code, out, err = await vitrine("ingest", root, *options)
    assert (code, err) == (0, "")
    assert "9 images stored in designs" in out
    assert "2 not stored" in out
    assert "truncated or damaged" in out
    assert "not an image of an accepted format" in out
    code, out, _ = await vitrine("ingest", root, *options)
    assert "0 images stored in designs; 9 were there already" in out
    image = root / "design 1" / "4.png"
    code, out, _ = await vitrine("search", image, "--collection", "designs", "--json", "--k", 2)
    hits = json.loads(out)["hits"]
    assert (code, hits[0]["id"], hits[0]["group"]) == (0, "design 1/4.png", "design 1")
    grouped = [
        "--group-by",
        "group",
        "--filter",
        '{"price": {"gte": 5}}',
        "--collection",
        "designs",
    ]
    code, out, _ = await vitrine("search", image, *grouped)
    assert "design 0/0.png" in out
    assert "design 2/8.png" in out
    assert "design 1/4.png" not in out
    code, out, _ = await vitrine("get", "design 0/0.png", "--collection", "designs")
    assert json.loads(out)["metadata"] == {"group": "design 0", "price": 5}
    assert (await vitrine("delete", "design 0/0.png", "--collection", "designs"))[0] == 0
    assert (await vitrine("get", "design 0/0.png", "--collection", "designs"))[0] == 4
    code, out, _ = await vitrine("collections", "--json")
    assert {entry["name"]: entry["count"] for entry in json.loads(out)} == {
        "default": 0,
        "designs": 8,
    }
    code, out, _ = await vitrine("status")
    assert code == 0
    assert "is ready." in out
