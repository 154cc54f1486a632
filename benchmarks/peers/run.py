"""Vitrine beside the servers that people write: same encoder, images, machine, one run.

    python benchmarks/peers/run.py --images FOLDER

All of them are started here, and take turns: first at saturation, then at half of each one's own
throughput with arrivals by the clock. Prints image queries a second, the CPU time that a query
costs (which other programs on the machine change little), p99 at half load, and the ratios to
Vitrine. Exit code 1 when other programs were so busy that the throughput cannot be believed.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import statistics
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from harness import machine  # noqa: E402 (the path is set above)
from harness.compare import Blocks  # noqa: E402
from harness.gallery import fill  # noqa: E402
from harness.openloop import HttpChannel, OpenLoop, Prepared, plan  # noqa: E402
from harness.own_server import own_server  # noqa: E402
from harness.pictures import Picture, content_type, load_folder, salted  # noqa: E402
from harness.processes import ServerProcesses, Stopwatch  # noqa: E402
from harness.published import repository_of  # noqa: E402
from harness.saturate import saturate  # noqa: E402
from harness.started import is_ready, started  # noqa: E402
from harness.sweep import MAX_OTHERS_SHARE, write_json  # noqa: E402
from harness.triton_server import free_ports  # noqa: E402
from harness.wire import Target  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.recording import Recording

PEERS = {
    "eager": "(a) PyTorch eager, one at a time",
    "onnxruntime_inprocess": "(b) ONNX Runtime FP32 in process",
}
INFINITY = "(c) infinity-emb, embedding alone"
COLLECTION = "peers"
WARMUP_S = 1.0
screen = Console(highlight=False, width=None if sys.stdout.isatty() else 130)


@dataclass(frozen=True)
class Turn:
    """Queries a second, CPU milliseconds that the server's processes spent on one, and the cores
    that other programs used meanwhile."""

    per_s: float
    cpu_ms: float
    others_cores: float


@dataclass
class System:
    """A server under test. encode: a picture and a salt → a whole request."""

    name: str
    target: Target
    encode: Callable[[Picture, int], bytes]
    has_search: bool = True
    turns: list[Turn] = field(default_factory=list)
    at_half_load: list[Recording] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.processes = ServerProcesses(f"http://{self.target.host}:{self.target.port}")

    def median(self, read: Callable[[Turn], float]) -> float:
        return statistics.median(read(turn) for turn in self.turns)

    @property
    def p99_ms(self) -> float:
        """Of all turns at half load; what failed is slower than every limit."""
        return Blocks(self.at_half_load).percentile(99)

    def prepared(self, pictures: Sequence[Picture], number: int) -> Prepared:
        picture = pictures[number % len(pictures)]
        check = (lambda body: _is_first(picture.name, body)) if self.has_search else None
        return Prepared(self.encode(picture, number), is_right=check)


def main() -> None:
    options = _options()
    # the peers take the first of the sorted names
    pictures = load_folder(options.images)[: options.limit]
    with ExitStack() as stack:
        systems = [
            stack.enter_context(_vitrine(options, pictures)),
            *(stack.enter_context(_peer(peer, options)) for peer in PEERS),
        ]
        if (options.infinity / "model").is_dir():
            systems.append(stack.enter_context(_infinity(options.infinity)))
        for turn in range(options.rounds):
            for system in systems:
                system.turns.append(_saturate(system, pictures, turn, options))
        for turn in range(options.rounds):
            for system in systems:
                system.at_half_load.append(_half_load(system, pictures, turn, options))
    _print(systems, options.encoder)
    folder = machine.result_folder(options.output, "-peers")
    write_json(folder / "peers.json", _as_json(systems, options))
    screen.print(f"{folder / 'peers.json'}")
    cores = os.cpu_count() or 1
    others = max(system.median(lambda turn: turn.others_cores) for system in systems)
    if others > MAX_OTHERS_SHARE * cores:
        screen.print(
            f"[red]This cannot be believed: other programs used {others:.2f} of the {cores} cores. "
            "PyTorch's threads wait for each other, so a busy machine slows (a) most.[/red]"
        )
        raise SystemExit(1)


def _saturate(
    system: System, pictures: Sequence[Picture], turn: int, options: argparse.Namespace
) -> Turn:
    def request(number: int) -> bytes:
        return system.encode(pictures[number % len(pictures)], turn * 10_000_000 + number)

    stopwatch = Stopwatch(system.processes)
    result = uvloop.run(
        saturate(
            system.target,
            request,
            connections=options.connections,
            seconds=options.seconds,
            warmup_s=WARMUP_S,
        )
    )
    if result.errors:
        raise SystemExit(f"{system.name} answered {result.statuses}.")
    if not result.per_s:
        raise SystemExit(f"{system.name} answered nobody in {options.seconds:g} s: --seconds more.")
    window = stopwatch.stop()
    cpu_s = sum(seconds for role, seconds in window.cpu_s.items() if role != "generator")
    cpu_ms = cpu_s / max(1, result.answered) * 1e3
    screen.print(f"{system.name}: {result.per_s:.1f} a second, {cpu_ms:.1f} CPU ms each")
    return Turn(result.per_s, cpu_ms, window.others_cores)


def _half_load(
    system: System, pictures: Sequence[Picture], turn: int, options: argparse.Namespace
) -> Recording:
    rate = system.median(lambda turn: turn.per_s) / 2
    times = plan(rate, options.seconds + WARMUP_S, arrivals="poisson", seed=turn)
    first = 10**9 + turn * 10_000_000

    async def run() -> Recording:
        channel = HttpChannel(system.target)
        loop = OpenLoop(
            channel, lambda number: system.prepared(pictures, first + number), times, timeout_s=30
        )
        recording = await loop.run(
            names=("search",), warmup_s=WARMUP_S, connections=options.connections
        )
        await channel.close()
        return recording

    return uvloop.run(run())


@contextmanager
def _vitrine(options: argparse.Namespace, pictures: Sequence[Picture]) -> Iterator[System]:
    files = [picture.data for picture in pictures]
    repository = repository_of(options.encoder, files=files, kept=options.kept)
    # the peers turn nobody away, so neither does Vitrine here
    with own_server(
        max_wait_s="60", result_cache_mb="0", model_repository=str(repository.resolve())
    ) as own:
        fill(own.url, pictures, collection=COLLECTION)
        path = f"/v1/collections/{COLLECTION}/search?k=10"
        yield _system("Vitrine", Target.of(own.url), path)


@contextmanager
def _peer(peer: str, options: argparse.Namespace) -> Iterator[System]:
    script = [sys.executable, HERE / peer / "server.py", "--encoder", options.encoder]
    more = ["--images", options.images, "--limit", str(options.limit)]
    with _running([*script, *more], "/healthz") as target:
        yield _system(PEERS[peer], target, "/search?k=10")


@contextmanager
def _infinity(environment: Path) -> Iterator[System]:
    command: list[str | Path] = [
        environment / "bin" / "infinity_emb",
        "v2",
        "--model-id",
        environment / "model",
    ]
    more = ["--served-model-name", "peer", "--engine", "torch", "--device", "cpu"]
    settings = {"DO_NOT_TRACK": "1", "INFINITY_BETTERTRANSFORMER": "false"}
    with _running([*command, *more, "--host", "127.0.0.1"], "/health", **settings) as target:
        yield System(INFINITY, target, _embedding_request(target), has_search=False)


@contextmanager
def _running(command: Sequence[str | Path], health: str, **settings: str) -> Iterator[Target]:
    """Start a peer on a free port, wait until it answers, stop it."""
    (port,) = free_ports(1)
    with started(
        [*command, "--port", str(port)],
        answers=lambda: is_ready(f"http://127.0.0.1:{port}{health}"),
        environment={**os.environ, **settings},
    ):
        yield Target("127.0.0.1", port)


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


def _is_first(name: str, body: bytes) -> bool:
    hits: list[dict[str, Any]] = json.loads(body)["hits"]
    # equal pictures have equal scores
    return any(hit["id"] == name and hit["score"] > hits[0]["score"] - 1e-3 for hit in hits)


def _print(systems: Sequence[System], encoder: str) -> None:
    heads = ("queries/s", "lowest to highest", "ratio", "CPU ms a query", "ratio")
    title = f"{encoder}; ratio: how many times better Vitrine is"
    table = Table("system", *heads, "p99 at half load, ms", "ratio", title=title)
    own = systems[0]
    for system in systems:
        rates = [turn.per_s for turn in system.turns]
        pairs = list(zip(own.turns, system.turns, strict=True))
        faster = statistics.median(a.per_s / b.per_s for a, b in pairs)
        less = statistics.median(b.cpu_ms / a.cpu_ms for a, b in pairs)
        offered = statistics.mean(run.offered_per_s for run in system.at_half_load)
        failed = statistics.mean(run.error_share for run in system.at_half_load)
        ratios = [faster, less, system.p99_ms / own.p99_ms] if system is not own else []
        cells = [f"{ratio:.2f}" for ratio in ratios] or [""] * 3
        table.add_row(
            system.name,
            f"{statistics.median(rates):.1f}",
            f"{min(rates):.1f} to {max(rates):.1f}",
            cells[0],
            f"{system.median(lambda turn: turn.cpu_ms):.1f}",
            cells[1],
            f"{system.p99_ms:.0f} at {offered:.1f}/s"
            + (f", {failed:.1%} failed" if failed else ""),
            cells[2],
        )
    screen.print(table)


def _as_json(systems: Sequence[System], options: argparse.Namespace) -> dict[str, Any]:
    return {
        "machine": machine.describe(),
        "options": {
            key: value.name if isinstance(value, Path) else value
            for key, value in vars(options).items()
        },
        "systems": {
            system.name: {
                "saturation": [asdict(turn) for turn in system.turns],
                "half_load_p99_ms": system.p99_ms,
                "half_load": [
                    {**run.percentiles_ms(), "offered": run.offered_per_s, "doubts": run.doubts()}
                    for run in system.at_half_load
                ],
            }
            for system in systems
        },
    }


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--encoder", default="vit-s", help="name in the catalogue of the export")
    parser.add_argument("--limit", type=int, default=150, help="images in each gallery")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each turn")
    build = machine.ROOT / "build"
    infinity = build / "infinity"
    parser.add_argument("--infinity", type=Path, default=infinity, help="see infinity/README.md")
    parser.add_argument("--kept", type=Path, default=build / "peers", help="engines made here")
    parser.add_argument("--output", type=Path, default=machine.RESULTS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
