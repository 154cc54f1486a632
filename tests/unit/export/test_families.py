"""Every family of the catalogue: a small random checkpoint exports and equals PyTorch."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tiny_tokenizer import tokenizer

from vitrine_export import catalogue, checkpoint, engines, families, onnx_graph, quantise
from vitrine_export.errors import ExportError

if TYPE_CHECKING:
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

LAYERS = 2
WIDTH = {
    "hidden_size": 64,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 128,
}
PATCHES = {"image_size": 64, "patch_size": 16}
TEXT = WIDTH | {
    "vocab_size": 100,
    "max_position_embeddings": 16,
    "bos_token_id": 1,
    "eos_token_id": 3,
    "pad_token_id": 0,
}
PAIR: dict[str, Any] = {"text_config": TEXT, "vision_config": WIDTH | PATCHES}
# DINOv2 is exported at another size than it was trained at, as its entries are.
CONFIGS: dict[str, dict[str, Any]] = {
    "vit": WIDTH | PATCHES,
    "dinov2": WIDTH | {"image_size": 98, "patch_size": 14},
    "dinov2_with_registers": WIDTH | {"image_size": 98, "patch_size": 14},
    "dinov3_vit": WIDTH | PATCHES | {"num_register_tokens": 4},
    "siglip": PAIR,
    "clip": PAIR | {"projection_dim": 32},
    "chinese_clip": PAIR | {"projection_dim": 32},
}
LINEARS_OF_POOLING = {"siglip": 5}  # the head: key, value, output and the two of its MLP


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    for family, config in CONFIGS.items():
        torch.manual_seed(0)
        model = families.AutoModel.from_config(families.AutoConfig.for_model(family, **config))
        model.save_pretrained(root / family)
        if "text_config" in config:
            tokenizer().save_pretrained(root / family)
        size = 56 if "v2" in family else 64
        preprocessor = {
            "image_mean": [0.5, 0.4, 0.3],
            "image_std": [0.2, 0.3, 0.4],
            "size": {"height": size, "width": size},
        }
        (root / family / families.PREPROCESSOR).write_text(json.dumps(preprocessor))
    return {family: root / family for family in CONFIGS}


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def exported(
    request: pytest.FixtureRequest, folders: dict[str, Path]
) -> tuple[checkpoint.Checkpoint, onnx.ModelProto]:
    found = checkpoint.load(str(folders[request.param]))
    return found, onnx_graph.build(found.image, found.info.preprocessing)


def images(size: int, count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_towers_are_those_of_the_library(
    exported: tuple[checkpoint.Checkpoint, onnx.ModelProto], folders: dict[str, Path]
) -> None:
    source, _ = exported
    model = families.AutoModel.from_pretrained(
        folders[source.info.family], attn_implementation="eager"
    ).eval()
    size = source.info.preprocessing.size
    x = torch.from_numpy(images(size, 3)).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.inference_mode():
        if source.info.pooling == "cls":
            expected = model(pixel_values=x).last_hidden_state[:, 0]
        else:
            expected = model.get_image_features(pixel_values=x).pooler_output
        torch.testing.assert_close(source.image(x), expected, atol=1e-5, rtol=1e-5)


def test_equals_pytorch_at_batches_1_3_and_64(
    exported: tuple[checkpoint.Checkpoint, onnx.ModelProto],
) -> None:
    source, graph = exported
    session = engines.session(graph.SerializeToString())
    preprocessing = source.info.preprocessing
    error = onnx_graph.compare(
        lambda pixels: session.run(None, {"pixels": pixels})[0],
        onnx_graph.PixelEncoder(source.image, preprocessing),
        [images(preprocessing.size, count) for count in (1, 3, 64)],
    )
    assert error <= 1e-5


def test_the_graph_is_clean(exported: tuple[checkpoint.Checkpoint, onnx.ModelProto]) -> None:
    source, graph = exported
    counts = Counter(node.op_type for node in graph.graph.node)
    assert counts["LayerNormalization"] >= 2 * LAYERS + 1
    assert counts["Softmax"] == LAYERS + (source.info.pooling == "attention")
    # no mask is computed or added, no position is interpolated at run time
    assert not {"Where", "Resize", "If", "Pow"} & set(counts)


def test_int8_quantises_every_linear_layer_on_tokens(
    exported: tuple[checkpoint.Checkpoint, onnx.ModelProto],
) -> None:
    source, graph = exported
    layers = quantise.linear_layers(graph)
    # query, key, value, output and the two of the MLP; not the projection of the pooled vector
    assert len(layers) == 6 * LAYERS + LINEARS_OF_POOLING.get(source.info.family, 0)
    size = source.info.preprocessing.size
    pixels = images(size, 16)
    names = sorted({layer.activation for layer in layers})
    session = engines.session(quantise.with_outputs(graph, names).SerializeToString())
    ranges = quantise.calibrate(
        layers,
        lambda part: dict(zip(names, session.run(names, {"pixels": part}), strict=True)),
        pixels,
        batch=8,
        advance=lambda count: None,
    )
    models = (graph, quantise.quantise(graph, ranges, quantise.INT8))
    exact, found = (
        engines.session(model.SerializeToString()).run(["embedding"], {"pixels": pixels})[0]
        for model in models
    )
    assert (exact * found).sum(axis=1).min() > 0.99


def test_the_folder_says_how_images_are_prepared(folders: dict[str, Path]) -> None:
    info = checkpoint.load(str(folders["clip"])).info
    assert info.preprocessing.mean == (0.5, 0.4, 0.3)
    assert info.preprocessing.std == (0.2, 0.3, 0.4)
    assert info.preprocessing.resize == "crop"
    assert (info.dimension, info.pooling, info.trained) == (32, "projection", True)


def test_named_entries_without_weights_are_repeatable_and_untrained() -> None:
    entry = catalogue.Entry(
        name="tiny",
        family="vit",
        source="random:3",
        licence="none",
        resize="crop",
        size=64,
        config=CONFIGS["vit"] | {},
    )
    config = {k: v for k, v in entry.config.items() if k != "image_size"}
    entry = catalogue.Entry(**{**vars(entry), "config": config, "pooling": "cls"})
    one, two = (families.random(entry, seed=3).state_dict() for _ in range(2))
    other = families.random(entry, seed=4).state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


@pytest.fixture
def broken(folders: dict[str, Path], tmp_path: Path) -> Path:
    shutil.copytree(folders["vit"], tmp_path / "broken")
    return tmp_path / "broken"


def refused(folder: Path, pattern: str) -> None:
    with pytest.raises(ExportError, match=pattern) as caught:
        checkpoint.load(str(folder))
    assert "\n" not in str(caught.value)


def test_a_folder_without_config(broken: Path) -> None:
    (broken / "config.json").unlink()
    refused(broken, "has no config.json")


def test_pickled_weights_are_not_opened(broken: Path) -> None:
    (broken / "model.safetensors").rename(broken / "pytorch_model.bin")
    refused(broken, "pickled weights are not opened")


def test_a_folder_that_does_not_say_how_it_normalises(broken: Path) -> None:
    (broken / families.PREPROCESSOR).unlink()
    refused(broken, "has no preprocessor_config.json")


def test_a_preprocessor_of_one_channel(broken: Path) -> None:
    document = {"image_mean": [0.5], "image_std": [0.5], "size": 64}
    (broken / families.PREPROCESSOR).write_text(json.dumps(document))
    refused(broken, "3 channels")


def test_another_kind_of_model(broken: Path) -> None:
    (broken / "config.json").write_text(json.dumps({"model_type": "resnet"}))
    refused(broken, "type resnet; supported are")


def test_weights_of_another_shape(broken: Path) -> None:
    document = json.loads((broken / "config.json").read_text())
    document["intermediate_size"] = 256
    (broken / "config.json").write_text(json.dumps(document))
    refused(broken, "do not fit|cannot be read")


def test_weights_with_missing_layers(broken: Path) -> None:
    document = json.loads((broken / "config.json").read_text())
    document["num_hidden_layers"] = 3
    (broken / "config.json").write_text(json.dumps(document))
    refused(broken, "do not fit its config.json: 16 tensors are missing")


def test_truncated_weights(broken: Path) -> None:
    data = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(data[:1000])
    refused(broken, "cannot be read")


def test_a_size_the_positions_do_not_cover(broken: Path) -> None:
    document = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": 96}
    (broken / families.PREPROCESSOR).write_text(json.dumps(document))
    refused(broken, "was trained at 64 pixels")


def test_an_encoder_whose_licence_must_be_accepted_first() -> None:
    with pytest.raises(ExportError, match="give its folder as ENCODER"):
        checkpoint.load("dinov3-s")
