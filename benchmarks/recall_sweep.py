"""Recall against speed, build time and memory of every index family, beside hnswlib and usearch.

    python benchmarks/recall_sweep.py [--size 100k] [--vectors FILE.npy] [--only hnsw,hnswlib]
        [--folder DIR] [--build-threads 2]

Vectors: by default a seeded mixture, N / 200 clusters with power-law sizes; the centres and the
spread around them (0.8 of the centres' own) share one spectrum in which the i-th direction has a
standard deviation of i^-0.4, in a random rotation; all of length 1. The queries are drawn from the
same mixture and not stored. With --vectors, rows of an array (N, D), a random 1,000 of them as
queries. With --folder, vectors and built indices are kept there and used again, so that a large
run can be made in parts.

One thread, one query at a time, rounds interleaved over all indices; queries a second of the
processor time that the thread used, so that a busy machine disturbs less. Our families run as the
server runs them: rows in cluster order, candidates rescored against the exact vectors. The last
lines compare "auto", tuned as the server tunes it, with hnswlib at the same recall, and say what it
holds in memory: with and without the exact vectors, a mapped file of which k × candidates rows are
read a query. Raw rows and an SVG go to benchmarks/results/<time>-recall-<size>/.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import yaml

from vitrine_server.index import ann, exact
from vitrine_server.index.choice import choose, free_memory
from vitrine_server.index.faiss_api import FaissIndex, cluster_order
from vitrine_server.index.vectors import Vectors
from vitrine_server.records import CollectionSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

HERE = Path(__file__).parent
SIZES = {"10k": 10_000, "100k": 100_000, "300k": 300_000, "1m": 1_000_000}
DIMENSION = 256


@dataclass(frozen=True)
class Entry:
    """An index that can be asked: `search(query (D,), effort, candidates)` gives row numbers."""

    name: str
    build_s: float
    bytes_per_vector: float
    efforts: tuple[tuple[int, int], ...]
    search: Callable[[NDArray[np.float32], int, int], NDArray[np.int64]]
    # effort and candidates that the server would choose for a target recall
    tune: Callable[[float], tuple[int, int]] | None = None


@dataclass(frozen=True)
class Point:
    name: str
    effort: int
    candidates: int
    recall: float
    queries_per_s: tuple[float, ...]
    build_s: float
    bytes_per_vector: float

    @property
    def qps(self) -> float:
        """Median of the rounds."""
        return float(np.median(self.queries_per_s))


def mixture(rows: int, queries: int, seed: int = 0) -> tuple[NDArray[np.float32], ...]:
    """Stored vectors (rows, 256) and queries (queries, 256), as the module describes them."""
    rng = np.random.default_rng(seed)
    clusters = max(64, rows // 200)
    spread = (1.0 + np.arange(DIMENSION)) ** -0.4
    rotation = np.linalg.qr(rng.standard_normal((DIMENSION, DIMENSION)))[0]
    centres = rng.standard_normal((clusters, DIMENSION)) * spread
    weights = (1.0 + np.arange(clusters)) ** -0.7
    weights /= weights.sum()

    def draw(count: int) -> NDArray[np.float32]:
        chosen = rng.choice(clusters, count, p=weights)
        drawn = centres[chosen] + 0.8 * rng.standard_normal((count, DIMENSION)) * spread
        drawn = drawn @ rotation
        unit: NDArray[np.float64] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        return unit.astype(np.float32)

    blocks = [draw(min(100_000, rows - start)) for start in range(0, rows, 100_000)]
    return np.concatenate(blocks), draw(queries)


def shuffled(file: Path) -> NDArray[np.float32]:
    """Rows (N, D) of a NumPy file in random order, of length 1."""
    rows = np.load(file).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return cast("NDArray[np.float32]", np.random.default_rng(0).permutation(rows))


@dataclass(frozen=True)
class Shelf:
    """A folder of vectors and built indices, each made when it is first asked for."""

    folder: Path
    peer_threads: int

    def array(self, name: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        path = self.folder / f"{name}.npy"
        if not path.exists():
            np.save(path, make())
        return cast("NDArray[Any]", np.load(path))

    def built(self, name: str, build: Callable[[Path], None]) -> tuple[Path, float]:
        """The file of an index, and the processor seconds that its build took."""
        path, note = self.folder / f"{name}.index", self.folder / f"{name}.build_s"
        if not note.exists():
            started = time.process_time()
            build(path)
            note.write_text(str(time.process_time() - started))
        return path, float(note.read_text())


def our_family(
    family: ann.AnnFamily, vectors: NDArray[np.float32], options: dict[str, Any], shelf: Shelf
) -> Entry:
    """Built as a merge builds it, and read back as a snapshot is."""
    rows = len(vectors)
    order = shelf.array(
        "order", lambda: cluster_order(lambda start, stop: vectors[start:stop], rows, ann.SEED)
    )
    ordered = np.ascontiguousarray(vectors[order])

    def build(path: Path) -> None:
        index = ann.trained(family, ordered, "cosine")
        ann.fill(index, ordered, stop=lambda: None)
        index.write(path)

    path, build_s = shelf.built(family, build)
    index, size = FaissIndex.read(path), path.stat().st_size
    held = Vectors(ordered)
    searchers: dict[tuple[int, int], ann.Ann] = {}

    def search(query: NDArray[np.float32], effort: int, candidates: int) -> NDArray[np.int64]:
        key = effort, candidates
        if key not in searchers:
            searchers[key] = ann.Ann(family, index, ann.Tuning(effort, candidates, 0, 0))
        proposed = searchers[key].propose(query[None], 10)[0]
        return cast(
            "NDArray[np.int64]",
            order[ann.rescored(held, query, proposed[proposed >= 0], 10, "cosine")[1]],
        )

    def tune(target: float) -> tuple[int, int]:
        tuning = ann.tuned(family, index, ordered, "cosine", target, stop=lambda: None).tuning
        return tuning.effort, tuning.candidates

    efforts = tuple((e, c) for c in options["candidates"] for e in options["efforts"])
    return Entry(family, build_s, size / rows, efforts, search, tune)


def hnswlib_peer(vectors: NDArray[np.float32], options: dict[str, Any], shelf: Shelf) -> Entry:
    hnswlib = importlib.import_module("hnswlib")
    index = hnswlib.Index("ip", vectors.shape[1])

    def build(path: Path) -> None:
        made = hnswlib.Index("ip", vectors.shape[1])
        made.init_index(len(vectors), M=options["M"], ef_construction=options["ef_construction"])
        made.add_items(vectors, num_threads=shelf.peer_threads)
        made.save_index(str(path))

    path, build_s = shelf.built("hnswlib", build)
    index.load_index(str(path))
    index.set_num_threads(1)

    def search(query: NDArray[np.float32], effort: int, _: int) -> NDArray[np.int64]:
        index.set_ef(effort)
        rows = index.knn_query(query[None], 10, num_threads=1)[0][0]
        return cast("NDArray[np.int64]", rows.astype(np.int64))

    efforts = tuple((effort, 0) for effort in options["efforts"])
    return Entry("hnswlib", build_s, path.stat().st_size / len(vectors), efforts, search)


def usearch_peer(vectors: NDArray[np.float32], options: dict[str, Any], shelf: Shelf) -> Entry:
    usearch = importlib.import_module("usearch.index")

    def build(path: Path) -> None:
        made = usearch.Index(
            ndim=vectors.shape[1],
            metric="ip",
            dtype="f32",
            connectivity=options["connectivity"],
            expansion_add=options["expansion_add"],
        )
        made.add(np.arange(len(vectors)), vectors, threads=shelf.peer_threads)
        made.save(str(path))

    path, build_s = shelf.built("usearch", build)
    index = usearch.Index.restore(str(path))

    def search(query: NDArray[np.float32], effort: int, _: int) -> NDArray[np.int64]:
        index.expansion_search = effort
        return cast("NDArray[np.int64]", index.search(query, 10, threads=1).keys.astype(np.int64))

    efforts = tuple((effort, 0) for effort in options["efforts"])
    return Entry("usearch", build_s, path.stat().st_size / len(vectors), efforts, search)


PEERS = {"hnswlib": hnswlib_peer, "usearch": usearch_peer}


def measure(
    entries: list[Entry], queries: NDArray[np.float32], truth: NDArray[np.int64], rounds: int
) -> list[Point]:
    """Every setting of every index in each round, in turn."""
    found: dict[tuple[str, int, int], tuple[float, list[float]]] = {}
    for _ in range(rounds):
        for entry in entries:
            for effort, candidates in entry.efforts:
                started = time.thread_time()
                rows = [entry.search(query, effort, candidates) for query in queries]
                elapsed = time.thread_time() - started
                key = entry.name, effort, candidates
                if key not in found:
                    found[key] = recall(rows, truth), []
                found[key][1].append(len(queries) / elapsed)
    by_name = {entry.name: entry for entry in entries}
    return [
        Point(
            name,
            effort,
            candidates,
            reached,
            tuple(qps),
            by_name[name].build_s,
            by_name[name].bytes_per_vector,
        )
        for (name, effort, candidates), (reached, qps) in found.items()
    ]


def recall(found: list[NDArray[np.int64]], truth: NDArray[np.int64]) -> float:
    hits = sum(
        len(set(rows.tolist()) & set(best.tolist()))
        for rows, best in zip(found, truth, strict=True)
    )
    return hits / truth.size


def auto_entry(entries: list[Entry], rows: int, dimension: int, target: float) -> Entry | None:
    """What the server itself would search with; None when that family was not built."""
    settings = CollectionSettings(index="auto", metric="cosine", target_recall=target)
    choice = choose(settings, rows, dimension, free_memory())
    print(f"auto: {choice.family}, {choice.reason}")
    for entry in entries:
        if entry.name == choice.family and entry.tune is not None:
            return replace(entry, name="auto", efforts=(entry.tune(target),))
    return None


def compared(points: list[Point], peer: str, dimension: int) -> str:
    """ "auto" beside a peer at the recall that "auto" reaches, both interleaved in this run."""
    [auto] = [point for point in points if point.name == "auto"]
    other = speed_at(points, peer, auto.recall)
    share = auto.bytes_per_vector / 4 / dimension
    size = (
        f"{auto.bytes_per_vector:.0f} B a vector, {share:.2f} of FP32 ({1 + share:.2f} with the "
        "mapped exact vectors)"
    )
    if other is None:
        return f"auto: recall {auto.recall:.4f}, which no setting of {peer} reaches; {size}"
    return (
        f"auto: recall {auto.recall:.4f}, {auto.qps:.0f} q/s, {auto.qps / other:.2f} of {peer}'s "
        f"{other:.0f} q/s at that recall; {size}"
    )


def front(points: list[Point], name: str) -> list[Point]:
    """The settings of an index that no other of its settings beats in both recall and speed."""
    own = sorted((p for p in points if p.name == name), key=lambda p: -p.qps)
    kept: list[Point] = []
    for point in own:
        if not kept or point.recall > kept[-1].recall:
            kept.append(point)
    return kept


def speed_at(points: list[Point], name: str, wanted: float) -> float | None:
    """Queries a second of an index at a recall, between its measured settings."""
    own = sorted(front(points, name), key=lambda p: p.recall)
    for low, high in itertools.pairwise(own):
        if low.recall <= wanted <= high.recall:
            share = (wanted - low.recall) / (high.recall - low.recall)
            return float(np.exp((1 - share) * np.log(low.qps) + share * np.log(high.qps)))
    return own[0].qps if own and own[0].recall >= wanted else None


def drawn(points: list[Point], title: str) -> str:
    """The Pareto fronts as SVG: recall to the right, queries a second (logarithmic) upwards."""
    width, height, left, bottom = 860, 520, 70, 50
    colours = ["#d1495b", "#00798c", "#edae49", "#30638e", "#6a4c93", "#3d5a40", "#8d5524"]
    low, high = 0.7, 1.0
    speeds = [point.qps for point in points if point.recall >= low]
    floor, ceiling = np.log10(min(speeds)) - 0.1, np.log10(max(speeds)) + 0.1

    def at(reached: float, qps: float) -> tuple[float, float]:
        x = left + (reached - low) / (high - low) * (width - left - 130)
        y = height - bottom - (np.log10(qps) - floor) / (ceiling - floor) * (height - bottom - 40)
        return round(x, 1), round(float(y), 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{left}" y="22">{title}</text>',
    ]
    for reached in np.linspace(low, high, 7):
        x, y = at(reached, 10**floor)
        parts.append(f'<text x="{x}" y="{y + 18}" text-anchor="middle">{reached:.2f}</text>')
        parts.append(f'<line x1="{x}" y1="{y}" x2="{x}" y2="40" stroke="#ddd"/>')
    for qps in (100, 200, 500, 1000, 2000, 5000, 10_000, 20_000):
        if floor <= np.log10(qps) <= ceiling:
            x, y = at(low, qps)
            parts.append(f'<text x="{x - 8}" y="{y + 4}" text-anchor="end">{qps}</text>')
            parts.append(f'<line x1="{x}" y1="{y}" x2="{width - 130}" y2="{y}" stroke="#ddd"/>')
    for number, name in enumerate(dict.fromkeys(point.name for point in points)):
        colour = colours[number % len(colours)]
        path = [at(p.recall, p.qps) for p in front(points, name) if p.recall >= low]
        line = " ".join(f"{x},{y}" for x, y in path)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"/>' for x, y in path]
        parts.append(
            f'<text x="{width - 120}" y="{60 + 20 * number}" fill="{colour}">{name}</text>'
        )
    parts.append(f'<text x="{left}" y="{height - 8}">recall@10; upwards: queries a second</text>')
    return "\n".join([*parts, "</svg>"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="100k")
    parser.add_argument("--vectors", type=Path, help="a NumPy file (N, D) instead of the mixture")
    parser.add_argument("--only", help="names of families and peers, with commas")
    parser.add_argument("--folder", type=Path, help="keep vectors and indices, and use them again")
    parser.add_argument("--build-threads", type=int, default=1, help="of the peers")
    options = parser.parse_args()
    plan = yaml.safe_load((HERE / "recall_sweep.yaml").read_text())
    wanted = set(options.only.split(",")) if options.only else None
    label = options.vectors.stem if options.vectors else options.size
    results = HERE / "results" / f"{time.strftime('%Y%m%d-%H%M%S')}-recall-{label}"
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.folder or Path(scratch)) / label
        folder.mkdir(parents=True, exist_ok=True)
        run(plan, wanted, options.vectors, label, Shelf(folder, options.build_threads), results)


def run(
    plan: dict[str, Any],
    wanted: set[str] | None,
    file: Path | None,
    label: str,
    shelf: Shelf,
    results: Path,
) -> None:
    count = plan["queries"]
    everything = shelf.array(
        "vectors",
        lambda: shuffled(file) if file else np.concatenate(mixture(SIZES[label], count)),
    )
    vectors, queries = everything[:-count], np.ascontiguousarray(everything[-count:])
    truth = shelf.array("truth", lambda: exact.search(queries, vectors, plan["k"], "cosine")[1])

    entries: list[Entry] = []
    for kind in ("families", "peers"):
        for name, settings in plan[kind].items():
            if wanted is not None and name not in wanted:
                continue
            try:
                if kind == "families":
                    entries.append(our_family(name, vectors, settings, shelf))
                else:
                    entries.append(PEERS[name](vectors, settings, shelf))
            except ModuleNotFoundError as error:
                print(f"{name}: skipped, {error}")
                continue
            built = entries[-1]
            print(
                f"{name}: built in {built.build_s:.0f} s, {built.bytes_per_vector:.0f} B a vector"
            )
    auto = auto_entry(entries, len(vectors), vectors.shape[1], plan["target_recall"])
    if auto is not None:
        entries.append(auto)

    points = measure(entries, queries, truth, plan["rounds"])
    results.mkdir(parents=True)
    (results / "points.json").write_text(json.dumps([asdict(point) for point in points], indent=1))
    title = f"{len(vectors)} vectors of {vectors.shape[1]}, one thread"
    (results / "front.svg").write_text(drawn(points, title))
    for point in points:
        low, high = min(point.queries_per_s), max(point.queries_per_s)
        print(
            f"{point.name:12} effort {point.effort:4} candidates {point.candidates:3}"
            f"  recall {point.recall:.4f}  {point.qps:7.0f} q/s ({low:.0f} to {high:.0f})"
        )
    for entry in entries:
        reached = {level: speed_at(points, entry.name, level) for level in (0.9, 0.95, 0.98)}
        print(entry.name, {level: qps and round(qps) for level, qps in reached.items()})
    for peer in PEERS:
        if auto is not None and any(entry.name == peer for entry in entries):
            print(compared(points, peer, vectors.shape[1]))
    print(f"raw rows and front.svg: {results}")


if __name__ == "__main__":
    main()
