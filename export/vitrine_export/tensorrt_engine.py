"""ONNX graph → TensorRT plan: strongly typed network, one optimisation profile, a timing cache.

Held against the real bindings by tests/gpu/test_tensorrt_api.py; it runs only where TensorRT is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import tensorrt as trt  # type: ignore[import-not-found,unused-ignore]

from vitrine_export.errors import ExportError
from vitrine_export.onnx_graph import INPUT

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """batches: least, typical and largest batch of the optimisation profile.

    optimisation_level: 0 (fast build) to 5 (fast engine). version_compatible: the plan also loads
    under other TensorRT 11 versions. hardware_compatible: it also runs on GPUs of the same compute
    capability, and not only on this model of GPU. Both cost some speed.
    """

    batches: tuple[int, int, int] = (1, 32, 128)
    optimisation_level: int = 4
    workspace_bytes: int = 4 * 2**30
    version_compatible: bool = False
    hardware_compatible: bool = False


def build(graph: Path, *, size: int, options: BuildOptions, timing_cache: Path) -> bytes:
    """The serialised engine for this GPU. size: S of the pixels (B, S, S, 3).

    timing_cache: file that is read, if it is there, and written; it makes a second build of similar
    layers minutes faster. Raises ExportError with the parser's or builder's reason.
    """
    logger = Collector()
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph.read_bytes()):
        problems = [parser.get_error(number) for number in range(parser.num_errors)]
        reasons = "; ".join(f"{problem.node_operator()}: {problem.desc()}" for problem in problems)
        raise ExportError(f"TensorRT {trt.__version__} cannot read the graph: {reasons[:400]}")
    config = configure(builder, options, size=size)
    known = timing_cache.read_bytes() if timing_cache.is_file() else b""
    cache = config.create_timing_cache(known)
    # A cache of another GPU or TensorRT is not used; the build then starts with an empty one.
    if not config.set_timing_cache(cache, ignore_mismatch=False):
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ExportError(f"TensorRT {trt.__version__} cannot build the engine: {logger.reason()}")
    timing_cache.parent.mkdir(parents=True, exist_ok=True)
    timing_cache.write_bytes(bytes(memoryview(config.get_timing_cache().serialize())))
    return bytes(memoryview(plan))


def configure(builder: Any, options: BuildOptions, *, size: int) -> Any:
    """The builder's configuration, profile included."""
    config = builder.create_builder_config()
    config.builder_optimization_level = options.optimisation_level
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    # An FP32 engine is FP32: TF32 keeps only ten bits of the mantissa.
    config.clear_flag(trt.BuilderFlag.TF32)
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.hardware_compatible:
        level = trt.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY
        config.hardware_compatibility_level = level
    profile = builder.create_optimization_profile()
    shapes = [(batch, size, size, 3) for batch in options.batches]
    profile.set_shape(INPUT, *shapes)
    config.add_optimization_profile(profile)
    return config


def inspect(plan: bytes) -> str:
    """Layers of an engine as JSON: what was fused, and in which type each layer runs."""
    logger = Collector()
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    if engine is None:
        raise ExportError(f"TensorRT cannot load the engine that it built: {logger.reason()}")
    inspector = engine.create_engine_inspector()
    report: str = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
    return report


class Collector(trt.ILogger):  # type: ignore[misc,unused-ignore]
    """Keeps TensorRT's errors: an exception of ours says why, not only that."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[str] = []

    def log(self, severity: Any, message: str) -> None:
        """Called by TensorRT, from any thread."""
        if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
            self.errors.append(message)

    def reason(self) -> str:
        """The errors so far, on one line."""
        return " ".join(" ".join(self.errors).split())[:400] or "it gives no reason"
