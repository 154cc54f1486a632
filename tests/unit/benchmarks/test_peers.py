"""The comparison with the peers, between two servers that are equals."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from typing import TYPE_CHECKING

import pytest
from fake_server import FakeVitrine, serve

from harness import machine
from harness.gallery import fill
from harness.pictures import load_folder
from harness.wire import Target

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def peers() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "peers_run", machine.ROOT / "benchmarks" / "peers" / "run.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["peers_run"] = module
    spec.loader.exec_module(module)
    return module


def test_equals_are_found_equal(
    peers: ModuleType, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = load_folder(folder)
    options = argparse.Namespace(connections=2, seconds=0.8, encoder="thumbnail", images=folder)
    path = "/v1/collections/peers/search?k=10"
    with serve(FakeVitrine()) as first, serve(FakeVitrine()) as second:
        systems = []
        for name, url in (("Vitrine", first), ("another", second)):
            fill(url, pictures, collection="peers")
            systems.append(peers._system(name, Target.of(url), path))
        for turn in range(2):
            for system in systems:
                system.turns.append(peers._saturate(system, pictures, turn, options))
        for system in systems:
            system.at_half_load.append(peers._half_load(system, pictures, 0, options))
    own, other = systems
    own.turns, other.turns = ([peers.Turn(rate, 30 / rate, 0.1)] * 2 for rate in (30.0, 10.0))
    for system in systems:
        assert 0 < system.p99_ms < 5000
        (run,) = system.at_half_load
        assert run.error_share == 0
    peers._print(systems, "thumbnail")
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if "another" in line and "10.0" in line)
    rate, _, faster, cpu_ms, less = [cell.strip() for cell in row.split("│")][2:7]
    assert (rate, faster, cpu_ms, less) == ("10.0", "3.00", "3.0", "3.00")
    body = json.loads(json.dumps(peers._as_json(systems, options)))
    assert body["systems"].keys() == {"Vitrine", "another"}
    assert body["options"]["images"] == folder.name
