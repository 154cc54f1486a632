"""Hamming search and duplicate pairs against a slow, obvious reference."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from vitrine_server.index.binary import MAX_PAIR_DISTANCE, BinaryIndex


def drawn(count: int, seed: int) -> list[tuple[int, list[int]]]:
    """Labels with hashes, many of them a few bits from each other."""
    rng = np.random.default_rng(seed)
    centres = [int(value) for value in rng.integers(0, 2**64, 12, np.uint64, endpoint=False)]
    items = []
    for label in range(1, count + 1):
        hashes = []
        for _ in range(rng.integers(1, 4)):
            value = centres[rng.integers(len(centres))]
            for bit in rng.integers(0, 64, rng.integers(0, 16)):
                value ^= 1 << int(bit)
            hashes.append(value)
        items.append((label, hashes))
    return items


def filled(items: list[tuple[int, list[int]]]) -> BinaryIndex:
    index = BinaryIndex()
    for label, hashes in items:
        index.add(label, np.array(hashes, np.uint64))
    return index


def between(some: list[int], others: list[int]) -> int:
    return min((a ^ b).bit_count() for a in some for b in others)


@pytest.mark.parametrize("seed", range(5))
def test_nearest_is_the_reference(seed: int) -> None:
    items = drawn(400, seed)
    index = filled(items)
    removed = {label for label, _ in items if label % 3 == 0}
    for label in removed:
        index.remove(label)
    index.remove(10_000)
    for query in ([items[0][1][0]], items[7][1], [0, 2**64 - 1]):
        for max_distance, limit in ((0, 10), (8, 5), (20, 1000), (64, 1000)):
            expected = sorted(
                (between(hashes, query), label)
                for label, hashes in items
                if label not in removed and between(hashes, query) <= max_distance
            )[:limit]
            for searched in (index, index.compacted()):
                labels, distances = searched.nearest(
                    np.array(query, np.uint64), limit=limit, max_distance=max_distance
                )
                found = list(zip(distances.tolist(), labels.tolist(), strict=True))
                assert found == expected


@pytest.mark.parametrize("max_distance", [0, 3, 4, 7, MAX_PAIR_DISTANCE])
def test_pairs_are_the_reference(max_distance: int) -> None:
    items = drawn(150, max_distance)
    index = filled(items)
    index.remove(5)
    expected = sorted(
        (label, other, (a ^ b).bit_count())
        for (label, hashes), (other, others) in itertools.combinations(items, 2)
        for a, b in itertools.product(hashes, others)
        if 5 not in (label, other) and (a ^ b).bit_count() <= max_distance
    )
    found = sorted(
        (min(a, b), max(a, b), distance)
        for part in index.pairs(max_distance)
        for a, b, distance in zip(*(values.tolist() for values in part), strict=True)
    )
    assert found == expected
    assert expected


def test_an_empty_index() -> None:
    index = BinaryIndex()
    assert len(index) == 0
    assert index.nearest(np.zeros(1, np.uint64), limit=5, max_distance=64)[0].tolist() == []
    assert list(index.pairs(8)) == []
    with pytest.raises(ValueError, match="0 to 11"):
        next(index.pairs(12))


def test_an_index_without_its_dead() -> None:
    index = filled(drawn(4000, 1))
    total = len(index)
    for label in range(1, 3001):
        index.remove(label)
        index.remove(label)
    smaller = index.compacted()
    assert index.mostly_dead
    assert not smaller.mostly_dead
    assert 0 < len(smaller) == len(index) < total
    assert smaller.hashes(3500).tolist() == index.hashes(3500).tolist() != []
    assert smaller.hashes(5).tolist() == []
