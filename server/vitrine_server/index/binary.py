"""Perceptual hashes: 64 bits each, compared by Hamming distance (the number of differing bits).

An item has one hash or several (one a rotation, say); its distance is the smallest of any of its
hashes to any hash of the query.

    index = BinaryIndex()
    index.add(7, np.array([0x9F17…], np.uint64))        # label, hashes (m,)
    labels, distances = index.nearest(hashes, limit=10, max_distance=12)
    for labels_a, labels_b, distances in index.pairs(max_distance=8): ...

Through a collection, where hashes are stored durably with their items:

    NewItem(…, hashes=(h,))                             # ints of 64 bits, at ingest
    collection.near_hashes((h,), max_distance=12, limit=10)   # -> [HashMatch(id, distance)]
    collection.hash_pairs(max_distance=8, limit=1000)         # -> [HashPair(id, other, distance)]

Search is exact: 64-bit hashes are compared at 0.6e9 a second on one core, 1.7 ms for a million.
One thread changes an index, any number search it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vitrine_server.index.growing import Growing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

BITS = 64
# `pairs` looks up every value that differs in a quarter of this many bits, in each of four bands
MAX_PAIR_DISTANCE = 11

_BANDS = 4
_BAND_VALUES = 1 << (BITS // _BANDS)
_BLOCK = 1 << 18


class BinaryIndex:
    """Hashes by label. Labels are added in rising order."""

    def __init__(self) -> None:
        self._hashes: Growing[np.uint64] = Growing(np.uint64)
        self._labels: Growing[np.int64] = Growing(np.int64)
        # one byte a hash: a deletion is seen by searches that run meanwhile, which does no harm
        self._alive: Growing[np.bool_] = Growing(np.bool_)
        self._dead = 0

    def __len__(self) -> int:
        """Hashes that can be found."""
        return len(self._alive) - self._dead

    def add(self, label: int, hashes: NDArray[np.uint64]) -> None:
        """Add the hashes (m,) uint64 of an item."""
        self._labels.extend(np.full(len(hashes), label, np.int64))
        self._alive.extend(np.ones(len(hashes), np.bool_))
        # last: a reader takes as many rows as there are hashes
        self._hashes.extend(hashes)

    def hashes(self, label: int) -> NDArray[np.uint64]:
        """The hashes (m,) of an item; none for one without, or a label that is not here."""
        return self._hashes.view(len(self._hashes))[self._rows(label)]

    def remove(self, label: int) -> None:
        """Take an item away; one that is not here is no error."""
        rows = self._rows(label)
        alive = self._alive.view(len(self._alive))
        self._dead += int(alive[rows].sum())
        alive[rows] = False

    def _rows(self, label: int) -> slice:
        labels = self._labels.view(len(self._labels))
        return slice(*np.searchsorted(labels, [label, label + 1]).tolist())

    def nearest(
        self, queries: NDArray[np.uint64], *, limit: int, max_distance: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Labels and distances (n ≤ limit,) of the items within a distance of any of the queries
        (q,) uint64, nearest first, ties by label.
        """
        hashes, labels, alive = self._view()
        found_labels, found_distances = [], []
        for start in range(0, len(hashes), _BLOCK):
            block = slice(start, start + _BLOCK)
            best = np.full(len(hashes[block]), BITS + 1, np.uint8)
            for query in queries:
                np.minimum(best, np.bitwise_count(hashes[block] ^ query), out=best)
            rows = np.flatnonzero((best <= max_distance) & alive[block])
            found_labels.append(labels[block][rows])
            found_distances.append(best[rows].astype(np.int64))
        if not found_labels:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        return _best(np.concatenate(found_labels), np.concatenate(found_distances), limit)

    def pairs(
        self, max_distance: int
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
        """Every pair of hashes of different items within a distance, in parts of any order: labels
        a, labels b and distances. Two items with several hashes can come more than once.

        Multi-index hashing (Norouzi, Punjani, Fleet 2012): of two hashes that differ in d bits, one
        of four bands of 16 bits differs in at most d // 4, so only such buckets are compared.
        Raises ValueError beyond MAX_PAIR_DISTANCE.
        """
        if not 0 <= max_distance <= MAX_PAIR_DISTANCE:
            raise ValueError(f"a distance of 0 to {MAX_PAIR_DISTANCE}, not {max_distance}")
        hashes, labels, alive = self._view()
        hashes, labels = hashes[alive], labels[alive]
        radius = max_distance // _BANDS
        values = np.arange(_BAND_VALUES)
        masks = values[np.bitwise_count(values) <= radius].tolist()
        for band in range(_BANDS):
            parts = _band(hashes, band)
            order = np.argsort(parts, kind="stable")
            ranked = parts[order]
            starts = np.searchsorted(ranked, np.arange(_BAND_VALUES + 1))
            for mask in masks:
                partner = ranked ^ mask
                first = starts[partner] if mask else np.arange(1, len(ranked) + 1)
                # each pair of buckets once, and within a bucket each pair once
                last = np.where(ranked <= partner, starts[partner + 1], first)
                for left, right in _crossed(first, last):
                    a, b = order[left], order[right]
                    distances = np.bitwise_count(hashes[a] ^ hashes[b]).astype(np.int64)
                    good = (distances <= max_distance) & (labels[a] != labels[b])
                    a, b, distances = a[good], b[good], distances[good]
                    # an earlier band has reported those that are near in it
                    fresh = np.ones(len(a), np.bool_)
                    for earlier in range(band):
                        differing = _band(hashes[a] ^ hashes[b], earlier)
                        fresh &= np.bitwise_count(differing) > radius
                    if fresh.any():
                        yield labels[a[fresh]], labels[b[fresh]], distances[fresh]

    def compacted(self) -> BinaryIndex:
        """A new index without what was removed."""
        hashes, labels, alive = self._view()
        index = BinaryIndex()
        index._labels.extend(labels[alive])
        index._alive.extend(alive[alive])
        index._hashes.extend(hashes[alive])
        return index

    @property
    def mostly_dead(self) -> bool:
        return self._dead > 1024 and 2 * self._dead > len(self._alive)

    def _view(self) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.bool_]]:
        count = len(self._hashes)
        return self._hashes.view(count), self._labels.view(count), self._alive.view(count)


def _band(hashes: NDArray[np.uint64], band: int) -> NDArray[np.int64]:
    shifted = hashes >> np.uint64(band * BITS // _BANDS)
    values: NDArray[np.int64] = (shifted & np.uint64(_BAND_VALUES - 1)).astype(np.int64)
    return values


def _crossed(
    first: NDArray[np.int64], last: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Each position p with every q in first[p] ≤ q < last[p], in parts of bounded size."""
    lengths = np.maximum(last - first, 0)
    ends = np.cumsum(lengths)
    start = 0
    while start < len(lengths):
        before = int(ends[start - 1]) if start else 0
        stop = max(int(np.searchsorted(ends, before + _BLOCK, "right")), start + 1)
        part = lengths[start:stop]
        total = int(part.sum())
        if total:
            left = np.repeat(np.arange(start, stop), part)
            offsets = np.arange(total) - np.repeat(np.cumsum(part) - part, part)
            yield left, np.repeat(first[start:stop], part) + offsets
        start = stop


def _best(
    labels: NDArray[np.int64], distances: NDArray[np.int64], limit: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Nearest first, ties by label, each label once."""
    order = np.lexsort((labels, distances))
    labels, distances = labels[order], distances[order]
    first = np.sort(np.unique(labels, return_index=True)[1])[:limit]
    return labels[first], distances[first]
