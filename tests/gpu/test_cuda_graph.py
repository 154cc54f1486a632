"""The CUDA graph's driver calls, made through ctypes against a library that records them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
RUNNER = HERE.parents[1] / "export" / "vitrine_export" / "tensorrt_runner.py"
pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler for the stub")

# pycuda and TensorRT cannot be imported without a GPU; the graph's class uses neither.
SCRIPT = """
import importlib.util, sys, types
for name in ("pycuda", "pycuda.driver", "tensorrt"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["pycuda"].driver = sys.modules["pycuda.driver"]
spec = importlib.util.spec_from_file_location("tensorrt_runner", sys.argv[1])
runner = importlib.util.module_from_spec(spec)
spec.loader.exec_module(runner)
def enqueue():
    print("enqueue", flush=True)
    if len(sys.argv) > 2:
        raise ValueError("the engine failed")
try:
    graph = runner.CudaGraph(0x7f00deadbeef, enqueue)
    graph.launch(0x7f00deadbeef)
except (RuntimeError, ValueError) as error:
    print("error:", error)
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("driver")
    library = folder / "libcuda.so.1"
    command = ["gcc", "-shared", "-fPIC", "-o", str(library), str(HERE / "cuda_driver_stub.c")]
    subprocess.run(command, check=True)
    return folder


def run(driver: Path, *arguments: str, **failures: str) -> list[str]:
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, RUNNER, *arguments],
        env={"LD_LIBRARY_PATH": str(driver)} | failures,
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.splitlines()


def test_capture_instantiate_launch_in_this_order_with_whole_pointers(driver: Path) -> None:
    assert run(driver) == [
        "begin 7f00deadbeef mode 1",
        "enqueue",
        "end 7f00deadbeef",
        "instantiate 600d00000001 flags 0",
        "destroy 600d00000001",
        "launch 600d00000002 on 7f00deadbeef",
    ]


def test_a_failed_engine_ends_the_capture(driver: Path) -> None:
    lines = run(driver, "fail")
    assert "end 7f00deadbeef" in lines
    assert lines[-1] == "error: the engine failed"


@pytest.mark.parametrize("call", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphLaunch"])
def test_a_driver_error_names_its_call(driver: Path, call: str) -> None:
    assert run(driver, **{call: "901"})[-1] == f"error: {call} failed with CUDA error 901"
