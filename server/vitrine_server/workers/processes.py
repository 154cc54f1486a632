"""The processes of a server with workers, as a supervisor keeps them."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from vitrine_server import addresses, guardian, relays
from vitrine_server.health import SidecarHealth
from vitrine_server.supervisor import Part, Supervisor, guarded
from vitrine_server.workers import sockets

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vitrine_server.config import Settings

_PROGRAM = (sys.executable, "-m", "vitrine_server.workers")
_STOP_MARGIN_S = 5.0


def stages(settings: Settings, *, run: str, program: Sequence[str] = _PROGRAM) -> list[list[Part]]:
    """The fronts, then the owner, which ends after the last of them; none without workers.

    run: of the guardian, which removes their sockets. program: takes `owner FOLDER`, or
    `front FOLDER NUMBER`.
    """
    if settings.workers == 0:
        return []
    folder = guardian.socket_folder(run)

    def part(name: str, socket: Path, *arguments: str) -> Part:
        return Part(
            name=name,
            command=[*program, *arguments],
            environment=environment(),
            health=SidecarHealth(socket),
            relay=relays.of_server(name, settings),
            clean_up=lambda: None,
            stop_limit_s=settings.request_timeout_s + _STOP_MARGIN_S,
        )

    fronts = [
        part(
            f"front-{number}",
            sockets.front_http(folder, number),
            "front",
            str(folder),
            str(number),
        )
        for number in range(1, settings.workers + 1)
    ]
    return [fronts, [part("owner", sockets.owner_http(folder), "owner", str(folder))]]


def serve(settings: Settings, *, program: Sequence[str] = _PROGRAM) -> int:
    """Run fronts and owner, without Triton, until SIGTERM; the exit code.

    Raises CannotServe, StartFailed.
    """
    addresses.check(settings, addresses.OWN_PORTS)
    with guarded() as run:
        supervisor = Supervisor(
            stages(settings, run=run, program=program),
            run=run,
            say=relays.named("vitrine", settings),
            on_ready=lambda seconds: None,
        )
        return asyncio.run(supervisor.serve())


def environment() -> dict[str, str]:
    """Of a process that searches. Its concurrency comes from the requests: threads of NumPy's own
    would wait spinning for one another, at twice the processor time of a vector query.
    """
    return {"OPENBLAS_NUM_THREADS": "1", **os.environ}
