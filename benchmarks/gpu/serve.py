"""End to end: a search by image through the sidecar and Triton, by the sidecar's decode threads."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import decode
from sizes import Missing, Sizes

from harness.machine import ROOT
from harness.pictures import salted

if TYPE_CHECKING:
    import torch

ITEMS = 64
ROUNDS = 3


def serve(device: torch.device, sizes: Sizes) -> list[dict[str, Any]]:
    """A row for each number of threads. Raises Missing without an engine or Triton."""
    try:
        from harness.own_server import own_server
        from vitrine_server import manifest, triton_process
        from vitrine_server.config import Settings
    except ImportError as error:
        raise Missing(f"no {error.name}: make serve installs it") from None
    repository = ROOT / "model_repository" / ("gpu_python" if device.type == "cuda" else "cpu")
    settings = Settings(model_repository=repository)
    try:
        published = manifest.load(settings.encoder_folder)
        triton_process.find(ROOT / settings.triton_env)
    except (manifest.ManifestError, triton_process.TritonMissing) as error:
        raise Missing(str(error)) from None
    files = [decode.jpeg(seed, sizes.jpeg_sides[0]) for seed in range(ITEMS)]
    rows = []
    for threads in sizes.threads:
        with own_server(
            model_repository=str(repository),
            decode_threads=str(threads),
            max_wait_s="10",
            result_cache_mb="0",
        ) as addresses:
            rates = [_rate(addresses.url, files, 8 * threads, sizes, n) for n in range(ROUNDS)]
        rows.append(
            {
                "decode_threads": threads,
                "connections": 8 * threads,
                "precision": published.precision,
                "queries_per_s": statistics.median(rates),
                "lowest": min(rates),
                "highest": max(rates),
            }
        )
    return rows


def _rate(url: str, files: list[bytes], connections: int, sizes: Sizes, turn: int) -> float:
    import uvloop

    from harness.saturate import saturate
    from harness.wire import Target

    target = Target.of(url)

    def request(number: int) -> bytes:
        return target.encode(
            "POST",
            "/v1/collections/default/search?k=10",
            headers={"content-type": "image/jpeg"},
            body=salted(files[number % len(files)], turn << 32 | number),
        )

    return uvloop.run(
        saturate(target, request, connections=connections, seconds=20 * sizes.seconds)
    ).per_s
