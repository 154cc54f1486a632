"""FAISS on one device: Flat, IVF and CAGRA, with recall@10 against an exact search.

The rows named "served" go through the server's own families, as it builds, tunes and rescores them.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from sizes import Missing, Sizes, median_s

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

K = 10
QUERIES = 1024
CLUSTERS = 1000
TARGET_RECALL = 0.95
SHARE_OF_MEMORY = 0.35  # of the GPU's, for one copy of the vectors: CAGRA builds beside it


def neighbours(device: torch.device, sizes: Sizes) -> list[dict[str, Any]]:
    """A row for each number of vectors, index, setting and batch. Raises Missing without FAISS."""
    try:
        import faiss
    except ImportError:
        raise Missing("no faiss") from None
    on_gpu = device.type == "cuda"
    if on_gpu and not hasattr(faiss, "StandardGpuResources"):
        raise Missing("faiss without GPU support: pip install faiss-gpu-cuvs, or faiss-gpu")
    rows: list[dict[str, Any]] = []
    for count in sizes.vectors:
        if on_gpu:
            room = SHARE_OF_MEMORY * torch.cuda.get_device_properties(device).total_memory
            if count * sizes.dimension * 4 > room:
                rows.append({"vectors": count, "failed": "more than the GPU's memory holds"})
                continue
        vectors, queries = clustered(count, sizes.dimension, device)
        resources = faiss.StandardGpuResources() if on_gpu else None
        truth = exact(vectors, queries, device)
        for name, build in _builders(faiss, resources, count, sizes.dimension).items():
            row: dict[str, Any] = {"vectors": count, "index": name}
            try:
                started = time.perf_counter()
                settings = build(vectors)
                row["build_s"] = round(time.perf_counter() - started, 2)
                for setting, search in settings.items():
                    rows += _timed(
                        row | {"setting": setting}, search, queries, truth, device, sizes
                    )
            except Exception as error:
                rows.append(row | {"failed": f"{type(error).__name__}: {error}"[:200]})
            # gives the index's memory back before the next is built
            settings, search = {}, None
    return rows


def clustered(
    count: int, dimension: int, device: torch.device
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Unit vectors around random centres, as embeddings lie; and queries of the same kind."""
    generator = torch.Generator(device).manual_seed(0)
    centres = torch.randn(CLUSTERS, dimension, generator=generator, device=device)
    blocks = []
    for first in range(0, count + QUERIES, 1_000_000):
        size = min(1_000_000, count + QUERIES - first)
        which = torch.randint(CLUSTERS, (size,), generator=generator, device=device)
        noise = torch.randn(size, dimension, generator=generator, device=device)
        block = torch.nn.functional.normalize(centres[which] + noise, dim=1)
        blocks.append(block.cpu().numpy())
    everything = np.concatenate(blocks)
    return everything[:count], everything[count:]


def exact(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], device: torch.device
) -> NDArray[np.int64]:
    """(Q, K) ids of the nearest by inner product, by brute force in blocks, in float32."""
    asked = torch.from_numpy(queries).to(device)
    best = torch.full((len(queries), K), -2.0, device=device)
    ids = torch.zeros((len(queries), K), dtype=torch.int64, device=device)
    for first in range(0, len(vectors), 1_000_000):
        block = torch.from_numpy(vectors[first : first + 1_000_000]).to(device)
        found, at = (asked @ block.T).topk(min(K, len(block)), dim=1)
        best, chosen = torch.cat([best, found], 1).topk(K, dim=1)
        ids = torch.cat([ids, at + first], 1).gather(1, chosen)
    return ids.cpu().numpy()


def _builders(
    faiss: Any, resources: Any, count: int, dimension: int
) -> dict[str, Callable[[NDArray[np.float32]], dict[str, Any]]]:
    lists = max(4, int(4 * count**0.5))
    metric = faiss.METRIC_INNER_PRODUCT

    def flat(vectors: NDArray[np.float32]) -> dict[str, Any]:
        index: Any = faiss.IndexFlatIP(dimension)
        if resources is not None:
            index = faiss.GpuIndexFlatIP(resources, dimension)
        index.add(vectors)
        return {"float32": lambda queries: index.search(queries, K)[1]}

    def flat16(vectors: NDArray[np.float32]) -> dict[str, Any]:
        config = faiss.GpuIndexFlatConfig()
        config.useFloat16 = True
        index = faiss.GpuIndexFlatIP(resources, dimension, config)
        index.add(vectors)
        return {"float16": lambda queries: index.search(queries, K)[1]}

    def ivf(vectors: NDArray[np.float32]) -> dict[str, Any]:
        if resources is not None:
            index = faiss.GpuIndexIVFFlat(resources, dimension, lists, metric)
        else:
            index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dimension), dimension, lists, metric)
        index.train(vectors[np.random.default_rng(0).choice(count, min(count, 64 * lists), False)])
        index.add(vectors)

        def searching(probes: int) -> Callable[[NDArray[np.float32]], NDArray[np.int64]]:
            def search(queries: NDArray[np.float32]) -> NDArray[np.int64]:
                index.nprobe = probes
                found: NDArray[np.int64] = index.search(queries, K)[1]
                return found

            return search

        return {f"{lists} lists, nprobe {n}": searching(n) for n in (8, 32, 128) if n <= lists}

    def cagra(vectors: NDArray[np.float32]) -> dict[str, Any]:
        if not hasattr(faiss, "GpuIndexCagra"):
            raise Missing("this faiss has no CAGRA: pip install faiss-gpu-cuvs")
        index = faiss.GpuIndexCagra(resources, dimension, metric, faiss.GpuIndexCagraConfig())
        index.train(vectors)

        def searching(width: int) -> Callable[[NDArray[np.float32]], NDArray[np.int64]]:
            parameters = faiss.SearchParametersCagra()
            parameters.itopk_size = width

            def search(queries: NDArray[np.float32]) -> NDArray[np.int64]:
                found: NDArray[np.int64] = index.search(queries, K, params=parameters)[1]
                return found

            return search

        return {f"itopk {width}": searching(width) for width in (32, 64, 128)}

    own = _served(dimension, on_gpu=resources is not None)
    if resources is None:
        return {"Flat": flat, "IVF": ivf} | own
    return {"Flat": flat, "Flat, FP16": flat16, "IVF": ivf, "CAGRA": cagra} | own


def _served(
    dimension: int, *, on_gpu: bool
) -> dict[str, Callable[[NDArray[np.float32]], dict[str, Any]]]:
    """The server's families for the device; none where the server is not installed."""
    try:
        from vitrine_server.index import ann
        from vitrine_server.index.vectors import Vectors
    except ImportError:
        return {}

    def builder(family: ann.AnnFamily) -> Callable[[NDArray[np.float32]], dict[str, Any]]:
        def build(vectors: NDArray[np.float32]) -> dict[str, Any]:
            built = ann.build(family, vectors, "inner_product", TARGET_RECALL, stop=lambda: None)
            held = Vectors(vectors)

            def search(queries: NDArray[np.float32]) -> NDArray[np.int64]:
                ids = np.full((len(queries), K), -1)
                for row, proposed in enumerate(built.propose(queries, K)):
                    best = ann.rescored(
                        held, queries[row], proposed[proposed >= 0], K, "inner_product"
                    )
                    ids[row, : len(best[1])] = best[1]
                return ids

            tuning = built.tuning
            return {f"effort {tuning.effort}, candidates {tuning.candidates}": search}

        return build

    families: tuple[ann.AnnFamily, ...] = get_args(ann.GpuFamily) if on_gpu else ("hnsw", "ivf_pq")
    return {
        f"served {family}": builder(family)
        for family in families
        if ann.supported(family, dimension, "inner_product")
    }


def _timed(
    row: dict[str, Any],
    search: Callable[[NDArray[np.float32]], NDArray[np.int64]],
    queries: NDArray[np.float32],
    truth: NDArray[np.int64],
    device: torch.device,
    sizes: Sizes,
) -> list[dict[str, Any]]:
    found = search(queries)
    hits = [len(set(a) & set(b)) / K for a, b in zip(found.tolist(), truth.tolist(), strict=True)]
    rows = []
    for batch in sizes.query_batches:
        asked = np.ascontiguousarray(queries[:batch])
        # FAISS waits for its own stream, so wall time is the time of the search
        call = partial(search, asked)
        seconds = median_s(call, torch.device("cpu"), seconds=sizes.seconds)
        rows.append(
            row
            | {
                "recall_at_10": float(np.mean(hits)),
                "batch": batch,
                "ms": seconds * 1e3,
                "queries_per_s": batch / seconds,
            }
        )
    return rows
