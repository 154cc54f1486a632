"""Families of Vision Transformers in Hugging Face layout: folder → image tower.

A family is supported when a small random checkpoint of it, saved to a folder, exports and equals
PyTorch (tests/unit/export/test_families.py).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
import transformers
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.masking_utils import AttentionMaskInterface
from transformers.modeling_utils import AttentionInterface

from vitrine_export import catalogue
from vitrine_export.errors import ExportError
from vitrine_export.text import TextTower, fit_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

# model_type → pooling
POOLING = {
    "vit": "cls",
    "dinov2": "cls",
    "dinov2_with_registers": "cls",
    "dinov3_vit": "cls",
    "siglip": "attention",
    "clip": "projection",
    "chinese_clip": "projection",
}
PREPROCESSOR = "preprocessor_config.json"
# A pair of towers that comes without any of these is exported for images alone.
_TOKENISERS = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json")
_ATTENTION = "vitrine"

transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Attention without a mask: every patch sees every patch.

    The library's own functions add a mask of zeros to every product when they are traced.
    """
    mixed = F.scaled_dot_product_attention(query, key, value, scale=scaling)
    return mixed.transpose(1, 2), None


AttentionInterface.register(_ATTENTION, _attend)
AttentionMaskInterface.register(_ATTENTION, lambda *_, **__: None)


class ClassToken(nn.Module):
    """The normalised class token: (B, 3, S, S) → (B, D)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.model(pixel_values=x).last_hidden_state
        return tokens[:, 0]


class AttentionPool(nn.Module):
    """SigLIP's pooling head: one learnt query attends to all tokens, (B, N, D) → (B, D).

    torch.nn.MultiheadAttention packs three linear layers into one tensor that the exporter splits
    at run time; here they are layers, and the query, which no image changes, is computed once.
    """

    query: Tensor

    def __init__(self, head: Any) -> None:
        super().__init__()
        packed = head.attention
        self.heads = packed.num_heads
        weights, biases = packed.in_proj_weight.chunk(3), packed.in_proj_bias.chunk(3)
        layers = [_linear(w, b) for w, b in zip(weights, biases, strict=True)]
        _, self.key, self.value = layers
        with torch.no_grad():
            self.register_buffer("query", self._split(layers[0](head.probe)))
        self.output = packed.out_proj
        self.layernorm = head.layernorm
        self.mlp = head.mlp

    def _split(self, x: Tensor) -> Tensor:
        split = x.reshape(x.shape[0], x.shape[1], self.heads, x.shape[2] // self.heads)
        return split.transpose(1, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        key, value = self._split(self.key(tokens)), self._split(self.value(tokens))
        query = self.query.expand(tokens.shape[0], -1, -1, -1)
        mixed = F.scaled_dot_product_attention(query, key, value)
        x = self.output(mixed.transpose(1, 2).flatten(2))
        pooled: Tensor = (x + self.mlp(self.layernorm(x)))[:, 0]
        return pooled


class ImageFeatures(nn.Module):
    """The image side of a pair of towers, in the space that they share: (B, 3, S, S) → (B, D)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.vision_model = model.vision_model
        if hasattr(self.vision_model, "head"):
            self.vision_model.head = AttentionPool(self.vision_model.head)
        self.projection = getattr(model, "visual_projection", nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.projection(self.vision_model(pixel_values=x).pooler_output)
        return pooled


class TextFeatures(nn.Module):
    """The text side of a pair of towers: (B, T) int64 → (B, D).

    Padding is recognised by its id, so that the served graph has one input.
    """

    def __init__(self, model: Any, *, pad: int) -> None:
        super().__init__()
        self.text_model = model.text_model
        self.projection = getattr(model, "text_projection", nn.Identity())
        self.family = model.config.model_type
        self.pad = pad

    def forward(self, tokens: Tensor) -> Tensor:
        if self.family == "chinese_clip":
            mask = (tokens != self.pad).long()
            answer = self.text_model(input_ids=tokens, attention_mask=mask)
            pooled = answer.last_hidden_state[:, 0]
        else:
            # CLIP reads its causal end-of-text token, SigLIP was trained on unmasked padding.
            pooled = self.text_model(input_ids=tokens).pooler_output
        projected: Tensor = self.projection(pooled)
        return projected


@dataclass(frozen=True)
class Towers:
    """The modules of a checkpoint, FP32, in eval mode. text: None when it has no text tower."""

    image: nn.Module
    text: TextTower | None


def load(folder: Path, entry: catalogue.Entry) -> Towers:
    """The towers in `folder`.

    Raises ExportError when it is damaged, incomplete, pickled, or another family or size.
    """
    if not any(folder.glob("*.safetensors")):
        raise ExportError(
            f"{folder} has no *.safetensors: pickled weights are not opened, because they can run "
            "code; convert them with transformers' `save_pretrained`."
        )
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        model, report = AutoModel.from_pretrained(
            folder,
            config=config,
            attn_implementation=_attention(config),
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
            use_safetensors=True,
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise unreadable(folder, error) from error
    # A classifier's pooler is not part of what is exported, so a checkpoint may lack it.
    missing = [key for key in report["missing_keys"] if not key.startswith("pooler.")]
    if missing or report["mismatched_keys"] or report["error_msgs"]:
        wrong = [*missing, *(str(item[0]) for item in report["mismatched_keys"])]
        raise ExportError(
            f"The weights in {folder} do not fit its config.json: {len(wrong)} tensors are missing "
            f"or have another shape ({', '.join(sorted(wrong)[:3])})."
        )
    if config.model_type != entry.family:
        raise ExportError(
            f"{folder} holds a model of type {config.model_type}, not {entry.family}."
        )
    return Towers(_tower(model, entry), _text_tower(model, folder))


def random(entry: catalogue.Entry, *, seed: int) -> nn.Module:
    """A tower without training, from the entry's config; the same weights for the same seed."""
    config = AutoConfig.for_model(entry.family, image_size=entry.size, **entry.config)
    config._attn_implementation = _ATTENTION
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
        return _tower(model, entry)


def entry_for_folder(folder: Path, name: str, model_type: str) -> catalogue.Entry:
    """What a folder says about itself. Raises ExportError when it lacks something."""
    if model_type not in POOLING:
        raise ExportError(
            f"{folder} holds a model of type {model_type}; supported are design-vit, "
            f"{', '.join(POOLING)}."
        )
    try:
        document = json.loads((folder / PREPROCESSOR).read_text(encoding="utf-8"))
        mean, std = (tuple(float(v) for v in document[f"image_{k}"]) for k in ("mean", "std"))
        size = _side(document.get("crop_size") or document["size"])
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except FileNotFoundError:
        raise ExportError(
            f"{folder} has no {PREPROCESSOR}, which says how its images are normalised."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise unreadable(folder, error) from error
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ExportError(f"{folder / PREPROCESSOR} has no image_mean and image_std of 3 channels.")
    vision = getattr(config, "vision_config", config)
    projected = POOLING[model_type] == "projection"
    return catalogue.Entry(
        name=name,
        family=model_type,
        source="folder",
        licence="see the folder",
        resize="crop",
        pooling=POOLING[model_type],
        size=size,
        mean=mean,
        std=std,
        dimension=config.projection_dim if projected else vision.hidden_size,
        text=hasattr(config, "text_config"),
    )


def unreadable(folder: Path, error: BaseException) -> ExportError:
    """The sentence for a checkpoint that cannot be read."""
    reason = " ".join(str(error).split())[:300].rstrip(".")
    return ExportError(f"The encoder in {folder} cannot be read: {reason}.")


def _tower(model: Any, entry: catalogue.Entry) -> nn.Module:
    vision = getattr(model.config, "vision_config", model.config)
    # DINOv2 interpolates its positions, DINOv3 rotates by them; the others have fixed ones.
    if not entry.family.startswith("dino") and vision.image_size != entry.size:
        raise ExportError(
            f"{entry.name} was trained at {vision.image_size} pixels; {entry.size} is not possible."
        )
    if entry.size % vision.patch_size:
        raise ExportError(
            f"{entry.size} pixels are no multiple of the patch size {vision.patch_size}."
        )
    tower: nn.Module = ClassToken(model) if entry.pooling == "cls" else ImageFeatures(model)
    return tower.eval()


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight.detach(), "bias": bias.detach()})
    return layer


def _attention(config: Any) -> str | dict[str, str]:
    """Every patch sees every other; a text's tokens see what its own mask says."""
    if not hasattr(config, "text_config"):
        return _ATTENTION
    return {"": _ATTENTION, "vision_config": _ATTENTION, "text_config": "eager"}


def _text_tower(model: Any, folder: Path) -> TextTower | None:
    config = getattr(model.config, "text_config", None)
    if config is None or not any((folder / name).is_file() for name in _TOKENISERS):
        return None
    # Chinese-CLIP was trained on 52 tokens, CLIP on 77, SigLIP on 64; positions may reach further.
    usual = 52 if config.model_type.startswith("chinese") else 77
    length = min(config.max_position_embeddings, usual)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        definition = json.loads(tokenizer.backend_tokenizer.to_str())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise unreadable(folder, error) from error
    fitted = fit_tokenizer(definition, length=length, pad=tokenizer.pad_token)
    module = TextFeatures(model, pad=tokenizer.pad_token_id).eval()
    return TextTower(module=module, kind="huggingface", length=length, definition=fitted)


def _side(size: object) -> int:
    if isinstance(size, dict):
        size = size.get("height") or size["shortest_edge"]
    if not isinstance(size, int):
        raise ValueError(f"the image size {size!r} is not a number")
    return size
