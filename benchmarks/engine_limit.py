"""How near the CPU engine is to what this machine can compute, and what each step to it gave.

Two tables from one run, in which all candidates take turns:

1. ViT-S/16 at 224: from ONNX Runtime FP32 to the INT8 engine, one step after the other, as the
   median ratio of the rounds; by the clock and by CPU time, which holds on a busy machine.
2. ViT-S/16 and the published engine: images a second, the operations counted in the graph, the
   peaks that a chain of matrix products reaches here in FP32 and INT8, and the ratio.

The ceiling is the time of the counted operations at those peaks: matrix products alone, as if
normalisation, softmax and memory cost nothing. Last, how long an engine takes to start: compiled,
and from the cache of compiled models that serving keeps.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import openvino  # type: ignore[import-untyped]
from onnx import TensorProto, helper, numpy_helper, shape_inference
from rich.console import Console
from rich.table import Table

from vitrine_export import calibrate, checkpoint, engines, onnx_graph, quantise, simplify
from vitrine_server import manifest as manifests

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

console = Console()
# (rows, width, layers) of the matrix products whose speed is called the peak: weights that fit the
# cache, rows enough for every core
PEAK_SHAPE = (4096, 1024, 6)


@dataclass(frozen=True)
class Operations:
    """Multiplications and additions of one image in matrix products, by number type."""

    fp32: float
    int8: float


@dataclass(frozen=True)
class Candidate:
    """Something that takes turns. work: operations (peaks) or images (engines) of one call."""

    engine: engines.Engine
    batch: NDArray[Any]
    work: float


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="vitrine-limit-") as folder:
        work = Path(folder)
        steps = _steps(work, options.batch)
        peaks = {name: _peak(name, work) for name in ("fp32", "int8")}
        published = _published(options.engine, options.batch)
        everything = {**steps, **peaks, **({"published": published[0]} if published else {})}
        seconds, cpu_s = _race(everything, rounds=options.rounds)
        rates = {
            name: candidate.work / statistics.median(seconds[name])
            for name, candidate in everything.items()
        }
        _show_steps(list(steps), seconds, cpu_s, rates, options.batch)
        limits = {"ViT-S/16, INT8": (rates["streams"], count(work / "int8.onnx"))}
        starts = {"ViT-S/16, INT8": _starts(work / "int8.onnx", steps["streams"].engine, work)}
        if published:
            candidate, name, path = published
            limits[name] = (rates["published"], count(path))
            if candidate.engine.runtime == "openvino":
                starts[name] = _starts(path, candidate.engine, work)
        _show_limits(limits, rates)
        for name, (cold, warm) in starts.items():
            console.print(
                f"Start of {name}: {cold:.2f} s compiled, {warm:.2f} s from the cache",
                highlight=False,
            )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument(
        "--engine",
        type=Path,
        default=Path("model_repository/cpu/image_encoder/1"),
        help="folder of a published engine; left out when there is none",
    )
    return parser.parse_args()


def _steps(work: Path, batch: int) -> dict[str, Candidate]:
    """Each engine has everything of the one before and one thing more."""
    source = checkpoint.load("vit-s")
    graph = onnx_graph.trace(source.image, source.info.preprocessing)
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (batch, 14, 14, 3), dtype=np.uint8)
    pixels = np.ascontiguousarray(coarse.repeat(16, axis=1).repeat(16, axis=2))

    def saved(name: str, model: onnx.ModelProto) -> Path:
        onnx_graph.save(model, work / f"{name}.onnx")
        return work / f"{name}.onnx"

    traced = saved("traced", graph)
    signed = saved("signed", _int8(graph, pixels, quantise.INT8))
    plain = saved("plain", _int8(graph, pixels))
    simplify.patches_as_rows(graph)
    rows = saved("rows", _int8(graph, pixels))
    simplify.fold_attention_scale(graph)
    folded = saved("folded", _int8(graph, pixels))
    simplify.keep_class_token(graph)
    final = saved("int8", _int8(graph, pixels))
    streams = engines.choose_streams(final, "int8", pixels)
    made: dict[str, engines.Engine] = {
        "ONNX Runtime FP32": engines.OnnxRuntimeEngine(traced),
        "OpenVINO FP32": engines.load(traced, "fp32", "openvino"),
        "INT8 linear layers": engines.load(signed, "int8", "openvino"),
        "unsigned activations": engines.load(plain, "int8", "openvino"),
        "patches as rows": engines.load(rows, "int8", "openvino"),
        "scale in the queries": engines.load(folded, "int8", "openvino"),
        "last block: class token": engines.load(final, "int8", "openvino"),
        "streams": engines.load(final, "int8", "openvino", streams=streams),
    }
    console.print(f"Streams chosen by measurement: {streams}", highlight=False)
    return {name: Candidate(engine, pixels, batch) for name, engine in made.items()}


def _int8(
    graph: onnx.ModelProto,
    pixels: NDArray[np.uint8],
    format: quantise.Format = quantise.INT8_CPU,
) -> onnx.ModelProto:
    return quantise.quantise(graph, calibrate.ranges(graph, pixels, batch=4), format)


def _peak(name: str, work: Path) -> Candidate:
    """A chain of matrix products; in INT8 the values between them stay INT8."""
    rows, width, depth = PEAK_SHAPE
    random = np.random.default_rng(0)
    weights = random.normal(size=(width, width)).astype(np.float32) / np.float32(np.sqrt(width))
    tensors = ["x", *(f"y{number}" for number in range(1, depth)), onnx_graph.OUTPUT]
    nodes = [
        helper.make_node(
            "MatMul", [tensors[number], f"w{number}"], [tensors[number + 1]], f"m{number}"
        )
        for number in range(depth)
    ]
    shape: list[str | int | None] = ["rows", width]
    graph = helper.make_graph(
        nodes,
        "peak",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(onnx_graph.OUTPUT, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weights, f"w{number}") for number in range(depth)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", onnx_graph.OPSET)])
    model.ir_version = 10
    x = random.normal(size=(rows, width)).astype(np.float32)
    if name == "int8":
        found = quantise.Range()
        found.add(x)
        ranges = {layer.node: found for layer in quantise.linear_layers(model)}
        model = quantise.quantise(model, ranges, quantise.INT8_CPU)
    path = work / f"peak-{name}.onnx"
    onnx_graph.save(model, path)
    # Each core works alone on its rows, so that no core waits for another.
    engine = engines.load(path, "fp32", "openvino", streams=len(os.sched_getaffinity(0)))
    return Candidate(engine, x, 2.0 * rows * width * width * depth)


def _published(folder: Path, batch: int) -> tuple[Candidate, str, Path] | None:
    """The engine of this machine, its name and its graph."""
    try:
        found = manifests.load(folder)
    except manifests.ManifestError:
        return None
    path = folder / found.engine.file
    streams = int(found.properties.get("NUM_STREAMS", "1"))
    engine = engines.load(path, found.precision, found.runtime, streams=streams)
    pixels = manifests.probe_pixels(found.encoder.preprocessing.size).repeat(batch, axis=0)
    name = f"{found.encoder.name}, {found.precision.upper()} ({found.runtime})"
    return Candidate(engine, pixels, batch), name, path


def _starts(path: Path, engine: engines.Engine, work: Path) -> tuple[float, float]:
    """Seconds until an engine is compiled, without and with its compiled form in the cache."""
    seconds = []
    for _ in range(2):
        core: Any = openvino.Core()
        core.set_property({"CACHE_DIR": str(work / "cache" / path.stem)})
        start = time.perf_counter()
        core.compile_model(str(path), "CPU", engine.properties)
        seconds.append(time.perf_counter() - start)
    return seconds[0], seconds[1]


def count(path: Path) -> Operations:
    """Two for each multiply-add in MatMul, Gemm and Conv, at batch 1."""
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    inferred = shape_inference.infer_shapes(model, data_prop=True)
    infos = [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]
    shapes = {
        item.name: [max(1, dim.dim_value) for dim in item.type.tensor_type.shape.dim]
        for item in infos
    }
    shapes |= {item.name: list(item.dims) for item in model.graph.initializer}
    quantised = {
        name
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
        for name in node.output
    }
    totals = {"fp32": 0.0, "int8": 0.0}
    for node in model.graph.node:
        if node.op_type not in ("MatMul", "Gemm", "Conv"):
            continue
        weight = shapes[node.input[1]]
        if node.op_type == "Conv":
            inner = float(np.prod(weight[1:]))
        else:
            inner = float(shapes[node.input[0]][-1])
        kind = "int8" if node.input[1] in quantised else "fp32"
        totals[kind] += 2 * float(np.prod(shapes[node.output[0]])) * inner
    return Operations(**totals)


def _race(
    candidates: Mapping[str, Candidate], *, rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds and CPU seconds of each call; all candidates take turns, so that a slow minute hits
    each alike."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    cpu_s: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(1 + rounds):
        for name, candidate in candidates.items():
            cpu_start, start = time.process_time(), time.perf_counter()
            candidate.engine.embed(candidate.batch)
            if turn:  # the first call compiles kernels
                seconds[name].append(time.perf_counter() - start)
                cpu_s[name].append(time.process_time() - cpu_start)
    return seconds, cpu_s


def _show_steps(
    names: list[str],
    seconds: Mapping[str, list[float]],
    cpu_s: Mapping[str, list[float]],
    rates: Mapping[str, float],
    batch: int,
) -> None:
    table = Table(
        title=f"ViT-S/16 at 224, batch {batch}: each line adds one step", title_justify="left"
    )
    for heading in ("engine", "images/s", "times ONNX Runtime FP32", "times the line above"):
        table.add_column(heading, justify="left" if heading == "engine" else "right")
    for heading in ("CPU ms an image", "times ONNX Runtime FP32", "times the line above"):
        table.add_column(heading, justify="right")
    for above, name in zip([names[0], *names], names, strict=False):
        by_clock, by_cpu = (
            [
                statistics.median(
                    one / two for one, two in zip(spent[other], spent[name], strict=True)
                )
                for other in (names[0], above)
            ]
            for spent in (seconds, cpu_s)
        )
        table.add_row(
            name,
            f"{rates[name]:.1f}",
            *(f"{ratio:.2f}" for ratio in by_clock),
            f"{1e3 * statistics.median(cpu_s[name]) / batch:.1f}",
            *(f"{ratio:.2f}" for ratio in by_cpu),
        )
    console.print(table)


def _show_limits(
    limits: Mapping[str, tuple[float, Operations]], rates: Mapping[str, float]
) -> None:
    console.print(
        f"Peaks of this machine, {'×'.join(map(str, PEAK_SHAPE))}: "
        f"FP32 {rates['fp32'] / 1e9:.0f} GFLOP/s, INT8 {rates['int8'] / 1e9:.0f} GOP/s",
        highlight=False,
    )
    table = Table(title="Distance to the limit", title_justify="left")
    for heading in ("engine", "images/s", "GOP INT8", "GFLOP FP32", "ceiling", "of it"):
        table.add_column(heading, justify="left" if heading == "engine" else "right")
    for name, (rate, operations) in limits.items():
        ceiling = 1 / (operations.fp32 / rates["fp32"] + operations.int8 / rates["int8"])
        table.add_row(
            name,
            f"{rate:.1f}",
            f"{operations.int8 / 1e9:.2f}",
            f"{operations.fp32 / 1e9:.2f}",
            f"{ceiling:.1f}",
            f"{rate / ceiling:.0%}",
        )
    console.print(table)


if __name__ == "__main__":
    main()
