"""Fine-tuning a Hugging Face encoder on a folder: every supported family, end to end."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import cv2
import pytest
import torch
from doodles import catalogue
from transformers import AutoConfig, AutoModel

from vitrine_export import checkpoint
from vitrine_training import train
from vitrine_training.pretrained import PretrainedEncoder

if TYPE_CHECKING:
    from pathlib import Path

WIDTH = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
PATCHES = {"image_size": 32, "patch_size": 16}
TEXT = WIDTH | {"vocab_size": 50, "max_position_embeddings": 16, "pad_token_id": 0}
PAIR: dict[str, Any] = {"text_config": TEXT, "vision_config": WIDTH | PATCHES}
FAMILIES: dict[str, dict[str, Any]] = {
    "vit": WIDTH | PATCHES,
    "dinov2": WIDTH | PATCHES,
    "siglip": PAIR,
    "clip": PAIR | {"projection_dim": 24},
    "chinese_clip": PAIR | {"projection_dim": 24},
}


def write_checkpoint(folder: Path, family: str) -> None:
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model(family, **FAMILIES[family])).save_pretrained(folder)
    preprocessor = {
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.2, 0.3, 0.4],
        "size": {"height": 32, "width": 32},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pretrained_encoder_is_what_export_serves_and_can_be_fine_tuned(
    family: str, tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "start", family)
    encoder = PretrainedEncoder.load(tmp_path / "start").eval()
    x = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        ours = encoder(x)
        served = torch.nn.functional.normalize(checkpoint.load(str(tmp_path / "start")).image(x))
    assert ours.shape == (3, encoder.config.embedding)
    torch.testing.assert_close(ours, served, atol=1e-5, rtol=1e-4)

    things = catalogue(designs=6, views=3)
    table = tmp_path / "designs.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "design"])
        for i in range(len(things)):
            cv2.imwrite(str(tmp_path / f"{i}.png"), things.image(i))
            writer.writerow([f"{i}.png", things.design[i]])
    train.main(
        [
            *("--folder", str(tmp_path), "--csv", str(table), "--no-language", "--steps", "3"),
            *("--weights", str(tmp_path / "start"), "--out", str(tmp_path / "out")),
            *("--designs", "4", "--warmup-steps", "1", "--device", "cpu"),
        ]
    )
    tuned = checkpoint.load(str(tmp_path / "out"))
    assert tuned.info.pooling == checkpoint.load(str(tmp_path / "start")).info.pooling
    with torch.inference_mode():
        moved = torch.nn.functional.normalize(tuned.image(x))
    assert not torch.allclose(moved, served, atol=1e-4)


def test_words_and_other_families_are_refused(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "vit", "vit")
    arguments = ["--folder", str(tmp_path), "--csv", "x.csv", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="--no-language"):
        train.main([*arguments, "--weights", str(tmp_path / "vit")])
    config = AutoConfig.for_model("bert", **TEXT)
    AutoModel.from_config(config).save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match="type bert; accepted"):
        PretrainedEncoder.load(tmp_path / "bert")
