"""Both clients against a server that really stores and ranks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest

from vitrine_client import AsyncClient, Client, Item, ItemResult, Query, errors

if TYPE_CHECKING:
    from pathlib import Path

    from fake_server import FakeVitrine

Draw: TypeAlias = Callable[[int], bytes]

ODD_IDS = [
    "a/b/c.png",
    "x/image",
    "100%25 sure.png",
    "a?b#c&d=e",
    "Ünï/漢字 椅.jpg",
    " ",
    "a\\b",
    "..x",
]


def test_an_item_comes_back(client: Client, draw: Draw) -> None:
    stored = client.put_item("chair", image=draw(1), metadata={"class": "chair", "group": "g1"})
    record = client.get_item("chair")
    assert (record.id, record.sequence, record.group) == ("chair", stored.sequence, "g1")
    assert record.metadata == {"class": "chair", "group": "g1"}
    assert client.get_image("chair") == draw(1)
    assert client.search(image=draw(1)).hits[0].id == "chair"
    client.delete_item("chair")
    with pytest.raises(errors.ItemNotFound) as caught:
        client.get_item("chair")
    assert (caught.value.status, caught.value.code, caught.value.field) == (
        404,
        "item_not_found",
        "id",
    )


@pytest.mark.parametrize("item_id", ODD_IDS)
def test_any_id_reaches_its_own_item(client: Client, draw: Draw, item_id: str) -> None:
    client.put_item("other", image=draw(2))
    client.put_item(item_id, image=draw(1), metadata={"名": "椅子"})
    assert client.get_item(item_id).metadata == {"名": "椅子"}
    assert client.search(item_id=item_id, k=1).hits[0].id == item_id
    assert client.delete_item(item_id).id == item_id
    assert [hit.id for hit in client.search(image=draw(1)).hits] == ["other"]


@pytest.mark.parametrize("item_id", ["", ".", ".."])
def test_ids_that_urls_resolve_never_leave(client: Client, fake: FakeVitrine, item_id: str) -> None:
    with pytest.raises(ValueError, match="cannot be part of a URL"):
        client.delete_item(item_id)
    with pytest.raises(ValueError, match="cannot be part of a URL"):
        client.delete_collection(item_id)
    assert fake.requests == []


def test_images_come_from_bytes_and_files(client: Client, draw: Draw, tmp_path: Path) -> None:
    file = tmp_path / "one.png"
    file.write_bytes(draw(1))
    client.put_item("path", image=file)
    client.put_item("name", image=str(file))
    client.put_item("bytes", image=draw(1))
    assert [hit.score for hit in client.search(image=file).hits] == pytest.approx([1, 1, 1])
    with pytest.raises(FileNotFoundError):
        client.search(image=tmp_path / "none.png")


def test_queries_by_vector_item_and_combination(client: Client) -> None:
    client.put_item("x", vector=[1, 0, 0])
    client.put_item("y", vector=np.array([0, 1, 0], np.float64))
    assert client.search(vector=[0.9, 0.1, 0]).hits[0].id == "x"
    assert client.search(item_id="y").hits[0].id == "y"
    both = [Query(item_id="x", weight=1.0), Query(vector=[0, 1, 0], weight=3.0)]
    scores = {hit.id: hit.score for hit in client.search(queries=both).hits}
    assert scores == pytest.approx({"x": 10**-0.5, "y": 3 * 10**-0.5})


def test_every_search_option_arrives_with_an_image_and_with_json(
    client: Client, draw: Draw
) -> None:
    for at in range(6):
        metadata = {"group": f"g{at % 3}", "名": "a b&c" if at else "other"}
        client.put_item(f"i{at}", image=draw(1), metadata=metadata)
    for query in ({"image": draw(1)}, {"item_id": "i1"}):
        everything = client.search(**query, k=3)
        assert len(everything.hits) == 3
        assert everything.hits[0].vector is None
        rest = client.search(**query, offset=4)
        assert len(rest.hits) == 2
        assert len(client.search(**query, group_by="group").hits) == 3
        assert len(client.search(**query, filter={"名": "a b&c"}).hits) == 5
        assert client.search(**query, min_score=1.01).hits == ()
        (best,) = client.search(**query, rerank="k_reciprocal", k=1).hits
        assert best.rerank_score == pytest.approx(best.score / 2)
        bare = client.search(**query, with_metadata=False, with_vector=True).hits[0]
        assert bare.metadata is None
        assert bare.vector is not None
        assert np.linalg.norm(bare.vector) == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "one of image, vector, text, item_id and queries"),
        ({"image": b"x", "item_id": "a"}, "one of image, vector, text, item_id and queries"),
        ({"vector": [1, float("nan")]}, "NaN or infinity"),
        ({"vector": [[1, 2]]}, r"shape \(1, 2\)"),
    ],
)
def test_a_search_that_means_nothing_is_refused_here(
    client: Client, fake: FakeVitrine, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        client.search(**arguments)
    assert fake.requests == []


def test_items_and_queries_hold_exactly_one_content() -> None:
    with pytest.raises(ValueError, match="one of image and vector"):
        Item(id="a")
    with pytest.raises(ValueError, match="one of image and vector"):
        Item(id="a", image=b"x", vector=[1])
    with pytest.raises(ValueError, match="one of image, vector, text and item_id"):
        Query(image=b"x", item_id="a")


def test_collections(client: Client) -> None:
    made = client.put_collection("chairs", fields={"price": "number"}, target_recall=0.95)
    assert (made.name, made.fields, made.target_recall) == ("chairs", {"price": "number"}, 0.95)
    client.put_item("a", vector=[1, 0], collection="chairs")
    one = client.get_collection("chairs")
    assert one.count == 1
    assert one.encoder.name == "thumbnail"
    assert [entry.name for entry in client.list_collections()] == ["default", "chairs"]
    client.delete_collection("chairs")
    with pytest.raises(errors.CollectionNotFound):
        client.get_collection("chairs")


def test_embeddings_keep_the_order_of_the_images(client: Client, draw: Draw) -> None:
    answer = client.embeddings([draw(1), draw(2), draw(3)])
    assert answer.vectors.shape == (3, 64)
    assert answer.vectors.dtype == np.float32
    for at, number in enumerate([1, 2, 3]):
        client.put_item("same", vector=answer.vectors[at])
        assert client.search(image=draw(number)).hits[0].score == pytest.approx(1, abs=1e-5)


def test_health_and_readiness(client: Client, fake: FakeVitrine) -> None:
    client.health()
    assert client.ready().ready
    fake.ready = False
    answer = client.ready()
    assert not answer.ready
    assert answer.checks == {"encoder": {"ok": False}}


def test_a_batch_tells_what_became_of_each_item(client: Client, draw: Draw) -> None:
    items = [
        Item(id="good", image=draw(1), metadata={"a": 1}),
        Item(id="bad", image=b"nonsense"),
        Item(id="vector", vector=np.ones(64)),
    ]
    good, bad, vector = client.put_items(items)
    assert good.sequence is not None
    assert vector.sequence == good.sequence + 1
    assert isinstance(bad.error, errors.InvalidImage)
    assert str(bad.error) == "image: The bytes are not an image. (accepted: a JPEG)"
    assert client.get_item("good").metadata == {"a": 1}


def test_ingest_stores_a_stream(client: Client, fake: FakeVitrine, draw: Draw) -> None:
    items = (Item(id=str(at), image=draw(at) if at % 7 else b"bad") for at in range(100))
    results = list(client.ingest(items, workers=3, max_items=8))
    assert sorted(int(result.id) for result in results) == list(range(100))
    assert {int(result.id) for result in results if result.error} == set(range(0, 100, 7))
    assert len(fake.items["default"]) == 85
    assert len(fake.requests) == 13


def test_batches_respect_their_bytes(client: Client, fake: FakeVitrine, tmp_path: Path) -> None:
    file = tmp_path / "noise"
    file.write_bytes(b"x" * 600)
    items = [Item(id=str(at), image=b"x" * 600 if at % 2 else file) for at in range(6)]
    assert all(result.error for result in client.ingest(items, max_items=4, max_bytes=1300))
    assert len(fake.requests) == 3


def test_a_batch_that_is_too_large_is_halved(client: Client, fake: FakeVitrine, draw: Draw) -> None:
    fake.max_items = 3
    results = client.put_items([Item(id=str(at), image=draw(at)) for at in range(10)])
    assert [result.id for result in results] == [str(at) for at in range(10)]
    assert len(fake.items["default"]) == 10
    fake.max_body = 2000
    small, large = client.put_items([Item(id="s", image=draw(1)), Item(id="l", image=b"x" * 3000)])
    assert small.sequence is not None
    assert isinstance(large.error, errors.TooLarge)


def test_an_ingest_that_is_left_stops(client: Client, fake: FakeVitrine, draw: Draw) -> None:
    results = client.ingest((Item(id=str(at), image=draw(1)) for at in range(10_000)), max_items=1)
    next(results)
    results.close()
    assert len(fake.requests) < 20


def test_an_ingest_reports_a_refusal_of_the_whole(client: Client, draw: Draw) -> None:
    with pytest.raises(errors.CollectionNotFound):
        list(client.ingest([Item(id="a", image=draw(1))], collection="none"))


async def test_both_clients_answer_alike(url: str, draw: Draw, tmp_path: Path) -> None:
    file = tmp_path / "one.png"
    file.write_bytes(draw(1))
    script: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("put_collection", ("c",), {"fields": {"n": "number"}}),
        ("list_collections", (), {}),
        ("put_item", ("a",), {"image": file, "metadata": {"n": 1}, "collection": "c"}),
        ("put_items", ([Item(id="b", image=file), Item(id="x", image=b"bad")],), {}),
        ("get_item", ("a",), {"collection": "c"}),
        ("get_image", ("b",), {}),
        ("search", (), {"image": file, "collection": "c"}),
        ("search", (), {"queries": [Query(image=file), Query(image=draw(2), weight=0.5)]}),
        ("get_collection", ("c",), {}),
        ("delete_item", ("a",), {"collection": "c"}),
        ("delete_collection", ("c",), {}),
        ("health", (), {}),
        ("ready", (), {}),
    ]
    with Client(url) as client:
        expected = [getattr(client, name)(*args, **options) for name, args, options in script]
    async with AsyncClient(url) as other:
        answers = [await getattr(other, name)(*args, **options) for name, args, options in script]
        vectors = (await other.embeddings([file, draw(2)])).vectors
    for want, got in zip(expected, answers, strict=True):
        assert _without_numbering(got) == _without_numbering(want)
    assert vectors.shape == (2, 64)


async def test_the_asynchronous_ingest(url: str, fake: FakeVitrine, draw: Draw) -> None:
    seen: list[ItemResult] = []
    async with AsyncClient(url) as client:
        items = (Item(id=str(at), image=draw(at) if at else b"bad") for at in range(50))
        await client.ingest(items, seen.append, workers=3, max_items=4)
        assert len(seen) == 50
        assert len(fake.items["default"]) == 49
        with pytest.raises(errors.CollectionNotFound):
            await client.ingest([Item(id="a", image=draw(1))], seen.append, collection="none")


def test_both_clients_have_the_same_methods() -> None:
    def signatures(kind: type) -> dict[str, list[str]]:
        methods = inspect.getmembers(kind, inspect.isfunction)
        public = {name: method for name, method in methods if not name.startswith("_")}
        return {name: list(inspect.signature(public[name]).parameters) for name in public}

    asynchronous = signatures(AsyncClient)
    asynchronous["ingest"].remove("on_result")
    assert asynchronous == signatures(Client)


def _without_numbering(answer: Any) -> Any:
    """The same calls made twice differ in sequence numbers, and in nothing else."""
    if isinstance(answer, list):
        return [_without_numbering(entry) for entry in answer]
    if hasattr(answer, "model_dump"):
        fields = answer.model_dump(exclude={"sequence", "snapshot", "count"})
        return (type(answer), fields)
    if hasattr(answer, "error"):
        return (answer.id, answer.sequence is None, str(answer.error))
    return answer
