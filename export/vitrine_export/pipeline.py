"""EXPORT: checkpoint → graph → compared with PyTorch → precisions → gate → publication."""

from __future__ import annotations

import datetime
import os
import platform
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from vitrine_export import checkpoint, engines, gate, images, onnx_graph, publish, quantise
from vitrine_export.errors import ExportError
from vitrine_server.manifest import Gate, GateRow, Manifest, Precision, probe_pixels

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    import onnx
    from numpy.typing import NDArray

    from vitrine_export.engines import Engine, OnnxRuntimeEngine

MODEL = "image_encoder"
_TOOLS = ("torch", "onnx", "onnxruntime", "openvino", "vitrine-export")
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


def target_precisions(forced: Precision | None) -> tuple[Precision, ...]:
    """Precisions to build for this CPU, FP32 first. Raises ExportError for one it cannot run."""
    available: tuple[Precision, ...] = (
        ("fp32", "bf16", "int8") if engines.has_bf16() else ("fp32", "int8")
    )
    if forced is None:
        return available
    if forced not in available:
        why = "this CPU has no BF16 instructions" if forced == "bf16" else "it needs a GPU"
        raise ExportError(
            f"PRECISION={forced} is not possible here: {why}; possible are {', '.join(available)}."
        )
    return ("fp32",) if forced == "fp32" else ("fp32", forced)


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
    precisions = target_precisions(precision)
    with publish.locked(folder), tempfile.TemporaryDirectory(prefix="vitrine-export-") as work:
        source = checkpoint.load(encoder)
        if not source.info.trained:
            report.note(f"{source.info.name} is untrained: its neighbours mean nothing.")
        sets = _images(image_folder, source, report)
        graph, reference = _graph(source, sets, Path(work), report)
        expected = _reference(reference, sets, report)
        paths = _precisions(graph, precisions, sets, Path(work), report)
        loaded = _load(paths, source, report)
        rows, chosen = gate.decide(_judge(loaded, expected, sets, report), precision)
        show_gate(rows)
        if chosen is None:
            raise ExportError("No engine passed the gate: nothing was published.")
        engine = loaded[chosen.precision]
        manifest = Manifest(
            encoder=source.info,
            precision=chosen.precision,
            runtime=engine.runtime,
            properties=engine.properties,
            engine=publish.engine_file(paths[chosen.precision]),
            gate=Gate(images=len(sets.gate), image_source=sets.source, rows=tuple(rows)),
            probe_embedding=tuple(_probe(engine, source)),
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            tools={name: version(name) for name in _TOOLS},
            device=_device(),
        )
        publish.publish(paths[chosen.precision], manifest, folder)
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
        reference = engines.OnnxRuntimeEngine(path, "fp32")
        advance(1)
    size = source.info.preprocessing.size
    random = np.random.default_rng(0)
    noise = [
        random.integers(0, 256, (count, size, size, 3), dtype=np.uint8)
        for count in _VERIFIED_BATCHES
    ]
    real = [sets.gate[:count] for count in _VERIFIED_BATCHES]
    with report.step("Comparing with PyTorch", len(noise + real)) as advance:
        error = 0.0
        for pixels in (*noise, *real):
            found = onnx_graph.compare(
                reference.embed, source.image, source.info.preprocessing, [pixels]
            )
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
    sets: images.ImageSets,
    work: Path,
    report: Reporter,
) -> dict[Precision, Path]:
    """One graph file for each precision; BF16 is the FP32 graph, run in BF16 by the runtime."""
    paths: dict[Precision, Path] = {}
    for precision in precisions:
        if precision != "int8":
            paths[precision] = work / "fp32.onnx"
            continue
        ranges = _calibrate(graph, sets, report)
        paths[precision] = work / "int8.onnx"
        onnx_graph.save(quantise.quantise(graph, ranges, quantise.INT8), paths[precision])
    return paths


def _calibrate(
    graph: onnx.ModelProto, sets: images.ImageSets, report: Reporter
) -> dict[str, quantise.Range]:
    layers = quantise.linear_layers(graph)
    names = sorted({layer.activation for layer in layers})
    session = engines.session(quantise.with_outputs(graph, names).SerializeToString())

    def activations(pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        values = session.run(names, {onnx_graph.INPUT: pixels})
        return dict(zip(names, values, strict=True))

    with report.step("Calibrating", len(sets.calibration)) as advance:
        return quantise.calibrate(
            layers, activations, sets.calibration, batch=_BATCH, advance=advance
        )


def _load(
    paths: dict[Precision, Path], source: checkpoint.Checkpoint, report: Reporter
) -> dict[Precision, Engine]:
    loaded: dict[Precision, Engine] = {}
    with report.step("Compiling engines", len(paths)) as advance:
        for precision, path in paths.items():
            runtime, reason = engines.choose_runtime(
                path, precision, source.info.preprocessing.size
            )
            if runtime != "openvino":
                report.note(f"{precision}: {reason}; ONNX Runtime is used instead.")
            loaded[precision] = engines.load(path, precision, runtime)
            advance(1)
    return loaded


def _judge(
    loaded: dict[Precision, Engine],
    expected: NDArray[np.float32],
    sets: images.ImageSets,
    report: Reporter,
) -> list[GateRow]:
    accuracies = {}
    with report.step("Gate: accuracy", len(loaded) * len(sets.gate)) as advance:
        for precision, engine in loaded.items():
            found = gate.embed(engine, sets.gate, batch=_BATCH, advance=advance)
            accuracies[precision] = gate.accuracy(expected, found)
    total = len(gate.BATCHES) * gate.ROUNDS * len(loaded)
    with report.step("Gate: speed", total) as advance:
        speeds = gate.measure_speed(loaded, sets.gate, advance=lambda: advance(1))
    return [gate.judge(name, accuracies[name], speeds[name]) for name in loaded]


def _probe(engine: Engine, source: checkpoint.Checkpoint) -> list[float]:
    answer = engine.embed(probe_pixels(source.info.preprocessing.size))[0]
    return [float(value) for value in answer]


def _device() -> dict[str, str]:
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    return {
        "kind": "cpu",
        "name": name,
        "cores": str(len(os.sched_getaffinity(0))),
        "torch_threads": str(torch.get_num_threads()),
    }
