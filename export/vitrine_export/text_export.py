"""EXPORT of a text tower: graph → compared with PyTorch → gate → publication as `text_encoder`.

It fills the vector space of the images that were published a moment before, and says so: its
manifest names the same encoder with the same fingerprint. It runs in FP32: texts are short and few.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vitrine_export import engines, gate, onnx_graph, publish
from vitrine_export.checkpoint import REPOSITORY
from vitrine_export.errors import ExportError
from vitrine_server.manifest import EngineFile, Gate, Tokeniser

if TYPE_CHECKING:
    from pathlib import Path

    from vitrine_export.text import TextTower
    from vitrine_server.manifest import Manifest

MODEL = "text_encoder"
CONFIGS = REPOSITORY / "model_repository" / "text"
PROBE = "a chair with four legs, 一把四条腿的椅子"
BATCHES = (1, 4, 16)
# What people search registers for; 24 of them, so that ten neighbours of each mean something.
TEXTS = (
    "chair",
    "a folding chair with armrests",
    "table lamp with a conical shade",
    "water bottle with a screw cap and a handle",
    "running shoe, side view",
    "kettle",
    "electric toothbrush",
    "pair of headphones",
    "door handle, brushed steel",
    "a wristwatch with a square face",
    "toy car",
    "bicycle helmet",
    "ornamental design for a display screen",
    "ring binder with three rings",
    "椅子",
    "带扶手的折叠椅",
    "圆锥形灯罩的台灯",
    "带提手的水瓶",
    "运动鞋",
    "电热水壶",
    "方形表盘的手表",
    "自行车头盔",
    "玩具汽车",
    "门把手",
)


@dataclass(frozen=True)
class BuiltText:
    """A text engine that may be published beside the image engine's manifest."""

    graph: Path
    manifest: Manifest
    companion: bytes


def build(tower: TextTower, image: Manifest, *, work: Path) -> BuiltText:
    """Make and judge the engine. Raises ExportError when it differs from PyTorch or fails."""
    probe = tower.encode([PROBE])
    path = work / "text.onnx"
    onnx_graph.save(onnx_graph.build_text(tower.module, probe[0].tolist()), path)
    tokens = tower.encode(TEXTS)
    reference = engines.OnnxRuntimeEngine(path)
    module = onnx_graph.TokenEncoder(tower.module)
    batches = [tokens[:1], tokens[:3], np.resize(tokens, (64, tower.length))]
    onnx_graph.compare(reference.embed, module, batches)
    # One stream: most requests are one text, and their answer must not wait for other cores.
    runtime, _ = engines.choose_runtime(path, "fp32", probe)
    engine = engines.load(path, "fp32", runtime)
    expected = reference.embed(tokens)
    if expected.shape[1] != image.encoder.dimension:
        raise ExportError(
            f"The text tower answers {expected.shape[1]} values, the image tower "
            f"{image.encoder.dimension}: they fill no common space."
        )
    accuracy = gate.accuracy(expected, gate.embed(engine, tokens, batch=8))
    speed = gate.measure_speed({"fp32": engine}, tokens, batches=BATCHES, advance=lambda: None)
    row = gate.judge("fp32", accuracy, speed["fp32"])
    if not row.passed:
        raise ExportError(f"The text tower did not pass the gate: {row.reason}.")
    companion = tower.definition.encode()
    digest = hashlib.sha256(companion).hexdigest()
    file = EngineFile(file=f"tokenizer-{digest[:16]}.json", sha256=digest, bytes=len(companion))
    manifest = image.model_copy(
        update={
            "precision": "fp32",
            "runtime": engine.runtime,
            "properties": engine.properties,
            "engine": publish.engine_file(path),
            "tokeniser": Tokeniser(
                kind=tower.kind,
                length=tower.length,
                buckets=tower.buckets,
                file=file if companion else None,
                probe=tuple(probe[0].tolist()),
            ),
            "gate": Gate(
                images=len(TEXTS), image_source="texts in English and Chinese", rows=(row,)
            ),
            "probe_embedding": tuple(float(value) for value in engine.embed(probe)[0]),
        }
    )
    return BuiltText(path, manifest, companion)


def install(built: BuiltText, image_folder: Path) -> Path:
    """Put the text encoder beside the image encoder that is served from `image_folder`.

    Triton refuses to start over a model without an engine, so the model's folder appears whole, by
    one rename, or not at all. Raises ExportError when the disk does not take it.
    """
    fresh = _shed(image_folder, "new")
    try:
        (fresh / "1").mkdir(parents=True)
        model = image_folder / "model.py"
        kind = "python" if model.is_file() else "onnxruntime"
        shutil.copyfile(CONFIGS / f"{kind}.pbtxt", fresh / "config.pbtxt")
        if kind == "python":
            shutil.copyfile(model, fresh / "1" / "model.py")
        publish.publish(
            built.graph, built.manifest, fresh / "1", companion=built.companion, reports={}
        )
        remove(image_folder)
        folder = image_folder.parent.parent / MODEL
        fresh.replace(folder)
    except OSError as error:
        raise ExportError(f"The text encoder cannot be written: {error.strerror}.") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder / "1"


def remove(image_folder: Path) -> None:
    """Stop serving the text encoder beside `image_folder`, if there is one."""
    folder = image_folder.parent.parent / MODEL
    if folder.is_dir():
        old = _shed(image_folder, "old")
        folder.replace(old)
        shutil.rmtree(old)


def _shed(image_folder: Path, name: str) -> Path:
    """A place for half a model: on the same disk, and where Triton does not look for models."""
    place = image_folder / f".text-{name}-{os.getpid()}"
    for stale in image_folder.glob(f".text-{name}-*"):
        shutil.rmtree(stale)
    return place
