"""SIGKILL during writes, backups and restores: one state, whole, and a known one."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

# `make faults` sets this for the full length
ROUNDS = 100 if os.environ.get("VITRINE_FAULTS") == "full" else 6
CHILD = Path(__file__).with_name("restoring_process.py")


@pytest.mark.slow
@pytest.mark.timeout(120 + 60 * ROUNDS)
def test_killed_while_restoring(tmp_path: Path) -> None:
    chance = random.Random(3)
    possible: set[int | None] = {None}
    restores = writes = 0
    round_trip_s = 0.0
    for _ in range(ROUNDS + 1):
        process = subprocess.Popen(
            [sys.executable, str(CHILD), str(tmp_path)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        try:
            word, found, names = json.loads(process.stdout.readline())
            assert word == "state"
            assert len(found) <= 1, "a mixture of two states"
            shown = found[0] if found else None
            assert shown in possible, f"{shown} is not of {possible}"
            assert sum(name.startswith("space-") for name in names) <= 1, names
            possible = {shown}
            early: list[bytes] = []
            if round_trip_s:
                time.sleep(chance.uniform(0.0, 5.0) * round_trip_s)
            else:
                # the first round shows how long a machine as busy as this one takes
                started = time.monotonic()
                while not early or json.loads(early[-1]) != ["restored"]:
                    early.append(process.stdout.readline())
                round_trip_s = time.monotonic() - started
        finally:
            process.kill()
            rest = process.stdout.read()
            process.stdout.close()
            process.wait()
        archived: int | None = None
        under_way = replaceable = False
        for line in [*early, *rest.splitlines()]:
            word, *values = json.loads(line)
            if word == "restoring":
                [archived] = values
                under_way = True
                possible.add(archived)
            elif word == "restored":
                under_way = False
                restores += 1
            elif word == "intend":
                possible.add(values[0])
                # it may be in the old store or in the new one
                replaceable = under_way
            else:
                writes += 1
                replaced = {archived} if under_way or replaceable else set()
                possible = {values[0]} | replaced
    print(f"{ROUNDS} kills, {writes} writes, {restores} restores: one known state each time")
    assert writes > ROUNDS
    assert restores > 0
