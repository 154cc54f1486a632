"""The shipped weights: they are the files that the manifest names, small, and trained."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch

from vitrine_training.model import DesignViT

FOLDER = Path(__file__).parents[3] / "training" / "weights" / "design-vit"


def test_files_are_those_of_the_manifest_and_small() -> None:
    named = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))["files"]
    assert set(named) == {"config.json", "model.safetensors"}
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
