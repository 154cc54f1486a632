"""The runtimes that execute a graph on this CPU, each behind one small typed class."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import openvino  # type: ignore[import-untyped]

from vitrine_export.errors import ExportError
from vitrine_export.onnx_graph import OUTPUT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vitrine_server.manifest import Precision

Runtime = Literal["openvino", "onnxruntime", "tensorrt"]
_TRIAL_TIMEOUT_S = 300
_ROUNDS = 7
# Streams cost memory for a copy of the kernels each, so they must win more than noise.
_MIN_STREAM_GAIN = 1.03


class Engine(Protocol):
    """A loaded graph. properties: settings of the runtime, as Triton's model hands them to it."""

    runtime: Runtime
    properties: dict[str, str]

    def embed(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """pixels (B, S, S, 3) uint8 or tokens (B, T) int64 → (B, D) float32."""


class OpenVinoEngine:
    """OpenVINO on the CPU.

    streams: parts of a batch that are computed side by side, each by its share of the cores: cores
    that wait for each other after every layer lose more than ones that work alone. A batch that is
    smaller than that is computed by all cores together.
    """

    runtime: Runtime = "openvino"

    def __init__(self, path: Path, precision: Precision, *, streams: int = 1) -> None:
        # Everything that is not quantised runs in this type; OpenVINO would choose by itself.
        self.properties = {
            "INFERENCE_PRECISION_HINT": float_type(precision),
            "NUM_STREAMS": str(streams),
        }
        self._whole = _requests(path, self.properties | {"NUM_STREAMS": "1"})
        self._parts = _requests(path, self.properties) if streams > 1 else self._whole

    def embed(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        requests = self._parts if len(batch) >= len(self._parts) else self._whole
        parts = np.array_split(batch, len(requests))
        for request, part in zip(requests, parts, strict=True):
            request.start_async({0: part}, share_inputs=True)
        for request in requests:
            request.wait()
        return np.concatenate([request.get_tensor(OUTPUT).data for request in requests])


def _requests(path: Path, properties: dict[str, str]) -> list[Any]:
    """A request for each stream."""
    compiled: Any = openvino.Core().compile_model(str(path), "CPU", properties)
    return [compiled.create_infer_request() for _ in range(int(properties["NUM_STREAMS"]))]


class OnnxRuntimeEngine:
    """ONNX Runtime on the CPU: all cores."""

    runtime: Runtime = "onnxruntime"

    def __init__(self, path: Path) -> None:
        self.properties: dict[str, str] = {}
        self._session = session(path)
        self._input = self._session.get_inputs()[0].name

    def embed(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        return np.asarray(self._session.run([OUTPUT], {self._input: batch})[0], np.float32)


def session(graph: Path | bytes) -> Any:
    """An ONNX Runtime session on the CPU. Raises ExportError when it cannot run the graph."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    source = graph if isinstance(graph, bytes) else str(graph)
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exception classes share no public base
        reason = " ".join(str(error).split())[:300]
        raise ExportError(f"ONNX Runtime cannot load the graph: {reason}") from error


def load(path: Path, precision: Precision, runtime: Runtime, *, streams: int = 1) -> Engine:
    """Load a graph. Raises ExportError when the runtime refuses it."""
    if runtime == "onnxruntime":
        return OnnxRuntimeEngine(path)
    try:
        return OpenVinoEngine(path, precision, streams=streams)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ExportError(f"OpenVINO cannot load the {precision} graph: {reason}") from error


def float_type(precision: Precision) -> str:
    """OpenVINO's name of the type in which an engine's unquantised part runs on this machine."""
    if precision == "fp32":
        return "f32"
    return "bf16" if has_bf16() else "f32"


def has_bf16() -> bool:
    """Whether this CPU has BF16 arithmetic (AVX-512 BF16 or AMX)."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def choose_streams(path: Path, precision: Precision, batch: NDArray[Any]) -> int:
    """How many streams compute `batch` fastest here: 1, or a power of two up to the cores.

    All candidates take turns, and the median of the ratios within a round decides.
    """
    cores = len(os.sched_getaffinity(0))
    counts = [1 << n for n in range(cores.bit_length()) if 1 << n <= min(cores, len(batch))]
    if len(counts) == 1:
        return 1
    candidates = {n: load(path, precision, "openvino", streams=n) for n in counts}
    seconds: dict[int, list[float]] = {n: [] for n in counts}
    for turn in range(1 + _ROUNDS):
        for count, engine in candidates.items():
            start = time.perf_counter()
            engine.embed(batch)
            if turn:  # the first compiles kernels
                seconds[count].append(time.perf_counter() - start)
    gains = {
        n: statistics.median(one / many for one, many in zip(seconds[1], seconds[n], strict=True))
        for n in counts
    }
    best = max(gains, key=lambda n: gains[n])
    return best if gains[best] >= _MIN_STREAM_GAIN else 1


# OpenVINO alone: a crash in native code must not end the export, and its start must be quick.
_TRIAL = """
import json, sys
import numpy, openvino
path, settings, example = sys.argv[1:]
compiled = openvino.Core().compile_model(path, "CPU", json.loads(settings))
if not numpy.isfinite(compiled(numpy.load(example))[0]).all():
    sys.exit("its answer is not finite")
"""


def choose_runtime(path: Path, precision: Precision, example: NDArray[Any]) -> tuple[Runtime, str]:
    """OpenVINO when it survives a trial on this machine, else ONNX Runtime; and the reason.

    example: a batch that the graph takes. OpenVINO has crashed in compile_model on some CPUs
    (openvino issue 35943), so the trial runs in a process of its own; a second one forgives what
    was the machine's fault.
    """
    reason = ""
    for _ in range(2):
        reason = _try(path, {"INFERENCE_PRECISION_HINT": float_type(precision)}, example)
        if not reason:
            return "openvino", "OpenVINO passed its trial"
    return "onnxruntime", f"OpenVINO failed its trial ({reason})"


def _try(path: Path, settings: dict[str, str], example: NDArray[Any]) -> str:
    """Why OpenVINO cannot be used, in a few words; empty when it can."""
    with tempfile.TemporaryDirectory(prefix="vitrine-trial-") as folder:
        file = Path(folder) / "example.npy"
        np.save(file, example)
        command = [sys.executable, "-c", _TRIAL, str(path), json.dumps(settings), str(file)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_TRIAL_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {_TRIAL_TIMEOUT_S} s"
    if done.returncode < 0:
        return f"killed by {signal.Signals(-done.returncode).name}"
    lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return lines[-1][:200] if done.returncode else ""
