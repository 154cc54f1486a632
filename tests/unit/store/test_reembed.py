"""Re-embedding follows a collection that is written to, resumes, and switches in one step."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vitrine_server import errors
from vitrine_server.catalogue import Catalogue
from vitrine_server.collection import Collection, EncoderIdentity, SearchQuery
from vitrine_server.reembed import Reembedding

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from vitrine_server.collection import NewItem

    MakeItem = Callable[..., NewItem]

NEW = EncoderIdentity("new", "b" * 64, 24)


def embedded(image: bytes) -> NDArray[np.float32]:
    seed = [*image]
    return np.random.default_rng(seed).standard_normal(NEW.dimension).astype(np.float32)


class Counting:
    """An encoder that counts, and breaks after some images."""

    def __init__(self, until: int = 10**9) -> None:
        self.images = 0
        self._until = until

    def __call__(self, images: list[bytes]) -> list[NDArray[np.float32]]:
        self.images += len(images)
        if self.images > self._until:
            raise errors.EncoderUnavailable("gone")
        return [embedded(image) for image in images]


def put(collection: Collection, item: MakeItem, names: range, **metadata: Any) -> None:
    items = []
    for number in names:
        image = collection.keep_original(f"image {number}".encode())
        new = item(f"i{number}", number, number=number, **metadata)
        items.append(new._replace(image_sha256=image, thumbnail=b"t", hashes=(number,)))
    collection.upsert(items).result()


def test_the_new_space_holds_what_the_old_one_held(
    tmp_path: Path, encoder: EncoderIdentity, item: MakeItem
) -> None:
    catalogue = Catalogue(tmp_path, encoder=encoder)
    collection = catalogue.get("default")
    home = tmp_path / "collections" / "default"
    put(collection, item, range(200))

    broken = Reembedding(home, NEW, Counting(until=100))
    with pytest.raises(errors.Conflict) as caught:
        Reembedding(home, NEW, Counting())
    assert caught.value.code == "reembedding_runs"
    with pytest.raises(errors.EncoderUnavailable):
        broken.catch_up()
    broken.close()

    rest = Counting()
    work = Reembedding(home, NEW, rest)
    assert work.catch_up() == 136
    assert rest.images == 136
    # meanwhile: new, changed, replaced and deleted items, and one that is new again
    put(collection, item, range(200, 210))
    collection.update_metadata("i3", {"number": 3, "changed": True}).result()
    put(collection, item, range(5, 6), replaced=True)
    collection.delete(["i0", "i1"]).result()
    put(collection, item, range(1, 2), again=True)
    assert work.catch_up() > 0
    assert work.catch_up() == 0
    # what has its vector already is not embedded again
    assert rest.images == 136 + 10
    expected = {f"i{n}": collection.get(f"i{n}") for n in range(1, 210)}
    sequence = collection.describe().sequence
    catalogue.close()

    work.finish()
    work.close()
    assert not (home / "store.db").exists()
    for _ in range(2):
        opened = Catalogue(tmp_path, encoder=NEW)
        assert opened.damaged == {}
        new = opened.get("default")
        assert (new.encoder, new.describe().count) == (NEW, 209)
        assert new.describe().sequence == sequence
        for name, record in expected.items():
            assert new.get(name) == record
            number = int(name[1:])
            vector = embedded(f"image {number}".encode())
            [hit] = new.search([SearchQuery(vector, k=1)])[0].hits
            assert (hit.id, hit.metadata) == (name, record.metadata)
            assert hit.score == pytest.approx(1, abs=1e-5)
            assert new.thumbnail(name) == b"t"
            assert new.original(name) == f"image {number}".encode()
        assert new.near_hashes([5], max_distance=0, limit=1)[0].id == "i5"
        opened.close()
    opened = Catalogue(tmp_path, encoder=NEW)
    put(
        opened.get("default"),
        lambda name, seed, **m: replace_vector(item(name, seed, **m)),
        range(3),
    )
    assert opened.get("default").describe().count == 210
    opened.close()


def replace_vector(new: NewItem) -> NewItem:
    return new._replace(vector=np.ones(NEW.dimension, np.float32))


def test_items_without_an_image_are_named(
    catalogue: Catalogue, item: MakeItem, tmp_path: Path
) -> None:
    home = tmp_path / "data" / "collections" / "default"
    collection = catalogue.get("default")
    put(collection, item, range(3))
    collection.upsert([item("vector only")]).result()
    with pytest.raises(errors.Conflict) as caught:
        Reembedding(home, NEW, Counting())
    assert caught.value.code == "originals_missing"
    assert "1 items" in caught.value.detail
    assert "'vector only'" in caught.value.detail
    assert "VITRINE_KEEP_ORIGINALS" in (caught.value.accepted or "")
    collection.delete(["vector only"]).result()
    with pytest.raises(errors.Conflict) as caught:
        Reembedding(home, catalogue.encoder, Counting())
    assert caught.value.code == "encoder_in_use"
    work = Reembedding(home, NEW, Counting())
    assert work.catch_up() == 3
    collection.upsert([item("vector only")]).result()
    with pytest.raises(errors.Conflict):
        work.catch_up()
    work.close()
    # the old space is what it was
    assert collection.describe().count == 4


def test_a_space_of_another_collection_is_not_gone_on_with(
    catalogue: Catalogue, item: MakeItem, tmp_path: Path
) -> None:
    home = tmp_path / "data" / "collections" / "default"
    put(catalogue.get("default"), item, range(3))
    work = Reembedding(home, NEW, Counting())
    work.catch_up()
    work.close()
    with sqlite3.connect(work.folder / "store.db") as connection:
        connection.execute("UPDATE meta SET value = 'x' WHERE key = 'source'")
    connection.close()
    again = Reembedding(home, NEW, Counting())
    assert again.catch_up() == 3
    catalogue.backup("default", tmp_path / "b.tar")
    catalogue.restore("default", tmp_path / "b.tar", replace=True)
    with pytest.raises(errors.Conflict) as caught:
        again.finish()
    assert caught.value.code == "collection_changed"
    again.close()
