"""When a call is sent again: the decision, without input or output, shared by both clients."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field

from vitrine_client.errors import (
    ApiError,
    ConnectionLost,
    Overloaded,
    ServerUnreachable,
    Unavailable,
    VitrineError,
)


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How patient a client is.

    patience_s: a call is not sent again when that would be later than this after its first
    attempt; 0 turns retries off. backoff_s doubles with each attempt up to max_backoff_s, with full
    jitter (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/); the server's
    Retry-After is the least that is waited. Over all calls of a client, retries are at most `burst`
    plus `share` of the calls, so that many clients do not keep an overloaded server down.
    """

    patience_s: float = 15.0
    backoff_s: float = 0.1
    max_backoff_s: float = 5.0
    share: float = 0.2
    burst: float = 20.0


@dataclass
class RetryBudget:
    """Retries that a client may still make. Shared by its threads."""

    retry: Retry
    _tokens: float = field(init=False)
    _lock: threading.Lock = field(init=False, default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._tokens = self.retry.burst

    def earn(self) -> None:
        with self._lock:
            self._tokens = min(self.retry.burst, self._tokens + self.retry.share)

    def spend(self) -> bool:
        with self._lock:
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


class Attempts:
    """The attempts of one call."""

    def __init__(self, budget: RetryBudget, *, repeatable: bool) -> None:
        self._budget = budget
        self._repeatable = repeatable
        self._started = time.monotonic()
        self._failures = 0
        budget.earn()

    def wait_s(self, error: VitrineError) -> float | None:
        """Seconds to wait before the next attempt, or None when the error is final."""
        if not self._may_repeat(error):
            return None
        retry = self._budget.retry
        self._failures += 1
        # the exponent is bounded so that a patient client does not overflow a float
        ceiling = min(retry.max_backoff_s, retry.backoff_s * 2.0 ** min(self._failures - 1, 30))
        wait = random.uniform(0, ceiling)
        if isinstance(error, ApiError) and error.retry_after_s is not None:
            wait += error.retry_after_s
        if time.monotonic() - self._started + wait > retry.patience_s:
            return None
        return wait if self._budget.spend() else None

    def _may_repeat(self, error: VitrineError) -> bool:
        # a refusal at the door and a connection that never was mean: nothing was executed
        if isinstance(error, ServerUnreachable | Overloaded | Unavailable):
            return True
        return self._repeatable and isinstance(error, ConnectionLost)
