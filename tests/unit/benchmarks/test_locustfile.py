"""Locust itself, headless and distributed, against the fake server."""

from __future__ import annotations

import csv
import os
import re
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from harness import machine

if TYPE_CHECKING:
    from pathlib import Path

    from fake_server import FakeVitrine

pytestmark = pytest.mark.slow


def command(url: str, folder: Path, *options: str) -> list[str]:
    locustfile = machine.ROOT / "benchmarks" / "locustfile.py"
    base = [sys.executable, "-m", "locust", "-f", str(locustfile), "--host", url]
    return [*base, "--images", str(folder), *options]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_headless(url: str, folder: Path, tmp_path: Path, fake: FakeVitrine) -> None:
    options = ["--headless", "-u", "4", "-r", "4", "-t", "3s", "--csv", str(tmp_path / "out")]
    mix = "image:4,vector:2,mixed:2,ingest:1"
    done = subprocess.run(
        command(url, folder, *options, "--mix", mix, "--pace", "10", "VitrineUser"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out_stats.csv").open() as file:
        rows = {row["Name"]: row for row in csv.DictReader(file)}
    for name in ("image search", "vector search", "read and write", "batch ingest"):
        assert int(rows[name]["Request Count"]) > 0
    assert int(rows["Aggregated"]["Failure Count"]) == 0
    # 4 users at 10 requests a second
    assert float(rows["Aggregated"]["Requests/s"]) == pytest.approx(40, rel=0.25)
    assert "recall@10 of the image searches under load: 1.0000" in done.stdout
    assert re.search(r"stage decode +\d+ requests, mean +1\.00 ms", done.stdout)
    assert fake.collections.keys() >= {"load", "load-writes"}


def test_a_wrong_answer_is_a_failure(url: str, folder: Path, fake: FakeVitrine) -> None:
    warm = command(url, folder, "--headless", "-u", "1", "-t", "1s", "VitrineUser")
    assert subprocess.run(warm, capture_output=True, timeout=60).returncode == 0
    items = fake.items["load"]
    vectors = [item["_vector"] for item in items.values()]
    for item, vector in zip(items.values(), vectors[1:] + vectors[:1], strict=True):
        item["_vector"] = vector
    done = subprocess.run(
        command(url, folder, "--headless", "-u", "1", "-t", "2s", "--mix", "image", "VitrineUser"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "wrong answer" in done.stdout + done.stderr


def test_the_page_and_a_worker(url: str, folder: Path) -> None:
    web, bus = str(free_port()), str(free_port())
    common = ["--master-bind-port", bus, "--web-port", web, "--web-host", "127.0.0.1"]
    start = ["--master", "--expect-workers", "1", "--autostart", "-u", "2", "-t", "60s"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    master = subprocess.Popen(command(url, folder, *common, *start, "VitrineUser"), **quiet)  # type: ignore[call-overload]
    worker = subprocess.Popen(
        command(url, folder, "--worker", "--master-port", bus, "VitrineUser"),
        **quiet,  # type: ignore[call-overload]
    )
    try:
        stages = _until_stages(f"http://127.0.0.1:{web}")
        assert {row["name"] for row in stages} == {"decode", "search"}
        page = httpx.get(f"http://127.0.0.1:{web}/")
        assert "Server stages" in page.text
        assert "<svg" in httpx.get(f"http://127.0.0.1:{web}/stages").text
        lines = httpx.get(f"http://127.0.0.1:{web}/stages/csv").text.splitlines()
        assert lines[0] == "second,stage,mean_ms"
        assert lines[1].split(",")[1:] == ["decode", "1.0"]
    finally:
        for process in (worker, master):
            process.terminate()
            process.wait(timeout=20)


def _until_stages(address: str) -> list[dict[str, object]]:
    deadline = time.monotonic() + 40
    while True:
        try:
            body = httpx.get(f"{address}/stats/requests").json()
            stages: list[dict[str, object]] = body["extended_stats"][0]["data"]
            if stages and int(str(stages[0]["count"])) > 20:
                return stages
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, "Locust's page shows no stages"
        time.sleep(0.5)
