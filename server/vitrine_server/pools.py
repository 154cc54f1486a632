"""A thread pool that knows how long its oldest running job has run."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class WatchedPool(ThreadPoolExecutor):
    """A job that never ends takes its thread for ever, and no future says so."""

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads, name)
        self._running: dict[object, float] = {}

    @property
    def longest_s(self) -> float:
        """Seconds since the start of the oldest job that still runs; 0 when none does."""
        started = min(list(self._running.values()), default=None)
        return 0.0 if started is None else time.monotonic() - started

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        def watched() -> T:
            token = object()
            self._running[token] = time.monotonic()
            try:
                return fn(*args, **kwargs)
            finally:
                del self._running[token]

        return super().submit(watched)
