"""Exit codes of the command, and its one way to fail."""

from __future__ import annotations

import sys
from typing import NoReturn

from vitrine_client import display

NOTHING_DONE, USAGE, NO_ANSWER, REFUSED = 1, 2, 3, 4


def fail(code: int, message: str) -> NoReturn:
    """One line on stderr, then the end."""
    display.console(stderr=True).print(display.plain(message), soft_wrap=True)
    sys.exit(code)
