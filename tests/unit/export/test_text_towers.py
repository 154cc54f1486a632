"""Text towers: the same space, the same tokens, published whole beside the images or not at all."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from test_families import CONFIGS
from test_publish import describe
from tiny_tokenizer import tokenizer
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from vitrine_export import checkpoint, engines, families, onnx_graph, publish, text_export
from vitrine_export.errors import ExportError
from vitrine_export.text import fit_tokenizer
from vitrine_server import manifest as manifests
from vitrine_training.model import DesignViT, DesignViTConfig
from vitrine_training.text import TextTower as HashedTower

if TYPE_CHECKING:
    from pathlib import Path

PAIRS = ("siglip", "clip", "chinese_clip")


@pytest.fixture(scope="module", params=PAIRS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pairs") / str(request.param)
    torch.manual_seed(0)
    config = families.AutoConfig.for_model(request.param, **CONFIGS[request.param])
    families.AutoModel.from_config(config).save_pretrained(place)
    tokenizer().save_pretrained(place)
    preprocessor = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": 64}
    (place / families.PREPROCESSOR).write_text(json.dumps(preprocessor))
    return place


@pytest.fixture(scope="module")
def source(folder: Path) -> checkpoint.Checkpoint:
    return checkpoint.load(str(folder))


QUERIES = ["chair", "a table with four legs", "椅子", "something unknown", "lamp " * 40]


def test_tokens_are_those_of_the_library(source: checkpoint.Checkpoint, folder: Path) -> None:
    tower = source.text
    assert tower is not None
    expected = AutoTokenizer.from_pretrained(folder)(
        QUERIES, padding="max_length", truncation=True, max_length=tower.length
    )["input_ids"]
    assert tower.encode(QUERIES).tolist() == expected


def test_the_graph_equals_the_library_at_every_batch(
    source: checkpoint.Checkpoint, folder: Path
) -> None:
    tower = source.text
    assert tower is not None
    tokens = tower.encode(QUERIES)
    graph = onnx_graph.build_text(tower.module, tokens[0].tolist())
    session = engines.session(graph.SerializeToString())
    model = families.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    for count in (1, 3, 64):
        batch = np.resize(tokens, (count, tower.length))
        ids = torch.from_numpy(batch)
        masked = {"attention_mask": (ids != 0).long()} if "chinese" in folder.name else {}
        with torch.inference_mode():
            features = model.get_text_features(input_ids=ids, **masked).pooler_output
            expected = torch.nn.functional.normalize(features, dim=-1).numpy()
        found = session.run(None, {"tokens": batch})[0]
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """A repository's image encoder with something published in it."""
    place = tmp_path / "models" / "image_encoder" / "1"
    place.mkdir(parents=True)
    (place / "model.py").write_text("# the model of both encoders\n")
    path = tmp_path / "engine.onnx"
    path.write_bytes(b"engine")
    publish.publish(path, describe(path, "weights"), place, reports={})
    return place


def built(
    source: checkpoint.Checkpoint, image_folder: Path, work: Path
) -> tuple[text_export.BuiltText, manifests.Manifest]:
    assert source.text is not None
    image = manifests.load(image_folder).model_copy(update={"encoder": source.info})
    return text_export.build(source.text, image, work=work), image


def test_it_is_published_in_the_space_of_the_images(
    source: checkpoint.Checkpoint, image_folder: Path, tmp_path: Path
) -> None:
    made, image = built(source, image_folder, tmp_path)
    folder = text_export.install(made, image_folder)
    assert folder == tmp_path / "models" / "text_encoder" / "1"
    assert (folder / "model.py").read_text() == "# the model of both encoders\n"
    assert 'name: "text_encoder"' in (folder.parent / "config.pbtxt").read_text()
    found = manifests.load(folder)
    assert found.encoder.fingerprint == image.encoder.fingerprint
    assert found.tokeniser is not None
    assert found.tokeniser.file is not None
    published: Any = Tokenizer.from_file(str(folder / found.tokeniser.file.file))
    ids = published.encode(text_export.PROBE).ids
    assert ids == list(found.tokeniser.probe)
    answer = engines.OnnxRuntimeEngine(folder / found.engine.file).embed(np.array([ids]))
    assert float(answer[0] @ np.array(found.probe_embedding)) > 0.9999


def test_an_encoder_without_text_removes_it_and_nothing_is_left_over(
    source: checkpoint.Checkpoint, image_folder: Path, tmp_path: Path
) -> None:
    made, _ = built(source, image_folder, tmp_path)
    text_export.install(made, image_folder)
    text_export.install(made, image_folder)
    text_export.remove(image_folder)
    text_export.remove(image_folder)
    models = tmp_path / "models"
    assert [path.name for path in models.iterdir()] == ["image_encoder"]
    assert not list(image_folder.glob(".text-*"))
    manifests.load(image_folder)


def test_a_failed_installation_leaves_no_half_a_model(
    source: checkpoint.Checkpoint,
    image_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, _ = built(source, image_folder, tmp_path)

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(publish.os, "fsync", full)
        with pytest.raises(ExportError, match="disk is full"):
            text_export.install(made, image_folder)
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["image_encoder"]
    assert not list(image_folder.glob(".text-*"))


def test_towers_of_different_dimensions_are_refused(
    source: checkpoint.Checkpoint, image_folder: Path, tmp_path: Path
) -> None:
    assert source.text is not None
    image = manifests.load(image_folder)  # its encoder has two dimensions
    with pytest.raises(ExportError, match="no common space"):
        text_export.build(source.text, image, work=tmp_path)


def test_a_tokeniser_without_padding_is_refused() -> None:
    definition = json.loads(tokenizer().backend_tokenizer.to_str())
    with pytest.raises(ExportError, match="padding token"):
        fit_tokenizer(definition, length=8, pad="<nothing>")


def test_design_vits_own_text_tower_is_hashed(tmp_path: Path) -> None:
    config = DesignViTConfig(image_size=64, dim=64, depth=1, heads=2, embedding=32)
    DesignViT.from_seed(0, config).save(tmp_path)
    HashedTower(buckets=512, dim=16, embedding=32).save(tmp_path)
    tower = checkpoint.load(str(tmp_path)).text
    assert tower is not None
    assert (tower.kind, tower.buckets, tower.definition) == ("hashed", 512, "")
    tokens = tower.encode(QUERIES)
    graph = onnx_graph.build_text(tower.module, tokens[0].tolist())
    session = engines.session(graph.SerializeToString())
    found = session.run(None, {"tokens": tokens})[0]
    np.testing.assert_allclose(found, HashedTower.load(tmp_path).encode(QUERIES), atol=1e-5)


def test_an_image_tower_alone_has_no_text(tmp_path: Path) -> None:
    config = DesignViTConfig(image_size=64, dim=64, depth=1, heads=2, embedding=32)
    DesignViT.from_seed(0, config).save(tmp_path)
    assert checkpoint.load(str(tmp_path)).text is None


def test_a_pair_without_a_tokeniser_is_exported_for_images_alone(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "pair")
    for path in (tmp_path / "pair").glob("*token*"):
        path.unlink()
    found = checkpoint.load(str(tmp_path / "pair"))
    assert found.text is None
