"""The best groups of one state: the design, product or family that rows show.

A row without a group is a group of its own. Both functions answer with scores and rows (n,), one a
group, best first, and whether `nearest` fell back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vitrine_server.index.columns import NO_KEY, Column
from vitrine_server.index.nearest import nearest
from vitrine_server.index.selection import Selection

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vitrine_server.index.faiss_api import Metric
    from vitrine_server.index.generation import State


def by_best_row(
    state: State,
    vectors: NDArray[np.float32],
    wanted: int,
    groups: Column,
    metric: Metric,
    selection: Selection | None,
) -> tuple[NDArray[np.float32], NDArray[np.int64], bool]:
    """A group scores what its best row scores against the one vector (1, D).

    Each round searches without the groups that are already found, so that a large group at the top
    costs one round and not the answer.
    """
    best: list[tuple[float, int]] = []
    taken: set[int] = set()
    fell_back = False
    fetch = 2 * wanted + 16
    while wanted:
        found = nearest(state, vectors, fetch, metric, selection)
        fell_back |= bool(found.fell_back[0])
        scores, rows = found.scores[0], found.rows[0]
        scores, rows = scores[rows >= 0], rows[rows >= 0]
        keys = groups.keys(rows)
        for score, row, key in zip(scores.tolist(), rows.tolist(), keys.tolist(), strict=True):
            if len(best) == wanted:
                break
            if key == NO_KEY or key not in taken:
                taken.add(key)
                best.append((score, row))
        if len(best) == wanted or len(rows) < fetch:
            break
        mask = _allowed(state, selection).copy()
        mask[rows] = False
        mask &= ~groups.holding(np.array(list(taken), np.int64), state.count)
        selection = Selection(mask)
        fetch *= 2
    return (
        np.array([score for score, _ in best], np.float32),
        np.array([row for _, row in best], np.int64),
        fell_back,
    )


def by_all_views(
    state: State,
    vectors: NDArray[np.float32],
    wanted: int,
    groups: Column,
    metric: Metric,
    selection: Selection | None,
) -> tuple[NDArray[np.float32], NDArray[np.int64], bool]:
    """A group scores the mean, over the views (V, D), of the view's best match among its rows. The
    row of an answer is the one nearest to any of the views.

    The threshold algorithm (Fagin, Lotem, Naor 2003): every group that is near any view is scored
    in full; one that was not met can score at most the mean of the worst rows that were met.
    """
    total = state.alive.alive if selection is None else selection.count
    if not wanted or not total:
        return np.empty(0, np.float32), np.empty(0, np.int64), False
    fetch = 4 * wanted + 16
    fell_back = False
    while True:
        found, rows, passed_over = nearest(state, vectors, fetch, metric, selection)
        fell_back |= bool(passed_over.any())
        met = np.unique(rows[rows >= 0])
        best = _scored(state, vectors, wanted, groups, metric, _allowed(state, selection), met)
        everything = fetch >= total
        if everything or (len(best[0]) == wanted and best[0][-1] >= found[:, -1].mean()):
            return *best, fell_back
        fetch *= 4


def _scored(
    state: State,
    vectors: NDArray[np.float32],
    wanted: int,
    groups: Column,
    metric: Metric,
    allowed: NDArray[np.bool_],
    met: NDArray[np.int64],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The groups of the rows `met`, each scored by all of its allowed rows: the best `wanted`."""
    keys = groups.keys(met)
    members = np.flatnonzero(allowed & groups.holding(np.unique(keys), state.count))
    rows = np.concatenate([members, met[keys == NO_KEY]])
    # a row without a group gets a key of its own
    member_keys = groups.keys(members)
    alone = np.arange(len(rows) - len(members)) + (member_keys.max(initial=0) + 1)
    order = np.argsort(np.concatenate([member_keys, alone]), kind="stable")
    rows = rows[order]
    ordered = np.concatenate([member_keys, alone])[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))

    scores = np.stack([state.vectors.scores(view, rows, metric) for view in vectors])
    means = np.maximum.reduceat(scores, starts, axis=1).mean(axis=0)
    nearest_view = scores.max(axis=0)
    lengths = np.diff(np.append(starts, len(rows)))
    tops = np.maximum.reduceat(nearest_view, starts)
    # the first row of each group that reaches the group's highest score
    reaching = np.flatnonzero(nearest_view == np.repeat(tops, lengths))
    images = rows[reaching[np.searchsorted(reaching, starts)]]
    best = np.lexsort((images, -means))[:wanted]
    return means[best], images[best]


def _allowed(state: State, selection: Selection | None) -> NDArray[np.bool_]:
    """Mask (count,) of the rows that an answer may name."""
    return state.alive.mask() if selection is None else selection.mask
