"""A timer of the kernel's that an event loop can wait for (timerfd_create(2), Linux).

The timers of event loops are whole milliseconds, and a thread that sleeps instead has to wait for
the interpreter's lock and to wake the loop: that costs more than sending a request.
"""

from __future__ import annotations

import ctypes
import os
import time
from ctypes import c_int, c_long, c_void_p

_ABSOLUTE = 1  # TFD_TIMER_ABSTIME
_Timespecs = c_long * 4  # struct itimerspec: interval and value, each seconds and nanoseconds


class Alarm:
    """Its descriptor is readable from the moment that was set last. Raises OSError."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        # perf_counter is the monotonic clock
        self.descriptor: int = _checked(libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_CLOEXEC))
        self._settime = libc.timerfd_settime
        self._settime.argtypes = (c_int, c_int, _Timespecs, c_void_p)

    def set(self, moment: float) -> None:
        """moment: on the clock of time.perf_counter; what is past is now."""
        seconds, rest = divmod(max(1, int(moment * 1e9)), 10**9)
        times = _Timespecs(0, 0, seconds, rest)
        _checked(self._settime(self.descriptor, _ABSOLUTE, times, None))

    def close(self) -> None:
        os.close(self.descriptor)


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
