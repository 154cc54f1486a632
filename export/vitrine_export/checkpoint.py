"""Catalogue name or folder → a PyTorch image tower and what the manifest says about it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

import vitrine_training
from vitrine_export import catalogue, families, hub
from vitrine_export.errors import ExportError
from vitrine_export.text import TextTower
from vitrine_server import tokens
from vitrine_server.manifest import EncoderInfo, Preprocessing, file_sha256, fingerprint
from vitrine_training import text
from vitrine_training.model import CONFIG_FILE, FAMILY, WEIGHTS_FILE, DesignViT

if TYPE_CHECKING:
    from torch import nn

REPOSITORY = Path(vitrine_training.__file__).resolve().parents[2]


@dataclass(frozen=True)
class Checkpoint:
    """An encoder before export.

    image: module, (B, 3, S, S) float32 normalised → (B, D) float32; need not be L2-normalised.
    text: the tower that puts texts into the same space, if there is one.
    """

    image: nn.Module
    info: EncoderInfo
    text: TextTower | None = None


def load(encoder: str) -> Checkpoint:
    """Load a catalogue name or a folder. Raises ExportError when it is no usable encoder."""
    folder = Path(encoder)
    if folder.is_dir():
        return _from_folder(folder, name=folder.resolve().name, source=str(folder.resolve()))
    if folder.exists() or folder.is_absolute() or len(folder.parts) > 1:
        raise ExportError(f"The encoder {encoder} is not a folder.")
    entry = catalogue.find(encoder)
    kind, _, place = entry.source.partition(":")
    if kind == "random":
        return _random(entry, seed=int(place))
    if kind == "hub":
        repository, _, commit = place.partition("@")
        return _from_folder(
            hub.fetch(repository, commit), name=entry.name, source=place, entry=entry
        )
    if kind == "folder":
        raise ExportError(
            f"{entry.name} has to be downloaded by you, because its licence ({entry.licence}) has "
            "to be accepted first: then give its folder as ENCODER."
        )
    folder = REPOSITORY / place
    if not folder.is_dir():
        return _untrained(entry)
    return _from_folder(folder, name=entry.name, source=place, entry=entry)


def _from_folder(
    folder: Path, *, name: str, source: str, entry: catalogue.Entry | None = None
) -> Checkpoint:
    config = read_json(folder / CONFIG_FILE)
    if config.get("family") == FAMILY:
        entry = entry or catalogue.find(FAMILY)
        return _design_vit(folder, name=name, source=source, entry=entry)
    model_type = str(config.get("model_type"))
    entry = entry or families.entry_for_folder(folder, name, model_type)
    towers = families.load(folder, entry)
    info = _describe(entry, name, source, _weights_sha256(folder), trained=True)
    return Checkpoint(towers.image, info, towers.text)


def _design_vit(folder: Path, *, name: str, source: str, entry: catalogue.Entry) -> Checkpoint:
    if not (folder / WEIGHTS_FILE).is_file():
        raise ExportError(f"{folder} has no {WEIGHTS_FILE}.")
    try:
        model = DesignViT.load(folder)
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise families.unreadable(folder, error) from error
    weights = file_sha256(folder / WEIGHTS_FILE)
    entry = _with_config(entry, model)
    info = _describe(entry, name, source, weights, trained=model.trained)
    return Checkpoint(model.eval(), info, _hashed_text_tower(folder))


def _hashed_text_tower(folder: Path) -> TextTower | None:
    """design-vit's own text tower, when the folder has one."""
    if not (folder / text.CONFIG_FILE).is_file():
        return None
    try:
        module = text.TextTower.load(folder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise families.unreadable(folder, error) from error
    return TextTower(module=module, kind="hashed", length=tokens.MAX_TOKENS, buckets=module.buckets)


def _untrained(entry: catalogue.Entry) -> Checkpoint:
    model = DesignViT.from_seed(0)
    info = _describe(
        _with_config(entry, model), entry.name, "random:0", _state_sha256(model), trained=False
    )
    return Checkpoint(model, info)


def _random(entry: catalogue.Entry, *, seed: int) -> Checkpoint:
    module = families.random(entry, seed=seed)
    info = _describe(entry, entry.name, entry.source, _state_sha256(module), trained=False)
    return Checkpoint(module, info)


def _with_config(entry: catalogue.Entry, model: DesignViT) -> catalogue.Entry:
    config = model.config
    return catalogue.Entry(
        name=entry.name,
        family=entry.family,
        source=entry.source,
        licence=entry.licence,
        resize=entry.resize,
        pooling=config.pooling,
        size=config.image_size,
        mean=config.mean,
        std=config.std,
        dimension=config.embedding,
    )


def _describe(
    entry: catalogue.Entry, name: str, source: str, weights_sha256: str, *, trained: bool
) -> EncoderInfo:
    preprocessing = Preprocessing(
        size=entry.size, resize=entry.resize, mean=entry.mean, std=entry.std
    )
    return EncoderInfo(
        name=name,
        family=entry.family,
        source=source,
        licence=entry.licence,
        trained=trained,
        weights_sha256=weights_sha256,
        pooling=entry.pooling,
        dimension=entry.dimension,
        preprocessing=preprocessing,
        fingerprint=fingerprint(
            weights_sha256=weights_sha256,
            preprocessing=preprocessing,
            pooling=entry.pooling,
            normalisation="l2",
        ),
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises ExportError when the file is missing or holds something else."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ExportError(
            f"{path.parent} has no {path.name}: an encoder's folder holds {CONFIG_FILE} and "
            f"{WEIGHTS_FILE}."
        ) from None
    except (OSError, ValueError) as error:
        raise families.unreadable(path.parent, error) from error
    if not isinstance(document, dict):
        raise ExportError(f"{path} is not a JSON object.")
    return document


def _weights_sha256(folder: Path) -> str:
    """Hash of the weights; of the shards' hashes when there are several files."""
    digests = [file_sha256(path) for path in sorted(folder.glob("*.safetensors"))]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _state_sha256(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for key, tensor in sorted(module.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
