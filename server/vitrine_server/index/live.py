"""The live index of one collection: one owner changes it, searches read one consistent state.

A `State` is immutable. Its arrays are shared with later states, which only write beyond its row
count; its set of alive rows is its own. A search takes `LiveIndex.state` once and is not disturbed
by what comes after.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vitrine_server.index import columns as column
from vitrine_server.index import exact
from vitrine_server.index.growing import Growing
from vitrine_server.index.selection import AliveBits, Selection
from vitrine_server.records import GROUP

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from vitrine_server.filters import Filter
    from vitrine_server.index.faiss_api import Metric
    from vitrine_server.records import CollectionSettings, FieldType, Metadata
    from vitrine_server.store import Row


@dataclass(frozen=True, slots=True)
class Question:
    """A checked query. vector: (D,) float32 as `records.check_vector` returns it."""

    vector: NDArray[np.float32]
    k: int
    offset: int
    filter: Filter | None
    group_by: str | None
    min_score: float | None


@dataclass(frozen=True, slots=True)
class Neighbours:
    """labels (n,) int64, scores (n,) float32 and rows (n,) int64 of the state, best first."""

    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    rows: NDArray[np.int64]


class State:
    """What a search sees: everything written up to `sequence`, nothing after."""

    __slots__ = ("_labels", "_vectors", "alive", "columns", "leaving", "name", "next", "sequence")

    def __init__(
        self,
        *,
        name: str,
        sequence: int,
        labels: Growing[np.int64],
        vectors: Growing[np.float32],
        columns: Mapping[str, column.Column],
        alive: AliveBits,
    ) -> None:
        self.name = name
        self.sequence = sequence
        self.columns = columns
        self.alive = alive
        self._labels = labels
        self._vectors = vectors
        # Records that the following write takes out of the store: a search that still holds this
        # state finds them here, or further along `next`. Both die with the last such search.
        self.leaving: dict[int, Row] = {}
        self.next: State | None = None

    @property
    def labels(self) -> NDArray[np.int64]:
        """(n,) int64, rising."""
        return self._labels.view(self.alive.count)

    @property
    def vectors(self) -> NDArray[np.float32]:
        """(n, D) float32."""
        return self._vectors.view(self.alive.count)

    def departed(self, label: int) -> Row | None:
        """The record of a label of this state that has left the store since."""
        state: State | None = self
        while state is not None:
            if label in state.leaving:
                return state.leaving[label]
            state = state.next
        return None

    def select(self, filter: Filter | None) -> Selection | None:
        """The alive rows that a filter accepts; None when that is every row."""
        if filter is None and self.alive.all_alive:
            return None
        mask = self.alive.mask()
        if filter is not None:
            mask &= column.evaluate(filter, self.columns, self.alive.count)
        return Selection(mask)


class LiveIndex:
    """Owned by one thread, which alone calls `load`, `apply` and `add_column`."""

    def __init__(self, settings: CollectionSettings, dimension: int) -> None:
        self._labels: Growing[np.int64] = Growing(np.int64)
        self._vectors: Growing[np.float32] = Growing(np.float32, dimension)
        self._columns: dict[str, column.Column] = {GROUP: column.new_column("keyword")}
        for name, kind in settings.fields.items():
            self._columns[name] = column.new_column(kind)
        self._publish(0, AliveBits.none())

    state: State

    def add(self, label: int, vector: NDArray[np.float32], metadata: Metadata) -> None:
        """Write a row beyond the published state; labels rise. `publish` makes it visible."""
        self._labels.append(label)
        self._vectors.append(vector)
        for name, values in self._columns.items():
            values.append(metadata.get(name))

    def publish(self, sequence: int, removed: Iterable[int] = ()) -> None:
        """Show the added rows, without those whose labels are removed."""
        old = self.state
        count = len(self._labels)
        labels = np.fromiter(removed, np.int64)
        rows = np.searchsorted(self._labels.view(count), labels)
        self._publish(sequence, old.alive.changed(count, rows))
        old.next = self.state

    def add_column(
        self, name: str, kind: FieldType | None, values: Iterable[tuple[int, Metadata]]
    ) -> None:
        """Make a field usable in filters. values: (label, metadata) by rising label."""
        filled = column.new_column(kind)
        row = 0
        labels = self.state.labels
        for label, metadata in values:
            target = int(np.searchsorted(labels, label))
            while row < target:  # deleted rows, which nobody looks at
                filled.append(None)
                row += 1
            filled.append(metadata.get(name))
            row += 1
        while row < len(labels):
            filled.append(None)
            row += 1
        self._columns = {**self._columns, name: filled}
        old = self.state
        self._publish(old.sequence, old.alive)
        old.next = self.state

    def _publish(self, sequence: int, alive: AliveBits) -> None:
        self.state = State(
            name=f"exact@{sequence}",
            sequence=sequence,
            labels=self._labels,
            vectors=self._vectors,
            columns=self._columns,
            alive=alive,
        )


def search(state: State, questions: Sequence[Question], metric: Metric) -> list[Neighbours]:
    """Answers in the order of the questions; those that can share one pass over the vectors do."""
    answers: list[Neighbours | None] = [None] * len(questions)
    selections: dict[int, Selection | None] = {}
    plain: dict[int, list[int]] = {}
    for position, question in enumerate(questions):
        # one filter object may serve several questions
        key = id(question.filter)
        if key not in selections:
            selections[key] = state.select(question.filter)
        if question.group_by is None:
            plain.setdefault(key, []).append(position)
        else:
            rows, scores = _best_of_groups(state, question, metric, selections[key])
            answers[position] = _page(state, question, rows, scores)
    for key, positions in plain.items():
        queries = np.stack([questions[position].vector for position in positions])
        wanted = max(questions[position].offset + questions[position].k for position in positions)
        found = exact.search(queries, state.vectors, wanted, metric, selections[key])
        for position, scores, rows in zip(positions, *found, strict=True):
            answers[position] = _page(state, questions[position], rows, scores)
    return [answer for answer in answers if answer is not None]


def _page(
    state: State,
    question: Question,
    rows: NDArray[np.int64],
    scores: NDArray[np.float32],
) -> Neighbours:
    keep = slice(question.offset, question.offset + question.k)
    rows, scores = rows[keep], scores[keep]
    good = rows >= 0
    if question.min_score is not None:
        good &= scores >= question.min_score
    return Neighbours(state.labels[rows[good]], scores[good], rows[good])


def _best_of_groups(
    state: State, question: Question, metric: Metric, selection: Selection | None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The best row of each of the best groups: rows and scores, best first.

    Each round searches without the groups that are already found, so that a large group at the top
    costs one round and not the answer.
    """
    wanted = min(question.offset + question.k, state.alive.count)
    keys = state.columns[question.group_by or GROUP].keys(state.alive.count)
    best: list[tuple[int, float]] = []
    taken: set[int] = set()
    fetch = 2 * wanted + 16
    while len(best) < wanted:
        found = exact.search(question.vector[None], state.vectors, fetch, metric, selection)
        rows, scores = found[1][0], found[0][0]
        for row, score in zip(rows.tolist(), scores.tolist(), strict=True):
            if row < 0 or len(best) == wanted:
                break
            key = int(keys[row])
            if key == column.NO_KEY or key not in taken:
                taken.add(key)
                best.append((row, score))
        if len(rows) < fetch:
            break
        mask = state.alive.mask() if selection is None else selection.mask.copy()
        mask[rows] = False
        mask &= ~np.isin(keys, list(taken - {column.NO_KEY}))
        selection = Selection(mask)
        fetch *= 2
    return (
        np.array([row for row, _ in best], np.int64),
        np.array([score for _, score in best], np.float32),
    )
