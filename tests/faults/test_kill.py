"""SIGKILL at random moments of a mixed load: nothing answered is lost, nothing deleted returns."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

# `make faults` sets this for the full length
ROUNDS = 200 if os.environ.get("VITRINE_FAULTS") == "full" else 12
CHILD = Path(__file__).with_name("churning_process.py")


@pytest.mark.slow
@pytest.mark.timeout(120 + 30 * ROUNDS)
def test_killed_at_random_moments(tmp_path: Path) -> None:
    chance = random.Random(1)
    # outside the killed process: for each id, the versions that may be found after a restart
    possible: dict[str, set[int | None]] = {}
    answered, checked, restarts = 0, 0, []
    for round_number in range(ROUNDS + 1):
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, str(CHILD), str(tmp_path), str(round_number)],
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        try:
            word, records, found = json.loads(process.stdout.readline())
            restarts.append(time.monotonic() - started)
            assert word == "state"
            check(possible, records, found)
            checked += len(records)
            possible = {name: {version} for name, version in records.items()}
            time.sleep(chance.uniform(0.0, 0.4))
        finally:
            process.kill()
            rest = process.stdout.read()
            process.stdout.close()
            process.wait()
        for line in rest.splitlines():
            word, name, version = json.loads(line)
            if word == "intend":
                possible.setdefault(name, {None}).add(version)
            else:
                # a thread waits for each answer, so this is the last word on its id
                possible[name] = {version}
                answered += 1
    restarts.sort()
    print(
        f"{ROUNDS} kills, {answered} answered writes, {checked} records checked, "
        f"restart p99 {restarts[int(0.99 * (len(restarts) - 1))]:.2f} s (process start included)"
    )
    assert answered > 10 * ROUNDS


def check(possible: dict[str, set[int | None]], records: Any, found: Any) -> None:
    assert found == records, "the index is not the records"
    for name, versions in possible.items():
        assert records.get(name) in versions, f"{name}: {records.get(name)} is not of {versions}"
    assert records.keys() <= possible.keys()
