"""DesignViT: shapes, determinism, files, and the readout against PyTorch's own pooling."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vitrine_training.model import (
    SHARPNESS,
    DesignViT,
    DesignViTConfig,
    Marks,
    OrientedEnergy,
    grid_averages,
)

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = DesignViTConfig(image_size=64, dim=48, depth=2, heads=3, embedding=32, grid_dim=8)
CONV = DesignViTConfig(
    image_size=64,
    dim=48,
    depth=1,
    heads=3,
    embedding=32,
    stem="conv",
    conv_channels=(8, 16, 24),
    conv_blocks=(1, 1, 2),
    grid_dim=8,
)
ENERGY = replace(CONV, stem="energy", energy_grids=(2, 4))
SHAPES = pytest.mark.parametrize(
    "config",
    [PLAIN, CONV, ENERGY, replace(ENERGY, shrink=2), replace(ENERGY, shrink=2, marks=12)],
    ids=["patch", "conv", "energy", "shrunk", "marks"],
)


@SHAPES
def test_embeddings_are_unit_vectors_and_tokens_a_grid(config: DesignViTConfig) -> None:
    model = DesignViT.from_seed(3, config)
    x = torch.randn(5, 3, 64, 64)
    embedding = model(x)
    assert embedding.shape == (5, 32)
    assert model.tokens(x).shape == (5, config.side**2, 48)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(5))
    # a batch changes nobody's embedding
    torch.testing.assert_close(model(x[2:3]), embedding[2:3], atol=1e-5, rtol=1e-4)


def test_default_is_a_vit_tiny_that_serving_expects() -> None:
    model = DesignViT.from_seed(0)
    assert model.config.side == 14
    assert not model.trained
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 224, 224)).shape == (1, 256)
    assert 5e6 < sum(p.numel() for p in model.parameters()) < 6.5e6


def test_seed_alone_decides_the_weights() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = DesignViT.from_seed(7, CONV).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(2)
    second = DesignViT.from_seed(7, CONV).state_dict()
    other = DesignViT.from_seed(8, CONV).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


@SHAPES
def test_saved_model_loads_as_the_same_function(config: DesignViTConfig, tmp_path: Path) -> None:
    model = DesignViT.from_seed(1, config)
    model.trained = True
    model.save(tmp_path)
    loaded = DesignViT.load(tmp_path)
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(model(x), loaded(x))
    assert loaded.trained
    assert loaded.config == config
    model.save(tmp_path / "half", half=True)
    half = DesignViT.load(tmp_path / "half")
    assert (half(x) * model(x)).sum(dim=1).min() > 0.999
    assert half.head.weight.dtype == torch.float32


def test_equal_models_have_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        DesignViT.from_seed(0, PLAIN).save(tmp_path / name)
    for file in ("model.safetensors", "config.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_load_refuses_what_is_not_its_own(tmp_path: Path) -> None:
    DesignViT.from_seed(0, PLAIN).save(tmp_path)
    path = tmp_path / "config.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"family": "resnet"}))
    with pytest.raises(ValueError, match="family"):
        DesignViT.load(tmp_path)
    path.write_text(json.dumps(document | {"model": document["model"] | {"colour": 1}}))
    with pytest.raises(ValueError, match="colour"):
        DesignViT.load(tmp_path)
    path.write_text(json.dumps(document | {"model": document["model"] | {"dim": 96}}))
    with pytest.raises(ValueError, match="does not fit"):
        DesignViT.load(tmp_path)


def test_config_names_the_value_that_is_wrong() -> None:
    with pytest.raises(ValueError, match="image_size 100"):
        DesignViTConfig(image_size=100)
    with pytest.raises(ValueError, match="heads 5"):
        DesignViTConfig(heads=5)


@pytest.mark.parametrize("side", [4, 7, 8, 10, 14])
def test_grid_averages_equal_adaptive_pooling(side: int) -> None:
    tokens = torch.randn(2, side * side, 6)
    cells = torch.matmul(grid_averages(side, 4), tokens)
    image = tokens.transpose(1, 2).reshape(2, 6, side, side)
    expected = F.adaptive_avg_pool2d(image, 4).flatten(2).transpose(1, 2)
    torch.testing.assert_close(cells, expected)


def test_white_pixels_become_zero_in_serving_layout() -> None:
    model = DesignViT.from_seed(0, PLAIN)
    pixels = torch.full((1, 64, 64, 3), 255, dtype=torch.uint8)
    pixels[0, 5, 9, 1] = 0
    x = model.normalise(pixels)
    assert x.shape == (1, 3, 64, 64)
    assert x[0, 1, 5, 9] == pytest.approx(-4.0)
    assert x.abs().sum() == pytest.approx(4.0)


def test_another_size_keeps_the_weights_and_interpolates_positions() -> None:
    model = DesignViT.from_seed(0, PLAIN)
    larger = model.at_size(128)
    assert larger(torch.zeros(1, 3, 128, 128)).shape == (1, 32)
    assert torch.equal(larger.head.weight, model.head.weight)
    torch.testing.assert_close(larger.at_size(64).positions, model.positions, atol=0.03, rtol=0)
    same = model.at_size(64)
    torch.testing.assert_close(same.positions, model.positions)


def test_a_shrinking_model_sees_averaged_pixels() -> None:
    model = DesignViT.from_seed(2, ENERGY)
    serving = model.at_size(128, shrink=2)
    x = torch.randn(3, 3, 128, 128)
    torch.testing.assert_close(serving(x), model(F.avg_pool2d(x, 2)), atol=1e-5, rtol=1e-4)


def test_oriented_energy_equals_soft_binned_gradients() -> None:
    rng = np.random.default_rng(0)
    image = rng.standard_normal((20, 24))
    x = torch.from_numpy(image).float()[None, None]
    energy = OrientedEnergy()(x)[0].numpy()
    assert energy.shape == (9, 5, 6)
    padded = np.pad(image, 1)
    dx = (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2
    dy = (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2
    for bin_ in range(8):
        angle = bin_ * math.pi / 8
        off = np.arctan2(dy, dx) - angle
        share = np.maximum(np.abs(np.cos(off)) - 0.89, 0) * 9
        expected = (np.hypot(dx, dy) * share).reshape(5, 4, 6, 4).mean(axis=(1, 3))
        np.testing.assert_allclose(energy[bin_], expected, atol=1e-4)
    ink = np.maximum(-image, 0)
    np.testing.assert_allclose(energy[8], ink.reshape(5, 4, 6, 4).mean(axis=(1, 3)), atol=1e-5)


def test_energy_of_a_line_lies_in_the_orientation_across_it() -> None:
    x = torch.zeros(1, 1, 16, 16)
    x[:, :, :, 7:9] = -4.0
    vertical = OrientedEnergy()(x)[0].sum(dim=(1, 2))
    horizontal = OrientedEnergy()(x.transpose(2, 3).contiguous())[0].sum(dim=(1, 2))
    assert int(vertical[:8].argmax()) == 0
    assert int(horizontal[:8].argmax()) == 4
    assert OrientedEnergy()(torch.zeros(1, 1, 16, 16))[0, 8].abs().max() == 0.0


def test_marks_do_not_depend_on_where_something_lies() -> None:
    model = DesignViT.from_seed(0, replace(ENERGY, marks=12))
    paper = np.full((3, 64, 64, 3), 255, np.uint8)
    paper[0, 8:20, 8:16] = paper[1, 40:52, 40:48] = 0  # moved by whole cells
    paper[2, 8:16, 8:16] = 0
    with torch.inference_mode():
        read = model.features(model.normalise(torch.from_numpy(paper)))[1]
        marks = read[:, -model.marks.width :]
    assert marks.shape == (3, model.marks.width)
    torch.testing.assert_close(marks[0], marks[1], atol=0.02, rtol=0.02)
    assert float((marks[0] - marks[2]).abs().max()) > 0.1


def test_patterns_are_described_by_what_differs_from_them_on_average() -> None:
    torch.manual_seed(0)
    marks = Marks(5).eval()
    energy = torch.rand(1, 9, 4, 4).square()
    with torch.inference_mode():
        found = marks([(torch.zeros(1, 1, 16, 16), energy)] * 3)[0, marks.tones :].numpy()
        roots = (energy + 1e-4).sqrt()
        norm, drawn = (map.flatten().numpy() for map in marks.arrangements(roots))
        cells = marks.cells(roots)[0].flatten(1).T.numpy() / norm[:, None]
    centres = marks.centres.detach().numpy()
    sums, total = np.zeros_like(centres), 0.0
    for cell, weight in zip(cells, drawn, strict=True):
        score = np.exp(-SHARPNESS * ((cell - centres) ** 2).sum(axis=1))
        sums += weight * (score / score.sum())[:, None] * (cell - centres)
        total += weight
    means = sums / (total + 1e-4)
    expected = (means / np.sqrt(np.abs(means) + 1e-6)).ravel()
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-4)


def test_training_with_marks_keeps_the_image_and_shrinks_for_the_tokens() -> None:
    model = DesignViT.from_seed(0, replace(ENERGY, marks=12))
    smaller = model.for_training(32)
    assert (smaller.config.image_size, smaller.config.shrink) == (64, 2)
    with pytest.raises(ValueError, match="whole fractions"):
        model.for_training(48)
    assert DesignViT.from_seed(0, ENERGY).for_training(48).config.image_size == 48
