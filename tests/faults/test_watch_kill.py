"""SIGKILL while items are stored and followed: every match has its alert, none has two."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from watched_process import matches

# `make faults` sets this for the full length
FULL = os.environ.get("VITRINE_FAULTS") == "full"
ITEMS = 10_000 if FULL else 400
KILLS = 50 if FULL else 5
CHILD = Path(__file__).with_name("watched_process.py")


@pytest.mark.slow
@pytest.mark.timeout(120 + 20 * KILLS)
def test_no_alert_is_missed_or_doubled(tmp_path: Path) -> None:
    chance = random.Random(1)
    answered = kills = 0
    while True:
        process = subprocess.Popen(
            [sys.executable, str(CHILD), str(tmp_path), str(answered), str(ITEMS)],
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        # killed after so many answers, at whatever the follower is doing then
        left = chance.randint(1, 2 * ITEMS // KILLS) if kills < KILLS else ITEMS + 1
        alerted: list[str] | None = None
        with process.stdout as said:
            for line in said:
                word, value = json.loads(line)
                if word == "end":
                    alerted = value
                    break
                answered = value + 1
                left -= 1
                if left == 0:
                    process.kill()
        process.wait()
        if alerted is not None:
            break
        kills += 1
    expected = [str(number) for number in range(ITEMS) if matches(number)]
    missed = set(expected) - set(alerted)
    doubled = len(alerted) - len(set(alerted))
    print(f"{ITEMS} items, {kills} kills, {len(expected)} matches: ", end="")
    print(f"{len(missed)} missed, {doubled} doubled")
    assert kills >= KILLS // 2
    assert (missed, doubled) == (set(), 0)
    assert set(alerted) == set(expected)
