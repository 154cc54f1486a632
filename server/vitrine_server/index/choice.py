"""Which family a collection's size asks for, by figures of benchmarks/recall_sweep.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from vitrine_server.index import ann

if TYPE_CHECKING:
    from vitrine_server.index.ann import AnnFamily
    from vitrine_server.records import CollectionSettings

IndexFamily: TypeAlias = "Literal['exact'] | AnnFamily"

# A scan compares about 2.7e9 values a second on one core: 50,000 vectors of 256 take 5 ms.
EXACT_VALUES = 12_800_000
SCAN_VALUES_S = 2.7e9
# A new index is built beside the old one; half of what is free is left to everything else.
MEMORY_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Choice:
    family: IndexFamily
    reason: str


def choose(settings: CollectionSettings, rows: int, dimension: int, memory_bytes: int) -> Choice:
    """The family for a number of vectors. memory_bytes: what is free for a new index."""
    scan_ms = 1000 * rows * dimension / SCAN_VALUES_S
    scan = f"comparing all {rows} vectors takes about {scan_ms:.1f} ms"
    wanted = settings.index
    if wanted == "exact":
        return Choice("exact", f"asked for; {scan} and has recall 1")
    if wanted != "auto" and not ann.supported(wanted, dimension, settings.metric):
        return Choice("exact", f"{wanted} has no {settings.metric} for {dimension} values; {scan}")
    if rows < ann.MIN_ROWS:
        return Choice("exact", f"{scan} and has recall 1")
    if wanted != "auto":
        return Choice(wanted, "asked for")
    if rows * dimension <= EXACT_VALUES or not ann.supported("hnsw", dimension, settings.metric):
        return Choice("exact", f"{scan} and has recall 1")
    budget = MEMORY_SHARE * memory_bytes
    for family in _BY_SPEED:
        needed = rows * ann.bytes_per_vector(family, dimension)
        if needed <= budget:
            return Choice(family, f"{scan}; {family} is the fastest that fits ({_mb(needed)} MB)")
    return Choice("exact", f"{scan}; no index fits into {_mb(budget)} MB")


_BY_SPEED: tuple[AnnFamily, ...] = ("hnsw", "ivf_pq", "ivf_rabitq")


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
