"""Where figures were measured: hardware, versions, commit."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil

PACKAGES = (
    "faiss-cpu",
    "fastapi",
    "grpcio",
    "locust",
    "numpy",
    "onnxruntime",
    "openvino",
    "torch",
    "tritonclient",
    "uvicorn",
    "vitrine-server",
)
ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def describe() -> dict[str, Any]:
    """A description that goes into every result file."""
    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpu": _output("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "commit": _output("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
    }


def result_folder(parent: Path, suffix: str = "") -> Path:
    """A new folder for the results of a run, named by the time."""
    folder = parent / f"{datetime.now():%Y%m%d-%H%M%S}{suffix}"
    folder.mkdir(parents=True)
    return folder


def _cpu_name() -> str:
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
