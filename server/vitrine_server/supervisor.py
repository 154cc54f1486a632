"""Runs processes as one service: ready together, restarted when one fails, stopped in order.

Each part is in a session of its own, so a Ctrl-C in the terminal reaches the supervisor alone, and
it decides who ends first. When the supervisor is killed its guardian ends the parts.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from vitrine_server import guardian

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence

START_LIMIT_S = 180.0
_POLL_S = 0.05
_WATCH_INTERVAL_S = 1.0
_MISSED_CHECKS = 5
_FIRST_BACKOFF_S = 0.2
_LONGEST_BACKOFF_S = 20.0
_STEADY_S = 60.0
# make and timeout hand a signal on that the process group got too: that is one wish, not two
_SAME_SIGNAL_S = 1.0
_LONGEST_LINE = 16_384


class StartFailed(Exception):
    """The service did not become ready; the message says which part failed and how."""


class Health(Protocol):
    """What a part says about itself."""

    async def ready(self) -> bool:
        """Whether it can do its work."""

    async def alive(self) -> bool:
        """Whether it answers at all; a busy part does."""

    async def broken(self, pid: int) -> str | None:
        """Why a running process must be replaced at once, in a few words."""


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the service.

    relay: receives the lines that it prints. clean_up: removes what it may leave when it is killed.
    stop_limit_s: from SIGTERM to SIGKILL.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    health: Health
    relay: Callable[[str], None]
    clean_up: Callable[[], None]
    stop_limit_s: float


@contextmanager
def guarded() -> Iterator[str]:
    """A run's name, with a guardian that ends the run's processes when this one is gone."""
    guardian.end_stale_runs()
    run, lock = guardian.claim_run()
    variables = {name: value for name, value in os.environ.items() if name != guardian.MARK}
    with subprocess.Popen(
        [sys.executable, "-I", "-S", guardian.__file__, run],
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[lock],
        start_new_session=True,
    ):  # leaving closes its standard input and waits for its clean-up
        try:
            yield run
        finally:
            os.close(lock)


class _Process:
    """A running part."""

    def __init__(self, part: Part, process: asyncio.subprocess.Process) -> None:
        self.part = part
        self.pid = process.pid
        self.started = time.monotonic()
        self._process = process
        self._reader = asyncio.create_task(self._relay_lines())

    @classmethod
    async def start(cls, part: Part, run: str) -> _Process:
        process = await asyncio.create_subprocess_exec(
            *part.command,
            env={**part.environment, guardian.MARK: run, "PYTHONUNBUFFERED": "1"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        return cls(part, process)

    @property
    def ending(self) -> str | None:
        """How the process ended, in words; None while it runs."""
        code = self._process.returncode
        if code is None:
            return None
        return (
            f"was killed by {signal.Signals(-code).name}"
            if code < 0
            else f"ended with exit code {code}"
        )

    async def fault(self) -> str:
        """Wait until the process has ended or must be replaced; the reason, in words."""
        missed = 0
        while True:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._process.wait(), _WATCH_INTERVAL_S)
            if self.ending is not None:
                return self.ending
            if (reason := await self.part.health.broken(self.pid)) is not None:
                return reason
            missed = 0 if await self.part.health.alive() else missed + 1
            if missed == _MISSED_CHECKS:
                return f"has missed {missed} health checks"

    async def end(self, grace_s: float) -> None:
        """SIGTERM, the grace to finish, then SIGKILL for it and what it started."""
        if self.ending is None and grace_s > 0:
            self._process.terminate()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._process.wait(), grace_s)
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        await self._process.wait()
        # The pipe ends with its last holder; a process that left the group may hold it for longer.
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._reader, 1)
        self.part.clean_up()

    async def _relay_lines(self) -> None:
        assert self._process.stdout is not None  # asked for in `start`
        rest = b""
        while block := await self._process.stdout.read(65536):
            *lines, rest = (rest + block).split(b"\n")
            if len(rest) > _LONGEST_LINE:
                lines.append(rest)
                rest = b""
            for line in lines:
                self.part.relay(line.decode(errors="replace").rstrip())
        if rest:
            self.part.relay(rest.decode(errors="replace").rstrip())


class Supervisor:
    """Keeps the parts of a run alive until SIGINT, SIGTERM or SIGHUP asks it to stop.

    All parts are started at once; they are stopped stage by stage, those of one stage together. A
    second signal kills them.
    """

    def __init__(
        self,
        stages: Sequence[Sequence[Part]],
        *,
        run: str,
        say: Callable[[str], None],
        on_ready: Callable[[float], None],
    ) -> None:
        self._stages = stages
        self._parts = [part for stage in stages for part in stage]
        self._run = run
        self._say = say
        self._on_ready = on_ready
        self._processes: dict[str, _Process] = {}
        self._stop = asyncio.Event()
        self._asked = 0.0
        self._forced = False

    async def serve(self) -> int:
        """Run until asked to stop; the exit code. Raises StartFailed."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._ask_to_stop)
        started = time.monotonic()
        stopping: asyncio.Task[object] = asyncio.create_task(self._stop.wait())
        try:
            for part in self._parts:
                await self._start(part)
            if await self._first(stopping, *map(self._wait_for_start, self._parts)):
                self._on_ready(time.monotonic() - started)
                await self._first(stopping, *map(self._keep, self._parts))
        finally:
            for stage in self._stages:
                started_parts = [part.name for part in stage if part.name in self._processes]
                await asyncio.gather(*(self._end(name) for name in started_parts))
        return 128 + signal.SIGINT if self._forced else 0

    @staticmethod
    async def _first(stopping: asyncio.Task[object], *work: Coroutine[None, None, object]) -> bool:
        """Do the work until it is done (True) or a stop is asked for (False)."""
        tasks = {asyncio.create_task(each) for each in work}
        unfinished = set(tasks)
        try:
            while unfinished:
                done, _ = await asyncio.wait(
                    {stopping, *unfinished}, return_when=asyncio.FIRST_COMPLETED
                )
                if stopping in done:
                    return False
                for task in done:
                    task.result()
                    unfinished.discard(task)
            return True
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _start(self, part: Part) -> _Process:
        try:
            process = await _Process.start(part, self._run)
        except OSError as error:
            raise StartFailed(f"{part.name} cannot be started: {error}.") from None
        self._processes[part.name] = process
        return process

    async def _wait_for_start(self, part: Part) -> None:
        problem = await self._wait_until_ready(self._processes[part.name])
        if problem is not None:
            raise StartFailed(f"{part.name} {problem} before it was ready (its log is above).")

    async def _wait_until_ready(self, process: _Process) -> str | None:
        """None as soon as the part is ready, or what came before that."""
        while process.ending is None:
            if await process.part.health.ready():
                return None
            if time.monotonic() - process.started > START_LIMIT_S:
                return f"took more than {START_LIMIT_S:.0f} s"
            await asyncio.sleep(_POLL_S)
        return process.ending

    async def _keep(self, part: Part) -> None:
        """Replace the part's process whenever it fails, more and more patiently."""
        backoff_s = _FIRST_BACKOFF_S
        while True:
            process = self._processes[part.name]
            problem: str | None = await process.fault()
            if time.monotonic() - process.started > _STEADY_S:
                backoff_s = _FIRST_BACKOFF_S
            while problem is not None:
                self._say(f"{part.name} {problem}; starting it again in {backoff_s:.1f} s")
                await process.end(0)
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, _LONGEST_BACKOFF_S)
                process = await self._start(part)
                problem = await self._wait_until_ready(process)
            self._say(f"{part.name} is ready again")

    async def _end(self, name: str) -> None:
        process = self._processes[name]
        await process.end(0 if self._forced else process.part.stop_limit_s)

    def _ask_to_stop(self) -> None:
        if not self._stop.is_set():
            self._say("stopping; once more to stop at once")
            self._asked = time.monotonic()
            self._stop.set()
        if time.monotonic() - self._asked < _SAME_SIGNAL_S:
            return
        self._forced = True
        guardian.kill_run(self._run)
