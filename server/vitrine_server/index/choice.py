"""Which family a collection's size asks for, by figures of benchmarks/recall_sweep.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from vitrine_server.index import ann, gpu

if TYPE_CHECKING:
    from vitrine_server.index.ann import AnnFamily
    from vitrine_server.records import CollectionSettings

IndexFamily: TypeAlias = "Literal['exact'] | AnnFamily"

# A scan compares about 2.7e9 values a second on one core: 50,000 vectors of 256 take 5 ms.
EXACT_VALUES = 12_800_000
SCAN_VALUES_S = 2.7e9
# A new index is built beside the old one; half of what is free is left to everything else.
MEMORY_SHARE = 0.5
# A GPU reads its memory at 1 to 4 TB/s: a scan of this much takes 0.5 to 2 ms. Not measured here.
GPU_SCAN_BYTES = 2e9
_BY_SPEED: tuple[AnnFamily, ...] = ("hnsw", "ivf_pq", "ivf_rabitq")
_BY_SPEED_ON_GPU: tuple[AnnFamily, ...] = ("gpu_flat", "gpu_cagra", "gpu_ivf", "gpu_ivf_pq")


@dataclass(frozen=True, slots=True)
class Choice:
    family: IndexFamily
    reason: str


def choose(
    settings: CollectionSettings,
    rows: int,
    dimension: int,
    memory_bytes: int,
    gpu_bytes: int | None = None,
) -> Choice:
    """The family for a number of vectors. memory_bytes: what is free for a new index.

    gpu_bytes: what is free on a GPU, 0 without one; asked there by default.
    """
    scan_ms = 1000 * rows * dimension / SCAN_VALUES_S
    scan = f"comparing all {rows} vectors takes about {scan_ms:.1f} ms"
    metric, wanted = settings.metric, settings.index
    if wanted == "exact":
        return Choice("exact", f"asked for; {scan} and has recall 1")
    if gpu_bytes is None:
        gpu_bytes = gpu.free_memory()
    if wanted != "auto" and ann.on_gpu(wanted) and not gpu_bytes:
        return Choice("exact", f"{wanted} needs a GPU, and FAISS sees none here; {scan}")
    if wanted != "auto" and not ann.supported(wanted, dimension, metric):
        return Choice("exact", f"{wanted} has no {metric} for {dimension} values; {scan}")
    if rows < ann.MIN_ROWS:
        return Choice("exact", f"{scan} and has recall 1")
    if wanted != "auto":
        return Choice(wanted, "asked for")
    if rows * dimension <= EXACT_VALUES or not ann.supported("hnsw", dimension, metric):
        return Choice("exact", f"{scan} and has recall 1")
    families = _BY_SPEED
    if gpu_bytes:
        flat_is_fast = rows * ann.bytes_per_vector("gpu_flat", dimension) <= GPU_SCAN_BYTES
        families = _BY_SPEED_ON_GPU[0 if flat_is_fast else 1 :] + _BY_SPEED
    for family in families:
        budget = MEMORY_SHARE * (gpu_bytes if ann.on_gpu(family) else memory_bytes)
        needed = rows * ann.bytes_per_vector(family, dimension)
        if needed <= budget and ann.supported(family, dimension, metric):
            return Choice(family, f"{scan}; {family} is the fastest that fits ({_mb(needed)} MB)")
    return Choice("exact", f"{scan}; no index fits into {_mb(MEMORY_SHARE * memory_bytes)} MB")


def free_memory() -> int:
    """Bytes that this process may still use: the machine's, or its control group's if less."""
    free = 0
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        if limit != "max":
            free = min(free, int(limit) - used)
    except OSError:
        pass  # no control group of our own
    return max(free, 0)


def _mb(size: float) -> int:
    return round(size / 1e6)
