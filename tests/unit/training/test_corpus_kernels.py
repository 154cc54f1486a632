"""The renderer's loops against slow, obvious references."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from vitrine_training.corpus import kernels, outlines, solids
from vitrine_training.corpus.figure import ORTHOGRAPHIC, Pen, View, render
from vitrine_training.corpus.forms import ORNAMENTS
from vitrine_training.corpus.mesh import Model, Pattern, pack

if TYPE_CHECKING:
    from numpy.typing import NDArray

PEN = Pen((1.0, 1.0, 1.0, 1.0), kernels.PLAIN, 6.0, 0.5, 0.05, 8.0, 6.0)


def ink(model: Model, view: View, pen: Pen = PEN) -> NDArray[np.bool_]:
    """The pixels of a figure that hold ink, at 100 pixels a model radius."""
    return render(pack(model), view, 100.0, pen, 1) < 128


def lines_crossed(drawing: NDArray[np.bool_], row: int) -> int:
    """Number of separate strokes that a horizontal line meets."""
    marks = drawing[row].astype(int)
    return int(np.sum((marks[1:] == 1) & (marks[:-1] == 0)))


def test_rasterise_agrees_with_a_per_pixel_search() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(-5.0, 45.0, (60, 3))
    corners[:, 2] = rng.uniform(0.0, 1.0, 60)
    triangles = np.arange(60, dtype=np.int32).reshape(20, 3)
    depth = np.full((40, 40), 9.0, np.float32)
    visible = np.full((40, 40), -1, np.int32)
    kernels.rasterise(
        corners, np.ones(60), triangles, np.zeros(20, np.int32), np.zeros((60, 2)),
        np.zeros((1, 12)), 0.0, depth, visible,
    )  # fmt: skip
    wrong = 0
    for y in range(40):
        for x in range(40):
            best, owner = np.inf, -1
            for t, (a, b, c) in enumerate(corners[triangles]):
                system = np.array([[a[0], b[0], c[0]], [a[1], b[1], c[1]], [1.0, 1.0, 1.0]])
                w = np.linalg.solve(system, [x + 0.5, y + 0.5, 1.0])
                if (w >= 0).all() and w @ [a[2], b[2], c[2]] < best:
                    best, owner = float(w @ [a[2], b[2], c[2]]), t
            wrong += visible[y, x] != owner
    assert wrong <= 2  # pixels whose centre lies on an edge within rounding


def test_a_cube_from_the_front_is_a_square_and_its_back_is_hidden() -> None:
    cube = ink(solids.box(1, 1, 1), ORTHOGRAPHIC["front"])
    assert lines_crossed(cube, cube.shape[0] // 2) == 2
    corner = ink(solids.box(1, 1, 1), View("perspective", 45, 20))
    assert lines_crossed(corner, corner.shape[0] // 2) == 3  # two silhouettes and the near edge


def test_a_part_in_front_hides_what_lies_behind_it() -> None:
    behind = solids.box(0.3, 0.3, 0.3).moved(0, 1, 0.3)
    wall = solids.box(1, 0.1, 1)
    both = ink(wall + behind, ORTHOGRAPHIC["front"])
    assert lines_crossed(both, both.shape[0] // 2) == 2
    assert lines_crossed(ink(wall + behind, ORTHOGRAPHIC["back"]), both.shape[0] // 2) == 4


def test_interpenetrating_parts_meet_in_a_line() -> None:
    balls = solids.ellipsoid(0.5, 0.5, 0.5).moved(0.3).both("x")
    drawing = ink(balls, ORTHOGRAPHIC["front"])
    assert lines_crossed(drawing, drawing.shape[0] // 2) == 3
    smooth = ink(balls.seamless(), ORTHOGRAPHIC["front"])
    assert lines_crossed(smooth, smooth.shape[0] // 2) == 2


def test_a_smooth_surface_has_no_inner_lines() -> None:
    ball = ink(solids.ellipsoid(0.5, 0.5, 0.5), View("perspective", 20, 10))
    assert lines_crossed(ball, ball.shape[0] // 2) == 2


def test_holes_show_what_is_behind() -> None:
    plate = solids.box(1, 0.02, 1)
    pierced = plate.pierced(Pattern(19, 0.25, 0.25, proportion=0.6))
    solid = ink(plate + solids.box(0.9, 0.1, 0.9).moved(0, 1, 0.05), ORTHOGRAPHIC["front"])
    seen = ink(pierced + solids.box(0.9, 0.1, 0.9).moved(0, 1, 0.05), ORTHOGRAPHIC["front"])
    assert seen.sum() > 2 * solid.sum()


def test_broken_lines_are_drawn_partly() -> None:
    whole = ink(solids.box(1, 1, 1), ORTHOGRAPHIC["front"]).sum()
    dashed = ink(solids.box(1, 1, 1).broken(), ORTHOGRAPHIC["front"]).sum()
    assert 0.4 * whole < dashed < 0.8 * whole  # 8 of 14 pixels are drawn


@pytest.mark.parametrize("kind", sorted(ORNAMENTS))
def test_every_pattern_has_more_than_one_cell_and_repeats(kind: int) -> None:
    x, y = np.meshgrid(np.linspace(0.0, 6.0, 90), np.linspace(0.0, 6.0, 90))
    cells = np.array(
        [kernels.cell_of(float(kind), a, b, 0.6) for a, b in zip(x.ravel(), y.ravel(), strict=True)]
    )
    assert 2 <= len(np.unique(cells)) < 2000


def test_hash_is_uniform() -> None:
    values = np.array([kernels.hash_unit(i, i % 7, 3) for i in range(4000)])
    counts, _ = np.histogram(values, 10, (0.0, 1.0))
    assert counts.min() > 320
    assert counts.max() < 480


@pytest.mark.parametrize(
    "outline",
    [
        outlines.star(5, 1.0, 0.4),
        outlines.crescent(1.0, 0.6),
        outlines.gear(12, 1.0, 0.8),
        outlines.thick(np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]), 0.2),
    ],
)
def test_ear_clipping_covers_the_polygon(outline: NDArray[np.float64]) -> None:
    face = solids.face(outline).patches[0]
    a, b, c = (face.vertices[face.triangles[:, i], :2] for i in range(3))
    doubled = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert (doubled > -1e-9).all()
    assert 0.5 * doubled.sum() == pytest.approx(abs(outlines.area(outline)))


def test_ear_clipping_leaves_holes_open() -> None:
    square = outlines.rectangle(2.0, 2.0)
    holes = [outlines.ellipse(0.2) + np.array([x, 0.1 * x]) for x in (-0.6, 0.0, 0.6)]
    face = solids.face(square, 0.0, holes).patches[0]
    a, b, c = (face.vertices[face.triangles[:, i], :2] for i in range(3))
    doubled = np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])
    assert 0.5 * doubled.sum() == pytest.approx(
        4.0 - sum(outlines.area(h) for h in holes), rel=1e-6
    )
