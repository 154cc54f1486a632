"""`vitrine-serve`: checks what is needed, then runs Triton and the sidecar until it is stopped.

Every check ends in one sentence on standard error and exit code 1, before anything is started.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from typing import TYPE_CHECKING

from vitrine_server import addresses, guardian, relays, triton_process
from vitrine_server import manifest as manifests
from vitrine_server.addresses import reachable
from vitrine_server.config import ConfigError, load_settings
from vitrine_server.health import SidecarHealth, TritonHealth
from vitrine_server.supervisor import Part, StartFailed, Supervisor, guarded
from vitrine_server.workers import processes

if TYPE_CHECKING:
    from vitrine_server.config import Settings
    from vitrine_server.manifest import Manifest
    from vitrine_server.triton_process import TritonInstallation

_TRITON_STOP_S = 12.0


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
            addresses.check(settings, (*addresses.OWN_PORTS, *addresses.TRITON_PORTS))
            stages = [
                *(processes.stages(settings, run=run) or [[_sidecar(settings)]]),
                [_triton(settings, installation, run=run, verbose=verbose)],
            ]
            supervisor = Supervisor(
                stages,
                run=run,
                say=relays.named("vitrine", settings),
                on_ready=lambda seconds: _print_addresses(settings, manifest, seconds),
            )
            return asyncio.run(supervisor.serve())
    except (
        addresses.CannotServe,
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
    relay = relays.named("triton", settings)
    return Part(
        name="triton",
        command=[*triton_process.command(installation, settings, run=run), *flags],
        environment=triton_process.environment(installation),
        health=TritonHealth(
            host=settings.triton_host,
            http_port=settings.triton_http_port,
            metrics_port=settings.triton_metrics_port,
        ),
        relay=relay if verbose else relays.without(triton_process.NOISE, relay),
        clean_up=lambda: guardian.remove_regions(run),
        stop_limit_s=_TRITON_STOP_S,
    )


def _sidecar(settings: Settings) -> Part:
    return Part(
        name="server",
        command=[sys.executable, "-m", "vitrine_server.main"],
        environment=processes.environment(),
        health=SidecarHealth((reachable(settings.host), settings.http_port)),
        relay=relays.of_server("server", settings),
        clean_up=lambda: None,
        stop_limit_s=settings.request_timeout_s + 5,
    )


def _print_addresses(settings: Settings, manifest: Manifest, seconds: float) -> None:
    encoder = manifest.encoder
    trained = "" if encoder.trained else ", untrained"
    api = f"http://{reachable(settings.host)}:{settings.http_port}"
    grpc = f"  gRPC      {reachable(settings.host)}:{settings.grpc_port}\n"
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
