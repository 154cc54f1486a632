"""The live index of one collection, changed by one thread: writes, and the swap to a new layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vitrine_server.index import columns as column
from vitrine_server.index.generation import Generation, State
from vitrine_server.index.growing import Growing
from vitrine_server.index.selection import AliveBits

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from vitrine_server.index.ann import Ann
    from vitrine_server.records import FieldType, JsonValue, Metadata


class LiveIndex:
    """Everything but reading `state` belongs to the collection's writer thread."""

    state: State

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self.state = State(generation, 0, AliveBits.every(len(generation.labels)))

    def add(
        self, labels: Sequence[int], vectors: NDArray[np.float32], metadata: Sequence[Metadata]
    ) -> None:
        """Write rows beyond the published state: vectors (M, D). `publish` makes them visible."""
        self._generation.append(labels, vectors, metadata)

    def vector(self, label: int) -> NDArray[np.float32]:
        """The vector (D,) of a row. Raises KeyError."""
        rows = self._generation.rows_of(np.array([label], np.int64))
        taken: NDArray[np.float32] = self._generation.vectors.take(rows)[0]
        return taken

    def publish(self, sequence: int, removed: Sequence[int] = ()) -> None:
        """Show the added rows, without those whose labels are removed.

        Raises KeyError for a label that has no row.
        """
        rows = self._generation.rows_of(np.array(removed, np.int64))
        count = len(self._generation.labels)
        self._show(sequence, self.state.alive.changed(count, rows))

    def add_column(
        self, name: str, kind: FieldType | None, values: Iterable[tuple[int, Metadata]]
    ) -> None:
        """Make a field usable in filters. values: (label, metadata) of every alive row."""
        labels, held = [], []
        for label, metadata in values:
            labels.append(label)
            held.append(metadata.get(name))
        by_row: list[JsonValue] = [None] * self.state.count
        rows = self._generation.rows_of(np.array(labels, np.int64))
        for row, value in zip(rows.tolist(), held, strict=True):
            by_row[row] = value
        filled = column.new_column(kind)
        filled.append(by_row)
        # a new mapping: the states that are out there keep theirs
        self._generation.columns = {**self._generation.columns, name: filled}
        self._show(self.state.sequence, self.state.alive)

    def show_segments(self, segments: tuple[Ann, ...], instead_of: tuple[Ann, ...]) -> bool:
        """Show approximate indices that cover more rows; False when others came in between."""
        if self.state.segments != instead_of:
            return False
        self._generation.segments = segments
        self._show(self.state.sequence, self.state.alive)
        return True

    def swap(self, successor: Successor) -> None:
        """Go over to a new generation, after copying what it has not seen yet."""
        successor.catch_up(self.state)
        state = self.state
        for name, values in state.columns.items():
            if name not in successor.generation.columns:
                successor.generation.columns[name] = values.taken(successor.origins)
        dead = np.flatnonzero(~state.alive.of(successor.origins))
        count = len(successor.origins)
        self._generation = successor.generation
        self._show(state.sequence, AliveBits.every(0).changed(count, dead))

    def _show(self, sequence: int, alive: AliveBits) -> None:
        old = self.state
        self.state = State(self._generation, sequence, alive)
        old.next = self.state


class Successor:
    """A new generation on its way to replace that of a `LiveIndex`, private until it is swapped in.

    It begins with `rows` of the state it was made from and then follows the later states.
    """

    def __init__(self, generation: Generation, made_from: State, rows: NDArray[np.int64]) -> None:
        self.generation = generation
        self._origins: Growing[np.int64] = Growing.of(rows)
        self._seen = made_from.count

    @property
    def origins(self) -> NDArray[np.int64]:
        """For each row of the new generation its row in the old one, int64."""
        return self._origins.view(len(self._origins))

    def catch_up(self, state: State) -> int:
        """Copy the alive rows of a state that came since; their number."""
        rows = self._seen + np.flatnonzero(state.alive.mask(self._seen))
        self.generation.copy(state, rows)
        self._origins.extend(rows)
        self._seen = state.count
        return len(rows)
