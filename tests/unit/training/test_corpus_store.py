"""Corpora on disk: complete, resumable, verified."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from vitrine_training.corpus import Corpus, CorpusError, build, generate

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 10 designs in shards of 4."""
    out = tmp_path_factory.mktemp("corpus")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "SHARD_DESIGNS", 4)
        generate(out, designs=10, views_per_design=3, seed=3, size=64, workers=1)
    return out


def test_a_corpus_holds_what_was_asked_for(folder: Path) -> None:
    corpus = Corpus.open(folder, verify=True)
    assert len(corpus) == 30
    assert [len(s) for s in corpus.shards] == [12, 12, 6]
    assert np.bincount(corpus.design).tolist() == [3] * 10
    assert corpus.images(np.array([0, 29])).shape == (2, 64, 64)
    assert np.array_equal(corpus.image(13), corpus.shards[1][1])
    assert set(corpus.split) <= {"train", "val", "unseen"}
    assert max(corpus.subclass) < len(corpus.subclass_names)
    assert corpus.manifest["seed"] == 3
    assert corpus.manifest["grammar_version"] >= 1
    for shard in corpus.shards:
        assert isinstance(shard, np.memmap)


def test_a_stopped_generation_continues_to_the_same_bytes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "SHARD_DESIGNS", 4)
    stopped = tmp_path / "stopped"
    shutil.copytree(folder, stopped)
    (stopped / "manifest.json").unlink()
    (stopped / "views-00001.jsonl").unlink()  # killed before the shard's table was written
    (stopped / "views-00002.npy").unlink()
    (stopped / "views-00002.jsonl").unlink()
    (stopped / "views-00002.part").write_bytes(b"half a shard")
    kept = os.stat(stopped / "views-00000.npy").st_mtime_ns
    with pytest.raises(CorpusError, match="did not finish"):
        Corpus.open(stopped)
    generate(stopped, designs=10, views_per_design=3, seed=3, size=64, workers=1)
    assert json.loads((stopped / "manifest.json").read_text()) == json.loads(
        (folder / "manifest.json").read_text()
    )
    assert os.stat(stopped / "views-00000.npy").st_mtime_ns == kept
    Corpus.open(stopped, verify=True)


def test_two_workers_write_the_same_corpus_as_one(tmp_path: Path) -> None:
    for workers in (1, 2):
        generate(
            tmp_path / str(workers),
            designs=130,
            views_per_design=1,
            seed=4,
            size=32,
            workers=workers,
        )
    hashes = [
        [s["sha256"] for s in Corpus.open(tmp_path / str(w)).manifest["shards"]] for w in (1, 2)
    ]
    assert len(hashes[0]) == 2
    assert hashes[0] == hashes[1]


def test_a_folder_of_another_corpus_is_refused(folder: Path) -> None:
    with pytest.raises(CorpusError, match="another corpus"):
        generate(folder, designs=10, views_per_design=3, seed=99, size=64, workers=1)


def test_a_damaged_shard_is_found(folder: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(folder, damaged)
    path = damaged / "views-00001.npy"
    data = bytearray(path.read_bytes())
    data[-5] ^= 0x40
    path.write_bytes(data)
    Corpus.open(damaged)
    with pytest.raises(CorpusError, match="does not match"):
        Corpus.open(damaged, verify=True)
