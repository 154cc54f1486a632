"""The GPU script's parts that a CPU can run, against references."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from harness import machine

GPU = machine.ROOT / "benchmarks" / "gpu"
sys.path.append(str(GPU))

import encode  # noqa: E402 (the path is set above)
import neighbours  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

CPU = torch.device("cpu")


def vit() -> encode.VisionTransformer:
    torch.manual_seed(0)
    return encode.VisionTransformer(64, 3, 4, 64).eval()


def pixels(batch: int) -> torch.Tensor:
    return torch.randint(0, 256, (batch, 64, 64, 3), dtype=torch.uint8)


def test_operations_are_those_that_torch_counts() -> None:
    # the counter knows products, not fused attention
    products = sdpa_kernel(SDPBackend.MATH)
    with FlopCounterMode(display=False) as counter, torch.inference_mode(), products:
        vit()(pixels(1))
    assert encode.flops(64, 3, 64) == pytest.approx(counter.get_total_flops(), rel=1e-3)


def test_the_onnx_graph_is_the_model() -> None:
    model, image = vit(), pixels(2)
    session = onnxruntime.InferenceSession(
        encode.onnx_bytes(model, image), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"pixels": image.numpy()})
    with torch.inference_mode():
        np.testing.assert_allclose(found, model(image), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_the_truth_is_exact() -> None:
    vectors, queries = neighbours.clustered(5000, 24, CPU)
    assert vectors.shape == (5000, 24)
    assert queries.shape == (neighbours.QUERIES, 24)
    found = neighbours.exact(vectors, queries, CPU)
    scores = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    best = np.sort(scores, axis=1)[:, ::-1][:, : neighbours.K]
    np.testing.assert_allclose(np.take_along_axis(scores, found, 1), best, atol=1e-6)


def test_the_whole_script_on_a_cpu(tmp_path: Path) -> None:
    output = tmp_path / "gpu.json"
    options = ["--device", "cpu", "--tiny", "--output", str(output), "--only"]
    sections = ["peak", "encode", "tensorrt", "neighbours", "decode"]
    done = subprocess.run(
        [sys.executable, str(GPU / "run.py"), *options, *sections],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(output.read_text())["sections"]
    assert list(found) == sections
    assert found["tensorrt"] == {"missing": "TensorRT runs on CUDA alone"}
    for name in ("encode", "neighbours", "decode"):
        assert not [row for row in found[name]["figures"] if "failed" in row]
    rows = found["neighbours"]["figures"]
    assert all(row["recall_at_10"] == 1 for row in rows if row["index"] == "Flat")
    assert all(row["images_per_s"] > 0 for row in found["encode"]["figures"])


def test_without_cuda_it_says_so(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    done = subprocess.run(
        [sys.executable, str(GPU / "run.py"), "--output", str(tmp_path / "gpu.json")],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "PyTorch sees no CUDA device" in done.stderr
