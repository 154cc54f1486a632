"""The model repository that serves an encoder: the published one, or one made for this."""

from __future__ import annotations

import shutil
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from harness.machine import ROOT
from harness.triton import decode_all
from vitrine_export import (
    calibrate,
    checkpoint,
    engines,
    gate,
    onnx_graph,
    publish,
    quantise,
    targets,
)
from vitrine_server import manifest as manifests

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import onnx
    from numpy.typing import NDArray

MODEL = "image_encoder"
CALIBRATION_IMAGES = 32


def repository_of(encoder: str, *, files: Sequence[bytes], kept: Path) -> Path:
    """model_repository/cpu where it serves the encoder, else a repository in `kept`, which is made
    the first time (two minutes). files: images for its calibration.

    Raises SystemExit for a trained encoder that is not published: its engine has to pass the gate.
    """
    published = ROOT / "model_repository" / "cpu"
    if _served_by(published) == encoder:
        return published
    repository = kept / encoder
    if _served_by(repository) != encoder:
        source = checkpoint.load(encoder)
        if source.info.trained:
            raise SystemExit(f"{encoder} is not published: make export ENCODER={encoder}")
        shutil.rmtree(repository, ignore_errors=True)
        (repository / MODEL / "1").mkdir(parents=True)
        _publish_int8(source, files, repository / MODEL / "1")
    # an engine is kept, the code around it may have changed since
    for file in (f"{MODEL}/config.pbtxt", f"{MODEL}/1/model.py"):
        shutil.copy(published / file, repository / file)
    return repository


def _served_by(repository: Path) -> str | None:
    try:
        return manifests.load(repository / MODEL / "1").encoder.name
    except manifests.ManifestError:
        return None


def _publish_int8(source: checkpoint.Checkpoint, files: Sequence[bytes], served: Path) -> None:
    """The INT8 engine that the export makes, held to the gate's cosine alone: random weights put
    all images side by side, so their neighbours say nothing, and speed does not depend on it."""
    preprocessing = source.info.preprocessing
    graph = onnx_graph.build(source.image, preprocessing)
    pixels = decode_all(files[:CALIBRATION_IMAGES], preprocessing)
    target = targets.CpuTarget()
    with tempfile.TemporaryDirectory(prefix="vitrine-bench-") as work:
        file = Path(work) / "int8.onnx"
        onnx_graph.save(_int8(graph, pixels), file)
        found = target.load(file, "int8", size=preprocessing.size, note=print)
        reference = engines.session(graph.SerializeToString())
        expected = reference.run([onnx_graph.OUTPUT], {onnx_graph.INPUT: pixels})[0]
        accuracy = gate.accuracy(expected, found.engine.embed(pixels))
        row = manifests.GateRow(
            precision="int8",
            cosine_mean=accuracy.cosine_mean,
            cosine_min=accuracy.cosine_min,
            recall_at_10=accuracy.recall,
            finite=accuracy.finite,
            latency_ms_batch_1=0.0,
            images_per_s=0.0,
            best_batch=1,
            passed=accuracy.finite and accuracy.cosine_mean >= gate.limits("int8")[0],
            reason="for measuring speed: random weights",
        )
        probe = found.engine.embed(manifests.probe_pixels(preprocessing.size))[0]
        manifest = manifests.Manifest(
            encoder=source.info,
            precision="int8",
            runtime=found.engine.runtime,
            properties=found.engine.properties,
            engine=publish.engine_file(found.file),
            gate=manifests.Gate(images=len(pixels), image_source="benchmark", rows=(row,)),
            probe_embedding=tuple(float(value) for value in probe),
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            tools={},
            device=target.device(),
        )
        publish.publish(found.file, manifest, served, reports={})


def _int8(graph: onnx.ModelProto, pixels: NDArray[np.uint8]) -> onnx.ModelProto:
    ranges = calibrate.ranges(graph, pixels, batch=4)
    return quantise.quantise(graph, ranges, quantise.INT8_CPU)
