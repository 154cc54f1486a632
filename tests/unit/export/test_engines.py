"""OpenVINO on this machine: the trial that it must survive, and streams that answer alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from vitrine_export import engines, onnx_graph, targets
from vitrine_export.errors import ExportError

if TYPE_CHECKING:
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray


@pytest.fixture(scope="module")
def path(graph: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("graph") / "fp32.onnx"
    onnx_graph.save(graph, file)
    return file


@pytest.mark.parametrize("streams", [1, 2, 4])
@pytest.mark.parametrize("count", [1, 3, 8])
def test_streams_share_a_batch_and_keep_its_order(
    path: Path, pixels: NDArray[np.uint8], streams: int, count: int
) -> None:
    engine = engines.load(path, "fp32", "openvino", streams=streams)
    expected = engines.OnnxRuntimeEngine(path).embed(pixels[:count])
    np.testing.assert_allclose(engine.embed(pixels[:count]), expected, atol=1e-5)
    assert engine.properties["NUM_STREAMS"] == str(streams)


def test_a_later_batch_does_not_change_an_earlier_answer(
    path: Path, pixels: NDArray[np.uint8]
) -> None:
    engine = engines.load(path, "fp32", "openvino")
    first = engine.embed(pixels[:4])
    before = first.copy()
    engine.embed(pixels[4:8])
    np.testing.assert_array_equal(first, before)


def test_streams_are_a_power_of_two_within_the_cores(path: Path, pixels: NDArray[np.uint8]) -> None:
    assert engines.choose_streams(path, "fp32", pixels[:1]) == 1
    found = engines.choose_streams(path, "fp32", pixels[:8])
    assert found in [1 << n for n in range(8)]


def test_openvino_passes_its_trial(path: Path, pixels: NDArray[np.uint8]) -> None:
    assert engines.choose_runtime(path, "fp32", pixels[:1])[0] == "openvino"


def test_a_failed_trial_leaves_onnx_runtime_and_says_why(
    tmp_path: Path, pixels: NDArray[np.uint8]
) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    runtime, reason = engines.choose_runtime(tmp_path / "broken.onnx", "fp32", pixels[:1])
    assert runtime == "onnxruntime"
    assert reason.startswith("OpenVINO failed its trial (")
    assert "\n" not in reason


def test_a_crash_of_the_trial_is_survived(
    path: Path, pixels: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_TRIAL", "import os; os.abort()")
    runtime, reason = engines.choose_runtime(path, "fp32", pixels[:1])
    assert (runtime, reason) == ("onnxruntime", "OpenVINO failed its trial (killed by SIGABRT)")


def test_bf16_is_refused_where_the_cpu_has_none_with_what_it_needs() -> None:
    target = targets.CpuTarget()
    if engines.has_bf16():
        assert targets.wanted(target, "bf16") == ("fp32", "bf16")
        return
    with pytest.raises(ExportError, match=r"possible are fp32, int8\. BF16 needs a CPU with"):
        targets.wanted(target, "bf16")
