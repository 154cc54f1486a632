"""Where the processes of a server with workers find each other: Unix sockets in one folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def owner_http(folder: Path) -> Path:
    """The whole application."""
    return folder / "owner-http.sock"


def owner_calls(folder: Path) -> Path:
    """Searches and writes of the fronts."""
    return folder / "owner-calls.sock"


def front_http(folder: Path, number: int) -> Path:
    """One front alone: its supervisor asks for its health there."""
    return folder / f"front-{number}.sock"
