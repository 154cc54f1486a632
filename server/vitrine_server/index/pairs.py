"""The nearest neighbours of every vector among all the others, by one blocked matrix product.

Exact, and half the work of N searches: a product gives the scores of both of its sides. Measured on
one core for 100,000 × 256: 60 s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    # rows a, rows b, cosines: (M,) int32, int32, float32
    Pairs: TypeAlias = "tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]"

# A block of scores stays in a core's cache.
_ROWS = 1024
_COLUMNS = 2048
_SAMPLE = 4096
_HELD = 1 << 20


def nearest_pairs(
    vectors: NDArray[np.float32], k: int, *, least: float
) -> Generator[int, None, Pairs]:
    """Pairs of rows of (N, D) float32, of length 1, where one is among the k nearest of the other.

    Yields how many rows are done, and returns each pair once, a < b, with a cosine of at least
    `least`; ties at the k-th place are cut anyhow. Memory: some 100 bytes a row, 200 MB at most.
    """
    count = len(vectors)
    floors = np.maximum(_floors(vectors, k), np.float32(least))
    held = [_none()]
    size = 0
    for start in range(0, count, _ROWS):
        rows = slice(start, min(start + _ROWS, count))
        for first in range(start, count, _COLUMNS):
            columns = slice(first, min(first + _COLUMNS, count))
            scores = vectors[rows] @ vectors[columns].T
            good = scores >= np.minimum(floors[rows, None], floors[None, columns])
            flat = np.flatnonzero(good)
            a, b = np.divmod(flat, scores.shape[1])
            a, b = (a + start).astype(np.int32), (b + first).astype(np.int32)
            once = a < b  # a block on the diagonal has each pair twice
            held.append((a[once], b[once], scores.ravel()[flat[once]]))
            size += len(held[-1][0])
            if size > _HELD:
                held = [_cut(held, k, floors)]
                size = 0
        yield rows.stop
    return _cut(held, k, floors)


def _none() -> Pairs:
    return np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32)


def _floors(vectors: NDArray[np.float32], k: int) -> NDArray[np.float32]:
    """For each row a score that its k-th neighbour has at least: its k-th in a sample."""
    sample = vectors[:: max(1, len(vectors) // _SAMPLE)]
    if len(sample) <= k + 1:
        return np.full(len(vectors), -1, np.float32)
    floors = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), _ROWS):
        scores = vectors[start : start + _ROWS] @ sample.T
        # one more: a row that is in the sample finds itself
        floors[start : start + _ROWS] = np.partition(scores, -k - 1, axis=1)[:, -k - 1]
    # the same product in another block may round otherwise
    floors -= np.float32(1e-5)
    return floors


def _cut(held: list[Pairs], k: int, floors: NDArray[np.float32]) -> Pairs:
    """The pairs that are among the k best of either side so far; floors rise to the k-th."""
    a, b, scores = (np.concatenate(parts) for parts in zip(*held, strict=True))
    sides = np.concatenate([a, b])
    both = np.concatenate([scores, scores])
    order = np.lexsort((-both, sides))
    ranked = sides[order]
    place = np.arange(len(ranked)) - np.searchsorted(ranked, ranked)
    last = order[place == k - 1]
    floors[sides[last]] = np.maximum(floors[sides[last]], both[last])
    kept = np.zeros(len(a), np.bool_)
    kept[order[place < k] % max(1, len(a))] = True
    return a[kept], b[kept], scores[kept]
