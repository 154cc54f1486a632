"""What a collection promises: its answers to bad input, and what a search sees during writes."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vitrine_server import errors
from vitrine_server.collection import (
    Collection,
    CollectionSettings,
    HashMatch,
    HashPair,
    SearchQuery,
)
from vitrine_server.index.search import search_state
from vitrine_server.store import DamagedStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vitrine_server.catalogue import Catalogue
    from vitrine_server.collection import EncoderIdentity, NewItem

    MakeItem = Callable[..., NewItem]


def query(item: NewItem, k: int = 10, **options: Any) -> SearchQuery:
    return SearchQuery(vector=item.vector, k=k, **options)


def ids(collection: Collection, asked: SearchQuery) -> list[str]:
    return [hit.id for hit in collection.search([asked])[0].hits]


def test_a_write_is_seen_by_the_next_read_and_search(
    collection: Collection, item: MakeItem
) -> None:
    first = item("a", 1, group="g", title="one")
    assert collection.upsert([first]).result() == [1]
    record = collection.get("a")
    assert (record.id, record.group, record.sequence) == ("a", "g", 1)
    assert record.metadata == {"group": "g", "title": "one"}
    assert record.created == record.updated
    assert record.created.endswith("Z")
    [hit] = collection.search([query(first, with_vector=True)])[0].hits
    assert hit.score == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(hit.vector, first.vector / np.linalg.norm(first.vector), rtol=1e-6)

    assert collection.upsert([item("a", 2, title="two")]).result() == [2]
    again = collection.get("a")
    assert (again.created, again.sequence) == (record.created, 2)
    assert again.updated > record.updated
    assert collection.describe().count == 1
    assert collection.delete(["a", "never"]).result() == [True, False]
    assert ids(collection, query(first)) == []
    with pytest.raises(errors.ItemNotFound):
        collection.get("a")


def test_a_batch_of_new_items_that_names_one_that_is_there(
    collection: Collection, item: MakeItem
) -> None:
    """New ids are not looked up before they are inserted: what the table refuses must leave no
    trace and be done again.
    """
    assert collection.upsert([item("old", 0)]).result() == [1]
    before = collection.get("old")
    many = [item(f"i{n}", n) for n in range(40)]
    labels = collection.upsert([*many, item("old", 41)]).result()
    assert labels == list(range(2, 43))
    assert collection.get("old").created == before.created
    assert (collection.get("old").sequence, collection.get("i0").sequence) == (42, 2)
    assert collection.upsert([item("twice", 50), item("twice", 51)]).result() == [43, 44]
    assert collection.upsert([item(f"j{n}", 60 + n) for n in range(20)]).result()[-1] == 64
    store = collection._store
    assert store.fingerprint() == (62, sum(range(1, 65)) - 1 - 43)
    assert (store.sequence, store.removals(1)) == (64, [1])
    store.check()
    assert ids(collection, query(item("old", 41), k=1)) == ["old"]


def test_thumbnails(collection: Collection, item: MakeItem) -> None:
    collection.upsert([item("a")._replace(thumbnail=b"jpeg"), item("b")]).result()
    assert collection.thumbnail("a") == b"jpeg"
    assert collection.thumbnail("b") is None
    collection.upsert([item("a")]).result()
    assert collection.thumbnail("a") is None


@pytest.mark.parametrize("bad", ["", "x" * 513, "é" * 257, "a\nb", "a\0", "\x7f", "\ud800"])
def test_ids_that_cannot_be_stored(collection: Collection, item: MakeItem, bad: str) -> None:
    calls = [
        lambda: collection.upsert([item(bad)]),
        lambda: collection.delete([bad]),
        lambda: collection.get(bad),
        lambda: collection.vector(bad),
        lambda: collection.thumbnail(bad),
    ]
    for call in calls:
        with pytest.raises(errors.Invalid) as caught:
            call()
        assert caught.value.field == "id"
    assert collection.describe().count == 0


@pytest.mark.parametrize(
    "good", ["x" * 512, "../../etc/passwd", "a/b?c#d", "图片 1", "' OR 1=1 --"]
)
def test_odd_ids_that_work(collection: Collection, item: MakeItem, good: str) -> None:
    collection.upsert([item(good, 5)]).result()
    assert ids(collection, query(item(good, 5))) == [good]
    assert collection.delete([good]).result() == [True]


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros(16),
        np.full(16, 1e-40),
        np.full(16, np.nan),
        np.full(16, np.inf),
        np.ones(15),
        np.ones(17),
        np.ones((1, 16)),
        np.ones(0),
    ],
    ids=["zero", "tiny", "nan", "inf", "short", "long", "matrix", "empty"],
)
def test_vectors_that_cannot_be_compared(
    collection: Collection, item: MakeItem, bad: np.ndarray[Any, Any]
) -> None:
    wrong = item("a")._replace(vector=bad.astype(np.float32))
    with pytest.raises(errors.InvalidVector) as caught:
        collection.upsert([item("b"), wrong])
    assert caught.value.field == "vector"
    assert "16 finite numbers" in str(caught.value.accepted)
    with pytest.raises(errors.InvalidVector):
        collection.search([query(wrong)])
    assert collection.describe().count == 0


@pytest.mark.parametrize("metric", ["inner_product", "l2"])
def test_a_value_that_would_overflow_is_refused(
    catalogue: Catalogue, item: MakeItem, metric: Any
) -> None:
    collection = catalogue.create("c", CollectionSettings(metric=metric))
    huge = item("a")._replace(vector=np.full(16, 1e30, np.float32))
    with pytest.raises(errors.InvalidVector):
        collection.upsert([huge])
    zero = item("a")._replace(vector=np.zeros(16, np.float32))
    collection.upsert([zero]).result()
    assert collection.search([query(zero)])[0].hits[0].score == 0


FIELDS: Any = {"colour": "keyword", "price": "number", "day": "date", "sold": "bool"}


@pytest.mark.parametrize(
    ("metadata", "field", "code"),
    [
        ({"colour": 1}, "metadata.colour", "invalid_metadata"),
        ({"colour": ["a", None]}, "metadata.colour", "invalid_metadata"),
        ({"price": "5"}, "metadata.price", "invalid_metadata"),
        ({"price": True}, "metadata.price", "invalid_metadata"),
        ({"day": "soon"}, "metadata.day", "invalid_metadata"),
        ({"day": 2024}, "metadata.day", "invalid_metadata"),
        ({"sold": "yes"}, "metadata.sold", "invalid_metadata"),
        ({"group": 5}, "metadata.group", "invalid_metadata"),
        ({"group": ""}, "metadata.group", "invalid_metadata"),
        ({"x": float("nan")}, "metadata.x", "invalid_parameter"),
        ({"x": {"y": [float("inf")]}}, "metadata.x.y", "invalid_parameter"),
        ({"x": 2**70}, "metadata", "invalid_parameter"),
        ({"x": "\ud800"}, "metadata", "invalid_parameter"),
        ({"x": [[[[[[[[[1]]]]]]]]]}, "metadata.x", "invalid_parameter"),
        ({"x": "y" * 17_000}, "metadata", "metadata_too_large"),
        (["not", "an", "object"], "metadata", "invalid_parameter"),
    ],
)
def test_metadata_that_is_refused(
    catalogue: Catalogue, item: MakeItem, metadata: Any, field: str, code: str
) -> None:
    collection = catalogue.create("c", CollectionSettings(fields=FIELDS))
    with pytest.raises(errors.VitrineError) as caught:
        collection.upsert([item("a")._replace(metadata=metadata)])
    assert (caught.value.field, caught.value.code) == (field, code)
    assert caught.value.accepted


@pytest.mark.parametrize(
    ("filter", "field"),
    [
        ({"price": "5"}, "filter.price"),
        ({"price": {"gte": "5"}}, "filter.price.gte"),
        ({"price": {"between": 5}}, "filter.price.between"),
        ({"price": {}}, "filter.price"),
        ({"price": {"gt": float("nan")}}, "filter.price.gt"),
        ({"price": {"gt": None}}, "filter.price.gt"),
        ({"price": 10**400}, "filter.price"),
        ({"price": [[5]]}, "filter.price"),
        ({"day": "soon"}, "filter.day"),
        ({"day": {"lt": 5}}, "filter.day.lt"),
        ({"sold": {"gt": False}}, "filter.sold"),
        ({"sold": 1}, "filter.sold"),
        ({"colour": 5}, "filter.colour"),
        ({"loose": {"gt": 1, "lt": "a"}}, "filter.loose"),
        ({"not": 5}, "filter.not"),
        ({"any": {"price": 5}}, "filter.any"),
        ({"any": [5]}, "filter.any[0]"),
        ({"any": [{"not": {"price": "x"}}]}, "filter.any[0].not.price"),
        ({"price": list(range(10_001))}, "filter.price"),
        ({"any": [{"price": 1}] * 300}, "filter.any[255]"),
        ({"missing": 5}, "filter.missing"),
        ("price = 5", "filter"),
    ],
)
def test_filters_that_are_refused(
    catalogue: Catalogue, item: MakeItem, filter: Any, field: str
) -> None:
    collection = catalogue.create("c", CollectionSettings(fields=FIELDS))
    collection.upsert([item("a", loose=1)]).result()
    with pytest.raises(errors.InvalidFilter) as caught:
        collection.search([query(item("a"), filter=filter)])
    assert caught.value.field == field
    assert caught.value.accepted


def test_nested_filters_have_a_limit(collection: Collection, item: MakeItem) -> None:
    deep: dict[str, Any] = {"group": "g"}
    for _ in range(2000):
        deep = {"not": deep}
    with pytest.raises(errors.InvalidFilter, match="deeply"):
        collection.search([query(item("a"), filter=deep)])


def test_unknown_fields_are_named(collection: Collection, item: MakeItem) -> None:
    collection.upsert([item("a", colour="red")]).result()
    for options in ({"filter": {"color": "red"}}, {"group_by": "color"}):
        with pytest.raises(errors.InvalidFilter) as caught:
            collection.search([query(item("a"), **options)])
        assert caught.value.code == "unknown_field"
    # an undeclared field works, also for rows that were there before it was first used
    assert ids(collection, query(item("a"), filter={"colour": "red"})) == ["a"]
    collection.upsert([item("b", 2, colour="red"), item("c", 3)]).result()
    assert sorted(ids(collection, query(item("a"), filter={"colour": "red"}))) == ["a", "b"]


def test_a_field_becomes_usable_after_deletes(collection: Collection, item: MakeItem) -> None:
    collection.upsert([item(str(n), n, parity=n % 2) for n in range(20)]).result()
    collection.delete([str(n) for n in range(0, 20, 3)]).result()
    collection.upsert([item(str(n), n, parity=7) for n in (1, 2)]).result()
    found = ids(collection, query(item("0"), 50, filter={"parity": 1}))
    assert sorted(found, key=int) == [str(n) for n in range(1, 20, 2) if n % 3 and n != 1]


@pytest.mark.parametrize(
    ("options", "field"), [({"k": 0}, "k"), ({"k": 5, "offset": -1}, "offset")]
)
def test_page_limits(collection: Collection, item: MakeItem, options: Any, field: str) -> None:
    with pytest.raises(errors.Invalid) as caught:
        collection.search([query(item("a"), **options)])
    assert caught.value.field == field


def test_k_far_beyond_the_count(collection: Collection, item: MakeItem) -> None:
    assert ids(collection, query(item("a"), 10**9)) == []
    collection.upsert([item(str(n), n, group="g") for n in range(5)]).result()
    assert len(ids(collection, query(item("0"), 10**9))) == 5
    assert len(ids(collection, query(item("0"), 10**9, offset=10**9))) == 0
    assert len(ids(collection, query(item("0"), 10**9, group_by="group"))) == 1


def test_groups_behind_a_group_that_fills_the_top(collection: Collection, item: MakeItem) -> None:
    asked = item("q", 1)
    near = [asked._replace(id=f"near-{n}", metadata={"group": "crowd"}) for n in range(500)]
    far = [item(f"far-{n}", n + 2, group=f"g{n}") for n in range(30)]
    collection.upsert([*near, *far]).result()
    hits = collection.search([query(asked, 20, group_by="group")])[0].hits
    assert len(hits) == 20
    assert len({hit.group for hit in hits}) == 20
    assert hits[0].group == "crowd"


def test_another_vector_space_is_refused(
    tmp_path: Path, encoder: EncoderIdentity, item: MakeItem
) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    Collection.create(folder, CollectionSettings(), encoder)
    collection = Collection(folder, serving=replace(encoder, fingerprint="b" * 64))
    with pytest.raises(errors.EncoderMismatch):
        collection.upsert([item("a")])
    with pytest.raises(errors.EncoderMismatch):
        collection.search([query(item("a"))])
    assert collection.describe().encoder == encoder
    collection.close()


def test_waiting_writes_are_bounded(
    collection: Collection, item: MakeItem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitrine_server.writer.MAX_WAITING_WRITES", 10)
    blocker = sqlite3.connect(collection._store.path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")  # another writer holds the store: nothing is committed
    futures = [collection.upsert([item("first")])]

    def flood() -> None:
        for n in range(100):
            futures.append(collection.upsert([item(str(n))]))  # noqa: PERF401  # all before it fails

    with pytest.raises(errors.Overloaded):
        flood()
    abandoned = futures.pop()
    assert abandoned.cancel()
    blocker.execute("ROLLBACK")
    blocker.close()
    assert all(future.result(timeout=30) for future in futures)
    assert collection.describe().count == len(futures)


def test_a_closed_collection_says_so(collection: Collection, item: MakeItem) -> None:
    collection.upsert([item("a")]).result()
    collection.close()
    with pytest.raises(errors.CollectionNotFound):
        collection.upsert([item("b")])


@pytest.mark.parametrize("moment", ["searched", "committing"])
def test_a_search_sees_one_state_whatever_is_written_meanwhile(
    collection: Collection, item: MakeItem, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Deletes and updates between the vectors and the records must not tear an answer."""
    old = [item(f"i{n}", n, version=1) for n in range(6)]
    collection.upsert(old).result()

    def change() -> None:
        collection.delete(["i0", "i1"]).result()
        collection.upsert([item("i2", 77, version=2)]).result()
        collection.upsert([item("i3", 3, version=2), item("i3", 3, version=3)]).result()

    if moment == "searched":
        monkeypatch.setattr(
            "vitrine_server.searching.search_state",
            lambda *args: [search_state(*args), change()][0],
        )
        [answer] = collection.search([query(old[0], 10)])
    else:
        # the search takes its state and its records just before the writer publishes
        commit, answers = collection._store.commit, []

        def commit_then_search() -> None:
            commit()
            answers.append(collection.search([query(old[0], 10)])[0])

        monkeypatch.setattr(collection._store, "commit", commit_then_search)
        change()
        answer = answers[0]
    assert {hit.id: hit.metadata for hit in answer.hits} == {
        f"i{n}": {"version": 1} for n in range(6)
    }
    monkeypatch.undo()
    after = {hit.id: hit.metadata for hit in collection.search([query(old[0], 10)])[0].hits}
    assert after == {f"i{n}": {"version": 1} for n in (4, 5)} | {
        "i2": {"version": 2},
        "i3": {"version": 3},
    }


def test_churn_from_many_threads(collection: Collection, item: MakeItem) -> None:
    """Each thread owns some ids and must see its own last write in every search it makes."""
    problems: list[str] = []
    stop = threading.Event()

    def work(owner: int) -> None:
        rng = np.random.default_rng(owner)
        held: dict[str, int] = {}
        for step in range(60):
            name = f"{owner}-{rng.integers(8)}"
            if name in held and rng.random() < 0.4:
                collection.delete([name]).result()
                del held[name]
            else:
                collection.upsert([item(name, step, owner=owner, step=step)]).result()
                held[name] = step
            hits = collection.search([query(item("q", step), 1000, filter={"owner": owner})])
            seen = {hit.id: (hit.metadata or {})["step"] for hit in hits[0].hits}
            if seen != held:
                problems.append(f"{owner}: {seen} instead of {held}")

    def search_all() -> None:
        while not stop.is_set():
            names = ids(collection, query(item("q"), 1000))
            if len(set(names)) != len(names):
                problems.append("one item twice")

    # the field must be known before the first filter
    collection.upsert([item("seed", owner=-1, step=-1)]).result()
    searcher = threading.Thread(target=search_all)
    searcher.start()
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, owner) for owner in range(8)]:
            done.result()
    stop.set()
    searcher.join()
    assert problems == []


def test_a_damaged_vector_is_found_at_the_start(
    tmp_path: Path, encoder: EncoderIdentity, item: MakeItem
) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    Collection.create(folder, CollectionSettings(), encoder)
    collection = Collection(folder, serving=encoder)
    collection.upsert([item("a", 1), item("b", 2)]).result()
    collection.close()
    path = folder / "store.db"
    content = bytearray(path.read_bytes())
    unit = item("b", 2).vector.astype(np.float64)
    stored = (unit / np.linalg.norm(unit)).astype(np.float32).tobytes()
    content[content.index(stored) + 20] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedStore, match="write 2 is damaged"):
        Collection(folder, serving=encoder)


def test_metadata_is_replaced_and_the_rest_stays(collection: Collection, item: MakeItem) -> None:
    first = item("a", 1, group="g", rank=1)._replace(thumbnail=b"jpeg", hashes=(7,))
    collection.upsert([first, item("b", 2)]).result()
    created = collection.get("a").created
    assert collection.update_metadata("a", {"rank": 2}).result() == 3
    record = collection.get("a")
    assert (record.metadata, record.group, record.sequence) == ({"rank": 2}, None, 3)
    assert record.created == created < record.updated
    assert collection.thumbnail("a") == b"jpeg"
    assert ids(collection, query(first, k=1, filter={"rank": 2})) == ["a"]
    assert ids(collection, query(first, k=9, filter={"rank": 1})) == []
    assert collection.near_hashes([7], max_distance=0, limit=9) == [HashMatch("a", 0)]
    with pytest.raises(errors.ItemNotFound):
        collection.update_metadata("c", {}).result()
    with pytest.raises(errors.Invalid):
        collection.update_metadata("a", {"group": 5})
    assert collection.delete(["a"]).result() == [True]
    assert collection.describe().count == 1


def test_writes_of_one_transaction_take_effect_in_order(
    collection: Collection, item: MakeItem
) -> None:
    """Also when a version never reaches the tables, or a stored one is moved and then dropped."""
    collection.upsert([item("a", 1, rank=0), item("b", 2, rank=0), item("c", 3, rank=0)]).result()
    hold = threading.Event()
    blocked = collection._writer.call(hold.wait)
    waiting = [
        collection.update_metadata("a", {"rank": 1}),
        collection.update_metadata("a", {"rank": 2}),
        collection.update_metadata("b", {"rank": 1}),
        collection.delete(["b"]),
        collection.upsert([item("d", 4, rank=1)]),
        collection.update_metadata("d", {"rank": 2}),
        collection.update_metadata("c", {"rank": 1}),
        collection.upsert([item("c", 5, rank=2)]),
        collection.delete(["never"]),
    ]
    hold.set()
    blocked.result()
    answers = [future.result() for future in waiting]
    assert answers == [4, 5, 6, [True], [8], 9, 10, [11], [False]]
    folder, serving = collection._store.path.parent, collection.encoder
    collection.close()
    opened = Collection(folder, serving=serving)
    assert opened._store.sequence == 11
    for name, seed in (("a", 1), ("c", 5), ("d", 4)):
        assert opened.get(name).metadata == {"rank": 2}
        assert ids(opened, query(item("query", seed), k=1)) == [name]
    assert opened.describe().count == 3
    opened.close()


def test_perceptual_hashes_follow_the_items(collection: Collection, item: MakeItem) -> None:
    def hashed(name: str, *hashes: int) -> NewItem:
        return item(name, len(name))._replace(hashes=hashes)

    collection.upsert([hashed("a", 0b1111, 2**63), hashed("bb", 0b0111), item("none")]).result()
    for _ in range(2):
        near = collection.near_hashes([0b1111], max_distance=2, limit=10)
        assert near == [HashMatch("a", 0), HashMatch("bb", 1)]
        assert collection.hash_pairs(max_distance=3, limit=9) == [HashPair("a", "bb", 1)]
        folder = collection._store.path.parent
        collection.close()
        collection = Collection(folder, serving=collection.encoder)
    assert collection.near_hashes([2**63 + 1], max_distance=1, limit=1) == [HashMatch("a", 1)]
    collection.upsert([hashed("a", 0)]).result()
    collection.delete(["bb"]).result()
    assert collection.near_hashes([0b1111], max_distance=8, limit=10) == [HashMatch("a", 4)]
    assert collection.hash_pairs(max_distance=3, limit=9) == []
    for wrong in (-1, 2**64):
        with pytest.raises(errors.Invalid) as caught:
            collection.near_hashes([wrong], max_distance=1, limit=1)
        assert caught.value.field == "hashes"
    with pytest.raises(errors.Invalid):
        collection.hash_pairs(max_distance=12, limit=1)
    collection.close()


def test_views_need_a_group(collection: Collection, item: MakeItem) -> None:
    first = item("a", 1, group="g")
    collection.upsert([first]).result()
    with pytest.raises(errors.Invalid) as caught:
        collection.search([query(first, views=(first.vector,))])
    assert caught.value.field == "group_by"
    zero = np.zeros_like(first.vector)
    with pytest.raises(errors.InvalidVector):
        collection.search([query(first, views=(zero,), group_by="group")])
