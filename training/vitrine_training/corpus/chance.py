"""Named random draws: every parameter of a design is a pure function of (seed, name).

A generator that is read in sequence changes every later value when one line of a grammar changes.
Here each name has its own value, so a design with one parameter moved is the same design
otherwise: that is how near-copies are made, and it keeps drawings stable while grammars grow.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

T = TypeVar("T")
_MASK = (1 << 64) - 1


def mix(*values: int) -> int:
    """Hash integers to 64 bits (the finaliser of splitmix64, chained)."""
    state = 0x9E3779B97F4A7C15
    for value in values:
        state = (state ^ (value & _MASK)) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return state


class Draw:
    """Named draws in [0, 1) from one seed, with overrides for chosen names.

    `names` records what was asked for: name → the values in (0, 1) where one option ends and the
    next begins (none for a continuous draw), so that an edit knows what it can change.
    """

    def __init__(
        self,
        seed: int,
        overrides: Mapping[str, float] | None = None,
        *,
        prefix: str = "",
        names: dict[str, tuple[float, ...]] | None = None,
    ) -> None:
        self.seed = seed
        self.prefix = prefix
        self.overrides = dict(overrides or {})
        self.names: dict[str, tuple[float, ...]] = {} if names is None else names

    def part(self, name: str) -> Draw:
        """Return a view of the same draws whose names start with `name.`."""
        return Draw(self.seed, self.overrides, prefix=f"{self.prefix}{name}.", names=self.names)

    def unit(self, name: str, cuts: tuple[float, ...] = ()) -> float:
        """Return the value of `name` in [0, 1)."""
        key = self.prefix + name
        self.names[key] = cuts
        if key in self.overrides:
            return self.overrides[key]
        return (mix(self.seed, zlib.crc32(key.encode())) >> 11) / float(1 << 53)

    def uniform(self, name: str, low: float, high: float) -> float:
        """Return a float in [low, high)."""
        return low + (high - low) * self.unit(name)

    def integer(self, name: str, low: int, high: int) -> int:
        """Return an int in [low, high], both included."""
        count = high - low + 1
        return low + int(self.unit(name, _even_cuts(count)) * count)

    def chance(self, name: str, probability: float) -> bool:
        """Return True with the given probability."""
        return self.unit(name, (probability,)) < probability

    def choice(self, name: str, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        """Return one of `options`, all equally likely unless `weights` are given."""
        if weights is None:
            return options[int(self.unit(name, _even_cuts(len(options))) * len(options))]
        total = sum(weights)
        cuts = tuple(edge / total for edge in accumulate(weights[:-1]))
        value = self.unit(name, cuts) * total
        for option, weight in zip(options, weights, strict=True):
            value -= weight
            if value < 0:
                return option
        return options[-1]


@lru_cache(maxsize=64)
def _even_cuts(count: int) -> tuple[float, ...]:
    return tuple(i / count for i in range(1, count))
