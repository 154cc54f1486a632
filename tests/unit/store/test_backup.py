"""Backups are consistent while written to; restores are whole or refused."""

from __future__ import annotations

import gzip
import io
import itertools
import os
import tarfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vitrine_server import catalogue as catalogues
from vitrine_server import errors, originals
from vitrine_server.catalogue import Catalogue
from vitrine_server.collection import Collection, SearchQuery

if TYPE_CHECKING:
    from collections.abc import Callable

    from vitrine_server.collection import EncoderIdentity, NewItem

    MakeItem = Callable[..., NewItem]


def content(collection: Collection) -> dict[str, Any]:
    asked = SearchQuery(np.ones(collection.encoder.dimension, np.float32), k=1000)
    return {hit.id: hit.metadata for hit in collection.search([asked])[0].hits}


def filled(catalogue: Catalogue, item: MakeItem, name: str = "default") -> Collection:
    collection = catalogue.get(name)
    image = collection.keep_original(b"an image")
    first = item("a", 1, rank=1)._replace(image_sha256=image, thumbnail=b"small", hashes=(9,))
    collection.upsert([first, *(item(f"i{n}", n, rank=n) for n in range(50))]).result()
    collection.delete(["i7"]).result()
    return collection


def test_a_backup_comes_back_under_any_name(
    encoder: EncoderIdentity, item: MakeItem, tmp_path: Path
) -> None:
    catalogue = Catalogue(tmp_path / "data", encoder=encoder)
    before = content(filled(catalogue, item))
    manifest = catalogue.backup("default", tmp_path / "b.tar")
    assert (manifest.collection, manifest.count, manifest.originals) == ("default", 50, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tar", "data"]
    info = catalogue.restore("again", tmp_path / "b.tar")
    assert (info.name, info.count, info.sequence) == ("again", 50, manifest.sequence)
    for _ in range(2):
        again = catalogue.get("again")
        assert content(again) == before
        assert again.original("a") == b"an image"
        assert again.thumbnail("a") == b"small"
        assert again.near_hashes([9], max_distance=0, limit=1)[0].id == "a"
        assert again.settings == catalogue.get("default").settings
        with pytest.raises(errors.NotFound) as caught:
            again.original("i1")
        assert caught.value.code == "original_not_kept"
        catalogue.close()
        catalogue = Catalogue(tmp_path / "data", encoder=encoder)
    assert catalogue.get("again").upsert([item("new", 3)]).result() == [manifest.sequence + 1]
    catalogue.close()


def test_what_a_killed_backup_left_is_in_nobodys_way(
    encoder: EncoderIdentity, item: MakeItem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = Catalogue(tmp_path / "data", encoder=encoder)
    filled(catalogue, item)
    with monkeypatch.context() as killed:
        killed.setattr(Path, "unlink", lambda *_, **__: None)
        killed.setattr(Path, "rename", lambda *_: None)
        catalogue.backup("default", tmp_path / "b.tar")
    left = {path.name for path in tmp_path.iterdir()} - {"data"}
    assert len(left) == 2
    catalogue.backup("default", tmp_path / "b.tar")
    assert {path.name for path in tmp_path.iterdir()} - {"data"} == {*left, "b.tar"}
    catalogue.close()


def test_a_collection_is_replaced_whole_and_only_when_asked(
    item: MakeItem, tmp_path: Path, encoder: EncoderIdentity
) -> None:
    catalogue = Catalogue(tmp_path / "data", encoder=encoder)
    old = filled(catalogue, item)
    before = content(old)
    catalogue.backup("default", tmp_path / "b.tar")
    old.upsert([item("later", 5)]).result()
    old.delete(["a"]).result()
    with pytest.raises(errors.Conflict):
        catalogue.restore("default", tmp_path / "b.tar")
    with pytest.raises(errors.Invalid):
        catalogue.restore("../x", tmp_path / "b.tar")
    assert "later" in content(catalogue.get("default"))
    for _ in range(2):
        catalogue.restore("default", tmp_path / "b.tar", replace=True)
        new = catalogue.get("default")
        assert new is not old
        assert content(new) == before
        # a query that began before the swap ends in what it began with
        assert "later" in content(old)
        with pytest.raises(errors.Unavailable) as caught:
            old.upsert([item("lost", 6)])
        assert caught.value.code == "collection_moving"
        new.upsert([item("after", 7)]).result()
    catalogue.close()
    opened = Catalogue(tmp_path / "data", encoder=encoder)
    assert content(opened.get("default")) == before | {"after": {}}
    home = tmp_path / "data" / "collections" / "default"
    # what was replaced is gone
    assert len([path for path in home.iterdir() if path.name.startswith("space-")]) == 1
    assert not (home / "store.db").exists()
    opened.drop("default")
    assert content(opened.get("default")) == {}
    opened.close()


def test_what_was_replaced_is_removed_later(
    catalogue: Catalogue, item: MakeItem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogues, "_RETIRED_S", 0.01)
    before = content(filled(catalogue, item))
    catalogue.backup("default", tmp_path / "b.tar")
    catalogue.restore("default", tmp_path / "b.tar", replace=True)
    for timer in threading.enumerate():
        if isinstance(timer, threading.Timer) and timer.interval == 0.01:
            timer.join()
    assert not (tmp_path / "data" / "collections" / "default" / "store.db").exists()
    assert content(catalogue.get("default")) == before


def test_a_backup_during_writes_is_one_state(
    catalogue: Catalogue, item: MakeItem, tmp_path: Path
) -> None:
    """Each transaction writes the same number to every item: a mixture would show two."""
    collection = catalogue.get("default")
    stop = threading.Event()

    def write() -> None:
        version = 0
        while not stop.is_set():
            version += 1
            collection.upsert([item(f"i{n}", n, version=version) for n in range(20)]).result()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        seen = set()
        for number in range(8):
            catalogue.backup("default", tmp_path / f"{number}.tar")
            catalogue.restore("copy", tmp_path / f"{number}.tar", replace=number > 0)
            versions = {str(held) for held in content(catalogue.get("copy")).values()}
            assert len(versions) <= 1
            seen |= versions
    finally:
        stop.set()
        thread.join()
    assert len(seen) > 1


def member(name: str, body: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(body), kind, link
    return info.tobuf(tarfile.GNU_FORMAT) + body + bytes(-len(body) % 512)


def members(archive: bytes) -> list[bytes]:
    """Each member's header and content."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        starts = [info.offset for info in tar] + [tar.offset]
    return [archive[a:b] for a, b in itertools.pairwise(starts)]


OUTSIDE = {
    "parent": member("../outside", b"x"),
    "deep parent": member("originals/../../outside", b"x"),
    "absolute": member("/tmp/vitrine-outside", b"x"),
    "symlink": member("originals/" + "0" * 64, kind=tarfile.SYMTYPE, link="/etc/passwd"),
    "hard link": member("originals/" + "0" * 64, kind=tarfile.LNKTYPE, link="/etc/passwd"),
    "device": member("store.db", kind=tarfile.CHRTYPE),
    "folder": member("originals", kind=tarfile.DIRTYPE),
    "hidden name": member("././@LongLink", b"../outside\0", kind=tarfile.GNUTYPE_LONGNAME),
    "extension": member("x", b"19 path=../outside\n", kind=tarfile.XHDTYPE),
    "sparse": member("originals/" + "0" * 64, kind=tarfile.GNUTYPE_SPARSE),
    "unknown name": member("config.toml", b"x"),
    "wrong content": member("originals/" + "0" * 64, b"x"),
}


@pytest.fixture
def archive(catalogue: Catalogue, item: MakeItem, tmp_path: Path) -> list[bytes]:
    """Manifest, store and one image of a backup."""
    filled(catalogue, item)
    catalogue.backup("default", tmp_path / "good.tar")
    parts = members((tmp_path / "good.tar").read_bytes())
    assert len(parts) == 3
    return parts


def refused(catalogue: Catalogue, tmp_path: Path, archive: bytes) -> None:
    """The archive is refused, and no file is anywhere that was not there before."""
    (tmp_path / "bad.tar").write_bytes(archive)
    before = {str(path) for path in tmp_path.rglob("*")}
    kept = content(catalogue.get("default"))
    for name in ("default", "other"):
        with pytest.raises(errors.Invalid) as caught:
            catalogue.restore(name, tmp_path / "bad.tar", replace=True)
        assert (caught.value.code, caught.value.field) == ("invalid_archive", "archive")
    assert {str(path) for path in tmp_path.rglob("*")} == before
    assert content(catalogue.get("default")) == kept
    assert not os.path.lexists("/tmp/vitrine-outside")


@pytest.mark.parametrize("attack", OUTSIDE)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_archive_that_would_write_elsewhere_is_refused(
    catalogue: Catalogue, archive: list[bytes], tmp_path: Path, attack: str, place: int
) -> None:
    parts = [*archive]
    parts[place] = OUTSIDE[attack]
    refused(catalogue, tmp_path, b"".join(parts) + bytes(1024))


def test_an_archive_that_is_not_whole_is_refused(
    catalogue: Catalogue, archive: list[bytes], tmp_path: Path
) -> None:
    whole = b"".join(archive)
    bomb = gzip.compress(bytes(10_000_000))
    for bad in (b"", b"not an archive", bomb, gzip.compress(whole), archive[0], whole[:-700]):
        refused(catalogue, tmp_path, bad)
    refused(catalogue, tmp_path, whole + OUTSIDE["parent"])
    rng = np.random.default_rng(2)
    for _ in range(40):
        damaged = bytearray(whole)
        # names, sizes, manifest, store and image: every byte that says something
        place = int(rng.integers(len(whole)))
        damaged[place] ^= 1 << int(rng.integers(8))
        try:
            refused(catalogue, tmp_path, bytes(damaged))
        except pytest.fail.Exception:
            # only padding and the unused fields of a header may change
            catalogue.restore("twin", tmp_path / "bad.tar", replace=True)
            assert content(catalogue.get("twin")) == content(catalogue.get("default"))


def test_images_without_a_record_are_removed_after_a_while(
    catalogue: Catalogue, item: MakeItem, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = filled(catalogue, item)
    kept = collection._originals
    unused = collection.keep_original(b"never named")
    [named] = collection._store.images()
    everything = [named, unused]
    assert kept.collect(everything, collection._store.images) == everything
    monkeypatch.setattr(originals, "GRACE_S", -1)
    assert kept.collect(None, collection._store.images) == []
    assert (named in kept, unused in kept) == (True, False)
    assert collection.original("a") == b"an image"
    monkeypatch.setattr(originals, "GRACE_S", 3600)
    collection.delete(["a"]).result()
    assert collection._collector._waiting == {named}
    monkeypatch.setattr(originals, "GRACE_S", -1)
    collection._collector._run_waiting()
    assert named not in kept


def test_names_that_a_restored_record_may_hold(
    catalogue: Catalogue, item: MakeItem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record can name any file as its image: it is neither read nor removed."""
    monkeypatch.setattr(originals, "GRACE_S", -1)
    victim = tmp_path / "victim"
    victim.write_bytes(b"x")
    collection = catalogue.get("default")
    for name in (str(victim), "../../../../victim", "..", ""):
        collection.upsert([item("a")._replace(image_sha256=name)]).result()
        with pytest.raises(errors.NotFound):
            collection.original("a")
        assert catalogue.backup("default", tmp_path / "b.tar").originals == 0
        collection.delete(["a"]).result()
        collection._collector._run_waiting()
        assert victim.exists()
