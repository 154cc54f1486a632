"""Models as lists of surface patches, and the transforms that move, repeat and deform them.

A patch is a triangulated surface with texture coordinates in model units. Lines are drawn where
two line groups meet, so a patch of its own group is a face with visible edges, and patches that
share a group join smoothly. Coordinates: x to the right, y away from the front, z up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int32]


class Pattern(NamedTuple):
    """Surface pattern: `kind` of `kernels.cell_of`, periods in model units, angle in radians."""

    kind: int
    period_u: float
    period_v: float
    angle: float = 0.0
    proportion: float = 0.5
    shift_u: float = 0.0
    shift_v: float = 0.0


@dataclass(frozen=True)
class Patch:
    """One smooth surface: vertices (V, 3), uv (V, 2) in model units, triangles (T, 3).

    bent: 0 flat, 1 shading lines run along v, 2 along u. dark: 0 light material to 1 black.
    """

    vertices: Floats
    uv: Floats
    triangles: Ints
    bent: int = 0
    group: int = -1
    pattern: Pattern | None = None
    perforated: bool = False
    broken: bool = False
    dark: float = 0.0


_groups = count(1)


def new_group() -> int:
    """Return a line group that nothing else uses in this process; only equality matters."""
    return next(_groups)


@dataclass(frozen=True)
class Model:
    """Patches; every method returns a new model."""

    patches: list[Patch] = field(default_factory=list)

    def __add__(self, other: Model) -> Model:
        return Model(self.patches + other.patches)

    def bounds(self) -> tuple[Floats, Floats]:
        """Return the lowest and highest corner, (3,) each."""
        low = np.min([p.vertices.min(axis=0) for p in self.patches], axis=0)
        high = np.max([p.vertices.max(axis=0) for p in self.patches], axis=0)
        return low, high

    def mapped(self, function: Callable[[Floats], Floats]) -> Model:
        """Apply a function (V, 3) → (V, 3) to all vertices."""
        return Model([replace(p, vertices=function(p.vertices)) for p in self.patches])

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Model:
        """Shift."""
        shift = np.array([x, y, z])
        return self.mapped(lambda v: v + shift)

    def scaled(self, x: float, y: float | None = None, z: float | None = None) -> Model:
        """Scale about the origin, by `x` alone in all directions when nothing else is given."""
        factors = np.array([x, x if y is None else y, x if z is None else z])
        return self.mapped(lambda v: v * factors)

    def turned(self, axis: str, degrees: float) -> Model:
        """Rotate about an axis through the origin, right-handed."""
        matrix = rotation(axis, degrees)
        return self.mapped(lambda v: v @ matrix.T)

    def mirrored(self, axis: str = "x") -> Model:
        """Reflect in the plane through the origin that `axis` is normal to."""
        factors = np.array([-1.0 if axis == a else 1.0 for a in "xyz"])
        return _regrouped(self.mapped(lambda v: v * factors))

    def both(self, axis: str = "x") -> Model:
        """Return the model and its mirror image."""
        return self + self.mirrored(axis)

    def ring(self, copies: int, axis: str = "z", *, start_deg: float = 0.0) -> Model:
        """Repeat evenly about an axis."""
        return joined(
            _regrouped(self.turned(axis, start_deg + 360.0 * i / copies)) for i in range(copies)
        )

    def row(self, copies: int, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Model:
        """Repeat along a step, centred on where the model is."""
        return joined(
            _regrouped(self.moved(x * t, y * t, z * t))
            for t in (i - 0.5 * (copies - 1) for i in range(copies))
        )

    def dressed(self, pattern: Pattern | None) -> Model:
        """Draw a pattern on all patches."""
        if pattern is None:
            return self
        return Model([replace(p, pattern=pattern) for p in self.patches])

    def pierced(self, pattern: Pattern) -> Model:
        """Cut the cells of a pattern out of all patches."""
        return Model([replace(p, pattern=pattern, perforated=True) for p in self.patches])

    def broken(self) -> Model:
        """Show as environment, in broken lines."""
        return Model([replace(p, broken=True) for p in self.patches])

    def dark(self, amount: float = 0.7) -> Model:
        """Give a dark material."""
        return Model([replace(p, dark=amount) for p in self.patches])

    def seamless(self) -> Model:
        """Join all patches without lines between them."""
        group = new_group()
        return Model([replace(p, group=group) for p in self.patches])


def _regrouped(model: Model) -> Model:
    fresh: dict[int, int] = {}
    for patch in model.patches:
        fresh.setdefault(patch.group, new_group())
    return Model([replace(p, group=fresh[p.group]) for p in model.patches])


def joined(models: Iterable[Model]) -> Model:
    """Return one model of all patches."""
    return Model([patch for model in models for patch in model.patches])


def rotation(axis: str, degrees: float) -> Floats:
    """Return the (3, 3) right-handed rotation about "x", "y" or "z"."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    rows = {
        "x": [[1, 0, 0], [0, c, -s], [0, s, c]],
        "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
        "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]],
    }
    return np.array(rows[axis], dtype=np.float64)


@lru_cache(maxsize=4096)
def _grid_triangles(rows: int, columns: int) -> Ints:
    i = np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)[None, :]
    a = i.ravel()
    lower = np.stack([a, a + 1, a + columns], axis=1)
    upper = np.stack([a + 1, a + columns + 1, a + columns], axis=1)
    return np.concatenate([lower, upper]).astype(np.int32)


def grid(points: Floats, u: Floats, v: Floats, *, bent: int = 1, group: int | None = None) -> Model:
    """Return the surface through points (R, C, 3); u (R, C) or (C,), v (R, C) or (R,)."""
    rows, columns = points.shape[:2]
    uv = np.empty((rows, columns, 2))
    uv[..., 0] = u if u.ndim == 2 else u[None, :]
    uv[..., 1] = v if v.ndim == 2 else v[:, None]
    patch = Patch(
        points.reshape(-1, 3), uv.reshape(-1, 2), _grid_triangles(rows, columns), bent,
        new_group() if group is None else group,
    )  # fmt: skip
    return Model([patch])


@dataclass(frozen=True)
class Packed:
    """A model as flat arrays for the renderer, scaled into the unit ball around the origin.

    vertices (V, 3), normals (V, 3), uv (V, 2), triangles (T, 3), owner (T,) patch of each triangle,
    table (P, 12) of patch properties as `kernels.resolve` reads them, broken (G,) by line group.
    seams (V, 0-2) hold functions of position whose zero lines are drawn on the surface.
    """

    vertices: Floats
    normals: Floats
    uv: Floats
    triangles: Ints
    owner: Ints
    table: Floats
    broken: NDArray[np.uint8]
    seams: Floats


def pack(model: Model, seams: Sequence[Callable[[Floats], Floats]] = ()) -> Packed:
    """Flatten and normalise a model; line groups are renumbered from 0.

    seams: up to two functions (V, 3) → (V,) of the normalised position; a line is drawn where one
    is zero.
    """
    patches = model.patches
    vertices = np.concatenate([p.vertices for p in patches])
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    centred = vertices - 0.5 * (low + high)
    scale = 1.0 / float(np.sqrt((centred**2).sum(axis=1).max()))
    vertices = centred * scale
    uv = np.concatenate([p.uv for p in patches]) * scale
    offsets = np.cumsum([0] + [len(p.vertices) for p in patches[:-1]])
    triangles = np.concatenate([p.triangles + o for p, o in zip(patches, offsets, strict=True)])
    owner = np.repeat(np.arange(len(patches), dtype=np.int32), [len(p.triangles) for p in patches])
    order: dict[int, int] = {}
    table = np.zeros((len(patches), 12))
    broken = np.zeros(len(patches), dtype=np.uint8)
    for row, patch in enumerate(patches):
        group = order.setdefault(patch.group, len(order))
        broken[group] = patch.broken
        if patch.pattern is not None:
            k, pu, pv, angle, p, su, sv = patch.pattern
            table[row, :6] = (
                k,
                1 / (pu * scale),
                1 / (pv * scale),
                math.cos(angle),
                math.sin(angle),
                p,
            )
            table[row, 6:9] = patch.perforated, su, sv
        table[row, 9:] = group, patch.dark, patch.bent
    a, b, c = (vertices[triangles[:, i]] for i in range(3))
    faces = np.cross(b - a, c - a)
    corners = triangles.ravel()
    weights = np.repeat(faces, 3, axis=0)
    normals: Floats = np.stack(
        [np.bincount(corners, weights[:, i], len(vertices)).astype(np.float64) for i in range(3)],
        axis=1,
    )
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    fields = np.empty((len(vertices), len(seams)))
    for i, seam in enumerate(seams):
        fields[:, i] = seam(vertices)
    return Packed(vertices, normals, uv, triangles.astype(np.int32), owner, table, broken, fields)
