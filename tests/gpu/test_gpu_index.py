"""The index families of a GPU: equal to the CPU's, and their calls held against FAISS's GPU module.

`pip install faiss-gpu` (or `faiss-gpu-cuvs`, for CAGRA) in the place of `faiss-cpu` brings both.
With "gpu" in VITRINE_REQUIRE a missing GPU is a failure.
"""

from __future__ import annotations

import ast
import inspect
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest

from vitrine_server.index import ann, exact, gpu
from vitrine_server.index.faiss_api import faiss
from vitrine_server.index.vectors import Vectors

if TYPE_CHECKING:
    from pathlib import Path

ROWS, DIMENSION, QUERIES, K = 20_000, 64, 200, 10


def test_every_name_exists_in_a_faiss_for_gpus() -> None:
    if not hasattr(faiss, "StandardGpuResources"):
        pytest.skip("this FAISS is built for the CPU alone")
    tree = ast.parse(inspect.getsource(gpu))
    named = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "faiss"
    }
    if not gpu.has_cagra():
        named -= {"GpuIndexCagra", "GpuIndexCagraConfig"}
    assert {"GpuClonerOptions", "index_cpu_to_gpu", "index_gpu_to_cpu"} <= named
    assert [name for name in sorted(named) if not hasattr(faiss, name)] == []
    assert hasattr(faiss.GpuClonerOptions(), "useFloat16")


@pytest.fixture(scope="module")
def data() -> tuple[Any, Any, Any]:
    """Clustered vectors of length 1, queries near them, and the exact neighbours by the CPU."""
    if not gpu.present():
        if "gpu" in os.environ.get("VITRINE_REQUIRE", ""):
            pytest.fail("FAISS sees no GPU")
        pytest.skip("FAISS sees no GPU")
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((200, DIMENSION))
    drawn = centres[rng.integers(200, size=ROWS + QUERIES)]
    drawn = drawn + 0.7 * rng.standard_normal(drawn.shape)
    unit = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    vectors, queries = unit[:ROWS], np.ascontiguousarray(unit[ROWS:])
    return vectors, queries, exact.search(queries, vectors, K, "cosine")[1]


def overlap(index: ann.Ann, data: tuple[Any, Any, Any], **options: Any) -> float:
    vectors, queries, truth = data
    held, hits = Vectors(vectors), 0
    for query, expected in zip(queries, truth, strict=True):
        rows = index.propose(query[None], K, **options)[0]
        found = ann.rescored(held, query, rows[rows >= 0], K, "cosine")[1]
        hits += len(set(found.tolist()) & set(expected.tolist()))
    return hits / truth.size


@pytest.mark.gpu
@pytest.mark.parametrize("family", get_args(ann.GpuFamily))
def test_equal_to_the_cpu(family: Any, data: tuple[Any, Any, Any], tmp_path: Path) -> None:
    vectors = data[0]
    if not ann.supported(family, DIMENSION, "cosine"):
        pytest.skip(f"this FAISS has no {family}")
    built = ann.build(family, vectors, "cosine", 0.95, stop=lambda: None)
    assert isinstance(built.index, gpu.GpuIndex)
    assert overlap(built, data) >= (0.99 if family == "gpu_flat" else 0.95)
    # a snapshot of it is read back onto the GPU
    built.index.write(tmp_path / "index")
    again = ann.Ann(family, ann.opened(tmp_path / "index", family), built.tuning)
    assert again.count == ROWS
    assert overlap(again, data) >= (0.99 if family == "gpu_flat" else 0.95)


@pytest.mark.gpu
def test_filters_and_threads(data: tuple[Any, Any, Any]) -> None:
    vectors, queries, _ = data
    built = ann.build("gpu_flat", vectors, "cosine", 0.95, stop=lambda: None)
    allowed = np.random.default_rng(2).random(ROWS) < 0.3
    bits = np.packbits(allowed, bitorder="little")
    kept = np.flatnonzero(allowed)
    truth = kept[exact.search(queries, vectors[kept], K, "cosine")[1]]

    def ask(number: int) -> int:
        # four times as many as the share asks for: the allowed rows are not spread evenly
        rows = built.propose(queries[number][None], 4 * K, 0.3, bits)[0]
        assert allowed[rows[rows >= 0]].all()
        return len(set(rows.tolist()) & set(truth[number].tolist()))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask, range(QUERIES))) / truth.size >= 0.99
