"""Every `config.pbtxt`, read by Triton's own protobuf, against profiles and batching."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from vitrine_server.config import Settings

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "model_repository"
IMAGES = sorted(MODELS.glob("*/image_encoder/config.pbtxt"))
CONFIGS = [*IMAGES, *sorted((MODELS / "text").glob("*.pbtxt"))]
NATIVE = MODELS / "gpu" / "image_encoder" / "config.pbtxt"


def parsed(path: Path) -> Any:
    return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())


def profile() -> tuple[int, int, int]:
    """Least, typical and largest batch: TensorRT need not be installed to read its source."""
    source = (ROOT / "export" / "vitrine_export" / "tensorrt_engine.py").read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "batches":
            assert node.value is not None
            least, typical, most = ast.literal_eval(node.value)
            return least, typical, most
    raise AssertionError("BuildOptions has no batches")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(MODELS)))
def test_no_request_sleeps_in_the_queue_and_names_agree(path: Path) -> None:
    config = parsed(path)
    assert config.name == ("text_encoder" if path.parent.name == "text" else "image_encoder")
    assert config.HasField("dynamic_batching")
    # with a limit of its own Triton wakes nobody for what comes while all instances compute
    assert not config.dynamic_batching.HasField("default_queue_policy")
    assert config.dynamic_batching.max_queue_delay_microseconds <= 1000
    assert not config.dynamic_batching.preferred_batch_size
    assert 1 <= config.instance_group[0].count <= 2


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: str(path.relative_to(MODELS)))
def test_tensors_are_the_same_everywhere(path: Path) -> None:
    config = parsed(path)
    if path == NATIVE:  # read from the plan
        assert not config.input
        return
    (pixels,), (embedding,) = config.input, config.output
    assert (pixels.name, pixels.data_type) == ("pixels", model_config_pb2.TYPE_UINT8)
    assert (embedding.name, embedding.data_type) == ("embedding", model_config_pb2.TYPE_FP32)
    assert list(pixels.dims) == [-1, -1, 3]


def test_the_largest_batch_is_that_of_the_profile() -> None:
    least, typical, most = profile()
    assert least == 1 < typical < most
    for name in ("gpu", "gpu_python"):
        config = parsed(MODELS / name / "image_encoder" / "config.pbtxt")
        assert config.max_batch_size == most, name
    assert [warmup.batch_size for warmup in parsed(NATIVE).model_warmup] == [least, typical, most]


def test_no_call_of_the_sidecar_is_larger_than_a_model_takes() -> None:
    largest = next(
        constraint.le
        for constraint in Settings.model_fields["encoder_batch"].metadata
        if hasattr(constraint, "le")
    )
    for path in CONFIGS:
        assert parsed(path).max_batch_size >= largest, path


def test_the_native_model_is_warm_and_uses_cuda_graphs() -> None:
    config = parsed(NATIVE)
    assert config.backend == "tensorrt"
    assert config.default_model_filename == "model.plan"
    assert config.optimization.cuda.graphs
    for warmup in config.model_warmup:
        pixels = warmup.inputs["pixels"]
        assert pixels.data_type == model_config_pb2.TYPE_UINT8
        assert list(pixels.dims) == [224, 224, 3]


def test_both_requirements_pin_the_same_tensorrt() -> None:
    def pins(path: Path) -> dict[str, str]:
        lines = [line for line in path.read_text().splitlines() if "==" in line]
        return dict(line.split("==") for line in lines)

    export = pins(ROOT / "export" / "requirements-gpu.txt")
    serve = pins(MODELS / "requirements-gpu.txt")
    assert {"tensorrt-cu13", "pycuda"} <= set(serve)
    shared = set(export) & set(serve)
    assert {name: export[name] for name in shared} == {name: serve[name] for name in shared}
