"""How much is measured, and how time is taken."""

from __future__ import annotations

import itertools
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Missing(Exception):
    """Something that a section needs is not on this machine; the message says what."""


@dataclass(frozen=True)
class Sizes:
    """models: width, blocks and heads by name. compiled: the batches that are compiled, about a
    minute each. seconds: spent on each figure."""

    models: dict[str, tuple[int, int, int]]
    image: int
    batches: tuple[int, ...]
    compiled: tuple[int, ...]
    matrix: int
    vectors: tuple[int, ...]
    dimension: int
    query_batches: tuple[int, ...]
    jpegs: int
    jpeg_sides: tuple[tuple[int, int], ...]
    threads: tuple[int, ...]
    seconds: float


FULL = Sizes(
    models={"ViT-S/16": (384, 12, 6), "ViT-B/16": (768, 12, 12)},
    image=224,
    batches=(1, 2, 4, 8, 16, 32, 64, 128, 256),
    compiled=(1, 8, 32, 128, 256),
    matrix=8192,
    vectors=(1_000_000, 10_000_000),
    dimension=384,
    query_batches=(1, 4, 16, 64, 256, 1024),
    jpegs=64,
    jpeg_sides=((500, 375), (1280, 960)),
    threads=(1, 2, 4, 8, 16),
    seconds=0.5,
)
TINY = Sizes(
    models={"ViT-XXS/16": (32, 2, 2)},
    image=32,
    batches=(1, 2),
    compiled=(1,),
    matrix=128,
    vectors=(2000,),
    dimension=16,
    query_batches=(1, 8),
    jpegs=4,
    jpeg_sides=((64, 48),),
    threads=(1, 2),
    seconds=0.02,
)


def median_s(call: Callable[[], object], device: torch.device, *, seconds: float) -> float:
    """Median seconds of a call, after warm-up. On a GPU by events on its stream."""
    for _ in range(3):
        call()
    if device.type != "cuda":
        return statistics.median(_wall(call) for _ in _rounds(seconds))
    torch.cuda.synchronize(device)
    spans: list[float] = []
    for _ in _rounds(seconds):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        call()
        end.record()
        end.synchronize()
        spans.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(spans)


def _rounds(seconds: float) -> Iterator[int]:
    """Counts until the time is over, at least five times."""
    end = time.perf_counter() + seconds
    for count in itertools.count():
        if count >= 5 and time.perf_counter() > end:
            return
        yield count


def _wall(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
