"""For all tests."""

from __future__ import annotations

import signal

# A script's background job ignores Ctrl-C, and so would everything that the tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
