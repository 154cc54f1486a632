"""Every write, sync and rename as the last one: killed there, or without power there.

One recorded run gives as many crash points as it made changes. At each of them the disk is rebuilt
as a killed process leaves it (with the last write torn) and as a power cut may leave it (unsynced
sectors lost, all of them or some). The collection must then hold what was answered, or that and the
write under way: never less, never a mixture, and the index must be the records.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import traced_process
from disk_trace import Disk, Operation, compiled_shim, read_trace

from vitrine_server.catalogue import Catalogue
from vitrine_server.collection import SearchQuery

# `make faults` sets this for every crash point; otherwise some are drawn
POINTS = 1_000_000 if os.environ.get("VITRINE_FAULTS") == "full" else 40
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Operation], list[Any]]:
    """The changes, and for each the contents that are right if it is the last."""
    folder = tmp_path_factory.mktemp("recorded")
    shim = compiled_shim(folder)
    if shim is None:
        pytest.skip("no C compiler to build tests/faults/disk_shim.c")
    root, trace = folder / "disk", folder / "trace"
    root.mkdir()
    environment = os.environ | {
        "SHIM_ROOT": str(root),
        "SHIM_TRACE": str(trace),
        "LD_PRELOAD": str(shim),
    }
    command = [sys.executable, str(HERE / "traced_process.py"), str(root / "data"), "60"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    operations = read_trace(trace, root)
    changes = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    return operations, expectations(operations, changes)


def expectations(operations: list[Operation], changes: list[Any]) -> list[Any]:
    """After each number of operations, from 0: the contents that were answered and asked for."""
    expected: list[Any] = []
    answered = asked = None
    waiting = list(changes)
    for position in [0, *(operation.end for operation in operations)]:
        while waiting and waiting[0][1] <= position:
            change = waiting.pop(0)
            if change[0] == "asked":
                asked = change[2]
            else:
                answered = asked
        expected.append((answered, asked))
    return expected


def test_every_crash_point(recorded: tuple[list[Operation], list[Any]], tmp_path: Path) -> None:
    operations, expected = recorded
    chance = random.Random(5)
    changing = [n for n, operation in enumerate(operations) if operation.kind not in "OC"]
    points = set(chance.sample(changing, min(POINTS, len(changing))))
    disk = Disk()
    checked = 0
    for number, operation in enumerate(operations):
        if number in points:
            disk.after_kill(tmp_path / "killed", operation, chance.random())
            disk.after_power_cut(tmp_path / "all-lost")
            disk.after_power_cut(tmp_path / "some-lost", chance)
            for name in ("killed", "all-lost", "some-lost"):
                where = f"{name} before operation {number}: {operation.kind} {operation.path}"
                check(tmp_path / name, *expected[number], where)
                shutil.rmtree(tmp_path / name)
                checked += 1
        disk.apply(operation)
    print(f"{checked} disks after {len(points)} of {len(changing)} changes: all as answered")


def check(disk: Path, answered: Any, asked: Any, where: str) -> None:
    catalogue = Catalogue(disk / "data", encoder=traced_process.ENCODER)
    try:
        assert catalogue.damaged == {}, where
        if answered is None:
            return
        collection = catalogue.get("c")
        everything = SearchQuery(vector=np.ones(traced_process.DIMENSION, np.float32), k=1000)
        hits = collection.search([everything])[0].hits
        found = {hit.id: (hit.metadata or {})["version"] for hit in hits}
        assert found in (answered, asked), where
        for name, version in found.items():
            vector = traced_process.vector(name, version)
            unit = vector / np.linalg.norm(vector)
            np.testing.assert_allclose(collection.vector(name), unit, atol=1e-6, err_msg=where)
            assert collection.get(name).metadata == {"version": version}, where
        # and it can be written again
        assert collection.delete(list(found)).result() == [True] * len(found), where
        assert collection.describe().count == 0, where
    finally:
        catalogue.close()
