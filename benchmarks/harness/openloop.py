"""Requests by the clock, whatever the server does; latency from the moment each should have left.

A closed-loop generator waits for the answer before it asks again. When the server stalls, it stops
asking, and records one slow request where its users would have met hundreds (coordinated omission;
Tene, "How NOT to Measure Latency"). Here arrivals are planned before the run, and each is sent at
its time on a connection of its own if need be.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from harness.alarm import Alarm
from harness.recording import BROKEN, NOT_SENT, TIMED_OUT, Recording
from harness.wire import STAGES, Answer, Connection, Pool, Request, Target, WireError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

Arrivals = Literal["constant", "poisson"]
PREPARED_AHEAD = 4
NICENESS = -10


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request as its channel sends it, the scenario that it belongs to, and who checks the body
    of its answer (None: any 200 is good)."""

    payload: Any
    scenario: int = 0
    is_right: Callable[[bytes], bool] | None = None


class Channel(Protocol):
    """How requests travel. `start` sends at once when it can; the future is the answer."""

    @property
    def opened(self) -> int: ...

    async def warm(self, count: int) -> None: ...

    def start(self, payload: Any) -> asyncio.Future[Answer]: ...

    async def close(self) -> None: ...


class HttpChannel:
    """HTTP/1.1: the payload is a whole request."""

    def __init__(self, target: Target, *, max_connections: int = 4096) -> None:
        self._pool = Pool(target)
        self._max_connections = max_connections

    @property
    def opened(self) -> int:
        return self._pool.opened

    async def warm(self, count: int) -> None:
        await self._pool.warm(count)

    def start(self, payload: Request) -> asyncio.Future[Answer]:
        """Raises WireError when no connection is left."""
        connection = self._pool.idle()
        if connection is not None:
            return self._send(connection, payload)
        if self._pool.opened >= self._max_connections:
            raise WireError("all connections are in use")
        return asyncio.ensure_future(self._open_and_send(payload))

    async def close(self) -> None:
        self._pool.close()

    def _send(self, connection: Connection, payload: Request) -> asyncio.Future[Answer]:
        future = connection.send(payload)
        future.add_done_callback(lambda done: self._return(connection, done))
        return future

    async def _open_and_send(self, payload: Request) -> Answer:
        return await self._send(await self._pool.take(), payload)

    def _return(self, connection: Connection, done: asyncio.Future[Answer]) -> None:
        if done.cancelled() or done.exception() is not None:
            connection.close()
        else:
            self._pool.give(connection)


def plan(
    rate_per_s: float, seconds: float, *, arrivals: Arrivals, seed: int
) -> NDArray[np.float64]:
    """Times of arrival (N,) in seconds: evenly spaced, or a Poisson process."""
    if arrivals == "constant":
        return np.arange(int(rate_per_s * seconds)) / rate_per_s
    gaps = np.random.default_rng(seed).exponential(
        1 / rate_per_s, int(rate_per_s * seconds * 2) + 9
    )
    times = np.cumsum(gaps)
    return times[times < seconds]


class OpenLoop:
    """One run: sends prepare(i) at times[i], and writes down what happened."""

    def __init__(
        self,
        channel: Channel,
        prepare: Callable[[int], Prepared],
        times: NDArray[np.float64],
        *,
        timeout_s: float,
    ) -> None:
        count = len(times)
        self._channel = channel
        self._prepare = prepare
        self._times = times
        self._timeout_s = timeout_s
        self._ready: deque[Prepared] = deque()
        self._prepared = 0
        self._fired = 0
        self._flying: dict[int, tuple[asyncio.Future[Answer], Prepared]] = {}
        self._sent = np.full(count, np.nan)
        self._done = np.full(count, np.nan)
        self._status = np.full(count, NOT_SENT, np.int16)
        self._wrong = np.zeros(count, np.bool_)
        self._stages = np.full((count, len(STAGES)), np.nan, np.float32)
        self._scenario = np.zeros(count, np.int8)
        self._start = 0.0

    async def run(self, *, names: tuple[str, ...], warmup_s: float, connections: int) -> Recording:
        """connections: opened before the start; more follow when they are needed."""
        await self._channel.warm(connections)
        for _ in range(PREPARED_AHEAD):
            self._prepare_next()
        gc.collect()
        gc.disable()  # no pause for garbage
        cpu = time.process_time()
        loop = asyncio.get_running_loop()
        self._start = time.perf_counter() + 0.05
        alarm = Alarm()
        try:
            with _going_first():
                loop.add_reader(alarm.descriptor, self._tick, alarm)
                self._tick(alarm)
                while self._fired < len(self._times) or self._flying:
                    await asyncio.sleep(0.02)
                    self._time_out()
        finally:
            loop.remove_reader(alarm.descriptor)
            alarm.close()
            gc.enable()
        wall = time.perf_counter() - self._start
        return Recording(
            intended=self._times,
            sent=self._sent,
            done=self._done,
            status=self._status,
            wrong=self._wrong,
            stages_ms=self._stages,
            scenario=self._scenario,
            names=names,
            warmup_s=warmup_s,
            cpu_cores=(time.process_time() - cpu) / wall,
            connections=self._channel.opened,
        )

    def _tick(self, alarm: Alarm) -> None:
        """Send what is due, and come back for the next."""
        while self._fired < len(self._times):
            moment = self._start + float(self._times[self._fired])
            if moment > time.perf_counter():
                alarm.set(moment)
                return
            self._fire(self._fired)
        asyncio.get_running_loop().remove_reader(alarm.descriptor)

    def _fire(self, at: int) -> None:
        self._fired += 1
        if not self._ready:
            self._prepare_next()
        prepared = self._ready.popleft()
        self._scenario[at] = prepared.scenario
        leaves = time.perf_counter() - self._start
        try:
            future = self._channel.start(prepared.payload)
        except WireError:
            return
        self._sent[at] = leaves
        self._flying[at] = (future, prepared)
        future.add_done_callback(lambda done: self._landed(at, done))
        asyncio.get_running_loop().call_soon(self._prepare_next)

    def _prepare_next(self) -> None:
        if self._prepared < len(self._times):
            self._ready.append(self._prepare(self._prepared))
            self._prepared += 1

    def _landed(self, at: int, future: asyncio.Future[Answer]) -> None:
        self._done[at] = time.perf_counter() - self._start
        _, prepared = self._flying.pop(at)
        if future.cancelled():
            self._status[at] = TIMED_OUT
            return
        if future.exception() is not None:
            self._status[at] = BROKEN
            return
        answer = future.result()
        self._status[at] = answer.status
        if answer.status != 200:
            return
        stages = answer.stages_ms()
        for stage, name in enumerate(STAGES):
            if name in stages:
                self._stages[at, stage] = stages[name]
        if prepared.is_right is not None and not prepared.is_right(answer.body):
            self._wrong[at] = True

    def _time_out(self) -> None:
        # from the intended moment: that is how long a user would have waited
        limit = time.perf_counter() - self._start - self._timeout_s
        for at in [at for at in self._flying if self._times[at] < limit]:
            self._flying[at][0].cancel()


@contextmanager
def _going_first() -> Iterator[None]:
    """Run before other programs, where this is allowed: the generator needs little, but on time."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    threads = [int(thread) for thread in os.listdir("/proc/self/task")]
    try:
        for thread in threads:  # on Linux a priority is a thread's; new ones inherit it
            os.setpriority(os.PRIO_PROCESS, thread, min(before, NICENESS))
    except OSError:  # not root
        yield
        return
    try:
        yield
    finally:
        for thread in threads:
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, thread, before)
