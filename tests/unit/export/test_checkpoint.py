"""Names and folders → checkpoints; every wrong one is a sentence."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch

from vitrine_export import catalogue, checkpoint
from vitrine_export.errors import ExportError
from vitrine_server.manifest import file_sha256
from vitrine_training.model import DesignViT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tower: DesignViT, tmp_path: Path) -> Path:
    tower.save(tmp_path / "mine")
    return tmp_path / "mine"


def test_a_folder_is_loaded_with_its_own_name_and_weights(folder: Path, tower: DesignViT) -> None:
    found = checkpoint.load(str(folder))
    assert found.info.name == "mine"
    assert found.info.dimension == 32
    assert found.info.preprocessing.size == 64
    assert found.info.weights_sha256 == file_sha256(folder / "model.safetensors")
    assert not found.info.trained
    for expected, parameter in zip(tower.parameters(), found.image.parameters(), strict=True):
        assert torch.equal(expected, parameter)


def test_other_weights_are_another_vector_space(folder: Path, tmp_path: Path) -> None:
    before = checkpoint.load(str(folder)).info.fingerprint
    assert checkpoint.load(str(folder)).info.fingerprint == before
    model = DesignViT.load(folder)
    with torch.no_grad():
        model.head.bias[0] += 1e-3
    model.save(tmp_path / "other")
    assert checkpoint.load(str(tmp_path / "other")).info.fingerprint != before


def test_design_vit_can_always_be_loaded() -> None:
    found = checkpoint.load("design-vit")
    assert found.info.name == "design-vit"
    assert found.info.dimension == 256
    assert found.info.preprocessing.resize == "letterbox"


def test_every_entry_of_the_catalogue_reads() -> None:
    for name, entry in catalogue.entries().items():
        assert catalogue.find(name) == entry
        assert entry.licence


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ExportError, match="design-vit"):
        checkpoint.load("no-such-encoder")


def test_a_path_that_is_no_folder() -> None:
    with pytest.raises(ExportError, match="is not a folder"):
        checkpoint.load("/no/such/folder")


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_folder_without_one_of_its_files(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(ExportError, match=f"has no {missing}"):
        checkpoint.load(str(folder))


def corrupt_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def another_family(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"family": "resnet"}))


def no_model(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"family": "design-vit", "trained": True}))


def another_shape(folder: Path) -> None:
    document = json.loads((folder / "config.json").read_text())
    document["model"]["dim"] = 128
    (folder / "config.json").write_text(json.dumps(document))


def truncated_weights(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def pickled_weights(folder: Path) -> None:
    torch.save({"a": torch.zeros(3)}, folder / "model.safetensors")


@pytest.mark.parametrize(
    "damage",
    [
        corrupt_json,
        another_family,
        no_model,
        another_shape,
        truncated_weights,
        pickled_weights,
    ],
)
def test_a_damaged_checkpoint_is_one_sentence(folder: Path, damage: object) -> None:
    assert callable(damage)
    damage(folder)
    with pytest.raises(ExportError, match=r"cannot be read|type None; supported are") as caught:
        checkpoint.load(str(folder))
    assert "\n" not in str(caught.value)
