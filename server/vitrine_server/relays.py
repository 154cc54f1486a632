"""Where the lines go that the processes of a service print."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from vitrine_server.config import Settings

Relay: TypeAlias = "Callable[[str], None]"


def named(name: str, settings: Settings) -> Relay:
    """Prints a process's lines so that they can be told apart."""
    if settings.log_format == "json":
        return lambda line: _print_line(json.dumps({"logger": name, "event": line}))
    return lambda line: _print_line(f"{name:<7} | {line}")


def of_server(name: str, settings: Settings) -> Relay:
    """The same for our own servers, whose lines are JSON already where the settings ask for it."""
    return _print_line if settings.log_format == "json" else named(name, settings)


def without(noise: tuple[str, ...], relay: Relay) -> Relay:
    """Relays the lines that hold none of `noise`."""

    def filtered(line: str) -> None:
        if not any(phrase in line for phrase in noise):
            relay(line)

    return filtered


def _print_line(line: str) -> None:
    # A terminal that was closed must not stop the service.
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)
