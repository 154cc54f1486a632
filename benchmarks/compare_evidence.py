"""Is a heat map evidence? And does a search wait for one?

Every design's first drawing is compared with its best hit of another design (what a person would
open). FALL: mean fall of the score when the hottest fifth of the patches is blanked, against a
random fifth. SEARCH: latency of single searches while a comparison runs, against an idle server, in
turns.
"""

from __future__ import annotations

import argparse
import base64
import statistics
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from harness import machine
from harness.own_server import own_server

COLLECTION = "compare-evidence"
RESAMPLES = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="a folder for each design")
    parser.add_argument("--url", help="of a running server; default: one of its own")
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=6, help="turns of idle and busy searches")
    options = parser.parse_args()
    with ExitStack() as stack:
        url = options.url or stack.enter_context(own_server()).url
        http = stack.enter_context(httpx.Client(base_url=url, timeout=120))
        queries = _ingest(http, options.images)
        try:
            _falls(http, queries[: options.pairs])
            _searches(http, [image for _, image in queries], options.rounds)
        finally:
            http.delete(f"/v1/collections/{COLLECTION}")


def _ingest(http: httpx.Client, folder: Path) -> list[tuple[str, bytes]]:
    """Store every drawing; the first one of each design is a query: (design, image)."""
    http.put(f"/v1/collections/{COLLECTION}", json={}).raise_for_status()
    queries = []
    for design in sorted(path for path in folder.iterdir() if path.is_dir()):
        for number, path in enumerate(sorted(design.glob("*.png"))):
            image = path.read_bytes()
            if number == 0:
                queries.append((design.name, image))
            item = f"/v1/collections/{COLLECTION}/items/{path.stem}"
            answer = http.put(item, content=image, params={"metadata": _group(design.name)})
            answer.raise_for_status()
    return queries


def _group(name: str) -> str:
    return f'{{"group": "{name}"}}'


def _falls(http: httpx.Client, queries: list[tuple[str, bytes]]) -> None:
    top, chance, seconds = [], [], []
    for design, image in queries:
        options = {"k": "1", "filter": f'{{"not": {_group(design)}}}'}
        path = f"/v1/collections/{COLLECTION}/search"
        (hit,) = http.post(path, content=image, params=options).raise_for_status().json()["hits"]
        started = time.perf_counter()
        found = _compare(http, image, hit["id"])
        seconds.append(time.perf_counter() - started)
        top.append(statistics.fmean(found[side]["fall_top"] for side in "ab"))
        chance.append(statistics.fmean(found[side]["fall_random"] for side in "ab"))
    pairs = np.array([top, chance]).T
    rng = np.random.default_rng(0)
    means = pairs[rng.integers(0, len(pairs), (RESAMPLES, len(pairs)))].mean(axis=1)
    low, high = np.quantile(means[:, 0] / means[:, 1], (0.025, 0.975))
    ratio = statistics.fmean(top) / statistics.fmean(chance)
    Console().print(
        f"{len(top)} pairs on {machine.describe()['cpu']}\n"
        f"FALL    hottest fifth {statistics.fmean(top):.3f}, random fifth "
        f"{statistics.fmean(chance):.3f}: {ratio:.1f} times "
        f"(95 % of resamples: {low:.1f} to {high:.1f})\n"
        f"TIME    a comparison takes {statistics.median(seconds):.2f} s (median)"
    )


def _compare(http: httpx.Client, image: bytes, item_id: str) -> Any:
    hit = {"item_id": item_id, "collection": COLLECTION}
    two = {"a": {"image": base64.b64encode(image).decode()}, "b": hit}
    return http.post("/v1/compare", json=two).raise_for_status().json()


def _searches(http: httpx.Client, images: list[bytes], rounds: int) -> None:
    """Every query has bytes of its own, so that no cache answers."""
    hit = http.post(f"/v1/collections/{COLLECTION}/search?k=1", content=images[0]).json()["hits"][0]
    times: dict[str, list[float]] = {"idle": [], "comparing": []}
    sent = 0
    for _ in range(rounds):
        for state, seen in times.items():
            stop = threading.Event()
            worker = threading.Thread(target=_keep_comparing, args=(http, images, hit["id"], stop))
            if state == "comparing":
                worker.start()
                time.sleep(0.2)
            for image in images[:20]:
                sent += 1
                started = time.perf_counter()
                path = f"/v1/collections/{COLLECTION}/search?k=10"
                http.post(path, content=image + sent.to_bytes(8, "big")).raise_for_status()
                seen.append(time.perf_counter() - started)
                time.sleep(0.02)
            stop.set()
            if state == "comparing":
                worker.join()
    table = Table("server", "searches", "p50 ms", "p95 ms", title="SEARCH")
    for state, seen in times.items():
        p50, p95 = np.quantile(seen, (0.5, 0.95)) * 1e3
        table.add_row(state, str(len(seen)), f"{p50:.1f}", f"{p95:.1f}")
    Console().print(table)


def _keep_comparing(
    http: httpx.Client, images: list[bytes], item_id: str, stop: threading.Event
) -> None:
    for image in images:
        if stop.is_set():
            return
        _compare(http, image, item_id)


if __name__ == "__main__":
    main()
