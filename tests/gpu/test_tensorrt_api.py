"""Our TensorRT code against the real bindings of TensorRT 11, on a machine without a GPU.

The bindings' wheel imports when a library with the nine symbols that they look up is there
(tensorrt_stub.c). Then every attribute, method, argument name and argument count that our sources
use is looked up in the real classes.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SOURCES = Path(__file__).resolve().parents[2] / "export" / "vitrine_export"
HERE = Path(__file__).resolve().parent
pytestmark = pytest.mark.skipif(
    shutil.which("gcc") is None, reason="no C compiler for the stub library"
)

# Variables of our sources → class of the bindings.
VARIABLES = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "problem": "ParserError",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "cache": "ITimingCache",
    "engine": "ICudaEngine",
    "self._engine": "ICudaEngine",
    "self._runtime": "Runtime",
    "context": "IExecutionContext",
    "inspector": "EngineInspector",
}
FILES = ("tensorrt_engine.py", "tensorrt_runner.py", "tensorrt_target.py")

DUMP = """
import json, sys
import tensorrt_bindings as trt
found = {}
for name in dir(trt):
    value = getattr(trt, name)
    names = dir(value) if isinstance(value, type) else ()
    members = {member: getattr(value, member).__doc__ or "" for member in names}
    found[name] = {"members": members, "doc": getattr(value, "__doc__", "") or ""}
print(json.dumps(found))
"""


def compile_stub(source: Path, target: Path) -> None:
    command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{target.name}", "-o", target, source]
    subprocess.run([str(part) for part in command], check=True)


@pytest.fixture(scope="module")
def bindings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("stubs")
    compile_stub(HERE / "tensorrt_stub.c", root / "libnvinfer.so.11")
    empty = root / "empty.c"
    empty.write_text("")
    for name in ("libnvinfer_plugin.so.11", "libnvonnxparser.so.11"):
        compile_stub(empty, root / name)
    result = subprocess.run(
        [sys.executable, "-c", DUMP],
        env={"LD_LIBRARY_PATH": str(root), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    if "No module named 'tensorrt_bindings'" in result.stderr:
        pytest.skip("tensorrt-cu13-bindings is not installed")
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def chain(node: ast.expr) -> list[str]:
    """["trt", "BuilderFlag", "TF32"] for trt.BuilderFlag.TF32; [] for anything but names."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Attribute):
        before = chain(node.value)
        return [*before, node.attr] if before else []
    return []


def nodes(file: str) -> list[ast.AST]:
    return list(ast.walk(ast.parse((SOURCES / file).read_text(encoding="utf-8"))))


def owner(names: list[str]) -> tuple[str, str] | None:
    """(class of the bindings, member) of a use like `config.set_flag`."""
    for length in (2, 1):
        variable = ".".join(names[:length])
        if variable in VARIABLES and len(names) > length:
            return VARIABLES[variable], names[length]
    return None


@pytest.mark.parametrize("file", FILES)
def test_every_name_exists(bindings: dict[str, Any], file: str) -> None:
    seen = 0
    for node in nodes(file):
        if not isinstance(node, ast.Attribute):
            continue
        names = chain(node)
        if names[:1] == ["trt"]:
            assert names[1] in bindings, ".".join(names)
            if len(names) > 2:
                assert names[2] in bindings[names[1]]["members"], ".".join(names)
            seen += 1
        elif (found := owner(names)) is not None:
            kind, member = found
            assert member in bindings[kind]["members"], ".".join(names)
            seen += 1
    assert seen >= 1


def signature(doc: str) -> list[tuple[list[str], int]]:
    """Argument names (without self) and how many are required, for each overload in a docstring."""
    overloads = []
    for line in doc.splitlines():
        match = re.match(r"\s*(?:\d+\. )?\w+\((self: .*)\) -> ", line)
        if match is None:
            continue
        arguments = re.findall(r"(\w+): (?:[^,=\[(]|\[[^\]]*\]|\([^)]*\))+(=)?", match.group(1))[1:]
        required = sum(1 for _, default in arguments if not default)
        overloads.append(([name for name, _ in arguments], required))
    return overloads


@pytest.mark.parametrize("file", FILES)
def test_every_call_fits_its_signature(bindings: dict[str, Any], file: str) -> None:
    for node in nodes(file):
        if not isinstance(node, ast.Call) or (found := owner(chain(node.func))) is None:
            continue
        kind, member = found
        overloads = signature(bindings[kind]["members"][member])
        if not overloads:
            continue
        spread = any(isinstance(argument, ast.Starred) for argument in node.args)
        given = [word.arg for word in node.keywords]
        fits = [
            set(given) <= set(names)
            and (spread or required <= len(node.args) + len(given) <= len(names))
            for names, required in overloads
        ]
        assert any(fits), f"{file}:{node.lineno}: {kind}.{member} takes {overloads}"


def test_the_checker_sees_wrong_calls(bindings: dict[str, Any]) -> None:
    """A test of the test: names of TensorRT 8 and a wrong argument are found."""
    flags = bindings["BuilderFlag"]["members"]
    assert "FP16" not in flags
    assert "INT8" not in flags
    assert "execute_async_v2" not in bindings["IExecutionContext"]["members"]
    overloads = signature(bindings["IBuilderConfig"]["members"]["set_timing_cache"])
    assert overloads == [(["cache", "ignore_mismatch"], 2)]
    assert signature(bindings["OnnxParser"]["members"]["parse"]) == [(["model", "path"], 1)]


def test_networks_are_strongly_typed(bindings: dict[str, Any]) -> None:
    text = (SOURCES / "tensorrt_engine.py").read_text(encoding="utf-8")
    assert "NetworkDefinitionCreationFlag.STRONGLY_TYPED" in text
    assert "STRONGLY_TYPED" in bindings["NetworkDefinitionCreationFlag"]["members"]
