"""Merges, segments, snapshots and restarts: the answers stay those of the records."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vitrine_server import maintenance, snapshot
from vitrine_server.collection import (
    Collection,
    CollectionSettings,
    EncoderIdentity,
    NewItem,
    SearchQuery,
)
from vitrine_server.index import ann, choice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DIMENSION = 32
ENCODER = EncoderIdentity("test", "d" * 64, DIMENSION)
FAMILIES: tuple[Any, ...] = ("hnsw", "ivf", "ivf_pq", "ivf_rabitq", "sq8", "fp16")


def vectors(count: int, seed: int) -> np.ndarray[Any, Any]:
    """Clustered directions."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((60, DIMENSION))
    drawn = centres[rng.integers(60, size=count)] + 0.7 * rng.standard_normal((count, DIMENSION))
    return drawn.astype(np.float32)


def items(count: int, seed: int, first: int = 0) -> list[NewItem]:
    return [
        NewItem(
            f"i{first + n}",
            vector,
            {"group": f"g{(first + n) % 40}", "rank": first + n, "parity": (first + n) % 2 == 1},
        )
        for n, vector in enumerate(vectors(count, seed))
    ]


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merge and absorb at sizes that a test can reach."""
    monkeypatch.setattr(maintenance, "ABSORB_ROWS", 200)
    monkeypatch.setattr(maintenance, "MERGE_ROWS", 1000)
    monkeypatch.setattr(choice, "EXACT_VALUES", 1500 * DIMENSION)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Collection]]:
    """Open, or create, the collection of a test."""
    opened: list[Collection] = []

    def open_collection(**settings: Any) -> Collection:
        folder = tmp_path / "c"
        if not folder.exists():
            folder.mkdir()
            Collection.create(folder, CollectionSettings(**settings), ENCODER)
        while opened:
            opened.pop().close()
        opened.append(Collection(folder, serving=ENCODER))
        return opened[-1]

    yield open_collection
    for collection in opened:
        collection.close()


def settled(collection: Collection) -> dict[str, Any]:
    """What the index is, once nothing is due."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        collection.upsert([]).result()
        state = collection._index.state
        upkeep = collection._maintenance
        busy = upkeep._merging or upkeep._absorbing
        if not busy and not upkeep._absorb_due(state):
            return dict(collection.describe().index)
        time.sleep(0.02)
    raise AssertionError("the merge does not end")


class Reference:
    """What is stored, searched by a matrix product in float64."""

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.stored: dict[str, NewItem] = {}

    def apply(self, collection: Collection, added: list[NewItem], deleted: list[str]) -> None:
        for start in range(0, len(added), 500):
            collection.upsert(added[start : start + 500]).result()
        collection.delete(deleted).result()
        self.stored.update({item.id: item for item in added})
        for name in deleted:
            self.stored.pop(name, None)

    def recall(
        self, collection: Collection, queries: np.ndarray[Any, Any], **options: Any
    ) -> float:
        """Recall@10 of the collection; every hit is checked as well."""
        accepts = {
            "parity": lambda item: item.metadata["parity"],
            "rank": lambda item: item.metadata["rank"] < options["filter"]["rank"]["lt"],
        }
        fields = options.get("filter", {})
        kept = [
            item for item in self.stored.values() if all(accepts[name](item) for name in fields)
        ]
        matrix = np.array([item.vector for item in kept], np.float64)
        asked = [SearchQuery(vector=query, k=10, **options) for query in queries]
        found = 0
        expected_total = 0
        for query, answer in zip(queries, collection.search(asked), strict=True):
            scores = self.scores(matrix, query.astype(np.float64))
            order = np.argsort(-scores)
            expected = []
            groups = set()
            for row in order.tolist():
                if options.get("group_by") and kept[row].metadata["group"] in groups:
                    continue
                groups.add(kept[row].metadata["group"])
                expected.append(kept[row].id)
                if len(expected) == 10:
                    break
            by_id = {item.id: score for item, score in zip(kept, scores, strict=True)}
            for hit in answer.hits:
                assert hit.score == pytest.approx(by_id[hit.id], abs=1e-3)
                assert hit.metadata == self.stored[hit.id].metadata
            assert len(answer.hits) == len(expected)
            expected_total += len(expected)
            found += len(set(expected) & {hit.id for hit in answer.hits})
        return found / expected_total

    def scores(self, matrix: Any, query: Any) -> Any:
        if self.metric == "cosine":
            norms = np.linalg.norm(matrix, axis=1) * np.linalg.norm(query)
            return matrix @ query / norms
        if self.metric == "inner_product":
            return matrix @ query
        return -np.linalg.norm(matrix - query, axis=1)


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize(
    ("index", "metric"),
    [*((family, "cosine") for family in FAMILIES), ("hnsw", "l2"), ("ivf_pq", "inner_product")],
)
def test_a_family_keeps_its_recall_through_churn_and_restarts(
    make: Callable[..., Collection], index: Any, metric: Any
) -> None:
    collection = make(index=index, metric=metric, fields={"rank": "number"})
    reference = Reference(metric)
    queries = vectors(60, 99)
    reference.apply(collection, items(3000, 1), [])
    assert settled(collection)["family"] == index
    reference.apply(collection, items(700, 2, first=2800), [f"i{n}" for n in range(0, 500, 3)])
    described = settled(collection)
    assert described["family"] == index
    assert described["measured_recall"] >= 0.95
    for restarted in (False, True):
        opened = make() if restarted else collection
        assert opened._index.state.segments
        assert reference.recall(opened, queries) >= 0.95
        assert reference.recall(opened, queries, filter={"parity": True}) >= 0.95
        assert reference.recall(opened, queries, filter={"rank": {"lt": 300}}) >= 0.95
        assert reference.recall(opened, queries, filter={"rank": {"lt": 8}}) == 1.0
        assert reference.recall(opened, queries, group_by="group") >= 0.9
        assert opened.describe().count == len(reference.stored)


@pytest.mark.usefixtures("small_steps")
def test_auto_starts_exact_and_says_why(make: Callable[..., Collection]) -> None:
    collection = make()
    reference = Reference("cosine")
    reference.apply(collection, items(1200, 1), [])
    described = settled(collection)
    assert described["family"] == "exact"
    assert "comparing all" in described["reason"]
    reference.apply(collection, items(800, 2, first=1200), [])
    described = settled(collection)
    assert described["family"] == "hnsw"
    assert "fastest that fits" in described["reason"]
    reference.apply(collection, items(400, 3, first=2000), [])
    described = settled(collection)
    assert described["compared_exactly"] < 200
    assert len(collection._index.state.segments) == 2
    assert reference.recall(collection, vectors(60, 99)) >= 0.95


@pytest.mark.usefixtures("small_steps")
def test_an_exact_collection_starts_from_a_snapshot_too(make: Callable[..., Collection]) -> None:
    collection = make(index="exact")
    reference = Reference("cosine")
    reference.apply(collection, items(1200, 1), [])
    assert settled(collection)["family"] == "exact"
    reference.apply(collection, items(100, 2, first=1150), ["i3", "i1160"])
    opened = make()
    assert len(opened._index.state.vectors.head) >= 1000
    assert opened.describe().count == len(reference.stored)
    assert reference.recall(opened, vectors(20, 99)) == 1.0


def test_memory_decides_the_family() -> None:
    settings = CollectionSettings()
    families = [
        choice.choose(settings, 1_000_000, 256, int(free)).family for free in (8e9, 3e8, 1e8, 1e7)
    ]
    assert families == ["hnsw", "ivf_pq", "ivf_rabitq", "exact"]


@pytest.mark.usefixtures("small_steps")
def test_an_index_under_its_target_is_refused(
    make: Callable[..., Collection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ann, "_measure", lambda *_: (0.5, 1e-4))
    collection = make(index="ivf")
    reference = Reference("cosine")
    reference.apply(collection, items(2000, 1), [])
    described = settled(collection)
    assert described["family"] == "exact"
    assert "refused" in described["reason"]
    assert reference.recall(collection, vectors(20, 99)) == 1.0


@pytest.mark.usefixtures("small_steps")
def test_a_refused_segment_is_built_again_when_its_rows_have_doubled(
    make: Callable[..., Collection], monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = make(index="hnsw")
    collection.upsert(items(4000, 3)).result()
    assert settled(collection)["family"] == "hnsw"
    tried: list[int] = []

    def refuse(family: str, rows: np.ndarray[Any, Any], *_: Any, **__: Any) -> ann.Ann:
        tried.append(len(rows))
        raise ann.TooLowRecall("It was 0.5.")

    monkeypatch.setattr(ann, "build", refuse)
    for number in range(16):
        new = items(50, 100 + number, first=10_000 + 50 * number)
        collection.upsert(new).result()
        settled(collection)
        [found] = collection.search([SearchQuery(new[7].vector, 1)])
        assert found.hits[0].id == new[7].id
    assert tried == [200, 400, 800]


@pytest.mark.usefixtures("small_steps")
def test_writes_during_a_merge_are_in_the_new_generation(
    make: Callable[..., Collection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything that can happen between the copy and the swap."""
    collection = make(index="hnsw")
    reference = Reference("cosine")
    load = snapshot.load
    happened = []

    def change_then_load(folder: Path) -> Any:
        # after the copy was written: an update and a delete in it, rows after it, a new field
        reference.apply(collection, items(300, 5, first=900), ["i0", "i1", "i950", "i1150"])
        asked = SearchQuery(vector=queries[0], k=1, filter={"parity": True})
        collection.search([asked])
        happened.append(folder)
        return load(folder)

    queries = vectors(40, 99)
    monkeypatch.setattr(snapshot, "load", change_then_load)
    reference.apply(collection, items(1100, 1), [])
    settled(collection)
    monkeypatch.undo()
    assert happened
    assert reference.recall(collection, queries) >= 0.95
    assert reference.recall(collection, queries, filter={"parity": True}) >= 0.95
    again = make()
    assert again._index.state.segments
    assert reference.recall(again, queries, filter={"parity": True}) >= 0.95
    assert again.describe().count == len(reference.stored)


@pytest.mark.usefixtures("small_steps")
def test_searches_during_merges_see_whole_states(make: Callable[..., Collection]) -> None:
    """Rounds of updates of all items: a search must never mix two rounds or lose an item."""
    import threading

    collection = make(index="hnsw", fields={"round": "number"})
    names = [f"i{n}" for n in range(600)]
    problems: list[str] = []
    stop = threading.Event()
    writing = threading.Lock()
    current = [0]

    def write(number: int) -> None:
        fresh = [
            NewItem(name, vector, {"round": number})
            for name, vector in zip(names, vectors(len(names), number), strict=True)
        ]
        with writing:
            collection.upsert(fresh).result()
            current[0] = number

    def read() -> None:
        asked = SearchQuery(vector=vectors(1, 7)[0], k=1000)
        while not stop.is_set():
            answer = collection.search([asked])[0]
            rounds = {(hit.metadata or {})["round"] for hit in answer.hits}
            if len(answer.hits) != len(names) or len(rounds) != 1:
                problems.append(f"{len(answer.hits)} hits of rounds {rounds}")

    write(0)
    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(1, 25):
        write(number)
    stop.set()
    for reader in readers:
        reader.join()
    assert problems == []
    assert settled(collection)["deleted_rows"] < 15_000
    assert snapshot.newest_first(collection._snapshots)


@pytest.mark.usefixtures("small_steps")
def test_damaged_or_foreign_snapshots_fall_back(
    make: Callable[..., Collection], capsys: pytest.CaptureFixture[str]
) -> None:
    collection = make(index="hnsw")
    reference = Reference("cosine")
    for part in range(3):
        reference.apply(collection, items(1200, part, first=1200 * part), [])
        settled(collection)
    reference.apply(collection, [], ["i5", "i2500"])
    folders = snapshot.newest_first(collection._snapshots)
    assert len(folders) == snapshot.KEPT
    rows = [snapshot.read_manifest(folder).count for folder in folders]
    assert rows[0] > rows[1]
    queries = vectors(30, 99)

    index_file = folders[0] / "index.faiss"
    content = bytearray(index_file.read_bytes())
    content[len(content) // 2] ^= 4
    index_file.write_bytes(content)
    collection = make()
    assert collection._index.state.segments[0].count == rows[1]
    assert "snapshot refused" in capsys.readouterr().out
    assert reference.recall(collection, queries) >= 0.95

    settled(collection)
    for folder in snapshot.newest_first(collection._snapshots):
        (folder / "labels.i64").unlink()
    collection = make()
    assert reference.recall(collection, queries) >= 0.95
    assert collection.describe().count == len(reference.stored)


@pytest.mark.usefixtures("small_steps")
def test_a_snapshot_that_is_ahead_of_its_store_is_refused(
    make: Callable[..., Collection], tmp_path: Path
) -> None:
    """The store came back from an older backup: what it does not hold must not be found."""
    collection = make(index="hnsw")
    reference = Reference("cosine")
    reference.apply(collection, items(500, 1), [])
    collection.close()
    old = (tmp_path / "c" / "store.db").read_bytes()
    collection = make()
    Reference("cosine").apply(collection, items(1500, 2, first=500), [])
    settled(collection)
    assert snapshot.newest_first(collection._snapshots)
    collection.close()
    (tmp_path / "c" / "store.db").write_bytes(old)
    collection = make()
    assert collection.describe().count == 500
    assert reference.recall(collection, vectors(20, 99)) >= 0.95
