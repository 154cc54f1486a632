"""Perceptual hashes of one collection's items: kept in memory, followed write by write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vitrine_server.errors import Invalid
from vitrine_server.index.binary import BITS, MAX_PAIR_DISTANCE, BinaryIndex
from vitrine_server.records import HashMatch, HashPair, check_hashes
from vitrine_server.writes import Put

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vitrine_server.reading import Reading
    from vitrine_server.store import Store
    from vitrine_server.writer import Writer
    from vitrine_server.writes import Write, Written


class HashLookup:
    """`follow` belongs to the writer thread; the rest may be called from any."""

    def __init__(self, read: Reading, writer: Writer) -> None:
        self._read = read
        self._writer = writer
        # made when it is first asked for; then the writer thread keeps it
        self._index: BinaryIndex | None = None

    def near(self, hashes: Sequence[int], *, max_distance: int, limit: int) -> list[HashMatch]:
        """As `Collection.near_hashes`."""
        queries = check_hashes(hashes)
        labels, distances = self._loaded().nearest(queries, limit=limit, max_distance=max_distance)
        rows = self._read(lambda store: store.rows(labels.tolist()))
        return [
            HashMatch(rows[label].id, distance)
            for label, distance in zip(labels.tolist(), distances.tolist(), strict=True)
            if label in rows  # it may have been deleted since
        ]

    def of(self, sequence: int) -> NDArray[np.uint64]:
        """As `Collection.hashes`."""
        return self._loaded().hashes(sequence)

    def pairs(self, *, max_distance: int, limit: int) -> list[HashPair]:
        """As `Collection.hash_pairs`."""
        if not 0 <= max_distance <= MAX_PAIR_DISTANCE:
            raise Invalid(
                f"max_distance is {max_distance}.",
                field="max_distance",
                accepted=f"0 to {MAX_PAIR_DISTANCE} of {BITS} bits",
            )
        nearest: dict[tuple[int, int], int] = {}
        for first, second, distances in self._loaded().pairs(max_distance):
            low, high = np.minimum(first, second).tolist(), np.maximum(first, second).tolist()
            for pair, distance in zip(zip(low, high, strict=True), distances.tolist(), strict=True):
                nearest[pair] = min(distance, nearest.get(pair, distance))
            if len(nearest) > 2 * limit + 10_000:
                nearest = dict(_nearest_pairs(nearest, limit))
        best = _nearest_pairs(nearest, limit)
        labels = {label for pair, _ in best for label in pair}
        rows = self._read(lambda store: store.rows(list(labels)))
        return [
            HashPair(rows[low].id, rows[high].id, distance)
            for (low, high), distance in best
            if low in rows and high in rows
        ]

    def follow(self, writes: Sequence[Write], written: Sequence[Written]) -> None:
        """Apply what a transaction has done."""
        if self._index is None:
            return
        for write, done in zip(writes, written, strict=True):
            if done.label is not None and isinstance(write, Put):
                self._index.add(done.label, np.frombuffer(write.hashes, "<u8"))
            elif done.label is not None and done.removed is not None:
                self._index.add(done.label, self._index.hashes(done.removed.label))
            if done.removed is not None:
                self._index.remove(done.removed.label)
        if self._index.mostly_dead:
            self._index = self._index.compacted()

    def _loaded(self) -> BinaryIndex:
        index = self._index
        return self._writer.call(self._load).result() if index is None else index

    def _load(self) -> BinaryIndex:
        """Between transactions: the store is what later writes add to."""
        if self._index is None:
            self._index = self._read(_loaded)
        return self._index


def _loaded(store: Store) -> BinaryIndex:
    index = BinaryIndex()
    for label, hashes in store.hashes():
        index.add(label, hashes)
    return index


def _nearest_pairs(
    pairs: dict[tuple[int, int], int], limit: int
) -> list[tuple[tuple[int, int], int]]:
    return sorted(pairs.items(), key=lambda item: (item[1], item[0]))[:limit]
