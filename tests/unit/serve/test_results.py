"""What searches keep: items by label, answers by query. Both bounded, and never out of date."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest

from vitrine_server.collection import Collection
from vitrine_server.records import (
    CollectionSettings,
    EncoderIdentity,
    Hit,
    NewItem,
    SearchQuery,
    SearchResult,
)
from vitrine_server.results import KnownResults, key_of
from vitrine_server.shown import ShownItems, hits_json, shown
from vitrine_server.writes import Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENCODER = EncoderIdentity("test", "a" * 64, 4)
NASTY = 'a "quoted"\\ näme\n'


def query(seed: int, **options: Any) -> SearchQuery:
    vector = np.random.default_rng(seed).normal(size=4).astype(np.float32)
    return SearchQuery(vector, options.pop("k", 3), **options)


def item(number: int, **metadata: Any) -> NewItem:
    return NewItem(f"i{number}", query(number).vector, {"step": 0, **metadata})


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[Collection]:
    folder = tmp_path / "c"
    folder.mkdir()
    Collection.create(folder, CollectionSettings(), ENCODER)
    opened = Collection(folder, serving=ENCODER, results_bytes=100_000)
    opened.upsert([item(number) for number in range(5)]).result()
    yield opened
    opened.close()


def test_a_known_answer_is_the_same(collection: Collection) -> None:
    asked = [query(1), query(2, k=2), query(1, with_vector=True), query(1, offset=1)]
    first = collection.search(asked)
    again = collection.search(asked)
    assert [one.known for one in first] == [False] * 4
    assert [one.known for one in again] == [True] * 4
    assert [one.hits for one in again] == [one.hits for one in first]
    assert [one.snapshot for one in again] == [one.snapshot for one in first]
    # known and unknown ones of a batch keep their places
    mixed = collection.search([query(1), query(7), query(2, k=2)])
    assert [one.known for one in mixed] == [True, False, True]
    assert [mixed[0].hits, mixed[2].hits] == [first[0].hits, first[1].hits]


def test_every_write_is_seen_by_the_next_search(collection: Collection) -> None:
    asked = query(3, k=10)
    for step in range(1, 4):
        collection.search([asked])
        assert collection.search([asked])[0].known
        collection.upsert([item(3, step=step)]).result()
        (found,) = collection.search([asked])
        assert not found.known
        assert {hit.id: hit.metadata["step"] for hit in found.hits}["i3"] == step
    collection.update_metadata("i3", {"step": "moved"}).result()
    (found,) = collection.search([asked])
    assert {hit.id: hit.metadata["step"] for hit in found.hits}["i3"] == "moved"
    collection.delete(["i3"]).result()
    (found,) = collection.search([asked])
    assert not found.known
    assert "i3" not in {hit.id for hit in found.hits}


def test_all_of_a_query_counts(collection: Collection) -> None:
    plain = query(1)
    collection.search([plain])
    others = [
        replace(plain, vector=plain.vector + np.float32(1e-6)),
        replace(plain, k=4),
        replace(plain, offset=1),
        replace(plain, filter={"step": 0}),
        replace(plain, group_by="group"),
        replace(plain, min_score=0.0),
        replace(plain, with_vector=True),
        replace(plain, rerank=True),
    ]
    assert not any(found.known for found in collection.search(others))
    assert all(found.known for found in collection.search([plain, *others]))


def test_answers_are_bounded() -> None:
    hits = (Hit(shown("a", None, b'{"text":"' + b"x" * 1000 + b'"}'), 0.5, None),)
    found = SearchResult(hits, "s@1", 0.1, 0.2, fallback="why")
    kept = KnownResults(10_000)
    keys = [key_of(query(number)) for number in range(50)]
    for number, key in enumerate(keys):
        kept.put(key, query(number), found)
        again = kept.get("s@1", keys[0])  # used: it stays
        assert again == SearchResult(hits, "s@1", 0.0, 0.0, known=True, fallback="why")
    there = [number for number, key in enumerate(keys) if kept.get("s@1", key)]
    assert there[0] == 0
    assert there[1:] == [*range(50)][-len(there) + 1 :]  # and the last ones
    assert 3 <= len(there) <= 6
    large = key_of(query(99))
    kept.put(large, query(99), replace(found, hits=hits * 20))  # more than fits
    assert kept.get("s@1", large) is None
    kept.put(keys[1], query(1), replace(found, snapshot="s@2"))
    assert kept.get("s@1", keys[0]) is None
    none = KnownResults(0)
    none.put(keys[1], query(1), found)
    assert none.get("s@1", keys[1]) is None


def test_items_are_bounded() -> None:
    kept = ShownItems(100_000)
    for label in range(1000):
        kept.add([Row(label, f"i{label}", b'{"group":"g"}', 0, 0, None)])
        assert kept.known([0, 5000]).keys() == {0}  # used: it stays
    there = kept.known(range(1000))
    assert 50 < len(there) < 260
    assert 999 in there
    assert there[999].group == "g"


def test_hits_as_json() -> None:
    metadata = {NASTY: [1.5, None, True], "group": NASTY}
    vector = np.array([0.1, -2.0], np.float32)
    hits = [
        Hit(shown(NASTY, NASTY, orjson.dumps(metadata)), -1.5e-07, vector),
        Hit(shown("b", None, b"{}"), 1.0, vector),
    ]
    for with_metadata in (True, False):
        for with_vector in (True, False):
            text = hits_json(hits, with_metadata=with_metadata, with_vector=with_vector)
            expected = []
            for hit in hits:
                one: dict[str, Any] = {"id": hit.id, "score": hit.score, "group": hit.group}
                if with_metadata:
                    one["metadata"] = hit.metadata
                if with_vector:
                    one["vector"] = [0.1, -2.0]
                expected.append(one)
            assert orjson.loads(text) == expected
    assert hits[0].metadata == metadata
    assert hits_json([], with_metadata=True, with_vector=False) == b"[]"
