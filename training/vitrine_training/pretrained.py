"""Encoders in Hugging Face layout, to fine-tune: ViT, DINOv2, DINOv3, SigLIP, CLIP, Chinese-CLIP.

Pooling is that of `vitrine_export.families`, so that what was trained is what is served.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModel

from vitrine_server.manifest import Preprocessing

if TYPE_CHECKING:
    from pathlib import Path

_PREPROCESSOR = "preprocessor_config.json"
_CLASS_TOKEN = ("vit", "dinov2", "dinov2_with_registers", "dinov3_vit")
_PAIRS = ("siglip", "clip", "chinese_clip")


@dataclass(frozen=True)
class PretrainedConfig:
    """What training asks of an encoder. mean, std: per RGB channel, for pixels in 0..1."""

    image_size: int
    embedding: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def preprocessing(self) -> Preprocessing:
        """How an image becomes this model's pixels: its middle, as these were trained."""
        resize: Literal["crop"] = "crop"
        return Preprocessing(size=self.image_size, resize=resize, mean=self.mean, std=self.std)


class PretrainedEncoder(nn.Module):
    """Image → embedding on the unit sphere, by the image tower of a checkpoint in `folder`."""

    def __init__(self, model: Any, config: PretrainedConfig, folder: Path) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.folder = folder
        self.trained = True

    @classmethod
    def load(cls, folder: Path) -> PretrainedEncoder:
        """Read a checkpoint: FP32. Raises ValueError for a family that is not supported."""
        model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        family = model.config.model_type
        if family not in (*_CLASS_TOKEN, *_PAIRS):
            raise ValueError(
                f"{folder} holds a model of type {family}; accepted: design-vit, "
                f"{', '.join((*_CLASS_TOKEN, *_PAIRS))}"
            )
        if family in _PAIRS:
            # the text tower keeps its place: pictures move towards each other, words do not
            model.text_model.requires_grad_(False)
        document = json.loads((folder / _PREPROCESSOR).read_text(encoding="utf-8"))
        size = document.get("crop_size") or document["size"]
        vision = getattr(model.config, "vision_config", model.config)
        projected = family in ("clip", "chinese_clip")
        config = PretrainedConfig(
            image_size=size if isinstance(size, int) else int(size["height"]),
            embedding=model.config.projection_dim if projected else vision.hidden_size,
            mean=tuple(document["image_mean"]),
            std=tuple(document["image_std"]),
        )
        return cls(model.eval(), config, folder)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, 3, S, S) float, normalised with the config's mean and std → (B, embedding), L2."""
        if self.model.config.model_type in _CLASS_TOKEN:
            pooled = self.model(pixel_values=x).last_hidden_state[:, 0]
        else:
            pooled = self.model.vision_model(pixel_values=x).pooler_output
            if hasattr(self.model, "visual_projection"):
                pooled = self.model.visual_projection(pooled)
        return F.normalize(pooled, dim=1)

    def normalise(self, pixels: Tensor) -> Tensor:
        """`pixels` (B, S, S, 3) uint8, as served, → the float (B, 3, S, S) that `forward` takes."""
        mean = torch.tensor(self.config.mean, device=pixels.device) * 255.0
        std = torch.tensor(self.config.std, device=pixels.device) * 255.0
        return ((pixels.float() - mean) / std).permute(0, 3, 1, 2)

    def save(self, folder: Path) -> None:
        """Write a folder that `make export ENCODER=folder` takes, tokeniser included."""
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(folder)
        for path in self.folder.iterdir():
            if path.suffix in (".json", ".txt", ".model") and not (folder / path.name).exists():
                shutil.copyfile(path, folder / path.name)
