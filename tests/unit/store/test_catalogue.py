from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from vitrine_server import errors
from vitrine_server.catalogue import Catalogue
from vitrine_server.collection import CollectionSettings, SearchQuery
from vitrine_server.config import ConfigError
from vitrine_server.index.search import search_state

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vitrine_server.collection import EncoderIdentity, NewItem

    MakeItem = Callable[..., NewItem]


def test_collections_survive_a_restart(
    tmp_path: Path, encoder: EncoderIdentity, item: MakeItem
) -> None:
    catalogue = Catalogue(tmp_path, encoder=encoder)
    settings = CollectionSettings(metric="l2", fields={"price": "number"})
    catalogue.create("shop", settings).upsert([item("a", price=5)]).result()
    catalogue.close()
    catalogue = Catalogue(tmp_path, encoder=encoder)
    assert [info.name for info in catalogue.list()] == ["default", "shop"]
    shop = catalogue.get("shop")
    assert (shop.settings, shop.describe().count) == (settings, 1)
    asked = SearchQuery(vector=item("a").vector, k=3, filter={"price": {"gte": 5}})
    assert [hit.id for hit in shop.search([asked])[0].hits] == ["a"]
    assert shop.upsert([item("b")]).result() == [2]
    catalogue.close()


def test_creating_again(catalogue: Catalogue) -> None:
    settings = CollectionSettings(fields={"price": "number"})
    first = catalogue.create("c", settings)
    assert catalogue.create("c", settings) is first
    for other, field in [
        (settings.model_copy(update={"metric": "l2"}), "metric"),
        (settings.model_copy(update={"fields": {}}), "fields"),
        (settings.model_copy(update={"target_recall": 0.9}), "target_recall"),
    ]:
        with pytest.raises(errors.Conflict) as caught:
            catalogue.create("c", other)
        assert caught.value.field == field


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../up", "a/b", "A", "-a", "_a", ".hidden", "a" * 65, "a\n", "é", "a b"]
)
def test_names_that_are_refused(catalogue: Catalogue, name: str) -> None:
    with pytest.raises(errors.Invalid) as caught:
        catalogue.create(name, CollectionSettings())
    assert caught.value.field == "collection"
    with pytest.raises(errors.CollectionNotFound):
        catalogue.get(name)
    with pytest.raises(errors.CollectionNotFound):
        catalogue.drop(name)


@pytest.mark.parametrize("field", ["group", "not", "any", "", "x" * 129])
def test_field_names_that_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match="fields"):
        CollectionSettings(fields={field: "keyword"})


def test_dropping(catalogue: Catalogue, item: MakeItem, tmp_path: Path) -> None:
    dropped = catalogue.create("c", CollectionSettings())
    dropped.upsert([item("a")]).result()
    catalogue.drop("c")
    with pytest.raises(errors.CollectionNotFound):
        catalogue.get("c")
    with pytest.raises(errors.CollectionNotFound):
        dropped.upsert([item("b")])
    with pytest.raises(errors.CollectionNotFound):
        catalogue.drop("c")
    assert os.listdir(tmp_path / "data" / "collections") == ["default"]
    assert catalogue.create("c", CollectionSettings()).describe().count == 0


def test_dropping_default_empties_it(catalogue: Catalogue, item: MakeItem) -> None:
    catalogue.get("default").upsert([item("a")]).result()
    catalogue.drop("default")
    assert catalogue.get("default").describe().count == 0


def test_a_search_under_way_when_its_collection_is_dropped(
    catalogue: Catalogue, item: MakeItem, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = catalogue.create("c", CollectionSettings())
    collection.upsert([item("a")]).result()
    monkeypatch.setattr(
        "vitrine_server.searching.search_state",
        lambda *args: [search_state(*args), catalogue.drop("c")][0],
    )
    with pytest.raises(errors.CollectionNotFound):
        collection.search([SearchQuery(vector=item("a").vector, k=1)])


def test_leftovers_of_a_killed_create_or_drop_are_cleaned(
    tmp_path: Path, encoder: EncoderIdentity
) -> None:
    for name in (".new-0123", ".dropped-4567"):
        (tmp_path / "collections" / name).mkdir(parents=True)
        (tmp_path / "collections" / name / "store.db").write_bytes(b"half")
    catalogue = Catalogue(tmp_path, encoder=encoder)
    assert os.listdir(tmp_path / "collections") == ["default"]
    catalogue.close()


def test_one_process_owns_the_folder(tmp_path: Path, encoder: EncoderIdentity) -> None:
    owner = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path\n"
            "from vitrine_server.catalogue import Catalogue\n"
            "from vitrine_server.collection import EncoderIdentity\n"
            "c = Catalogue(Path(sys.argv[1]), encoder=EncoderIdentity('t', 'a' * 64, 16))\n"
            "print('ready', flush=True); time.sleep(600)",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "ready\n"
        with pytest.raises(ConfigError, match=rf"in use by another .* \(process {owner.pid}\)"):
            Catalogue(tmp_path, encoder=encoder)
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        if owner.stdout is not None:
            owner.stdout.close()
    Catalogue(tmp_path, encoder=encoder).close()


def test_a_data_folder_that_cannot_be_made(tmp_path: Path, encoder: EncoderIdentity) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="VITRINE_DATA"):
        Catalogue(tmp_path / "file" / "data", encoder=encoder)


def test_one_damaged_collection_does_not_stop_the_others(
    tmp_path: Path, encoder: EncoderIdentity, item: MakeItem
) -> None:
    catalogue = Catalogue(tmp_path, encoder=encoder)
    catalogue.create("bad", CollectionSettings())
    catalogue.get("default").upsert([item("a")]).result()
    catalogue.close()
    (tmp_path / "collections" / "bad" / "store.db").write_bytes(b"not a database" * 1000)
    catalogue = Catalogue(tmp_path, encoder=encoder)
    assert [info.name for info in catalogue.list()] == ["default"]
    for use in (catalogue.get, lambda name: catalogue.create(name, CollectionSettings())):
        with pytest.raises(errors.Unavailable) as caught:
            use("bad")
        assert caught.value.code == "collection_damaged"
    catalogue.drop("bad")
    assert catalogue.create("bad", CollectionSettings()).describe().count == 0
    catalogue.close()


def test_another_encoder_finds_its_collections_but_does_not_search_them(
    tmp_path: Path, encoder: EncoderIdentity, item: MakeItem
) -> None:
    catalogue = Catalogue(tmp_path, encoder=encoder)
    catalogue.get("default").upsert([item("a")]).result()
    catalogue.close()
    catalogue = Catalogue(tmp_path, encoder=replace(encoder, fingerprint="b" * 64))
    collection = catalogue.get("default")
    assert collection.get("a").id == "a"
    with pytest.raises(errors.EncoderMismatch):
        collection.search([SearchQuery(vector=item("a").vector, k=1)])
    catalogue.close()
