"""Why two pictures are similar, in numbers that every encoder can give: all it needs is scores.

HEAT     a picture is cut into GRID × GRID patches; a patch's heat is the fall of the score when
         that patch alone is blanked (occlusion: Zeiler and Fergus, ECCV 2014). Patches that are
         blank already are not asked about: their heat is 0.
CHECK    the hottest fifth of the patches is blanked together, against a fifth at random: a map that
         is decoration falls no deeper than chance.
MATCHES  regions of 2 × 2 patches are embedded on their own; pairs that are each other's nearest are
         matches.

The similarity of patch tokens was measured as well (docs/compare.md): blanking what it highlights
costs less than half of the score that the occlusion map finds, and with some readouts (histograms,
grids) the tokens are a small part of the vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Pixels: TypeAlias = NDArray[np.uint8]

GRID = 8
SHARE = 0.2
RANDOM_DRAWS = 4
MAX_MATCHES = 8
_REGION = 2  # patches along one side of a region
_MIN_INK = 0.01  # share of a region's pixels that differ from the fill


@dataclass(frozen=True, slots=True)
class Match:
    """Two regions that are each other's nearest: [left, top, width, height] as shares of the view.

    score: cosine of the regions' embeddings.
    """

    a: tuple[float, float, float, float]
    b: tuple[float, float, float, float]
    score: float


def inked(pixels: Pixels, fill: Sequence[int]) -> list[int]:
    """Patches (row by row, 0 to GRID² - 1) of (S, S, 3) that hold anything but the fill colour."""
    drawn: NDArray[np.bool_] = (pixels != np.asarray(fill, np.uint8)).any(axis=2)
    return [cell for cell in range(GRID * GRID) if drawn[_patch(cell, len(pixels))].any()]


def blanked(pixels: Pixels, cells: Iterable[int], fill: Sequence[int]) -> Pixels:
    """A copy of (S, S, 3) with these patches painted over in the fill colour."""
    painted: Pixels = pixels.copy()
    for cell in cells:
        painted[_patch(cell, len(pixels))] = fill
    return painted


def hottest(heat: NDArray[np.float32]) -> list[int]:
    """The patches of the SHARE with the most heat. heat: (GRID²,), row by row."""
    return [int(cell) for cell in np.argsort(-heat)[: round(SHARE * heat.size)]]


def random_cells(draw: int) -> list[int]:
    """As many patches as `hottest` gives, at random among all; the same for the same `draw`."""
    rng = np.random.default_rng(draw)
    count = round(SHARE * GRID * GRID)
    return [int(cell) for cell in rng.choice(GRID * GRID, count, replace=False)]


def regions(view: Pixels, fill: Sequence[int]) -> list[tuple[int, int]]:
    """(row, column) of the first patch of every region of (V, V, 3) that holds enough ink."""
    distance = np.abs(view.astype(np.int16) - np.asarray(fill, np.int16))
    drawn = np.asarray((distance > 32).any(axis=2))
    places = [
        (row, column) for row in range(GRID - _REGION + 1) for column in range(GRID - _REGION + 1)
    ]
    return [place for place in places if drawn[_area(place, len(view))].mean() >= _MIN_INK]


def region_pixels(view: Pixels, place: tuple[int, int]) -> Pixels:
    """The region's part of the view, contiguous."""
    return np.ascontiguousarray(view[_area(place, len(view))])


def best_matches(
    places_a: Sequence[tuple[int, int]],
    vectors_a: NDArray[np.float32],
    places_b: Sequence[tuple[int, int]],
    vectors_b: NDArray[np.float32],
) -> list[Match]:
    """Mutual nearest regions, best first; none shares a patch with a better one's on either side.

    vectors: (regions, D) float32 of length 1, in the order of the places.
    """
    if not places_a or not places_b:
        return []
    cosines = vectors_a @ vectors_b.T
    nearest_b, nearest_a = cosines.argmax(axis=1), cosines.argmax(axis=0)
    pairs = [(i, int(j)) for i, j in enumerate(nearest_b) if nearest_a[j] == i]
    pairs.sort(key=lambda pair: -float(cosines[pair]))
    kept: list[tuple[int, int]] = []
    for i, j in pairs:
        clash = any(
            _overlap(places_a[i], places_a[k]) or _overlap(places_b[j], places_b[m])
            for k, m in kept
        )
        if not clash:
            kept.append((i, j))
    return [
        Match(_box(places_a[i]), _box(places_b[j]), float(cosines[i, j]))
        for i, j in kept[:MAX_MATCHES]
    ]


def _patch(cell: int, size: int) -> tuple[slice, slice]:
    row, column = divmod(cell, GRID)
    return _rows(row, 1, size), _rows(column, 1, size)


def _area(place: tuple[int, int], size: int) -> tuple[slice, slice]:
    return _rows(place[0], _REGION, size), _rows(place[1], _REGION, size)


def _rows(first: int, count: int, size: int) -> slice:
    return slice(first * size // GRID, (first + count) * size // GRID)


def _box(place: tuple[int, int]) -> tuple[float, float, float, float]:
    row, column = place
    return column / GRID, row / GRID, _REGION / GRID, _REGION / GRID


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return abs(one[0] - other[0]) < _REGION and abs(one[1] - other[1]) < _REGION
