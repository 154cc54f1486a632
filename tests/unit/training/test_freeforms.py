"""Free forms: drawn, different, and a corpus that training reads together with another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from doodles import catalogue

from vitrine_training import data, freeforms
from vitrine_training.corpus import Corpus
from vitrine_training.fit_text import embed, fit_text
from vitrine_training.model import DesignViT, DesignViTConfig

if TYPE_CHECKING:
    from pathlib import Path

SMALL = DesignViTConfig(image_size=64, dim=48, depth=1, heads=3, embedding=32, grid_dim=8)


def test_a_written_corpus_opens_and_joins_another(tmp_path: Path) -> None:
    freeforms.main([str(tmp_path), "--designs", "4", "--views", "3", "--size", "96"])
    corpus = Corpus.open(tmp_path, verify=True)
    assert len(corpus) == 12
    drawn = data.from_corpus(corpus, "train")
    sheets = np.stack([drawn.image(i) for i in range(12)])
    assert sheets.shape == (12, 96, 96)
    assert len({sheet.tobytes() for sheet in sheets}) == 12
    assert sheets.min(axis=(1, 2)).max() < 220, "a sheet without ink"
    assert drawn.texts == [()] * 12

    other = catalogue(designs=5, views=2)
    both = data.together([other, drawn])
    assert len(both) == 22
    assert both.designs == 9
    assert np.array_equal(both.image(3), other.image(3))
    assert np.array_equal(both.image(10), drawn.image(0))
    assert not set(both.subclass[:10]) & set(both.subclass[10:])
    assert both.texts[:10] == other.texts


def test_designs_depend_on_the_seed_alone() -> None:
    first, again, other = freeforms.design(5), freeforms.design(5), freeforms.design(6)
    assert len(first.patches) == len(again.patches)
    for a, b in zip(first.patches, again.patches, strict=True):
        assert np.array_equal(a.vertices, b.vertices)
    assert [p.vertices.shape for p in first.patches] != [p.vertices.shape for p in other.patches]


def test_text_tower_is_fitted_to_an_encoder_that_stays() -> None:
    model = DesignViT.from_seed(0, SMALL)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    things = catalogue(designs=40, views=3)
    tower = fit_text(things, embed(model, things), steps=150)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    rows = list(range(0, len(things), 3))
    pixels = np.stack([data.fit(things.image(i), 64) for i in rows])
    pictures = model(model.normalise(torch.from_numpy(pixels))).detach().numpy()
    for language in (0, 1):
        scores = tower.encode([things.texts[i][language] for i in rows]).numpy() @ pictures.T
        found = (np.argsort(-scores, axis=1)[:, :5] == np.arange(len(rows))[:, None]).any(axis=1)
        assert found.mean() > 3 * 5 / len(rows)
