"""A Vitrine of one's own: free ports, an empty data folder, stopped at the end."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.machine import ROOT
from harness.triton_server import free_ports
from vitrine_client import Client, VitrineError

if TYPE_CHECKING:
    from collections.abc import Iterator

START_TIMEOUT_S = 180


@dataclass(frozen=True)
class Addresses:
    url: str
    triton: str


@contextmanager
def own_server(**settings: str) -> Iterator[Addresses]:
    """Start `vitrine-serve` with the published engine. settings: VITRINE_* in lower case.

    Raises SystemExit with what it printed when it does not become ready.
    """
    http_port, grpc_port, triton_http, triton_grpc, triton_metrics = free_ports(5)
    with tempfile.TemporaryDirectory(prefix="vitrine-bench-") as folder:
        chosen = {
            "http_port": str(http_port),
            "grpc_port": str(grpc_port),
            "triton_http_port": str(triton_http),
            "triton_grpc_port": str(triton_grpc),
            "triton_metrics_port": str(triton_metrics),
            "data": f"{folder}/data",
            **settings,
        }
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [Path(sys.executable).with_name("vitrine-serve")],
                cwd=ROOT,
                env={**os.environ, **{f"VITRINE_{k.upper()}": v for k, v in chosen.items()}},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            addresses = Addresses(f"http://127.0.0.1:{http_port}", f"127.0.0.1:{triton_grpc}")
            _wait(process, addresses.url, log)
            yield addresses
        finally:
            process.terminate()
            process.wait(timeout=60)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _ready(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"vitrine-serve does not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.3)


def _ready(url: str) -> bool:
    try:
        with Client(url) as client:
            return client.ready().ready
    except VitrineError:
        return False
