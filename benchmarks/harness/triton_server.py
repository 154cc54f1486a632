"""A Triton of one's own, with a model configuration of one's own, on free ports."""

from __future__ import annotations

import os
import re
import shutil
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.started import is_ready, started
from vitrine_server import triton_process
from vitrine_server.config import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def configured(text: str, *, delay_us: int, max_batch: int, instances: int) -> str:
    """A config.pbtxt with other batching. Raises ValueError when it lacks one of the settings."""
    replacements = {
        r"max_batch_size: \d+": f"max_batch_size: {max_batch}",
        r"max_queue_delay_microseconds: \d+": f"max_queue_delay_microseconds: {delay_us}",
        r"count: \d+": f"count: {instances}",
    }
    for pattern, value in replacements.items():
        text, found = re.subn(pattern, value, text)
        if found != 1:
            raise ValueError(f"config.pbtxt has {found} lines like {pattern!r}, not one")
    return text


def copy_repository(source: Path, destination: Path, config: str) -> None:
    """The published model with another configuration; engine files are linked, not copied."""
    version = destination / "image_encoder" / "1"
    version.mkdir(parents=True)
    for file in (source / "image_encoder" / "1").iterdir():
        if file.is_file():
            try:
                os.link(file, version / file.name)
            except OSError:  # another file system
                shutil.copy2(file, version / file.name)
    (destination / "image_encoder" / "config.pbtxt").write_text(config)


@contextmanager
def running(repository: Path, *, environment: Path) -> Iterator[str]:
    """Start Triton, wait until the model is ready, stop it; yields its gRPC address.

    Raises SystemExit with its log when it does not become ready.
    """
    http_port, grpc_port, metrics_port = free_ports(3)
    settings = Settings(
        triton_http_port=http_port,
        triton_grpc_port=grpc_port,
        triton_metrics_port=metrics_port,
        model_repository=repository,
    )
    installation = triton_process.find(environment)
    with started(
        triton_process.command(installation, settings, run=f"bench{os.getpid()}"),
        answers=lambda: is_ready(f"http://127.0.0.1:{http_port}/v2/health/ready"),
        environment=triton_process.environment(installation),
    ):
        yield f"127.0.0.1:{grpc_port}"


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(listener.getsockname()[1]) for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports
