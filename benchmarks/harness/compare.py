"""Two runs side by side: ratios with confidence intervals, and whether the new one is worse.

Requests of one second share their fate, and so do the seconds of one repeat; drawing single
requests anew would pretend to a certainty that is not there. So the bootstrap draws whole repeats,
and whole seconds within each (Davison and Hinkley, "Bootstrap Methods", 1997, chapters 3.8 and 8).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from harness.recording import Recording

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

DRAWS = 1000
BLOCK_S = 1.0
Verdict = Literal["same", "better", "worse"]


@dataclass(frozen=True)
class Comparison:
    """One figure of both runs. ratio: new over base, with its 95 % interval."""

    figure: str
    base: float
    new: float
    ratio: float
    low: float
    high: float
    verdict: Verdict


class Blocks:
    """The latencies (ms) of one rate, cut into repeats and seconds; failures count as infinite."""

    def __init__(self, recordings: Sequence[Recording]) -> None:
        self._repeats = [_seconds(recording) for recording in recordings]

    def percentile(self, percentile: float) -> float:
        return _percentile(
            np.concatenate([b for repeat in self._repeats for b in repeat]), percentile
        )

    def draw(self, rng: np.random.Generator, percentile: float) -> float:
        chosen: list[NDArray[np.float64]] = []
        for repeat in rng.integers(len(self._repeats), size=len(self._repeats)):
            blocks = self._repeats[repeat]
            chosen.extend(blocks[at] for at in rng.integers(len(blocks), size=len(blocks)))
        return _percentile(np.concatenate(chosen), percentile)


def latencies(
    figure: str,
    base: Sequence[Recording],
    new: Sequence[Recording],
    *,
    percentile: float,
    tolerance: float,
    seed: int = 0,
) -> Comparison:
    """A percentile of the latency at one rate; more is worse."""
    old_blocks, new_blocks = Blocks(base), Blocks(new)
    rng = np.random.default_rng(seed)
    return _compare(
        figure,
        old_blocks.percentile(percentile),
        new_blocks.percentile(percentile),
        lambda: new_blocks.draw(rng, percentile) / old_blocks.draw(rng, percentile),
        more_is_worse=True,
        tolerance=tolerance,
    )


def rates(
    figure: str, base: Sequence[float], new: Sequence[float], *, tolerance: float, seed: int = 0
) -> Comparison:
    """The mean of a figure that was measured once a repeat; less is worse."""
    rng = np.random.default_rng(seed)

    def draw() -> float:
        picked = [rng.choice(values, len(values)).mean() for values in (new, base)]
        return float(picked[0] / picked[1])

    return _compare(
        figure,
        float(np.mean(base)),
        float(np.mean(new)),
        draw,
        more_is_worse=False,
        tolerance=tolerance,
    )


def common_rates(base: Sequence[float], new: Sequence[float]) -> list[tuple[float, float]]:
    """Pairs of rates of both runs that differ by less than 1 %."""
    return [(a, b) for a in base for b in new if abs(a - b) < 0.01 * a]


def load_recordings(folder: Path, files: Sequence[str]) -> list[Recording]:
    return [Recording.load(folder / file) for file in files]


def _compare(
    figure: str,
    base: float,
    new: float,
    draw: Callable[[], float],
    *,
    more_is_worse: bool,
    tolerance: float,
) -> Comparison:
    with np.errstate(invalid="ignore"):  # inf / inf, where both failed
        ratios = np.array([draw() for _ in range(DRAWS)])
        ratio = float(np.float64(new) / np.float64(base))
    ratios = ratios[~np.isnan(ratios)]
    if not len(ratios):
        return Comparison(figure, base, new, float("nan"), float("nan"), float("nan"), "same")
    # order statistics, not interpolation: some draws may be infinite
    low, high = np.sort(ratios)[[int(0.025 * len(ratios)), int(0.975 * (len(ratios) - 1))]]
    worse, better = low > 1 + tolerance, high < 1 - tolerance
    if not more_is_worse:
        worse, better = high < 1 - tolerance, low > 1 + tolerance
    verdict: Verdict = "worse" if worse else "better" if better else "same"
    return Comparison(figure, base, new, ratio, float(low), float(high), verdict)


def _seconds(recording: Recording) -> list[NDArray[np.float64]]:
    counted = recording.counted
    latency = np.where(recording.good, (recording.done - recording.intended) * 1e3, np.inf)[counted]
    second = ((recording.intended[counted] - recording.warmup_s) / BLOCK_S).astype(int)
    return [latency[second == at] for at in np.unique(second)]


def _percentile(values: NDArray[np.float64], percentile: float) -> float:
    at = max(0, int(np.ceil(percentile / 100 * len(values))) - 1)
    return float(np.partition(values, at)[at])
