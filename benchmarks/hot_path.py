"""What serving adds: each kind of request beside the least that could answer it, in one run.

    vector queries           / a JSON route of the same server that does nothing, same body
    cached image queries     / a route of the same server that sends the same body back
    ingest, durable          / decoding and encoding the same images in process
    one client's image query / decode, engine at batch 1 and exact search in process (medians)

Rounds of both sides take turns, so that a machine that slows down slows both.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from base64 import b64encode
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import uvloop
from rich.console import Console
from rich.table import Table

from harness import machine
from harness.bare_server import ECHO, NOTHING
from harness.engine import LocalEngine
from harness.own_server import own_server
from harness.pictures import content_type, load_folder, salted, salted_pieces
from harness.processes import ServerProcesses, Stopwatch
from harness.saturate import saturate
from harness.triton_server import free_ports
from harness.wire import Pool, Target, fetch
from vitrine_server.config import load_settings
from vitrine_server.workers import processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

_SEARCH = "/v1/collections/default/search?k=10"
_BATCH = 16
# The ingest goes to a collection of its own, so that the searches of all rounds are alike.
_INGEST = "bench-ingest"


def main() -> None:
    options = _options()
    files = [picture.data for picture in load_folder(options.images, limit=options.limit)]
    engine = LocalEngine(options.engine, decode_threads=options.decode_threads)
    with own_server(max_wait_s="10") as server, _bare_sidecar(server.triton) as url:
        bench = Bench(url, engine, files, seconds=options.seconds)
        gallery = bench.fill(options.gallery)
        kinds: dict[str, Callable[[int], tuple[float, float]]] = {
            "vector query / no-op, requests/s": bench.vectors,
            "cached image query / echo, requests/s": bench.cached,
            "ingest / in process, images/s": bench.ingest,
            "one client's p50 / in process, ms": lambda turn: bench.alone(gallery, turn),
        }
        results: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
        cpu_ms: dict[str, list[float]] = {kind: [] for kind in kinds}
        for turn in range(options.rounds):
            for kind, measure in kinds.items():
                results[kind].append(measure(turn))
                cpu_ms[kind].append(bench.cpu_ms)
        _report(options, results, cpu_ms)


class Bench:
    """One server and what it is compared with. cpu_ms: the sidecar's, a good answer, last time."""

    def __init__(
        self, url: str, engine: LocalEngine, files: list[bytes], *, seconds: float
    ) -> None:
        self._url = url
        self._target = Target.of(url)
        self._engine = engine
        self._files = files
        self._seconds = seconds
        self._processes = ServerProcesses(url)
        self._dimension = engine.manifest.encoder.dimension
        self.cpu_ms = 0.0

    def fill(self, count: int) -> NDArray[np.float32]:
        """Store random unit vectors; they come back (count, D)."""
        rng = np.random.default_rng(0)
        vectors = rng.normal(size=(count, self._dimension)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        for start in range(0, count, 256):
            lines = [
                json.dumps({"id": f"item-{start + at}", "vector": vector.tolist()})
                for at, vector in enumerate(vectors[start : start + 256])
            ]
            answer = httpx.post(
                f"{self._url}/v1/collections/default/items:batch",
                content="\n".join(lines),
                headers={"content-type": "application/x-ndjson"},
                timeout=60,
            )
            answer.raise_for_status()
        httpx.put(f"{self._url}/v1/collections/{_INGEST}", json={}).raise_for_status()
        return vectors

    def vectors(self, turn: int) -> tuple[float, float]:
        """No vector comes twice: an answer that the server has kept would not be a search."""
        rng = np.random.default_rng(turn)
        rests = [
            ", ".join(map(str, rng.normal(size=self._dimension - 1).round(4).tolist()))
            for _ in range(64)
        ]

        def body(number: int) -> bytes:
            return f'{{"vector": [0.{number:09d}, {rests[number % 64]}]}}'.encode()

        return self._beside(_SEARCH, NOTHING, body, "application/json")

    def cached(self, turn: int) -> tuple[float, float]:
        bodies = self._files[:32]
        for body in bodies:
            httpx.post(self._url + _SEARCH, content=body, timeout=60).raise_for_status()
        return self._beside(
            _SEARCH, ECHO, lambda number: bodies[number % len(bodies)], "image/jpeg"
        )

    def ingest(self, turn: int) -> tuple[float, float]:
        """Images a second: batches over four connections, all on disk when answered."""

        # made once: the sidecar has the processor that the generator does not take
        ends = [b64encode(salted_pieces(file, 0)[1]) for file in self._files]

        def image(serial: int) -> bytes:
            at = serial % len(self._files)
            start, end = salted_pieces(self._files[at], turn * 10**7 + serial)
            if len(start) % 3:  # not whole groups of base64
                return b64encode(start + end)
            return b64encode(start) + ends[at]

        def request(number: int) -> bytes:
            serials = range(number * _BATCH, (number + 1) * _BATCH)
            # not through json, which looks at every character of the image
            lines = [b'{"id":"%d-%d","image":"%b"}' % (turn, each, image(each)) for each in serials]
            return self._target.encode(
                "POST",
                f"/v1/collections/{_INGEST}/items:batch",
                headers={"content-type": "application/x-ndjson"},
                body=b"\n".join(lines),
            )

        batch = self._engine.best_batch
        alone = self._engine.images_per_s(self._files, batch=batch, seconds=self._seconds)
        return _BATCH * self._saturated(request, connections=4), alone

    def alone(self, gallery: NDArray[np.float32], turn: int) -> tuple[float, float]:
        """Medians in ms of one query at a time: over HTTP, and in this process."""
        return uvloop.run(self._alone(gallery, turn))

    async def _alone(self, gallery: NDArray[np.float32], turn: int) -> tuple[float, float]:
        over_http: list[float] = []
        in_process: list[float] = []
        stopwatch = Stopwatch(self._processes)
        pool = Pool(self._target)
        with closing(pool):
            end, number = time.perf_counter() + 2 * self._seconds, 0
            while time.perf_counter() < end:
                file = self._files[number % len(self._files)]
                data = salted(file, -1 - turn * 10**7 - number & 2**60 - 1)
                headers = {"content-type": content_type(data)}
                # equal pixels ask the same question; with another limit its answer is not kept yet
                asked = f"{_SEARCH}&min_score=-{turn + 2}.{number:06d}"
                request = self._target.encode("POST", asked, headers=headers, body=data)
                started = time.perf_counter()
                answer = await fetch(pool, request, timeout_s=60)
                answered = time.perf_counter()
                if answer.status != 200:
                    raise SystemExit(f"A query was answered with {answer.status}.")
                vector = self._engine.encode(self._engine.decode([file]))[0]
                scores = gallery @ vector
                best = np.argpartition(-scores, 10)[:10]
                best[np.argsort(-scores[best])]
                in_process.append((time.perf_counter() - answered) * 1e3)
                over_http.append((answered - started) * 1e3)
                number += 1
        self.cpu_ms = stopwatch.stop().cpu_s["sidecar"] / number * 1e3
        return statistics.median(over_http), statistics.median(in_process)

    def _beside(
        self, path: str, bare: str, body: Callable[[int], bytes], media_type: str
    ) -> tuple[float, float]:
        def request(where: str, number: int) -> bytes:
            return self._target.encode(
                "POST", where, headers={"content-type": media_type}, body=body(number)
            )

        least = self._saturated(lambda number: request(bare, number), connections=16)
        return self._saturated(lambda number: request(path, number), connections=16), least

    def _saturated(self, request: Callable[[int], bytes], *, connections: int) -> float:
        """Good answers a second. Raises SystemExit when one is not 200."""
        stopwatch = Stopwatch(self._processes)
        found = uvloop.run(
            saturate(self._target, request, connections=connections, seconds=self._seconds)
        )
        self.cpu_ms = stopwatch.stop().cpu_s["sidecar"] / max(1, found.answered) * 1e3
        if found.errors:
            raise SystemExit(f"Answers by status: {found.statuses}")
        return found.per_s


@contextmanager
def _bare_sidecar(triton: str) -> Iterator[str]:
    """A second sidecar on the same Triton: the same application with the bare routes."""
    port = free_ports(1)[0]
    host, _, triton_port = triton.rpartition(":")
    folder = Path(machine.ROOT) / "build" / f"hot-path-{port}"
    settings = {
        "http_port": str(port),
        "triton_host": host,
        "triton_grpc_port": triton_port,
        "data": str(folder),
        "max_wait_s": "10",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.bare_server"],
        cwd=machine.ROOT,
        env={
            **processes.environment(),
            **{f"VITRINE_{name.upper()}": value for name, value in settings.items()},
            "PYTHONPATH": os.pathsep.join(
                filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
            ),
        },
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while not _ready(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("The sidecar does not start.")
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=20).status_code == 200
    except httpx.TransportError:
        return False


def _report(
    options: argparse.Namespace,
    results: dict[str, list[tuple[float, float]]],
    cpu_ms: dict[str, list[float]],
) -> None:
    table = Table("measured", "served", "least", "ratio", "lowest", "highest", "CPU ms")
    for kind, pairs in results.items():
        ratios = [served / least for served, least in pairs]
        table.add_row(
            kind,
            f"{statistics.median(served for served, _ in pairs):.4g}",
            f"{statistics.median(least for _, least in pairs):.4g}",
            *(f"{f(ratios):.3g}" for f in (statistics.median, min, max)),
            f"{statistics.median(cpu_ms[kind]):.3g}",
        )
    screen = Console(width=110)
    screen.print(f"medians of {options.rounds} rounds of {options.seconds:g} s in turns")
    screen.print(table)
    if options.json is not None:
        body = {
            "machine": machine.describe(),
            "options": {key: str(value) for key, value in vars(options).items()},
            "results": results,
            "sidecar_cpu_ms": cpu_ms,
        }
        options.json.write_text(json.dumps(body, indent=1))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of images")
    parser.add_argument("--limit", type=int, default=200, help="images of the folder to use")
    parser.add_argument("--engine", type=Path, default=load_settings().encoder_folder)
    parser.add_argument("--decode-threads", type=int, default=2, help="in process")
    parser.add_argument("--gallery", type=int, default=2048, help="vectors to search in")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--json", type=Path, help="file for the raw figures")
    return parser.parse_args()


if __name__ == "__main__":
    main()
