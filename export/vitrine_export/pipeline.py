"""EXPORT: checkpoint → graph → compared with PyTorch → precisions → gate → publication."""

from __future__ import annotations

import datetime
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from vitrine_export import (
    calibrate,
    checkpoint,
    engines,
    gate,
    half,
    images,
    onnx_graph,
    plot,
    publish,
    quantise,
    targets,
    text_export,
)
from vitrine_export.errors import ExportError
from vitrine_server.manifest import Gate, GateRow, Manifest, Precision, probe_pixels

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import onnx
    from numpy.typing import NDArray

    from vitrine_export.engines import Engine, OnnxRuntimeEngine
    from vitrine_export.targets import Candidate, Target

MODEL = "image_encoder"
_BATCH = 8
_VERIFIED_BATCHES = (1, 3, 64)


class Reporter(Protocol):
    """Where progress goes: the terminal in the command, nowhere in tests."""

    def step(self, text: str, total: int) -> AbstractContextManager[Callable[[int], object]]:
        """A long step of `total` units; the function it gives is called with units done."""

    def note(self, text: str) -> None:
        """One line that a person should see."""


@dataclass(frozen=True)
class Published:
    """What an export did. chosen: the row of the engine that is now served."""

    manifest: Manifest
    chosen: GateRow
    folder: Path


def serving_folder(repository: Path) -> Path:
    """Folder of the model's version 1. Raises ExportError when this is no model repository."""
    folder = repository / MODEL
    if not (folder / "config.pbtxt").is_file():
        raise ExportError(
            f"{repository} is not Vitrine's model repository: it has no {MODEL}/config.pbtxt."
        )
    return folder / "1"


def export(
    encoder: str,
    *,
    target: Target,
    precision: Precision | None,
    image_folder: Path | None,
    repository: Path,
    report: Reporter,
    show_gate: Callable[[list[GateRow]], object],
) -> Published:
    """Build, judge and publish. precision: None chooses the fastest that passes.

    Raises ExportError; what was served before is then untouched.
    """
    folder = serving_folder(repository)
    precisions = targets.wanted(target, precision)
    with publish.locked(folder), tempfile.TemporaryDirectory(prefix="vitrine-export-") as work:
        source = checkpoint.load(encoder)
        if not source.info.trained:
            report.note(f"{source.info.name} is untrained: its neighbours mean nothing.")
        sets = _images(image_folder, source, report)
        graph, reference = _graph(source, sets, Path(work), report)
        expected = _reference(reference, sets, report)
        paths = _precisions(graph, precisions, target, sets, Path(work), report)
        candidates = _load(paths, target, source, report)
        rows, chosen = _judge(candidates, expected, target, sets, precision, report)
        show_gate(rows)
        if chosen is None:
            raise ExportError("No engine passed the gate: nothing was published.")
        winner = candidates[chosen.precision]
        manifest = Manifest(
            encoder=source.info,
            precision=chosen.precision,
            runtime=winner.engine.runtime,
            properties=winner.engine.properties,
            engine=publish.engine_file(winner.file),
            gate=Gate(images=len(sets.gate), image_source=sets.source, rows=tuple(rows)),
            probe_embedding=tuple(_probe(winner.engine, source)),
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            tools={name: version(name) for name in (*target.tools, "vitrine-export")},
            device=target.device(),
        )
        text = None
        if source.text is not None:
            with report.step("Text tower", 1) as advance:
                text = text_export.build(source.text, manifest, work=Path(work))
                advance(1)
        # A text tower of another vector space must not be served beside the new engine.
        text_export.remove(folder)
        reports = {"throughput.svg": plot.throughput(manifest)} | winner.reports
        publish.publish(winner.file, manifest, folder, reports=reports)
        if text is not None:
            report.note(f"Its text tower is published in {text_export.install(text, folder)}.")
    return Published(manifest, chosen, folder)


def _images(
    folder: Path | None, source: checkpoint.Checkpoint, report: Reporter
) -> images.ImageSets:
    total = images.GATE_IMAGES + images.CALIBRATION_IMAGES
    with report.step("Reading images" if folder else "Drawing images", total) as advance:
        sets = images.load(folder, source.info.preprocessing, advance=lambda: advance(1))
    if sets.skipped:
        report.note(f"{sets.skipped} files of {folder} are not usable images and were skipped.")
    return sets


def _graph(
    source: checkpoint.Checkpoint, sets: images.ImageSets, work: Path, report: Reporter
) -> tuple[onnx.ModelProto, OnnxRuntimeEngine]:
    """The FP32 graph, and the engine that the others are compared with."""
    with report.step("Writing the ONNX graph", 2) as advance:
        graph = onnx_graph.build(source.image, source.info.preprocessing)
        advance(1)
        path = work / "fp32.onnx"
        onnx_graph.save(graph, path)
        reference = engines.OnnxRuntimeEngine(path)
        advance(1)
    size = source.info.preprocessing.size
    random = np.random.default_rng(0)
    noise = [
        random.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
        for count in _VERIFIED_BATCHES
    ]
    module = onnx_graph.PixelEncoder(source.image, source.info.preprocessing)
    real = [sets.gate[:count] for count in _VERIFIED_BATCHES]
    with report.step("Comparing with PyTorch", len(noise + real)) as advance:
        error = 0.0
        for pixels in (*noise, *real):
            found = onnx_graph.compare(reference.embed, module, [pixels])
            error = max(error, found)
            advance(1)
    report.note(f"The ONNX graph equals PyTorch: largest difference {error:.1e}.")
    return graph, reference


def _reference(
    reference: OnnxRuntimeEngine, sets: images.ImageSets, report: Reporter
) -> NDArray[np.float32]:
    with report.step("FP32 reference", len(sets.gate)) as advance:
        return gate.embed(reference, sets.gate, batch=_BATCH, advance=advance)


def _precisions(
    graph: onnx.ModelProto,
    precisions: tuple[Precision, ...],
    target: Target,
    sets: images.ImageSets,
    work: Path,
    report: Reporter,
) -> dict[Precision, Path]:
    """One graph file for each precision.

    BF16 is the FP32 graph, run in BF16 by OpenVINO. The 8-bit layers are put into the FP32 graph
    for OpenVINO, which decides about the rest itself, and into the FP16 graph for TensorRT.
    """
    paths: dict[Precision, Path] = {}
    half_graph = graph
    if "fp16" in target.precisions() and precisions != ("fp32",):
        with report.step("Converting to FP16", 1) as advance:
            half_graph = half.to_fp16(graph, sets.calibration[:_BATCH])
            advance(1)
    ranges: dict[str, quantise.Range] = {}
    for precision in precisions:
        model = graph if precision in ("fp32", "bf16") else half_graph
        if precision in gate.EIGHT_BIT:
            if not ranges:
                with report.step("Calibrating", len(sets.calibration)) as advance:
                    ranges = calibrate.ranges(
                        graph, sets.calibration, batch=_BATCH, advance=advance
                    )
            number = target.int8 if precision == "int8" else quantise.FP8
            model = quantise.quantise(half_graph, ranges, number)
        paths[precision] = work / f"{precision}.onnx"
        onnx_graph.save(model, paths[precision])
    return paths


def _load(
    paths: dict[Precision, Path],
    target: Target,
    source: checkpoint.Checkpoint,
    report: Reporter,
) -> dict[Precision, Candidate]:
    size = source.info.preprocessing.size
    candidates: dict[Precision, Candidate] = {}
    with report.step("Compiling engines", len(paths)) as advance:
        for precision, path in paths.items():
            candidates[precision] = target.load(path, precision, size=size, note=report.note)
            advance(1)
    return candidates


def _judge(
    candidates: dict[Precision, Candidate],
    expected: NDArray[np.float32],
    target: Target,
    sets: images.ImageSets,
    forced: Precision | None,
    report: Reporter,
) -> tuple[list[GateRow], GateRow | None]:
    """The gate's rows and the one to publish."""
    loaded = {precision: candidate.engine for precision, candidate in candidates.items()}
    accuracies = {}
    with report.step("Gate: accuracy", len(loaded) * len(sets.gate)) as advance:
        for precision, engine in loaded.items():
            found = gate.embed(engine, sets.gate, batch=_BATCH, advance=advance)
            accuracies[precision] = gate.accuracy(expected, found)
    total = len(target.batches) * gate.ROUNDS * len(loaded)
    with report.step("Gate: speed", total) as advance:
        speeds = gate.measure_speed(
            loaded, sets.gate, batches=target.batches, advance=lambda: advance(1)
        )
    rows = [gate.judge(name, accuracies[name], speeds[name]) for name in loaded]
    return gate.decide(rows, speeds, forced)


def _probe(engine: Engine, source: checkpoint.Checkpoint) -> list[float]:
    answer = engine.embed(probe_pixels(source.info.preprocessing.size))[0]
    return [float(value) for value in answer]
