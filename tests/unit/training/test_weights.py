"""The shipped weights: they are the files that the manifest names, small, and trained."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch

from vitrine_training.corpus import draw
from vitrine_training.model import DesignViT
from vitrine_training.text import TextTower

FOLDER = Path(__file__).parents[3] / "training" / "weights" / "design-vit"


def test_files_are_those_of_the_manifest_and_small() -> None:
    named = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))["files"]
    assert set(named) == {"config.json", "model.safetensors", "text.json", "text.safetensors"}
    for name, entry in named.items():
        content = (FOLDER / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"], name
        assert len(content) < 30_000_000


def test_shipped_encoder_takes_the_serving_tensor() -> None:
    model = DesignViT.load(FOLDER)
    assert model.trained
    blank = np.full((2, 224, 224, 3), 255, np.uint8)
    blank[1, 60:160, 60:160] = 0
    with torch.inference_mode():
        embedding = model(model.normalise(torch.from_numpy(blank)))
    assert embedding.shape == (2, 256)
    assert torch.isfinite(embedding).all()
    assert float(embedding[0] @ embedding[1]) < 0.9


def test_shipped_words_fit_the_shipped_pictures() -> None:
    """A tower that was fitted to other weights points nowhere."""
    model, tower = DesignViT.load(FOLDER), TextTower.load(FOLDER)
    names = {
        **{"chair": "椅子", "bottle": "瓶子", "fan": "风扇", "laptop": "笔记本电脑"},
        **{"table": "桌子", "glasses": "眼镜", "hammer": "锤子", "bowl": "碗"},
    }
    drawn = [draw(seed, size=224, subclass=name) for name in names for seed in (101, 102)]
    pixels = np.repeat(np.stack(drawn)[..., None], 3, axis=3)
    with torch.inference_mode():
        pictures = model(model.normalise(torch.from_numpy(pixels)))
    for words in (list(names), list(names.values())):
        cosine = (tower.encode(words) @ pictures.T).numpy().reshape(8, 8, 2).mean(axis=2)
        others = (cosine.sum() - cosine.trace()) / 56
        # 0.14 and 0.13; with pictures of the version before it is 0.00
        assert cosine.trace() / 8 > others + 0.06
