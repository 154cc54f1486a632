"""`vitrine-serve`: checks what is needed, then runs Triton and the sidecar until it is stopped.

Every check ends in one sentence on standard error and exit code 1, before anything is started.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import json
import os
import signal
import socket
import sys
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from vitrine_server import guardian, triton_process
from vitrine_server import manifest as manifests
from vitrine_server.config import ConfigError, load_settings
from vitrine_server.health import SidecarHealth, TritonHealth
from vitrine_server.supervisor import Part, StartFailed, Supervisor, guarded

if TYPE_CHECKING:
    from collections.abc import Callable

    from vitrine_server.config import Settings
    from vitrine_server.manifest import Manifest
    from vitrine_server.triton_process import TritonInstallation

_OWN_PORTS = ("http_port", "grpc_port")
_PORTS = (*_OWN_PORTS, "triton_http_port", "triton_grpc_port", "triton_metrics_port")
_PORT_GRACE_S = 1.0
_TRITON_STOP_S = 12.0


class CannotServe(Exception):
    """Something needed is not there; the message is one sentence."""


def main() -> int:
    """Entry point of `vitrine-serve`."""
    parser = argparse.ArgumentParser(
        prog="vitrine-serve",
        description="Starts Triton and the search sidecar; Ctrl-C drains and stops both.",
        epilog="Settings are VITRINE_* environment variables or vitrine.toml.",
    )
    parser.add_argument("--verbose", action="store_true", help="show Triton's own log as well")
    verbose = parser.parse_args().verbose
    try:
        settings = load_settings()
        manifest = manifests.load(settings.encoder_folder)
        installation = triton_process.find(settings.triton_env)
        with guarded() as run:
            _check_addresses(settings)
            parts = [
                _sidecar(settings),
                _triton(settings, installation, run=run, verbose=verbose),
            ]
            supervisor = Supervisor(
                parts,
                run=run,
                say=_relay("vitrine", as_json=settings.log_format == "json"),
                on_ready=lambda seconds: _print_addresses(settings, manifest, seconds),
            )
            return asyncio.run(supervisor.serve())
    except (
        CannotServe,
        ConfigError,
        StartFailed,
        manifests.ManifestError,
        triton_process.TritonMissing,
    ) as error:
        print(f"vitrine-serve: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before the supervisor listens for it
        return 128 + signal.SIGINT


def _triton(
    settings: Settings, installation: TritonInstallation, *, run: str, verbose: bool
) -> Part:
    flags = [] if verbose else ["--log-info=false"]
    relay = _relay("triton", as_json=settings.log_format == "json")
    return Part(
        name="triton",
        command=[*triton_process.command(installation, settings, run=run), *flags],
        environment=triton_process.environment(installation),
        health=TritonHealth(
            host=settings.triton_host,
            http_port=settings.triton_http_port,
            metrics_port=settings.triton_metrics_port,
        ),
        relay=relay if verbose else _without(triton_process.NOISE, relay),
        clean_up=lambda: guardian.remove_regions(run),
        stop_limit_s=_TRITON_STOP_S,
    )


def _sidecar(settings: Settings) -> Part:
    return Part(
        name="server",
        command=[sys.executable, "-m", "vitrine_server.main"],
        environment=os.environ,
        health=SidecarHealth(host=_reachable(settings.host), port=settings.http_port),
        # Its lines are JSON already where the settings ask for that.
        relay=_print_line if settings.log_format == "json" else _relay("server", as_json=False),
        clean_up=lambda: None,
        stop_limit_s=settings.request_timeout_s + 5,
    )


def _check_addresses(settings: Settings) -> None:
    """Raise CannotServe when an address cannot be listened on."""
    addresses: dict[tuple[str, int], str] = {}
    for setting in _PORTS:
        name = "host" if setting in _OWN_PORTS else "triton_host"
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


def _reachable(host: str) -> str:
    """Where a server that listens on `host` is reached from this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _relay(name: str, *, as_json: bool) -> Callable[[str], None]:
    """Prints a process's lines so that they can be told apart."""
    if as_json:
        return lambda line: _print_line(json.dumps({"logger": name, "event": line}))
    return lambda line: _print_line(f"{name:<7} | {line}")


def _without(noise: tuple[str, ...], relay: Callable[[str], None]) -> Callable[[str], None]:
    """Relays the lines that hold none of `noise`."""

    def filtered(line: str) -> None:
        if not any(phrase in line for phrase in noise):
            relay(line)

    return filtered


def _print_line(line: str) -> None:
    # A terminal that was closed must not stop the service.
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def _print_addresses(settings: Settings, manifest: Manifest, seconds: float) -> None:
    encoder = manifest.encoder
    trained = "" if encoder.trained else ", untrained"
    api = f"http://{_reachable(settings.host)}:{settings.http_port}"
    grpc = f"  gRPC      {_reachable(settings.host)}:{settings.grpc_port}\n"
    if settings.grpc_port == 0:
        grpc = ""
    triton = f"{settings.triton_host}:{settings.triton_grpc_port}"
    print(
        f"Vitrine is ready after {seconds:.1f} s; Ctrl-C stops it.\n"
        f"  API       {api}/v1   pages {api}/docs   metrics {api}/metrics\n"
        f"{grpc}"
        f"  Triton    {triton} (gRPC), metrics on port {settings.triton_metrics_port}\n"
        f"  Encoder   {encoder.name}, {manifest.precision}, {encoder.dimension}-d{trained}\n"
        f"  Data      {settings.data.absolute()}",
        flush=True,
    )
