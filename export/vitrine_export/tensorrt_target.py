"""The GPU as a target: TensorRT plans, timed and judged by the runner that also serves them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pycuda.driver as cuda  # type: ignore[import-not-found,unused-ignore]
import tensorrt as trt  # type: ignore[import-not-found,unused-ignore]

from vitrine_export import quantise
from vitrine_export.errors import ExportError
from vitrine_export.targets import Candidate
from vitrine_export.tensorrt_engine import BuildOptions, build, inspect
from vitrine_export.tensorrt_runner import TensorRtRunner

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from vitrine_export.engines import Runtime
    from vitrine_server.manifest import Precision

TIMING_CACHE = Path.home() / ".cache" / "vitrine" / "tensorrt-timing.cache"


class TensorRtEngine:
    """A plan as an engine of the gate."""

    runtime: Runtime = "tensorrt"

    def __init__(self, plan: bytes) -> None:
        self.properties = {"tensorrt": str(trt.__version__)}
        try:
            self._runner = TensorRtRunner(plan)
        except (RuntimeError, cuda.Error) as error:
            raise ExportError(f"{error}.") from error

    def embed(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        return self._runner.embed(batch)


class GpuTarget:
    """The first GPU of this machine."""

    name = "gpu"
    int8 = quantise.INT8
    repository = Path("model_repository/gpu_python")
    tools: tuple[str, ...] = ("torch", "onnx", "nvidia-modelopt", "pycuda")
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)

    def __init__(self, options: BuildOptions) -> None:
        self.options = options
        try:
            cuda.init()
            self._device = cuda.Device(0)
        except cuda.Error as error:
            raise ExportError(f"TARGET=gpu: the CUDA driver finds no GPU ({error}).") from error

    def precisions(self) -> tuple[Precision, ...]:
        """FP8 arithmetic came with compute capability 8.9 (Ada and Hopper)."""
        fast = self._device.compute_capability() >= (8, 9)
        return ("fp32", "fp16", "int8", "fp8") if fast else ("fp32", "fp16", "int8")

    def load(
        self, graph: Path, precision: Precision, *, size: int, note: Callable[[str], object]
    ) -> Candidate:
        plan = build(graph, size=size, options=self.options, timing_cache=TIMING_CACHE)
        path = graph.with_name(f"{precision}.plan")
        path.write_bytes(plan)
        note(f"{precision}: engine of {len(plan) / 1e6:.0f} MB")
        return Candidate(TensorRtEngine(plan), path, {"layers.json": inspect(plan)})

    def device(self) -> dict[str, str]:
        major, minor = self._device.compute_capability()
        return {
            "kind": "gpu",
            "name": str(self._device.name()),
            "compute_capability": f"{major}.{minor}",
            "tensorrt": str(trt.__version__),
        }
