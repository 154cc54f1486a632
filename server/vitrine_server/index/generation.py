"""One layout of a collection's rows, and the immutable states that searches see of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vitrine_server.index import columns as column
from vitrine_server.index.growing import Growing
from vitrine_server.index.selection import AliveBits, Selection
from vitrine_server.index.vectors import Vectors
from vitrine_server.records import GROUP

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from vitrine_server.filters import Filter
    from vitrine_server.index.ann import Ann
    from vitrine_server.records import CollectionSettings, Metadata
    from vitrine_server.writes import Row


class Generation:
    """Labels, vectors and columns of rows 0, 1, …, and approximate indices over the first ones.

    One owner appends; a `State` tells readers how many rows they may read. `segments` cover the
    rows from 0 on, one after the other: a large one that came with the generation, and a small one
    for what came later. They are replaced, never changed; the rows beyond them are searched
    exactly.
    """

    def __init__(
        self,
        name: str,
        labels: NDArray[np.int64],
        vectors: NDArray[np.float32],
        columns: Mapping[str, column.Column],
        segments: tuple[Ann, ...],
    ) -> None:
        self.name = name
        self.labels = Growing.of(labels)
        # the first rows may be in any order; those that are appended have higher, rising labels
        self._first = len(labels)
        self._by_label = np.argsort(labels)
        self._sorted = labels[self._by_label]
        self.vectors = Vectors(vectors)
        self.columns = dict(columns)
        self.segments = segments

    @classmethod
    def empty(cls, settings: CollectionSettings, dimension: int) -> Generation:
        columns = {GROUP: column.new_column("keyword")} | {
            name: column.new_column(kind) for name, kind in settings.fields.items()
        }
        vectors = np.empty((0, dimension), np.float32)
        return cls("exact", np.empty(0, np.int64), vectors, columns, ())

    def rows_of(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows with these labels, (M,) int64. Raises KeyError when one has none."""
        if not len(labels):
            return np.empty(0, np.int64)
        early = np.searchsorted(self._sorted, labels)
        known = early < self._first
        rows = np.empty(len(labels), np.int64)
        rows[known] = self._by_label[early[known]]
        later = self.labels.view(len(self.labels))[self._first :]
        rows[~known] = self._first + np.searchsorted(later, labels[~known])
        if rows.max() >= len(self.labels):
            raise KeyError("a label without a row")
        if (self.labels.view(len(self.labels))[rows] != labels).any():
            raise KeyError("a label without a row")
        return rows

    def append(
        self, labels: Sequence[int], vectors: NDArray[np.float32], metadata: Sequence[Metadata]
    ) -> None:
        """Write rows that no state shows yet: vectors (M, D); labels rise."""
        self.labels.extend(np.array(labels, np.int64))
        self.vectors.extend(vectors)
        for name, values in self.columns.items():
            values.append([fields.get(name) for fields in metadata])

    def copy(self, state: State, rows: NDArray[np.int64]) -> None:
        """Append rows of a state of another generation. Columns that are not here are left out."""
        self.labels.extend(state.labels[rows])
        self.vectors.extend(state.vectors.take(rows))
        for name, values in self.columns.items():
            values.extend(state.columns[name], rows)


class State:
    """What a search sees: everything written up to `sequence`, nothing after."""

    __slots__ = (
        "_everything",
        "alive",
        "columns",
        "indexed",
        "labels",
        "leaving",
        "name",
        "next",
        "segments",
        "sequence",
        "vectors",
    )

    def __init__(self, generation: Generation, sequence: int, alive: AliveBits) -> None:
        self.name = f"{generation.name}@{sequence}"
        self.sequence = sequence
        self.alive = alive
        self.labels: NDArray[np.int64] = generation.labels.view(alive.count)
        self.vectors = generation.vectors
        self.columns: Mapping[str, column.Column] = generation.columns
        self.segments = generation.segments
        # rows that the segments cover
        self.indexed = sum(segment.count for segment in generation.segments)
        self._everything: Selection | None = None
        # Records that the following write takes out of the store: a search that still holds this
        # state finds them here, or further along `next`. Both die with the last such search.
        self.leaving: dict[int, Row] = {}
        self.next: State | None = None

    @property
    def count(self) -> int:
        """Rows, dead ones included."""
        return self.alive.count

    def departed(self, label: int) -> Row | None:
        """The record of a label of this state that has left the store since."""
        state: State | None = self
        while state is not None:
            if label in state.leaving:
                return state.leaving[label]
            state = state.next
        return None

    def select(self, filter: Filter | None) -> Selection | None:
        """The alive rows that a filter accepts; None for all rows of a state without dead ones."""
        if filter is not None:
            mask = column.evaluate(filter, self.columns, self.count)
            return Selection(mask if self.alive.all_alive else mask & self.alive.mask())
        if self.alive.all_alive:
            return None
        if self._everything is None:
            self._everything = Selection(bits=self.alive.bits, size=self.count)
        return self._everything
