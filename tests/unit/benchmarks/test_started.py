"""What a load tool starts ends with it, whatever ends the tool."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from harness import machine
from harness.started import is_ready, started
from harness.triton_server import free_ports

if TYPE_CHECKING:
    from pathlib import Path

TOOL = """
import sys, time
from harness.started import is_ready, started
port = sys.argv[1]
url = f"http://127.0.0.1:{port}/"
command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", port]
with started(command, answers=lambda: is_ready(url)):
    print("started", flush=True)
    WORK
"""
SLEEP = "time.sleep(60)"
LOOP = "import asyncio, uvloop; uvloop.run(asyncio.sleep(60))"


@pytest.mark.parametrize("work", [SLEEP, LOOP], ids=["in plain code", "in an event loop"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_stops_the_server_too(number: signal.Signals, work: str) -> None:
    (port,) = free_ports(1)
    with subprocess.Popen(
        [sys.executable, "-c", TOOL.replace("WORK", work), str(port)],
        cwd=machine.ROOT / "benchmarks",
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as tool:
        assert tool.stdout is not None
        assert tool.stdout.readline() == "started\n"
        (server,) = psutil.Process(tool.pid).children()
        time.sleep(0.3)  # into its work
        tool.send_signal(number)
        assert tool.wait(timeout=20) != 0
    assert not server.is_running()


def test_a_server_that_does_not_start_is_shown(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text("raise RuntimeError('no engine here')")
    with (
        pytest.raises(SystemExit, match=r"does not start:(?s:.*)no engine here"),
        started([sys.executable, str(script)], answers=lambda: is_ready("http://127.0.0.1:9/")),
    ):
        pass
