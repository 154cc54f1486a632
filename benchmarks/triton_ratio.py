"""What Triton costs: images a second through it against the same engine in this process.

Requests of one batch over gRPC with the pixels in system shared memory, a few clients at once;
rounds of both take turns, so that a machine that slows down slows both. Prints medians and the
median of the rounds' ratios; and the same of the CPU time, clients and Triton included, which tells
work from waiting and holds on a busy machine.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import shared_memory
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import tritonclient.grpc as triton
from rich.console import Console

from harness import triton_server
from vitrine_export import engines
from vitrine_server import manifest as manifests

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

MODEL = "image_encoder"
MIN_COSINE = 0.999


@dataclass(frozen=True)
class Round:
    """Images a second, and milliseconds of CPU an image in this process and its children."""

    rate: float
    cpu_ms: float


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
    local: list[Round] = []
    served: list[Round] = []
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
            alone = _round([lambda: engine.embed(pixels)], options)
            through = _round([client.infer for client in clients], options)
            if turn:  # the first warms both up
                local.append(alone)
                served.append(through)
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{found.encoder.name} {found.precision} ({found.runtime}), batch {options.batch}, "
        f"{options.clients} clients, {options.rounds} rounds of {options.seconds} s:"
    )
    for name, rounds in (("in process", local), ("Triton", served)):
        rate = statistics.median(each.rate for each in rounds)
        cpu_ms = statistics.median(each.cpu_ms for each in rounds)
        console.print(f"  {name:<11} {rate:8.1f} images/s, {cpu_ms:6.2f} ms of CPU an image")
    pairs = list(zip(local, served, strict=True))
    by_rate = [through.rate / alone.rate for alone, through in pairs]
    by_cpu = [alone.cpu_ms / through.cpu_ms for alone, through in pairs]
    for name, ratios in (("ratio", by_rate), ("by CPU time", by_cpu)):
        console.print(
            f"  {name:<11} {statistics.median(ratios):8.2f} "
            f"(median of {', '.join(f'{ratio:.2f}' for ratio in sorted(ratios))})"
        )


def _round(callers: list[Callable[[], NDArray[np.float32]]], options: argparse.Namespace) -> Round:
    """Each caller in a thread of its own, one call after the other."""
    counts = [0] * len(callers)
    cpu_s, started = _cpu_s(), time.perf_counter()

    def ask(number: int) -> None:
        while time.perf_counter() - started < options.seconds:
            counts[number] += len(callers[number]())

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(callers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - started
    return Round(sum(counts) / elapsed, 1000 * (_cpu_s() - cpu_s) / sum(counts))


def _cpu_s() -> float:
    """CPU seconds of this process, Triton and its Python backend since they began."""
    this = psutil.Process()
    times = [process.cpu_times() for process in (this, *this.children(recursive=True))]
    return sum(each.user + each.system for each in times)


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
