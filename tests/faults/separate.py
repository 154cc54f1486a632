"""Starts and stops the process of `served_process.py`, and looks at what it uses."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

# `make faults` sets this for the full length
FULL = os.environ.get("VITRINE_FAULTS") == "full"


@dataclass
class Separate:
    """A server in its own process. log: the file that it prints to."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def rss_mb(self) -> float:
        return float(psutil.Process(self.process.pid).memory_info().rss / 1e6)

    @property
    def peak_rss_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return float(status.split("VmHWM:")[1].split()[0]) / 1e3

    def forget_peak(self) -> None:
        """Start the measurement of peak_rss_mb again."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    @property
    def descriptors(self) -> int:
        return int(psutil.Process(self.process.pid).num_fds())

    @property
    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", timeout=10).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def separate(folder: Path, *, image_s: float = 0.0, **settings: Any) -> Iterator[Separate]:
    """A running server; fails when it has ended by itself or printed an error."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    asked = {
        "settings": {"data": str(folder / "data"), "http_port": port, "cache_mb": 0, **settings},
        "encoder": {"image_s": image_s},
    }
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("served_process.py")), json.dumps(asked)],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=output,
            stderr=output,
        )
    server = Separate(port, process, log)
    try:
        deadline = time.monotonic() + 120
        while not server.is_ready:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the server is not ready"
            time.sleep(0.05)
        yield server
        printed = log.read_text()
        assert "Traceback" not in printed, printed[-3000:]
    finally:
        code = server.stop()
    assert code == 0, f"exit code {code}: {log.read_text()[-2000:]}"
