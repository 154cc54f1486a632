"""A Vitrine of one's own: free ports, an empty data folder, stopped at the end."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.machine import ROOT
from harness.started import started
from harness.triton_server import free_ports
from vitrine_client import Client, VitrineError

if TYPE_CHECKING:
    from collections.abc import Iterator


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
        url = f"http://127.0.0.1:{http_port}"
        with started(
            [Path(sys.executable).with_name("vitrine-serve")],
            answers=lambda: _ready(url),
            environment={**os.environ, **{f"VITRINE_{k.upper()}": v for k, v in chosen.items()}},
            folder=ROOT,
        ):
            yield Addresses(url, f"127.0.0.1:{triton_grpc}")


def _ready(url: str) -> bool:
    try:
        with Client(url) as client:
            return client.ready().ready
    except VitrineError:
        return False
