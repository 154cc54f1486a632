"""Concurrent calls gathered into batches, without a wait when nothing is running.

At most `concurrency` batches run at once. A call that finds a free runner starts at once, alone;
calls that arrive while all runners are busy wait together and form the next batch. So batches grow
with the load and an idle server adds no latency.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from vitrine_server.errors import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True)
class Done(Generic[R]):
    """A call's result, the seconds it waited for its batch and the seconds that the batch ran."""

    value: R
    queue_s: float
    run_s: float


@dataclass(slots=True, eq=False)
class _Call(Generic[T, R]):
    item: T
    deadline: float
    arrived: float
    future: asyncio.Future[Done[R]]


class Batcher(Generic[T, R]):
    """run: items → results in the same order; the latest deadline of the batch is passed along."""

    def __init__(
        self,
        run: Callable[[Sequence[T], float], Awaitable[Sequence[R]]],
        *,
        max_batch: int,
        concurrency: int,
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._concurrency = concurrency
        self._waiting: deque[_Call[T, R]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()  # a loop keeps no task alive
        self._running = 0
        self._unanswered: set[_Call[T, R]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf

    async def submit(self, item: T, *, deadline: float) -> Done[R]:
        """Result for one item. `deadline` is on the `time.monotonic` clock.

        Raises DeadlineExceeded when it passes before the result is there, or what `run` raised for
        the batch. A call that expires or is cancelled while it waits is never run.
        """
        loop = asyncio.get_running_loop()
        now = time.monotonic()
        call = _Call(item, deadline, now, loop.create_future())
        self._waiting.append(call)
        if self._running < self._concurrency:
            self._running += 1
            task = loop.create_task(self._drain())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._unanswered.add(call)
        if deadline < self._alarm_at:
            self._set_alarm(deadline)
        try:
            return await call.future
        except (asyncio.CancelledError, DeadlineExceeded):
            with suppress(ValueError):  # its batch runs already
                self._waiting.remove(call)  # and with it the item's memory
            raise
        finally:
            self._unanswered.remove(call)
            if not self._unanswered:
                self._set_alarm(math.inf)

    async def _drain(self) -> None:
        try:
            await asyncio.sleep(0)  # what the loop has received meanwhile comes along
            await self._run_all()
        finally:
            # In the same step as the look that found nothing waiting: a call that arrives between
            # the two would find no free runner, and no runner would find it.
            self._running -= 1

    async def _run_all(self) -> None:
        while batch := self._take():
            started = time.monotonic()
            try:
                results = await self._run(
                    [call.item for call in batch], max(call.deadline for call in batch)
                )
            except BaseException as error:
                for call in batch:
                    if not call.future.done():
                        call.future.set_exception(
                            error
                            if isinstance(error, Exception)
                            else RuntimeError("the batch was abandoned")
                        )
                if not isinstance(error, Exception):
                    raise
                continue
            run_s = time.monotonic() - started
            for call, result in zip(batch, results, strict=True):
                if not call.future.done():
                    call.future.set_result(Done(result, started - call.arrived, run_s))

    def _take(self) -> list[_Call[T, R]]:
        """Next batch; what expired or was cancelled while it waited is left out unexecuted."""
        batch: list[_Call[T, R]] = []
        now = time.monotonic()
        while self._waiting and len(batch) < self._max_batch:
            call = self._waiting.popleft()
            if call.future.done():
                continue
            if call.deadline <= now:
                call.future.set_exception(
                    DeadlineExceeded("The request's deadline passed while it waited.")
                )
                continue
            batch.append(call)
        return batch

    def _set_alarm(self, deadline: float) -> None:
        """One for all calls, at the earliest deadline: a timer of its own costs each more."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._alarm_at = deadline
        if deadline < math.inf:
            wait_s = deadline - time.monotonic()
            self._alarm = asyncio.get_running_loop().call_later(wait_s, self._expire)

    def _expire(self) -> None:
        """Callers are told on time, whatever the batch that their call is in waits for."""
        now = time.monotonic()
        waiting = [call for call in self._unanswered if not call.future.done()]
        for call in waiting:
            if call.deadline <= now:
                call.future.set_exception(DeadlineExceeded("The request's deadline passed."))
        later = [call.deadline for call in waiting if call.deadline > now]
        self._set_alarm(min(later, default=math.inf))
