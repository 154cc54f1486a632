"""A real `vitrine-serve` for the tests: free ports, its own data, and ways to end it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = Path(__file__).resolve().parents[2]
TRITON_ENV = Path(os.environ.get("VITRINE_TRITON_ENV", REPOSITORY / ".venv" / "triton"))
SHARED_MEMORY = Path("/dev/shm")
START_LIMIT_S = 180.0
STOP_LIMIT_S = 60.0

_PORTS = ("http_port", "grpc_port", "triton_http_port", "triton_grpc_port", "triton_metrics_port")


def copy_model_files(target: Path) -> None:
    """Triton's CPU models without an engine."""
    source = REPOSITORY / "model_repository" / "cpu"
    for name in ("image_encoder/config.pbtxt", "image_encoder/1/model.py"):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name, target / name)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def eventually(condition: Callable[[], object], *, limit_s: float, what: str) -> None:
    """Wait until `condition()` is true; fail with `what` otherwise."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {limit_s:.0f} s"
        time.sleep(0.1)


def still_running(family: list[psutil.Process]) -> list[psutil.Process]:
    """Without those that have ended and wait for init to notice."""
    alive = []
    for process in family:
        with suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
    return alive


@dataclass
class Server:
    """`vitrine-serve` with the engine in `model_repository`. `log` holds what it printed."""

    model_repository: Path
    data: Path
    log: Path
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['http_port']}"

    @property
    def triton_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['triton_http_port']}"

    @property
    def triton_grpc(self) -> str:
        return f"127.0.0.1:{self.ports['triton_grpc_port']}"

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def environment(self) -> dict[str, str]:
        settings = {name: str(port) for name, port in self.ports.items()}
        settings |= {
            "data": str(self.data),
            "model_repository": str(self.model_repository),
            "triton_env": str(TRITON_ENV),
            **self.settings,
        }
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("VITRINE_")}
        return inherited | {f"VITRINE_{name.upper()}": value for name, value in settings.items()}

    def launch(self) -> None:
        """Start without waiting."""
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("vitrine-serve")],
                # Not in the repository: somebody's vitrine.toml there is not for the tests.
                cwd=self.log.parent,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start(self) -> None:
        """Start and wait until it is ready."""
        self.launch()
        eventually(
            lambda: "Vitrine is ready" in self.output or self.returncode is not None,
            limit_s=START_LIMIT_S,
            what="vitrine-serve is ready",
        )
        assert self.returncode is None, f"vitrine-serve ended at once:\n{self.output}"

    @property
    def returncode(self) -> int | None:
        assert self.process is not None
        return self.process.poll()

    @property
    def ready(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.base_url}/readyz", timeout=5).status_code == 200
        return False

    def wait(self) -> int:
        """The exit code, once it has ended."""
        assert self.process is not None
        return self.process.wait(STOP_LIMIT_S)

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> int:
        """Ask it to stop; the exit code."""
        if self.returncode is None:
            self.send(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """kill -9 of the supervisor; returns when everything that it ran is gone as well."""
        family = self.family()
        self.send(signal.SIGKILL)
        self.wait()
        eventually(lambda: not still_running(family), limit_s=10, what="its processes have ended")

    def restart(self) -> None:
        self.stop()
        self.start()

    def family(self) -> list[psutil.Process]:
        """Everything that the supervisor has started, directly or not."""
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def child(self, fragment: str) -> psutil.Process:
        """The one process whose command line holds `fragment`."""
        return next(
            each
            for each in self.family()
            if each.status() != psutil.STATUS_ZOMBIE
            and any(fragment in word for word in each.cmdline())
        )

    def regions(self) -> list[Path]:
        """Shared memory of this run."""
        run = self.child("guardian.py").cmdline()[-1]
        return sorted(SHARED_MEMORY.glob(f"vitrine-{run}*"))
