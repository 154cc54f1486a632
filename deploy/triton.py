"""Triton alone, as the process of a container: `python deploy/triton.py [more Triton options]`.

Takes the settings of `vitrine-serve`. Triton is watched as there: it is started again when one of
its Python stubs has died or its model answers nobody, which Triton itself does not notice. SIGTERM
lets the requests that it has accepted finish.
"""

from __future__ import annotations

import asyncio
import sys

from vitrine_server import guardian, manifest, triton_process
from vitrine_server.config import ConfigError, load_settings
from vitrine_server.health import TritonHealth
from vitrine_server.supervisor import Part, StartFailed, Supervisor, guarded

STOP_LIMIT_S = 12.0


def main() -> int:
    try:
        settings = load_settings()
        manifest.load(settings.encoder_folder)
        installation = triton_process.find(settings.triton_env)
        with guarded() as run:
            triton = Part(
                name="triton",
                command=[
                    *triton_process.command(installation, settings, run=run),
                    "--log-info=false",
                    *sys.argv[1:],
                ],
                environment=triton_process.environment(installation),
                # it may listen on all addresses; it is asked on its own
                health=TritonHealth(
                    host="127.0.0.1",
                    http_port=settings.triton_http_port,
                    metrics_port=settings.triton_metrics_port,
                ),
                relay=_say,
                clean_up=lambda: guardian.remove_regions(run),
                stop_limit_s=STOP_LIMIT_S,
            )
            supervisor = Supervisor(
                [[triton]],
                run=run,
                say=_say,
                on_ready=lambda seconds: _say(f"Triton is ready after {seconds:.1f} s"),
            )
            return asyncio.run(supervisor.serve())
    except (
        ConfigError,
        StartFailed,
        manifest.ManifestError,
        triton_process.TritonMissing,
    ) as error:
        _say(str(error))
        return 1


def _say(line: str) -> None:
    if not any(phrase in line for phrase in triton_process.NOISE):
        print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
