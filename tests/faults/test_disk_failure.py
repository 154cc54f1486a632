"""A full disk and a failing fsync: refused with 507, nothing answered is lost, searches go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import traced_process
from disk_trace import compiled_shim, read_trace

from vitrine_server.catalogue import Catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent


class Child:
    def __init__(self, folder: Path, shim: Path) -> None:
        self.root, self.trace, self._control = folder / "disk", folder / "trace", folder / "control"
        self.root.mkdir()
        environment = os.environ | {
            "SHIM_ROOT": str(self.root),
            "SHIM_TRACE": str(self.trace),
            "SHIM_CONTROL": str(self._control),
            "LD_PRELOAD": str(shim),
        }
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "failing_process.py"), str(self.root / "data")],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, command: str) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:  # log lines come in between
            if line.startswith("answer "):
                return json.loads(line.removeprefix("answer "))
        raise AssertionError("the process died")

    def disk(self, fault: str | None) -> None:
        if fault is None:
            self._control.unlink()
        else:
            self._control.write_text(fault)

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    shim = compiled_shim(tmp_path)
    if shim is None:
        pytest.skip("no C compiler to build tests/faults/disk_shim.c")
    process = Child(tmp_path, shim)
    yield process
    process.kill()


def stored(child: Child) -> int:
    """Items after a kill and a restart on a healthy disk."""
    child.kill()
    catalogue = Catalogue(child.root / "data", encoder=traced_process.ENCODER)
    collection = catalogue.get("c")
    state = collection._index.state
    assert collection._store.fingerprint()[0] == state.alive.alive
    catalogue.close()
    return int(state.alive.alive)


def test_a_full_disk(child: Child) -> None:
    assert child.ask("write 25") is None
    assert child.ask("write 25") is None
    assert child.ask("merge") > 0
    child.disk("enospc")
    for _ in range(3):
        assert child.ask("write 40") == [507, "storage_full"]
        assert child.ask("search") == 50
    child.disk(None)
    # there is room again: no restart is needed
    assert child.ask("write 40") is None
    assert child.ask("search") == 90
    assert stored(child) == 90


def test_a_disk_that_fills_up_during_a_merge(child: Child) -> None:
    assert child.ask("write 30") is None
    child.disk("enospc")
    assert child.ask("write 1") == [507, "storage_full"]
    child.disk(None)
    assert child.ask("write 20") is None  # a merge is due and starts
    child.disk("enospc")
    child.ask("merge")
    assert child.ask("search") == 50
    child.disk(None)
    assert child.ask("write 5") is None
    assert child.ask("search") == 55
    assert stored(child) == 55


def test_a_failing_fsync(child: Child) -> None:
    assert child.ask("write 25") is None
    child.disk("eio")
    assert child.ask("write 5") == [507, "storage_failed"]
    assert child.ask("search") == 25
    child.disk(None)
    syncs = sum(operation.kind == "S" for operation in read_trace(child.trace, child.root))
    # the kernel may have dropped the pages: an fsync that works now would prove nothing
    assert child.ask("write 5") == [507, "storage_failed"]
    assert child.ask("search") == 25
    assert sum(o.kind == "S" for o in read_trace(child.trace, child.root)) == syncs
    # what was never answered may be there or not, but whole
    assert stored(child) in (25, 30)
