"""Catalogue name or folder → a PyTorch image tower and what the manifest says about it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

import vitrine_training
from vitrine_export import catalogue
from vitrine_export.errors import ExportError
from vitrine_server.manifest import EncoderInfo, Preprocessing, file_sha256, fingerprint
from vitrine_training.model import CONFIG_FILE, FAMILY, WEIGHTS_FILE, DesignViT

if TYPE_CHECKING:
    from torch import nn

REPOSITORY = Path(vitrine_training.__file__).resolve().parents[2]


@dataclass(frozen=True)
class Checkpoint:
    """An encoder before export.

    image: module, (B, 3, S, S) float32 normalised → (B, D) float32; need not be L2-normalised.
    """

    image: nn.Module
    info: EncoderInfo


def load(encoder: str) -> Checkpoint:
    """Load a catalogue name or a folder. Raises ExportError when it is no usable encoder."""
    folder = Path(encoder)
    if folder.is_dir():
        entry = catalogue.find("design-vit")
        return _design_vit(folder, name=folder.resolve().name, entry=entry)
    if folder.exists() or folder.is_absolute() or len(folder.parts) > 1:
        raise ExportError(f"The encoder {encoder} is not a folder.")
    entry = catalogue.find(encoder)
    folder = REPOSITORY / entry.source
    if not folder.is_dir():
        return _untrained(entry)
    return _design_vit(folder, name=entry.name, entry=entry)


def _design_vit(folder: Path, *, name: str, entry: catalogue.Entry) -> Checkpoint:
    for file in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / file).is_file():
            raise ExportError(
                f"{folder} has no {file}: an encoder's folder holds {CONFIG_FILE} and "
                f"{WEIGHTS_FILE}."
            )
    try:
        model = DesignViT.load(folder)
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ExportError(f"The encoder in {folder} cannot be read: {_one_line(error)}.") from error
    info = _info(model, name, entry, str(entry.source), file_sha256(folder / WEIGHTS_FILE))
    return Checkpoint(model.eval(), info)


def _untrained(entry: catalogue.Entry) -> Checkpoint:
    model = DesignViT.from_seed(0)
    digest = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return Checkpoint(model, _info(model, entry.name, entry, "seed 0", digest.hexdigest()))


def _info(
    model: DesignViT, name: str, entry: catalogue.Entry, source: str, weights_sha256: str
) -> EncoderInfo:
    config = model.config
    preprocessing = Preprocessing(
        size=config.image_size, resize=entry.resize, mean=config.mean, std=config.std
    )
    return EncoderInfo(
        name=name,
        family=FAMILY,
        source=source,
        licence=entry.licence,
        trained=model.trained,
        weights_sha256=weights_sha256,
        pooling=config.pooling,
        dimension=config.embedding,
        preprocessing=preprocessing,
        fingerprint=fingerprint(
            weights_sha256=weights_sha256,
            preprocessing=preprocessing,
            pooling=config.pooling,
            normalisation="l2",
        ),
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
