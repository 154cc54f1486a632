"""Sets of rows: those that are alive, and those that a search may answer with."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Selection:
    """A set of rows out of `size`; each form that a kernel asks for is made when first needed."""

    def __init__(
        self,
        mask: NDArray[np.bool_] | None = None,
        *,
        bits: NDArray[np.uint8] | None = None,
        size: int | None = None,
    ) -> None:
        """From a mask (size,) bool, or from bits as the property `bits` describes them."""
        if mask is not None:
            self.size = len(mask)
            self.mask = mask
        elif bits is not None and size is not None:
            self.size = size
            self.bits = bits
        else:
            raise ValueError("a selection needs a mask, or bits and their number")

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """(size,) bool."""
        return unpacked(self.bits, 0, self.size)

    @cached_property
    def bits(self) -> NDArray[np.uint8]:
        """(ceil(size / 8),) uint8: row r is bit r % 8 of byte r // 8; bits past the end are 0."""
        return np.packbits(self.mask, bitorder="little")

    @cached_property
    def count(self) -> int:
        if "mask" in self.__dict__:
            return int(np.count_nonzero(self.mask))
        return int(np.bitwise_count(self.bits).sum())

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Selected rows, ascending, int64."""
        return np.flatnonzero(self.mask).astype(np.int64, copy=False)

    def part(self, start: int, stop: int) -> Selection:
        """The rows start ≤ r < stop, renumbered from 0."""
        if (start, stop) == (0, self.size):
            return self
        if "mask" in self.__dict__:
            return Selection(self.mask[start:stop])
        return Selection(unpacked(self.bits, start, stop))


class AliveBits:
    """Immutable set of the rows that are not deleted; a change gives a new set.

    bits: (ceil(count / 8),) uint8, packed like `Selection.bits`. alive: how many are set.
    """

    def __init__(self, bits: NDArray[np.uint8], count: int, alive: int) -> None:
        self.bits = bits
        self.count = count
        self.alive = alive

    @classmethod
    def every(cls, count: int) -> AliveBits:
        """All of `count` rows."""
        return cls(np.zeros(0, np.uint8), 0, 0).changed(count, np.zeros(0, np.int64))

    @property
    def all_alive(self) -> bool:
        return self.alive == self.count

    def mask(self, start: int = 0) -> NDArray[np.bool_]:
        """(count - start,) bool, of the rows from `start`."""
        return unpacked(self.bits, start, self.count)

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the named rows are alive, same shape."""
        alive: NDArray[np.bool_] = self.bits[rows >> 3] >> (rows & 7) & 1 == 1
        return alive

    def changed(self, count: int, dead: NDArray[np.int64]) -> AliveBits:
        """The set with rows added (alive) up to `count`, then the `dead` ones taken out.

        dead: rows that are alive or added, each once.
        """
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
        return AliveBits(bits, count, self.alive + count - self.count - len(dead))


def unpacked(bits: NDArray[np.uint8], start: int, stop: int) -> NDArray[np.bool_]:
    """Rows start ≤ r < stop of packed bits as a mask (stop - start,) bool."""
    first = start // 8
    part = np.unpackbits(bits[first : (stop + 7) // 8], bitorder="little")
    return part[start - 8 * first : stop - 8 * first].view(np.bool_)
