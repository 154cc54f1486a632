"""Until when a request is worth answering.

The client may say so in `X-Request-Timeout: <seconds>`, counted from the arrival of the request's
headers; the server's own limit (VITRINE_REQUEST_TIMEOUT_S) counts from the moment when the body is
there. The earlier one goes along with every piece of work of the request, into Triton's queue.
"""

from __future__ import annotations

import math
import time
from contextvars import ContextVar

from vitrine_server.errors import Invalid

HEADER = "X-Request-Timeout"

_client_deadline: ContextVar[float] = ContextVar("client_deadline", default=math.inf)


def enter(header: str | None) -> None:
    """Start the client's clock for the request that this task answers. Raises Invalid."""
    _client_deadline.set(math.inf if header is None else time.monotonic() + _seconds(header))


def within(limit_s: float) -> float:
    """The deadline of the request, on the time.monotonic clock: the client's, or in `limit_s`."""
    return min(_client_deadline.get(), time.monotonic() + limit_s)


def _seconds(header: str) -> float:
    try:
        seconds = float(header)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise Invalid(
            f"{HEADER} is {header[:40]!r}.", field=HEADER, accepted="seconds above 0, such as 0.25"
        )
    return seconds
