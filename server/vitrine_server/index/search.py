"""A search over one state: approximate where there is an index, exact for the rest, then groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vitrine_server.index import ann, exact
from vitrine_server.index import columns as column
from vitrine_server.index.selection import Selection
from vitrine_server.records import GROUP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vitrine_server.filters import Filter
    from vitrine_server.index.ann import Ann
    from vitrine_server.index.faiss_api import Metric
    from vitrine_server.index.generation import State

# One multiply-add of an exact comparison of scattered rows, seconds: 0.75 ms for 10,000 of 256.
EXACT_VALUE_S = 0.3e-9


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


def search_state(state: State, questions: Sequence[Question], metric: Metric) -> list[Neighbours]:
    """Answers in the order of the questions; those that can share one pass over the vectors do."""
    answers: dict[int, Neighbours] = {}
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
            scores, rows = _best_of_groups(state, question, metric, selections[key])
            answers[position] = _page(state, question, scores, rows)
    for key, positions in plain.items():
        queries = np.stack([questions[position].vector for position in positions])
        wanted = max(questions[position].offset + questions[position].k for position in positions)
        found = nearest(state, queries, wanted, metric, selections[key])
        for position, scores, rows in zip(positions, *found, strict=True):
            answers[position] = _page(state, questions[position], scores, rows)
    return [answers[position] for position in range(len(questions))]


def nearest(
    state: State,
    queries: NDArray[np.float32],
    k: int,
    metric: Metric,
    selection: Selection | None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Neighbours of queries (B, D) among the selected rows: scores and rows, best first.

    Scores are exact for every kind of index. Missing neighbours have row -1 and score -inf.
    """
    k = min(k, state.alive.alive if selection is None else selection.count)
    if k == 0:
        return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    found = []
    start = 0
    for segment in state.segments:
        stop = start + segment.count
        part = _part(selection, start, stop)
        if part is not None and _cheaper_exact(segment, part, queries.shape[1]):
            found += _exact(state, queries, k, metric, part, start, stop)
        else:
            found.append(_approximate(state, queries, k, metric, part, segment, start))
        start = stop
    found += _exact(
        state, queries, k, metric, _part(selection, start, state.count), start, state.count
    )
    return _merged(found, k)


def _merged(
    found: list[tuple[NDArray[np.float32], NDArray[np.int64]]], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The k best of what was found in several places, each sorted already."""
    if len(found) == 1:
        return found[0]
    return exact.tops(
        np.concatenate([scores for scores, _ in found], axis=1),
        np.concatenate([rows for _, rows in found], axis=1),
        k,
    )


def _part(selection: Selection | None, start: int, stop: int) -> Selection | None:
    """The selection within some rows, renumbered from 0; None when it takes them all."""
    if selection is None:
        return None
    part = selection.part(start, stop)
    return None if part.count == part.size else part


def _cheaper_exact(segment: Ann, part: Selection, dimension: int) -> bool:
    """Whether comparing each selected row costs less than a search widened for the filter."""
    widened_s = segment.tuning.query_s * part.size / max(part.count, 1)
    return part.count * dimension * EXACT_VALUE_S <= widened_s


def _exact(
    state: State,
    queries: NDArray[np.float32],
    k: int,
    metric: Metric,
    part: Selection | None,
    start: int,
    stop: int,
) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    """Exact neighbours among the selected rows start ≤ r < stop, one entry a piece of memory."""
    found = []
    for first, piece in state.vectors.pieces(start, stop):
        within = _part(part, first - start, first - start + len(piece))
        scores, rows = exact.search(queries, piece, k, metric, within)
        found.append((scores, np.where(rows < 0, -1, rows + first)))
    return found


def _approximate(
    state: State,
    queries: NDArray[np.float32],
    k: int,
    metric: Metric,
    part: Selection | None,
    segment: Ann,
    start: int,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Likely neighbours among the selected rows of a segment, with exact scores: (B, k) each."""
    share = 1.0 if part is None else part.count / part.size
    wanted = min(k, segment.count if part is None else part.count)
    proposed = segment.propose(queries, k, share, None if part is None else part.bits)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    rows = np.full((len(queries), k), -1, np.int64)
    for position, query in enumerate(queries):
        candidates = proposed[position]
        candidates = candidates[candidates >= 0] + start
        best = ann.rescored(state.vectors, query, candidates, k, metric)
        if len(best[1]) < wanted:
            # the graph or the lists led to too few of the selected rows
            pieces = _exact(state, query[None], k, metric, part, start, start + segment.count)
            every = _merged(pieces, k)
            best = every[0][0], every[1][0]
        scores[position, : len(best[0])], rows[position, : len(best[1])] = best
    return scores, rows


def _page(
    state: State,
    question: Question,
    scores: NDArray[np.float32],
    rows: NDArray[np.int64],
) -> Neighbours:
    keep = slice(question.offset, question.offset + question.k)
    scores, rows = scores[keep], rows[keep]
    good = rows >= 0
    if question.min_score is not None:
        good &= scores >= question.min_score
    return Neighbours(state.labels[rows[good]], scores[good], rows[good])


def _best_of_groups(
    state: State, question: Question, metric: Metric, selection: Selection | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The best row of each of the best groups: scores and rows, best first.

    Each round searches without the groups that are already found, so that a large group at the top
    costs one round and not the answer.
    """
    wanted = min(question.offset + question.k, state.alive.alive)
    groups = state.columns[question.group_by or GROUP]
    best: list[tuple[float, int]] = []
    taken: set[int] = set()
    fetch = 2 * wanted + 16
    while wanted:
        found = nearest(state, question.vector[None], fetch, metric, selection)
        scores, rows = found[0][0], found[1][0]
        scores, rows = scores[rows >= 0], rows[rows >= 0]
        keys = groups.keys(rows)
        for score, row, key in zip(scores.tolist(), rows.tolist(), keys.tolist(), strict=True):
            if len(best) == wanted:
                break
            if key == column.NO_KEY or key not in taken:
                taken.add(key)
                best.append((score, row))
        if len(best) == wanted or len(rows) < fetch:
            break
        mask = state.alive.mask() if selection is None else selection.mask.copy()
        mask[rows] = False
        mask &= ~np.isin(groups.keys(np.arange(state.count)), list(taken - {column.NO_KEY}))
        selection = Selection(mask)
        fetch *= 2
    return (
        np.array([score for score, _ in best], np.float32),
        np.array([row for _, row in best], np.int64),
    )
