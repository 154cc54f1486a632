"""Whether the server can listen where its settings say, before anything is started."""

from __future__ import annotations

import errno
import os
import socket
import time
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vitrine_server.config import Settings

OWN_PORTS = ("http_port", "grpc_port")
TRITON_PORTS = ("triton_http_port", "triton_grpc_port", "triton_metrics_port")
_PORT_GRACE_S = 1.0


class CannotServe(Exception):
    """Something needed is not there; the message is one sentence."""


def check(settings: Settings, ports: Sequence[str]) -> None:
    """Raise CannotServe when one of the ports, by the names of their settings, cannot be had."""
    addresses: dict[tuple[str, int], str] = {}
    for setting in ports:
        name = "host" if setting in OWN_PORTS else "triton_host"
        host, port = getattr(settings, name), getattr(settings, setting)
        if port == 0:
            continue
        variable = f"VITRINE_{setting.upper()}"
        if (other := addresses.setdefault((host, port), variable)) != variable:
            raise CannotServe(f"{other} and {variable} are both {port}: give each its own port.")
        try:
            family, _, _, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
        except OSError as error:
            raise CannotServe(f"VITRINE_{name.upper()}={host}: {error.strerror}.") from None
        _check_address(family, address, variable=variable, host_variable=f"VITRINE_{name.upper()}")


def _check_address(
    family: socket.AddressFamily,
    address: tuple[object, ...],
    *,
    variable: str,
    host_variable: str,
) -> None:
    # A server that was killed a moment ago may still hold its ports.
    deadline = time.monotonic() + _PORT_GRACE_S
    host, port = address[:2]
    while (problem := _bind_problem(family, address)) == errno.EADDRINUSE:
        if time.monotonic() > deadline:
            raise CannotServe(
                f"Port {port} on {host} is in use: stop what uses it, or set {variable} to a "
                "free one."
            )
        time.sleep(0.1)
    if problem == errno.EACCES:
        raise CannotServe(f"Port {port} is for root alone: set {variable} to 1024 or more.")
    if problem is not None:
        raise CannotServe(
            f"{host_variable}={host} is no address of this machine ({os.strerror(problem)}); "
            "127.0.0.1 is."
        )


def _bind_problem(family: socket.AddressFamily, address: tuple[object, ...]) -> int | None:
    """Number of the error that listening there meets, or None."""
    with closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen()
        except OSError as error:
            return error.errno
    return None


def reachable(host: str) -> str:
    """Where a server that listens on `host` is reached from this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
