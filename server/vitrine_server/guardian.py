"""Ends what a killed supervisor would leave behind: its processes and their shared memory.

The supervisor starts this file in a session of its own and holds the other end of its standard
input. End of file means that the supervisor is gone, however it went (kill -9 and the OOM killer
run no clean-up of ours). Its processes are found by a mark in their environment, so that Triton's
Python stubs and whatever they start are found too. Standard library alone: it starts in
milliseconds, and imports nothing that could fail.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

MARK = "_VITRINE_RUN"
SHARED_MEMORY = Path("/dev/shm")
_PREFIX = "vitrine-"
_KILL_LIMIT_S = 5.0


def region_prefix(run: str) -> str:
    """First part of the names of a run's shared-memory regions."""
    return f"{_PREFIX}{run}-"


def socket_folder(run: str) -> Path:
    """Folder for the Unix sockets of a run, which no other user can enter; made when missing."""
    folder = SHARED_MEMORY / f"{_PREFIX}{run}.sockets"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def claim_run() -> tuple[str, int]:
    """A new run's name and the descriptor of its lock file.

    The lock is held as long as a process holds the descriptor: the supervisor and its guardian.
    """
    while True:
        run = secrets.token_hex(4)
        path = _lock_path(run)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists():  # else somebody's clean-up was faster than our lock
                return run, lock
        os.close(lock)


def end_stale_runs() -> None:
    """Clean up after runs whose supervisor and guardian were both killed."""
    for path in SHARED_MEMORY.glob(f"{_PREFIX}*.lock"):
        with suppress(OSError):  # still held, another user's, or just removed
            lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                end_run(path.stem.removeprefix(_PREFIX))
            finally:
                os.close(lock)


def end_run(run: str) -> None:
    """End what is left of a run: processes, shared memory, sockets, and last its lock."""
    kill_run(run)
    remove_regions(run)
    shutil.rmtree(SHARED_MEMORY / f"{_PREFIX}{run}.sockets", ignore_errors=True)
    with suppress(OSError):
        _lock_path(run).unlink()


def remove_regions(run: str) -> None:
    """Remove a run's shared memory; whoever has it mapped keeps it."""
    for region in SHARED_MEMORY.glob(f"{region_prefix(run)}*"):
        with suppress(OSError):
            region.unlink()


def kill_run(run: str) -> None:
    """SIGKILL every process of the run, until none is left (seconds at most)."""
    deadline = time.monotonic() + _KILL_LIMIT_S
    quiet_rounds = 0
    while quiet_rounds < 2 and time.monotonic() < deadline:
        processes = _processes(run)
        for pid in processes:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # A second look: a child that was forked but had not yet its new environment.
        quiet_rounds = 0 if processes else quiet_rounds + 1
        time.sleep(0.02)


def _processes(run: str) -> list[int]:
    mark = f"{MARK}={run}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # another user's, or gone
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
    return found


def _lock_path(run: str) -> Path:
    return SHARED_MEMORY / f"{_PREFIX}{run}.lock"


def main(run: str) -> None:
    """Wait for the end of standard input, then clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    end_run(run)


if __name__ == "__main__":
    main(sys.argv[1])
