"""Random histories of a collection against the dictionary of reference_collection.py."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_collection as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from vitrine_server.collection import (
    Collection,
    CollectionSettings,
    EncoderIdentity,
    NewItem,
    SearchQuery,
)
from vitrine_server.errors import ItemNotFound

DIMENSION = 8
FIELDS: dict[str, Any] = {
    "colour": "keyword",
    "price": "number",
    "registered": "date",
    "sold": "bool",
}
ENCODER = EncoderIdentity("test", "f" * 64, DIMENSION)

COLOURS = ["red", "green", "blue", ""]
DATES = ["2023-12-31", "2024-01-01", "2024-01-01T00:00:00Z", "2024-01-01T02:00:00+02:00"]
PRICES = [0, -1.5, 2, 3.25, 1e6]


def metadata() -> st.SearchStrategy[dict[str, Any]]:
    loose = st.one_of(
        st.sampled_from(["a", "b", "2024-01-01", 1, 1.0, 2.5, True, False, None]),
        st.lists(st.sampled_from(["a", "b", 1, True]), max_size=3),
    )
    return st.fixed_dictionaries(
        {},
        optional={
            "group": st.sampled_from(["g1", "g2", "g3"]),
            "colour": st.one_of(
                st.sampled_from(COLOURS), st.lists(st.sampled_from(COLOURS), max_size=2)
            ),
            "price": st.sampled_from([*PRICES, None]),
            "registered": st.sampled_from(DATES),
            "sold": st.booleans(),
            "loose": loose,
        },
    )


def conditions() -> st.SearchStrategy[dict[str, Any]]:
    def or_list(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.one_of(values, st.lists(values, max_size=3))

    def bounds(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.dictionaries(
            st.sampled_from(["lt", "lte", "gt", "gte"]), values, min_size=1, max_size=2
        )

    nothing = st.none()
    base = st.fixed_dictionaries(
        {},
        optional={
            "group": or_list(st.one_of(nothing, st.sampled_from(["g1", "g2", "missing"]))),
            "colour": st.one_of(
                or_list(st.sampled_from(COLOURS)), bounds(st.sampled_from(COLOURS))
            ),
            "price": st.one_of(
                or_list(st.one_of(nothing, st.sampled_from(PRICES))),
                bounds(st.sampled_from(PRICES)),
            ),
            "registered": st.one_of(
                or_list(st.sampled_from(DATES)), bounds(st.sampled_from(DATES))
            ),
            "sold": or_list(st.booleans()),
            "loose": st.one_of(
                or_list(st.sampled_from(["a", 1, True, None, 2.5])),
                bounds(st.sampled_from(["a", "b"])),
                bounds(st.sampled_from([1, 2])),
            ),
        },
    )
    return st.recursive(
        base,
        lambda inner: st.one_of(
            st.fixed_dictionaries({"not": inner}),
            st.fixed_dictionaries({"any": st.lists(inner, max_size=3)}),
        ),
        max_leaves=4,
    )


def vectors() -> st.SearchStrategy[Any]:
    # few values, so that ties and repeats happen; the last value keeps the vector off zero
    values = st.sampled_from([-1.0, 0.0, 0.5, 2.0])
    return st.lists(values, min_size=DIMENSION - 1, max_size=DIMENSION - 1).map(
        lambda head: np.array([*head, 1.0], np.float32)
    )


IDS = st.sampled_from([f"item-{i}" for i in range(12)])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), st.lists(st.tuples(IDS, vectors(), metadata()), max_size=4)),
        st.tuples(st.just("update"), IDS, metadata()),
        st.tuples(st.just("delete"), st.lists(IDS, max_size=3)),
        st.tuples(st.just("reopen")),
        st.tuples(
            st.just("search"),
            st.lists(
                st.fixed_dictionaries(
                    {"query": vectors(), "k": st.integers(1, 15)},
                    optional={
                        "offset": st.integers(0, 6),
                        "filter": conditions(),
                        "group_by": st.sampled_from(["group", "colour", "price", "loose"]),
                        "views": st.lists(vectors(), max_size=2),
                        "min_score": st.sampled_from([-3.0, 0.0, 0.3]),
                    },
                ),
                min_size=1,
                max_size=6,
            ),
        ),
    ),
    min_size=3,
    max_size=14,
)


@pytest.mark.parametrize("metric", ["cosine", "inner_product", "l2", "l1"])
@settings(deadline=None, max_examples=60)
@given(steps=STEPS)
def test_every_answer_is_the_reference_s(metric: Any, steps: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "c"
        folder.mkdir()
        Collection.create(folder, CollectionSettings(metric=metric, fields=FIELDS), ENCODER)
        collection = Collection(folder, serving=ENCODER)
        try:
            items: dict[str, tuple[Any, dict[str, Any]]] = {}
            # a filter on a field that no item has is refused: give every field to one item
            steps = [
                ("upsert", [("item-0", np.ones(DIMENSION, np.float32), {"loose": "a"})]),
                *steps,
            ]
            for step in steps:
                collection = play(collection, step, items, metric)
        finally:
            collection.close()


def play(
    collection: Collection,
    step: tuple[Any, ...],
    items: dict[str, tuple[Any, dict[str, Any]]],
    metric: str,
) -> Collection:
    if step[0] == "upsert":
        labels = collection.upsert([NewItem(*parts) for parts in step[1]]).result()
        assert labels == sorted(labels)
        assert len(labels) == len(step[1])
        items.update({item_id: (vector, held) for item_id, vector, held in step[1]})
    elif step[0] == "delete":
        existed = [items.pop(item_id, None) is not None for item_id in step[1]]
        assert collection.delete(step[1]).result() == existed
    elif step[0] == "update":
        answer = collection.update_metadata(step[1], step[2])
        if step[1] in items:
            assert answer.result() == collection.get(step[1]).sequence
            items[step[1]] = items[step[1]][0], step[2]
        else:
            with pytest.raises(ItemNotFound):
                answer.result()
    elif step[0] == "reopen":
        folder = collection._store.path.parent
        collection.close()
        collection = Collection(folder, serving=ENCODER)
    else:
        for query in step[1]:
            if "group_by" not in query:
                query.pop("views", None)
        asked = [
            SearchQuery(
                vector=q["query"],
                views=tuple(q.get("views", ())),
                **{n: v for n, v in q.items() if n not in {"query", "views"}},
            )
            for q in step[1]
        ]
        if any(mentions_loose(q) for q in step[1]) and "loose" not in collection._known_fields:
            return collection
        for query, answer in zip(step[1], collection.search(asked), strict=True):
            check(items, query, answer.hits, metric)
    assert collection.describe().count == len(items)
    return collection


def mentions_loose(query: dict[str, Any]) -> bool:
    return "loose" in repr((query.get("filter"), query.get("group_by")))


def check(
    items: dict[str, tuple[Any, dict[str, Any]]],
    query: dict[str, Any],
    hits: Any,
    metric: str,
) -> None:
    """Same scores in the same order; each hit is a true, accepted item. Ties may be swapped."""
    expected = reference.search(items, metric=metric, fields=FIELDS, **query)
    limit = query.get("min_score")
    if limit is not None:
        # a score within rounding of the limit may fall on either side
        hits = [hit for hit in hits if abs(hit.score - limit) > 1e-4]
        expected = [pair for pair in expected if abs(pair[1] - limit) > 1e-4]
    np.testing.assert_allclose(
        [hit.score for hit in hits], [score for _, score in expected], rtol=1e-5, atol=1e-5
    )
    assert len({hit.id for hit in hits}) == len(hits)
    for hit in hits:
        vector, held = items[hit.id]
        assert hit.metadata == held
        assert hit.group == held.get("group")
        assert reference.matches(held, query.get("filter") or {}, FIELDS)
        if not query.get("views"):
            assert hit.score == pytest.approx(
                reference.score(query["query"], vector, metric), rel=1e-5, abs=1e-5
            )
    if "group_by" in query:
        groups = [reference.group_key(items[hit.id][1].get(query["group_by"])) for hit in hits]
        valued = [group for group in groups if group]
        assert len(set(valued)) == len(valued)
