"""The nearest rows of one state: approximate where there is an index, exact for the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vitrine_server.index import ann, exact

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vitrine_server.index.ann import Ann
    from vitrine_server.index.faiss_api import Metric
    from vitrine_server.index.generation import State
    from vitrine_server.index.selection import Selection

# One multiply-add of an exact comparison of scattered rows, seconds: 0.75 ms for 10,000 of 256.
EXACT_VALUE_S = 0.3e-9
# A search that is widened for a share s of the rows takes this / s as long: at 60,000 x 256, 55,
# 15, 7.7, 5.0 and 2.5 times for 1, 3, 6, 10 and 30 %. `benchmarks/live_index.py` measures both.
WIDENED = 0.5


class Nearest(NamedTuple):
    """Neighbours of B queries, best first; scores are exact for every kind of index.

    scores: (B, k) float32, rows: (B, k) int64; missing neighbours have -inf and row -1.
    fell_back: (B,) bool, where rows were compared exactly because a GPU's index cannot filter.
    """

    scores: NDArray[np.float32]
    rows: NDArray[np.int64]
    fell_back: NDArray[np.bool_]


def nearest(
    state: State,
    queries: NDArray[np.float32],
    k: int,
    metric: Metric,
    selection: Selection | None,
) -> Nearest:
    """Neighbours of queries (B, D) among the selected rows."""
    count = len(queries)
    k = min(k, state.alive.alive if selection is None else selection.count)
    fell_back = np.zeros(count, np.bool_)
    if k == 0:
        return Nearest(np.empty((count, 0), np.float32), np.empty((count, 0), np.int64), fell_back)
    found = []
    start = 0
    for segment in state.segments:
        stop = start + segment.count
        part = _part(selection, start, stop)
        if part is not None and _cheaper_exact(segment, part, queries.shape[1]):
            found += _exact(state, queries, k, metric, part, start, stop)
            fell_back |= not segment.filters
        else:
            scores, rows, short = _approximate(state, queries, k, metric, part, segment, start)
            found.append((scores, rows))
            fell_back |= short & (not segment.filters)
        start = stop
    found += _exact(
        state, queries, k, metric, _part(selection, start, state.count), start, state.count
    )
    return Nearest(*_merged(found, k), fell_back)


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
    share = max(part.count, 1) / part.size
    widened_s = segment.tuning.query_s * max(1.0, WIDENED / share)
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
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    """Likely neighbours among the selected rows of a segment: scores and rows (B, k), and which
    queries (B,) were led to too few of them, so that all were compared.
    """
    share = 1.0 if part is None else part.count / part.size
    wanted = min(k, segment.count if part is None else part.count)
    proposed = segment.propose(queries, k, share, None if part is None else part.bits)
    scores = np.full((len(queries), k), -np.inf, np.float32)
    rows = np.full((len(queries), k), -1, np.int64)
    short = np.zeros(len(queries), np.bool_)
    for position, query in enumerate(queries):
        candidates = proposed[position]
        candidates = candidates[candidates >= 0] + start
        best = ann.rescored(state.vectors, query, candidates, k, metric)
        if len(best[1]) < wanted:
            short[position] = True
            pieces = _exact(state, query[None], k, metric, part, start, start + segment.count)
            every = _merged(pieces, k)
            best = every[0][0], every[1][0]
        scores[position, : len(best[0])], rows[position, : len(best[1])] = best
    return scores, rows, short
