"""The runtimes that execute a graph on this CPU, each behind one small typed class."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import openvino  # type: ignore[import-untyped]

from vitrine_export.errors import ExportError
from vitrine_export.onnx_graph import OUTPUT

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from vitrine_server.manifest import Precision

Runtime = Literal["openvino", "onnxruntime", "tensorrt"]
_TRIAL_TIMEOUT_S = 300


class Engine(Protocol):
    """A loaded graph. properties: settings of the runtime, as Triton's model hands them to it."""

    runtime: Runtime
    properties: dict[str, str]

    def embed(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """pixels (B, S, S, 3) uint8 or tokens (B, T) int64 → (B, D) float32."""


class OpenVinoEngine:
    """OpenVINO on the CPU: one stream, all cores."""

    runtime: Runtime = "openvino"

    def __init__(self, path: Path, precision: Precision) -> None:
        # Everything that is not quantised runs in this type; OpenVINO would choose by itself.
        self.properties = {
            "INFERENCE_PRECISION_HINT": float_type(precision),
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
        }
        self._compiled: Any = openvino.Core().compile_model(str(path), "CPU", self.properties)
        self._request: Any = self._compiled.create_infer_request()

    def embed(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        result = self._request.infer({0: batch}, share_inputs=True, share_outputs=False)
        return np.asarray(result[OUTPUT], np.float32)


class OnnxRuntimeEngine:
    """ONNX Runtime on the CPU: all cores."""

    runtime: Runtime = "onnxruntime"

    def __init__(self, path: Path, precision: Precision) -> None:
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


def load(path: Path, precision: Precision, runtime: Runtime) -> Engine:
    """Load a graph. Raises ExportError when the runtime refuses it."""
    try:
        if runtime == "openvino":
            return OpenVinoEngine(path, precision)
        return OnnxRuntimeEngine(path, precision)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ExportError(f"{runtime} cannot load the {precision} graph: {reason}") from error


def float_type(precision: Precision) -> str:
    """OpenVINO's name of the type in which an engine's unquantised part runs on this machine."""
    if precision == "fp32":
        return "f32"
    return "bf16" if has_bf16() else "f32"


def has_bf16() -> bool:
    """Whether this CPU has BF16 arithmetic (AVX-512 BF16 or AMX)."""
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def choose_runtime(path: Path, precision: Precision, example: NDArray[Any]) -> tuple[Runtime, str]:
    """OpenVINO when it survives a trial on this machine, else ONNX Runtime; and the reason.

    example: a batch that the graph takes. OpenVINO has crashed in compile_model on some CPUs
    (openvino issue 35943), so the trial runs in a process of its own.
    """
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_trial, args=(str(path), float_type(precision), example))
    process.start()
    process.join(_TRIAL_TIMEOUT_S)
    if process.is_alive():
        process.kill()
        process.join()
        return "onnxruntime", f"OpenVINO did not answer within {_TRIAL_TIMEOUT_S} s"
    if process.exitcode:
        return "onnxruntime", f"OpenVINO failed its trial (exit code {process.exitcode})"
    return "openvino", "OpenVINO passed its trial"


def _trial(path: str, precision_hint: str, example: NDArray[Any]) -> None:
    hint = {"INFERENCE_PRECISION_HINT": precision_hint}
    compiled: Any = openvino.Core().compile_model(path, "CPU", hint)
    if not np.isfinite(compiled(example)[0]).all():
        raise SystemExit(3)
