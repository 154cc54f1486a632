from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

TESTS = Path(__file__).resolve().parents[2]
BENCHMARKS = TESTS.parent / "benchmarks"
sys.path[:0] = [str(BENCHMARKS), str(TESTS / "unit" / "client")]

from fake_server import FakeVitrine, serve  # noqa: E402 (the path is set above)


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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty pictures that look different."""
    root = tmp_path / "pictures"
    root.mkdir()
    for at in range(20):
        noise = np.random.default_rng(at).integers(0, 256, (8, 8, 3), np.uint8)
        suffix = "png" if at % 2 else "jpg"
        Image.fromarray(noise).resize((64, 64)).save(root / f"{at:02}.{suffix}")
    return root


@pytest.fixture
def fake() -> FakeVitrine:
    return FakeVitrine()


@pytest.fixture
def url(fake: FakeVitrine) -> Iterator[str]:
    with serve(fake) as address:
        yield address
