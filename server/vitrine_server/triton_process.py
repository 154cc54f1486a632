"""The Triton Inference Server of `.venv/triton`: is it complete, and how is it started?

`nvidia-pytriton` carries the real server and its Python backend. Three things about it are easily
wrong, and each would show as a model that does not load: the backend runs a stub that must match
the environment's Python, the stub wants that Python's shared library, and it takes its packages
from the environment whose `bin` comes first in PATH.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vitrine_server import guardian

if TYPE_CHECKING:
    from pathlib import Path

    from vitrine_server.config import Settings

STUB = "triton_python_backend_stub"
# Lines of a healthy Triton on a machine without a GPU, or while it stops as it was asked to.
NOISE = ("CudaDriverHelper has not been initialized", "Signal (15) received")


class TritonMissing(Exception):
    """Triton cannot be started; the message is one sentence that says why and what to do."""


@dataclass(frozen=True, slots=True)
class TritonInstallation:
    """A complete Triton: the environment, the folder of server and backends, its Python's libs."""

    environment: Path
    home: Path
    library_folder: str


def find(environment: Path) -> TritonInstallation:
    """The Triton in a virtual environment. Raises TritonMissing."""
    environment = environment.absolute()
    homes = sorted(environment.glob("lib/python3.*/site-packages/pytriton/tritonserver"))
    if not homes or not (homes[0] / "bin" / "tritonserver").is_file():
        raise TritonMissing(
            f"There is no Triton in {environment}: run `make serve`, or name its environment in "
            "VITRINE_TRITON_ENV."
        )
    home = homes[0]
    _link_stub(home, version=home.parts[-4].removeprefix("python"))
    installation = TritonInstallation(environment, home, _library_folder(environment))
    _check_libraries(installation)
    return installation


def command(installation: TritonInstallation, settings: Settings, *, run: str) -> list[str]:
    """The command line. Triton is reached by the sidecar alone, so it answers on loopback."""
    arguments = {
        "model-repository": settings.model_repository.absolute(),
        "model-control-mode": "none",
        "backend-directory": installation.home / "backends",
        "backend-config": f"python,shm-region-prefix-name={guardian.region_prefix(run)}",
        "http-address": settings.triton_host,
        "http-port": settings.triton_http_port,
        "grpc-address": settings.triton_host,
        "grpc-port": settings.triton_grpc_port,
        "metrics-address": settings.triton_host,
        "metrics-port": settings.triton_metrics_port,
        "exit-timeout-secs": 10,
        # Completing a config would start each model's stub twice; ours are complete.
        "disable-auto-complete-config": "",
        # This build has only the Python backend on a CPU: no CUDA memory, no GPU figures.
        "allow-gpu-metrics": "false",
        "pinned-memory-pool-byte-size": 0,
    }
    flags = [
        f"--{name}={value}" if value != "" else f"--{name}" for name, value in arguments.items()
    ]
    return [str(installation.home / "bin" / "tritonserver"), *flags]


def environment(installation: TritonInstallation) -> dict[str, str]:
    """Environment variables for the server and, through it, its Python stubs."""
    variables = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONHOME", "PYTHONPATH")
    }
    variables["VIRTUAL_ENV"] = str(installation.environment)
    variables["PATH"] = os.pathsep.join(
        [str(installation.environment / "bin"), os.environ.get("PATH", os.defpath)]
    )
    libraries = [installation.library_folder, os.environ.get("LD_LIBRARY_PATH", "")]
    variables["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, libraries))
    return variables


def dead_stub(server_pid: int) -> bool:
    """Whether a Python stub of a running server has died.

    Triton 2.51 neither replaces it nor says so: it stays ready while each request fails.
    """
    try:
        tasks = list(os.scandir(f"/proc/{server_pid}/task"))
        for task in tasks:
            with open(f"{task.path}/children") as file:
                children = file.read().split()
            if any(_is_zombie(child) for child in children):
                return True
    except OSError:  # the server itself has ended
        return False
    return False


def _is_zombie(pid: str) -> bool:
    with open(f"/proc/{pid}/stat") as file:
        # The state follows the command's name, which is in parentheses and may hold anything.
        return file.read().rpartition(")")[2].split()[0] == "Z"


def _link_stub(home: Path, *, version: str) -> None:
    """Put the stub for this Python where the backend looks for it."""
    stub = home / "python_backend_stubs" / version / STUB
    if not stub.is_file():
        accepted = sorted(
            (folder.name for folder in (home / "python_backend_stubs").glob("3.*")),
            key=lambda name: int(name.partition(".")[2]),
        )
        raise TritonMissing(
            f"Triton's Python backend has no stub for Python {version} (it has "
            f"{', '.join(accepted)}): remove .venv/triton and run `make serve PYTHON=python3.12`."
        )
    link = home / "backends" / "python" / STUB
    if link.exists() and link.samefile(stub):
        return
    # By rename: a server that starts beside us never sees the moment without a stub.
    fresh = link.with_name(f"{STUB}.{os.getpid()}")
    fresh.symlink_to(stub)
    fresh.replace(link)


def _library_folder(environment: Path) -> str:
    """Where the environment's Python keeps its shared library."""
    query = "import sysconfig; print(sysconfig.get_config_var('LIBDIR') or '')"
    python = environment / "bin" / "python"
    try:
        answer = subprocess.run(
            [python, "-I", "-c", query], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise TritonMissing(
            f"{python} does not run ({error}): remove {environment} and run `make serve`."
        ) from None
    return answer.stdout.strip()


def _check_libraries(installation: TritonInstallation) -> None:
    """Raise TritonMissing when the loader would not find a library of the stub."""
    stub = installation.home / "backends" / "python" / STUB
    try:
        listing = subprocess.run(
            ["ldd", stub],
            env=environment(installation),
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return  # no ldd: a missing library will show in Triton's own log
    missing = re.findall(r"(\S+) => not found", listing)
    if missing:
        package = re.sub(r"\.so.*", "", missing[0])
        raise TritonMissing(
            f"Triton's Python backend needs {', '.join(missing)}: install it "
            f"(apt install {package}), or use a Python built with --enable-shared."
        )
