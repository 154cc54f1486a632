"""Vitrine beside the servers that people write: same encoder, images, machine, one run.

    python benchmarks/peers/run.py --images FOLDER

All of them are started here. Rounds take turns, so that a
machine that slows down slows all. Prints image queries a second at saturation, the CPU time that a
query costs (which other programs on the machine change little), and p99 at half of each one's own
saturation, with arrivals by the clock; and the ratios to Vitrine.
"""

from __future__ import annotations

import argparse
import base64
import json
import shlex
import socket
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import uvloop
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from harness import machine  # noqa: E402 (the path is set above)
from harness.gallery import fill  # noqa: E402
from harness.openloop import HttpChannel, OpenLoop, Prepared, plan  # noqa: E402
from harness.own_server import own_server  # noqa: E402
from harness.pictures import Picture, content_type, load_folder, salted  # noqa: E402
from harness.processes import ServerProcesses, Stopwatch  # noqa: E402
from harness.saturate import saturate  # noqa: E402
from harness.wire import Target  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.recording import Recording

PEERS = {
    "eager": "FastAPI + PyTorch eager, one at a time",
    "onnxruntime_inprocess": "FastAPI + ONNX Runtime FP32 in process",
}
START_TIMEOUT_S = 300
screen = Console(highlight=False, width=None if sys.stdout.isatty() else 130)


@dataclass
class System:
    """A server under test. encode: a picture and a salt → a whole request."""

    name: str
    target: Target
    encode: Callable[[Picture, int], bytes]
    has_search: bool = True

    def __post_init__(self) -> None:
        self.processes = ServerProcesses(f"http://{self.target.host}:{self.target.port}")

    def prepared(self, pictures: list[Picture], number: int) -> Prepared:
        picture = pictures[number % len(pictures)]
        check = (lambda body: _is_first(picture.name, body)) if self.has_search else None
        return Prepared(self.encode(picture, number), is_right=check)


@dataclass(frozen=True)
class Turn:
    """Queries a second, and CPU milliseconds that the server's processes spent on one."""

    per_s: float
    cpu_ms: float


def main() -> None:
    options = _options()
    pictures = load_folder(options.images)
    if len(pictures) > options.limit:
        # the peers take the first of the sorted names
        pictures = pictures[: options.limit]
    with ExitStack() as stack:
        if options.url is None:
            # the peers turn nobody away, so neither does Vitrine here
            options.url = stack.enter_context(own_server(max_wait_s="60")).url
        fill(options.url, pictures, collection=options.collection)
        path = f"/v1/collections/{options.collection}/search?k=10"
        systems = [_system("Vitrine", Target.of(options.url), path)]
        for folder, name in PEERS.items():
            script = [sys.executable, str(HERE / folder / "server.py")]
            more = ["--images", str(options.images), "--limit", str(options.limit)]
            target = stack.enter_context(_running(name, script + more))
            systems.append(_system(name, target, "/search?k=10"))
        if options.infinity:
            name = "infinity-emb (embedding alone, no search)"
            target = stack.enter_context(_running(name, shlex.split(options.infinity), "/health"))
            systems.append(System(name, target, _embedding_request(target), has_search=False))
        found: dict[str, list[Turn]] = {system.name: [] for system in systems}
        for turn in range(options.rounds):
            for system in systems:
                found[system.name].append(_saturate(system, pictures, turn, options))
        capacity = {name: [turn.per_s for turn in turns] for name, turns in found.items()}
        tails = {s.name: _half_load(s, pictures, capacity[s.name], options) for s in systems}
    _print(found, tails)
    if options.json:
        body = {
            "machine": machine.describe(),
            "options": {
                key: value.name if isinstance(value, Path) else value
                for key, value in vars(options).items()
                if key != "infinity"
            },
            "per_s": capacity,
            "cpu_ms": {name: [turn.cpu_ms for turn in turns] for name, turns in found.items()},
            "half_load": {
                name: {**r.percentiles_ms(), "offered": r.offered_per_s, "doubts": r.doubts()}
                for name, r in tails.items()
            },
        }
        options.json.write_text(json.dumps(body, indent=1))


def _saturate(
    system: System, pictures: list[Picture], turn: int, options: argparse.Namespace
) -> Turn:
    def request(number: int) -> bytes:
        return system.encode(pictures[number % len(pictures)], turn * 10_000_000 + number)

    stopwatch = Stopwatch(system.processes)
    result = uvloop.run(
        saturate(system.target, request, connections=options.connections, seconds=options.seconds)
    )
    if result.errors:
        raise SystemExit(f"{system.name} answered {result.statuses}.")
    spent = stopwatch.stop().cpu_s
    cpu_s = sum(seconds for role, seconds in spent.items() if role != "generator")
    cpu_ms = cpu_s / max(1, result.answered) * 1e3
    screen.print(f"{system.name}: {result.per_s:.1f} a second, {cpu_ms:.1f} CPU ms each")
    return Turn(result.per_s, cpu_ms)


def _half_load(
    system: System, pictures: list[Picture], capacity: list[float], options: argparse.Namespace
) -> Recording:
    rate = statistics.median(capacity) / 2
    seconds = options.seconds * options.rounds + 2
    times = plan(rate, seconds, arrivals="poisson", seed=0)

    async def run() -> Recording:
        channel = HttpChannel(system.target)
        loop = OpenLoop(
            channel,
            lambda number: system.prepared(pictures, 10**9 + number),
            times,
            timeout_s=30,
        )
        recording = await loop.run(names=("search",), warmup_s=2.0, connections=16)
        await channel.close()
        return recording

    return uvloop.run(run())


def _system(name: str, target: Target, path: str) -> System:
    def encode(picture: Picture, salt: int) -> bytes:
        data = salted(picture.data, salt)
        return target.encode("POST", path, headers={"content-type": content_type(data)}, body=data)

    return System(name, target, encode)


def _embedding_request(target: Target) -> Callable[[Picture, int], bytes]:
    def encode(picture: Picture, salt: int) -> bytes:
        data = salted(picture.data, salt)
        uri = f"data:{content_type(data)};base64,{base64.b64encode(data).decode()}"
        body = {"model": "peer", "input": [uri], "modality": "image"}
        headers = {"content-type": "application/json"}
        path = "/embeddings"
        return target.encode("POST", path, headers=headers, body=json.dumps(body).encode())

    return encode


@contextmanager
def _running(name: str, command: list[str], health: str = "/healthz") -> Iterator[Target]:
    """Start a peer on a free port, wait until it answers, stop it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = int(listener.getsockname()[1])
    with subprocess.Popen([*command, "--port", str(port)]) as process:
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while not _answers(f"http://127.0.0.1:{port}{health}"):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{name} does not start.")
                time.sleep(0.5)
            yield Target("127.0.0.1", port)
        finally:
            process.terminate()


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _is_first(name: str, body: bytes) -> bool:
    hits: list[dict[str, Any]] = json.loads(body)["hits"]
    # equal pictures have equal scores
    return any(hit["id"] == name and hit["score"] > hits[0]["score"] - 1e-3 for hit in hits)


def _print(found: dict[str, list[Turn]], tails: dict[str, Recording]) -> None:
    heads = ("queries/s", "lowest to highest", "Vitrine is", "CPU ms a query", "Vitrine needs")
    table = Table("system", *heads, "p99 at half load, ms")
    own = found["Vitrine"]
    for name, turns in found.items():
        rates = [turn.per_s for turn in turns]
        faster = statistics.median(a.per_s / b.per_s for a, b in zip(own, turns, strict=True))
        less = statistics.median(b.cpu_ms / a.cpu_ms for a, b in zip(own, turns, strict=True))
        recording = tails[name]
        doubt = " (doubtful)" if recording.doubts() else ""
        failed = f", {recording.error_share:.1%} failed" if recording.error_share else ""
        table.add_row(
            name,
            f"{statistics.median(rates):.1f}",
            f"{min(rates):.1f} to {max(rates):.1f}",
            f"{faster:.2f} times as fast" if turns is not own else "",
            f"{statistics.median(turn.cpu_ms for turn in turns):.1f}",
            f"1/{less:.2f} of the CPU" if turns is not own else "",
            f"{recording.percentile_ms(99):.0f} at {recording.offered_per_s:.0f}/s{failed}{doubt}",
        )
    screen.print(table)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", help="a running Vitrine; default: one is started and stopped")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=300, help="images in each gallery")
    parser.add_argument("--collection", default="peers")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each turn")
    parser.add_argument("--infinity", help="command that starts infinity-emb; see infinity/README")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
