"""Where an engine runs: the precisions of a target, how it makes each engine, where it goes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from vitrine_export import engines, quantise
from vitrine_export.errors import ExportError
from vitrine_server.manifest import probe_pixels

if TYPE_CHECKING:
    from collections.abc import Callable

    from vitrine_export.engines import Engine
    from vitrine_export.quantise import Format
    from vitrine_server.manifest import Precision

    Note = Callable[[str], object]

_STREAMS_BATCH = 16
_MISSING: dict[Precision, str] = {
    "bf16": " BF16 needs a CPU with AVX-512 BF16 or AMX (avx512_bf16 or amx_bf16 in /proc/cpuinfo)."
}


@dataclass(frozen=True)
class Candidate:
    """A loaded engine, the file that would be published, and texts about it by file name."""

    engine: Engine
    file: Path
    reports: dict[str, str]


class Target(Protocol):
    """A kind of device. int8: its numbers; tools: packages whose versions the manifest records."""

    name: str
    int8: Format
    repository: Path
    tools: tuple[str, ...]
    batches: tuple[int, ...]

    def precisions(self) -> tuple[Precision, ...]:
        """What this machine can run, FP32 first."""

    def load(self, graph: Path, precision: Precision, *, size: int, note: Note) -> Candidate:
        """Make the engine of a graph. Raises ExportError."""

    def device(self) -> dict[str, str]:
        """What the manifest says about this machine."""


class CpuTarget:
    """OpenVINO, or ONNX Runtime where OpenVINO fails its trial. The engine is the graph itself."""

    name = "cpu"
    int8 = quantise.INT8_CPU
    repository = Path("model_repository/cpu")
    tools: tuple[str, ...] = ("torch", "onnx", "onnxruntime", "openvino")
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32)

    def precisions(self) -> tuple[Precision, ...]:
        """BF16 only where the CPU has its arithmetic: emulated, it is slower than FP32."""
        return ("fp32", "bf16", "int8") if engines.has_bf16() else ("fp32", "int8")

    def load(self, graph: Path, precision: Precision, *, size: int, note: Note) -> Candidate:
        probe = probe_pixels(size)
        runtime, reason = engines.choose_runtime(graph, precision, probe)
        if runtime != "openvino":
            note(f"{precision}: {reason}; ONNX Runtime is used instead.")
            return Candidate(engines.load(graph, precision, runtime), graph, {})
        streams = engines.choose_streams(graph, precision, probe.repeat(_STREAMS_BATCH, axis=0))
        return Candidate(engines.load(graph, precision, runtime, streams=streams), graph, {})

    def device(self) -> dict[str, str]:
        name = "unknown CPU"
        cpuinfo = Path("/proc/cpuinfo")
        if cpuinfo.is_file():
            for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
                if line.startswith("model name"):
                    name = line.partition(":")[2].strip()
                    break
        return {"kind": "cpu", "name": name, "cores": str(len(os.sched_getaffinity(0)))}


def choose(
    name: str, *, version_compatible: bool = False, hardware_compatible: bool = False
) -> Target:
    """The target called "cpu" or "gpu"; "auto" is the GPU where there is one.

    The compatibilities are those of `tensorrt_engine.BuildOptions`; the CPU needs none.
    Raises ExportError when a GPU is asked for and cannot be used.
    """
    if name == "cpu" or (name == "auto" and not Path("/dev/nvidiactl").exists()):
        return CpuTarget()
    try:
        from vitrine_export.tensorrt_engine import BuildOptions
        from vitrine_export.tensorrt_target import GpuTarget
    except ImportError as error:
        raise ExportError(
            f"TARGET=gpu needs TensorRT and pycuda ({error}): see docs/gpu.md, or use TARGET=cpu."
        ) from error
    return GpuTarget(
        BuildOptions(version_compatible=version_compatible, hardware_compatible=hardware_compatible)
    )


def wanted(target: Target, forced: Precision | None) -> tuple[Precision, ...]:
    """Precisions to build, FP32 first. Raises ExportError for one that the target cannot run."""
    available = target.precisions()
    if forced is None:
        return available
    if forced not in available:
        raise ExportError(
            f"PRECISION={forced} is not possible on this {target.name.upper()}; possible are "
            f"{', '.join(available)}.{_MISSING.get(forced, '')}"
        )
    return ("fp32",) if forced == "fp32" else ("fp32", forced)
