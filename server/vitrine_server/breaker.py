"""Spares a service that fails: after failures in a row it is asked no more for a while, then once.

closed → (failures in a row) → open → (its pause is over) → half-open: one call tries → closed, or
open again for twice as long. Retries of single calls have a budget, so that a service in trouble is
not asked twice as often. (Nygard, "Release It!"; Google SRE book, chapter 22, on retry budgets.)
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

from vitrine_server.errors import DeadlineExceeded, EncoderUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

_FAILURES = 3
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 2.0
# Deadlines that pass say little by themselves (they may be short); without one success for this
# long they say that the service hangs.
_HANGS_S = 3.0
_RETRY_SHARE = 0.1
_RETRY_BURST = 3.0


class Breaker:
    """Guards the calls to one service. Used on one event loop."""

    def __init__(self) -> None:
        self._failures = 0
        self._pause_s = _FIRST_PAUSE_S
        self._open_until: float | None = None
        self._trying = False
        self._timing_out_since: float | None = None
        self._retries = _RETRY_BURST

    @property
    def closed(self) -> bool:
        """Whether calls go through as usual."""
        return self._open_until is None

    async def call(self, work: Callable[[], Awaitable[T]], *, deadline: float) -> T:
        """Do the work, once more if it failed and the budget has room.

        Raises EncoderUnavailable without doing it while the breaker is open, or what it raised.
        """
        self._retries = min(_RETRY_BURST, self._retries + _RETRY_SHARE)
        try:
            return await self._once(work)
        except EncoderUnavailable:
            wait_s = _FIRST_PAUSE_S / 2
            if not self.closed or self._retries < 1 or time.monotonic() + wait_s > deadline:
                raise
            self._retries -= 1
        await asyncio.sleep(wait_s)
        return await self._once(work)

    async def _once(self, work: Callable[[], Awaitable[T]]) -> T:
        trial = self._enter()
        try:
            result = await work()
        except EncoderUnavailable:
            self._failed(trial=trial)
            raise
        except DeadlineExceeded:
            now = time.monotonic()
            self._timing_out_since = self._timing_out_since or now
            if trial or now - self._timing_out_since > _HANGS_S:
                self._failures = _FAILURES
                self._failed(trial=trial)
            raise
        finally:
            self._trying = self._trying and not trial
        self._failures = 0
        self._pause_s = _FIRST_PAUSE_S
        self._open_until = self._timing_out_since = None
        return result

    def _enter(self) -> bool:
        """Whether this call is the one that tries whether the service is back."""
        if self._open_until is None:
            return False
        remaining_s = self._open_until - time.monotonic()
        if remaining_s > 0 or self._trying:
            raise EncoderUnavailable(
                "The encoder does not answer; it is left alone for a moment.",
                retry_after_s=max(remaining_s, _FIRST_PAUSE_S),
            )
        self._trying = True
        return True

    def _failed(self, *, trial: bool) -> None:
        self._failures += 1
        if trial:
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        if trial or (self._failures >= _FAILURES and self._open_until is None):
            self._open_until = time.monotonic() + self._pause_s
