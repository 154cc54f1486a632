"""Arrays that grow at the end while others read the part that is already there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)

_FIRST_ROWS = 1024


class Growing(Generic[Scalar]):
    """An append-only array of rows with one writer.

    A row is never changed once it is written, and a larger array replaces a full one: a reader that
    was told of n rows may read `view(n)` at any time without a lock.
    """

    def __init__(self, dtype: type[Scalar], width: int | None = None) -> None:
        self._shape = () if width is None else (width,)
        self._array: NDArray[Scalar] = np.empty((_FIRST_ROWS, *self._shape), dtype)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def view(self, count: int) -> NDArray[Scalar]:
        """The first `count` rows; not a copy."""
        return self._array[:count]

    def append(self, row: object) -> None:
        self.extend(np.asarray(row, self._array.dtype)[None])

    def extend(self, rows: NDArray[Scalar]) -> None:
        needed = self._count + len(rows)
        if needed > len(self._array):
            larger = np.empty((max(needed, 2 * len(self._array)), *self._shape), self._array.dtype)
            larger[: self._count] = self._array[: self._count]
            self._array = larger
        self._array[self._count : needed] = rows
        self._count = needed
