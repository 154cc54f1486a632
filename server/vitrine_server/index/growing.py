"""Arrays that grow at the end while others read the part that is already there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Scalar = TypeVar("Scalar", bound=np.generic)

_FIRST_ROWS = 1024


class Growing(Generic[Scalar]):
    """An append-only array of rows with one writer.

    A row is never changed once it is written, and a larger array replaces a full one: a reader that
    was told of n rows may read `view(n)` at any time without a lock.
    """

    def __init__(self, dtype: type[Scalar], width: int | None = None) -> None:
        shape = (_FIRST_ROWS,) if width is None else (_FIRST_ROWS, width)
        self._array: NDArray[Scalar] = np.empty(shape, dtype)
        self._count = 0

    @classmethod
    def of(cls, rows: NDArray[Scalar]) -> Growing[Scalar]:
        """Begins with these rows, which are not copied before it grows."""
        growing = cls.__new__(cls)
        growing._array = rows
        growing._count = len(rows)
        return growing

    def __len__(self) -> int:
        return self._count

    def view(self, count: int) -> NDArray[Scalar]:
        """The first `count` rows; not a copy."""
        return self._array[:count]

    def append(self, row: ArrayLike) -> None:
        self._reserve(self._count + 1)
        self._array[self._count] = row
        self._count += 1

    def extend(self, rows: NDArray[Scalar]) -> None:
        needed = self._count + len(rows)
        self._reserve(needed)
        self._array[self._count : needed] = rows
        self._count = needed

    def _reserve(self, needed: int) -> None:
        if needed > len(self._array):
            rows = max(needed, 2 * len(self._array), _FIRST_ROWS)
            larger = np.empty((rows, *self._array.shape[1:]), self._array.dtype)
            larger[: self._count] = self._array[: self._count]
            self._array = larger
