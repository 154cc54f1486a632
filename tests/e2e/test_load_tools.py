"""The load tools against the real Triton: what they ask is answered, and answered right."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from serving import REPOSITORY, TRITON_ENV

from vitrine_training import samples

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.triton, pytest.mark.slow]
BENCHMARKS = REPOSITORY / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from harness.triton_server import running  # noqa: E402 (the path is set above)


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawings")
    samples.write(folder)
    return folder


@pytest.fixture(scope="module")
def triton(published: Path) -> Iterator[str]:
    with running(published, environment=TRITON_ENV) as address:
        yield address


@pytest.mark.parametrize("memory", [[], ["--triton-shm"]], ids=["tensors", "shared memory"])
def test_locust_asks_triton(
    triton: str, published: Path, drawings: Path, tmp_path: Path, memory: list[str]
) -> None:
    regions = set(os.listdir("/dev/shm"))
    options = ["--headless", "-u", "2", "-t", "4s", "--csv", str(tmp_path / "out")]
    command = [sys.executable, "-m", "locust", "-f", str(BENCHMARKS / "locustfile.py")]
    command += ["--host", "http://127.0.0.1:9", "--images", str(drawings), "--triton", triton]
    done = subprocess.run(
        [*command, *options, *memory, "TritonUser"],
        env={**os.environ, "VITRINE_MODEL_REPOSITORY": str(published)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out_stats.csv").open() as file:
        rows = {row["Name"]: row for row in csv.DictReader(file)}
    assert int(rows["Triton infer"]["Request Count"]) > 5
    assert int(rows["Triton infer"]["Failure Count"]) == 0
    assert {
        name for name in set(os.listdir("/dev/shm")) - regions if name.startswith("psm_")
    } == set()


def test_the_batching_sweep_recommends_a_config(
    published: Path, drawings: Path, tmp_path: Path
) -> None:
    options = ["--delay-us", "0,2000", "--max-batch", "8", "--instances", "1", "--clients", "1,4"]
    command = [sys.executable, str(BENCHMARKS / "batching.py"), "--images", str(drawings)]
    command += ["--repository", str(published), "--triton-env", str(TRITON_ENV)]
    command += ["--seconds", "1", "--rounds", "1", "--slo", "p90<10s", "--output", str(tmp_path)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (results,) = tmp_path.iterdir()
    body = json.loads((results / "batching.json").read_text())
    assert len(body["samples"]) == 4
    assert all(sample["wrong"] == 0 and sample["per_s"] > 0 for sample in body["samples"])
    assert body["by_the_clock"]["slo_percentile_ms"]["recommended"] < 10_000
    assert "max_batch_size: 8" in (results / "config.pbtxt").read_text()
    assert (results / "batching-1-instances.svg").read_text().startswith("<svg")
