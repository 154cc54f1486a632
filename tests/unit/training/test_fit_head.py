"""Fitting the head: the sum it starts from, what it learns, and the command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from doodles import catalogue

from vitrine_training import data, fit_head, freeforms
from vitrine_training.metrics import leave_one_out
from vitrine_training.model import DesignViT, DesignViTConfig

if TYPE_CHECKING:
    from pathlib import Path

SMALL = DesignViTConfig(
    image_size=64,
    dim=48,
    depth=1,
    heads=3,
    embedding=32,
    stem="energy",
    conv_channels=(8, 16, 24),
    conv_blocks=(1, 1, 1),
    grid_dim=8,
    energy_grids=(4,),
)


def embed(model: DesignViT, things: data.Catalogue) -> np.ndarray:
    pixels = np.stack([data.fit(things.image(i), 64) for i in range(len(things))])
    with torch.inference_mode():
        embeddings: np.ndarray = model(model.normalise(torch.from_numpy(pixels))).numpy()
    return embeddings


def split(model: DesignViT, read: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The tones and the differences of a readout."""
    marks = read[:, -model.marks.width :]
    return marks[:, : model.marks.tones], marks[:, model.marks.tones :]


def quality(model: DesignViT, things: data.Catalogue) -> float:
    return float(leave_one_out(embed(model, things), things.design)["mAP"].mean())


def test_adding_marks_changes_nothing_until_they_join() -> None:
    things = catalogue(designs=24)
    model = DesignViT.from_seed(0, SMALL)
    wider = fit_head.add_marks(model, things, 16, 0)
    np.testing.assert_allclose(embed(wider, things), embed(model, things), atol=1e-5)
    read = fit_head.readouts(wider, things)
    tones, differences = split(wider, read)
    # standardised on these very sheets, but for statistics that hardly vary
    assert float(tones.mean(dim=0).abs().max()) < 0.2
    assert 0.5 < float(tones.std()) < 1.1
    torch.testing.assert_close(differences.norm(dim=1), torch.ones(len(read)))
    fit_head.join_marks(wider, read)
    assert not np.allclose(embed(wider, things), embed(model, things), atol=1e-2)


def test_joined_head_keeps_the_sum_of_cosines() -> None:
    things = catalogue(designs=6, views=2)  # 12 sheets have 11 components: all fit into 32
    model = DesignViT.from_seed(0, SMALL)
    wider = fit_head.add_marks(model, things, 16, 0)
    read = fit_head.readouts(wider, things)
    with torch.inference_mode():
        tones, differences = split(wider, read)
        learned = wider.centre(wider.head(read))
        directions = torch.linalg.svd(differences - differences.mean(dim=0))[0][:, :11]
        blocks = [part - part.mean(dim=0) for part in (learned, tones, directions)]
        expected = torch.cat([part / part.norm(dim=1).mean() for part in blocks], dim=1)
        expected = F.normalize(expected, dim=1)
    fit_head.join_marks(wider, read)
    ours = embed(wider, things)
    np.testing.assert_allclose(ours @ ours.T, (expected @ expected.T).numpy(), atol=2e-3)


def test_fitting_brings_the_sheets_of_a_design_together() -> None:
    things, held_out = catalogue(designs=120, seed=1), catalogue(designs=40, seed=2)
    model = fit_head.add_marks(DesignViT.from_seed(0, SMALL), things, 16, 0)
    read = fit_head.readouts(model, things)
    fit_head.join_marks(model, read)
    before = quality(model, held_out)
    backbone = {k: v.clone() for k, v in model.blocks.state_dict().items()}
    fit_head.fit_head(model, things, read, steps=200)
    assert quality(model, held_out) > before + 0.02
    assert all(torch.equal(v, backbone[k]) for k, v in model.blocks.state_dict().items())


def test_patterns_are_centres_of_what_is_there() -> None:
    generator = torch.Generator().manual_seed(0)
    true = torch.eye(4)
    points = F.normalize(true.repeat(50, 1) + 0.05 * torch.randn(200, 4, generator=generator))
    centres = fit_head.cluster(points, 4, generator)
    assert float((centres @ true.T).max(dim=0).values.min()) > 0.99
    with pytest.raises(ValueError, match="5 patterns"):
        fit_head.cluster(points[:4], 5, generator)


def test_command(tmp_path: Path) -> None:
    freeforms.main([str(tmp_path / "corpus"), "--designs", "8", "--views", "3", "--size", "64"])
    DesignViT.from_seed(0, SMALL).save(tmp_path / "weights")
    fit_head.main(
        [
            *("--weights", str(tmp_path / "weights"), "--corpus", str(tmp_path / "corpus")),
            *("--out", str(tmp_path / "out"), "--marks", "8", "--steps", "2"),
        ]
    )
    model = DesignViT.load(tmp_path / "out")
    assert model.config.marks == 8
    assert model.config.pooling.endswith("+marks8")
    assert json.loads((tmp_path / "out/config.json").read_text())["model"]["marks"] == 8
