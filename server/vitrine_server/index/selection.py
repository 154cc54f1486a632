"""Which rows a search may answer with, in the forms that the kernels ask for."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Selection:
    """A set of rows out of `n`, as a mask (n,) bool; bits and row numbers are made when needed."""

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        self.mask = mask

    @cached_property
    def count(self) -> int:
        return int(np.count_nonzero(self.mask))

    @cached_property
    def bits(self) -> NDArray[np.uint8]:
        """(ceil(n / 8),) uint8, row r is bit r % 8 of byte r // 8."""
        return np.packbits(self.mask, bitorder="little")

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Selected rows, ascending, int64."""
        return np.flatnonzero(self.mask).astype(np.int64, copy=False)

    def part(self, start: int, stop: int) -> Selection:
        """The rows start ≤ r < stop, renumbered from 0."""
        return Selection(self.mask[start:stop])


class AliveBits:
    """Immutable set of the rows that are not deleted; a change gives a new set."""

    def __init__(self, bits: NDArray[np.uint8], count: int, alive: int) -> None:
        self.bits = bits
        self.count = count
        self.alive = alive

    @classmethod
    def none(cls) -> AliveBits:
        return cls(np.zeros(0, np.uint8), 0, 0)

    @property
    def all_alive(self) -> bool:
        return self.alive == self.count

    def mask(self) -> NDArray[np.bool_]:
        """(count,) bool."""
        return np.unpackbits(self.bits, count=self.count, bitorder="little").view(np.bool_)

    def changed(self, count: int, dead: NDArray[np.int64]) -> AliveBits:
        """The set with rows added (alive) up to `count`, then the `dead` ones taken out."""
        bits = np.zeros((count + 7) // 8, np.uint8)
        bits[: len(self.bits)] = self.bits
        if count > self.count:
            first = self.count // 8
            if self.count % 8:
                bits[first] |= 0xFF << self.count % 8 & 0xFF
                first += 1
            bits[first:] = 0xFF
            if count % 8:
                bits[-1] &= (1 << count % 8) - 1
        if len(dead):
            masks = np.left_shift(1, dead % 8).astype(np.uint8)
            np.bitwise_and.at(bits, dead // 8, ~masks)
        return AliveBits(bits, count, self.alive + count - self.count - len(np.unique(dead)))
