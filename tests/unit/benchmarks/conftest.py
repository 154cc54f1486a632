from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))


@pytest.fixture
def stall_server() -> Callable[..., AbstractContextManager[str]]:
    """Starts the server with a known stall in a process of its own; gives its URL."""

    @contextmanager
    def start(*, service_ms: float, stall_at: float = 0, stall_s: float = 0) -> Iterator[str]:
        options = ["--service-ms", service_ms, "--stall-at", stall_at, "--stall-s", stall_s]
        with subprocess.Popen(
            [sys.executable, "-m", "harness.stall_server", *map(str, options)],
            cwd=BENCHMARKS,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            try:
                yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
            finally:
                process.stdin.close()

    return start
