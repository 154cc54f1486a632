"""Answers to questions over one state, in pages; questions that can share a pass do."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vitrine_server.index import grouped
from vitrine_server.index.nearest import nearest
from vitrine_server.rerank import CANDIDATES, rerank_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vitrine_server.filters import Filter
    from vitrine_server.index.faiss_api import Metric
    from vitrine_server.index.generation import State
    from vitrine_server.index.selection import Selection


class Question(NamedTuple):
    """A checked query. vectors: (views, D) float32, each as `records.check_vector` returns it.

    Several views score groups, and need group_by. rerank: by cosine, and without group_by.
    """

    vectors: NDArray[np.float32]
    k: int
    offset: int
    filter: Filter | None
    group_by: str | None
    min_score: float | None
    rerank: bool = False


class Neighbours(NamedTuple):
    """labels (n,) int64, scores (n,) float32 and rows (n,) int64 of the state, best first.

    fell_back: rows were compared exactly because a GPU's index cannot filter. rerank_scores: (n,)
    float32 of rows that were re-ranked, then NaN for those that follow by their scores.
    """

    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    rows: NDArray[np.int64]
    fell_back: bool
    rerank_scores: NDArray[np.float32] | None = None


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
        if question.rerank:
            answers[position] = _reranked(state, question, metric, selections[key])
        elif question.group_by is None:
            plain.setdefault(key, []).append(position)
        else:
            search = grouped.by_best_row if len(question.vectors) == 1 else grouped.by_all_views
            wanted = min(question.offset + question.k, state.alive.alive)
            groups = state.columns[question.group_by]
            found = search(state, question.vectors, wanted, groups, metric, selections[key])
            answers[position] = _page(state, question, *found)
    for key, positions in plain.items():
        queries = np.concatenate([questions[position].vectors for position in positions])
        wanted = max(questions[position].offset + questions[position].k for position in positions)
        best = nearest(state, queries, wanted, metric, selections[key])
        for position, *answer in zip(positions, *best, strict=True):
            answers[position] = _page(state, questions[position], *answer)
    return [answers[position] for position in range(len(questions))]


def _reranked(
    state: State, question: Question, metric: Metric, selection: Selection | None
) -> Neighbours:
    wanted = max(CANDIDATES, question.offset + question.k)
    found = nearest(state, question.vectors, wanted, metric, selection)
    scores, rows = found.scores[0], found.rows[0]
    candidates = rows[:CANDIDATES]
    candidates = candidates[candidates >= 0]
    first = slice(len(candidates))
    new = np.full(len(rows), np.nan, np.float32)
    new[first] = rerank_scores(question.vectors[0], state.vectors.take(candidates))
    order = np.arange(len(rows))
    order[first] = np.argsort(-new[first], kind="stable")
    fell_back = bool(found.fell_back[0])
    return _page(state, question, scores[order], rows[order], fell_back, new[order])


def _page(
    state: State,
    question: Question,
    scores: NDArray[np.float32],
    rows: NDArray[np.int64],
    fell_back: bool,
    rerank_scores: NDArray[np.float32] | None = None,
) -> Neighbours:
    page = slice(question.offset, question.offset + question.k)
    keep: slice | NDArray[np.int64] = page
    # the missing ones are the last
    if question.min_score is not None or (len(rows) and rows[-1] < 0):
        good = rows >= 0
        if question.min_score is not None:
            good &= scores >= question.min_score
        keep = np.flatnonzero(good)[page]
    return Neighbours(
        state.labels[rows[keep]],
        scores[keep],
        rows[keep],
        bool(fell_back),
        None if rerank_scores is None else rerank_scores[keep],
    )
