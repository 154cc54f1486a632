"""What Triton costs: images a second through it against the same engine in this process.

Requests of one batch over gRPC with the pixels in system shared memory, a few clients at once;
rounds of both take turns, so that a machine that slows down slows both. Prints medians and the
median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from contextlib import ExitStack
from multiprocessing import shared_memory
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tritonclient.grpc as triton
from rich.console import Console

from harness import triton_server
from vitrine_export import engines
from vitrine_server import manifest as manifests

if TYPE_CHECKING:
    from numpy.typing import NDArray

MODEL = "image_encoder"
MIN_COSINE = 0.999


class Client:
    """One thread's connection and its own region of shared memory, which holds one batch."""

    def __init__(self, address: str, number: int, pixels: NDArray[np.uint8]) -> None:
        self._connection = triton.InferenceServerClient(address)
        self._region = shared_memory.SharedMemory(create=True, size=pixels.nbytes)
        np.ndarray(pixels.shape, np.uint8, self._region.buf)[:] = pixels
        name = f"batch-{number}"
        self._connection.register_system_shared_memory(
            name, f"/{self._region.name.lstrip('/')}", pixels.nbytes
        )
        self._tensor = triton.InferInput("pixels", pixels.shape, "UINT8")
        self._tensor.set_shared_memory(name, pixels.nbytes)

    def infer(self) -> NDArray[np.float32]:
        """The embeddings of the batch, (B, D)."""
        return np.asarray(self._connection.infer(MODEL, [self._tensor]).as_numpy("embedding"))

    def close(self) -> None:
        # Triton, which may not yet have let go of the last batch, ends with this run.
        self._connection.close()
        self._region.close()
        self._region.unlink()


def main() -> None:
    options = _options()
    source = options.repository / MODEL / "1"
    found = manifests.load(source)
    size = found.encoder.preprocessing.size
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (options.batch, 14, 14, 3), dtype=np.uint8)
    side = -(-size // 14)
    pixels = coarse.repeat(side, axis=1).repeat(side, axis=2)[:, :size, :size]
    pixels = np.ascontiguousarray(pixels)
    streams = int(found.properties.get("NUM_STREAMS", "1"))
    engine = engines.load(
        source / found.engine.file, found.precision, found.runtime, streams=streams
    )
    expected = engine.embed(pixels)
    local: list[float] = []
    served: list[float] = []
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vitrine-ratio-")))
        config = (options.repository / MODEL / "config.pbtxt").read_text()
        triton_server.copy_repository(options.repository, work, config)
        address = stack.enter_context(triton_server.running(work, environment=options.triton))
        clients = []
        for number in range(options.clients):
            clients.append(Client(address, number, pixels))
            stack.callback(clients[-1].close)
        cosine = (clients[0].infer() * expected).sum(axis=1).min()
        if cosine < MIN_COSINE:
            raise SystemExit(f"Triton answers other embeddings than the engine: cosine {cosine}")
        for turn in range(1 + options.rounds):
            alone, through = _local(engine, pixels, options), _served(clients, options)
            if turn:  # the first warms both up
                local.append(alone)
                served.append(through)
    ratios = [through / alone for alone, through in zip(local, served, strict=True)]
    Console().print(
        f"{found.encoder.name} {found.precision} ({found.runtime}), batch {options.batch}, "
        f"{options.clients} clients, {options.rounds} rounds of {options.seconds} s:\n"
        f"  in process  {statistics.median(local):8.1f} images/s\n"
        f"  Triton      {statistics.median(served):8.1f} images/s\n"
        f"  ratio       {statistics.median(ratios):8.2f} "
        f"(median of {', '.join(f'{ratio:.2f}' for ratio in sorted(ratios))})",
        highlight=False,
        soft_wrap=True,
    )


def _local(engine: engines.Engine, pixels: NDArray[np.uint8], options: argparse.Namespace) -> float:
    done, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < options.seconds:
        engine.embed(pixels)
        done += len(pixels)
    return done / elapsed


def _served(clients: list[Client], options: argparse.Namespace) -> float:
    counts = [0] * len(clients)
    started = time.perf_counter()

    def ask(number: int) -> None:
        while time.perf_counter() - started < options.seconds:
            counts[number] += len(clients[number].infer())

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - started)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Triton against the same engine in process.")
    parser.add_argument("--repository", type=Path, default=Path("model_repository/cpu"))
    parser.add_argument("--triton", type=Path, default=Path(".venv/triton"))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=4.0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
