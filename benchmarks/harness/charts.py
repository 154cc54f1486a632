"""Charts as SVG, drawn to be read in print: few lines, direct labels, no library."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COLOURS = ("#0b6e99", "#e0912f", "#5a9367", "#a4508b", "#c8443f", "#6b7a8f", "#b8a038")
WIDTH, HEIGHT = 640, 330
LEFT, RIGHT, TOP, BOTTOM = 64, 96, 16, 46
_INK, _PALE, _FAINT, _GREY = "#1d2733", "#5b6876", "#dde3e8", "#ccd3da"


@dataclass(frozen=True)
class Line:
    """One line; low and high, where given, are drawn as a band around it."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    dashed: bool = False


@dataclass(frozen=True)
class Axis:
    """ticks: labels by value, where round numbers say less."""

    label: str
    log: bool = False
    low: float | None = None
    high: float | None = None
    ticks: Mapping[float, str] | None = None


class _Scale:
    """Values to pixels; knows its ticks and their labels."""

    def __init__(self, axis: Axis, values: Sequence[float], start: float, end: float) -> None:
        found = [v for v in values if math.isfinite(v) and (v > 0 or not axis.log)]
        low = axis.low if axis.low is not None else min(found, default=0.0)
        high = axis.high if axis.high is not None else max(found, default=1.0)
        self._log = axis.log
        if axis.log:
            low, high = max(low, 1e-12), max(high, low * 1.01, 1e-11)
            ticks = _log_ticks(low, high)
            low, high = min(low, ticks[0]), max(high, ticks[-1])
        else:
            high = high if high > low else low + 1.0
            ticks = _ticks(low, high)
            high = max(high, ticks[-1])
        self.labels = {tick: f"{tick:g}" for tick in ticks}
        if axis.ticks is not None:
            self.labels = {at: label for at, label in axis.ticks.items() if low <= at <= high}
        self._low, self._high = self._of(low), self._of(high)
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        share = (self._of(value) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)

    def _of(self, value: float) -> float:
        return math.log10(max(value, 1e-12)) if self._log else value


def lines(
    drawn: Sequence[Line],
    *,
    x: Axis,
    y: Axis,
    marks: Mapping[str, float] | None = None,
    limits: Mapping[str, float] | None = None,
) -> str:
    """A line chart. marks: vertical lines by label, in x; limits: horizontal ones, in y."""
    marks, limits = marks or {}, limits or {}
    across = _Scale(x, [v for line in drawn for v in line.x], LEFT, WIDTH - RIGHT)
    heights = [v for line in drawn for v in (*line.y, *(line.high or ()), *(line.low or ()))]
    up = _Scale(y, [*heights, *limits.values()], HEIGHT - BOTTOM, TOP)
    parts = [_frame(across, up, x.label, y.label)]
    for label, at in marks.items():
        parts.append(_rule(across(at), TOP, across(at), HEIGHT - BOTTOM))
        parts.append(_text(across(at) + 4, TOP + 10, label, colour=_PALE))
    parts += [_rule(LEFT, up(at), WIDTH - RIGHT, up(at)) for at in limits.values()]
    ends: list[tuple[float, str, str]] = []
    for number, line in enumerate(drawn):
        colour = COLOURS[number % len(COLOURS)]
        points = [
            (across(a), up(b)) for a, b in zip(line.x, line.y, strict=True) if math.isfinite(b)
        ]
        if line.low is not None and line.high is not None:
            over = [(across(a), up(b)) for a, b in zip(line.x, line.high, strict=True)]
            under = [(across(a), up(b)) for a, b in zip(line.x, line.low, strict=True)]
            band = _points([p for p in (*over, *reversed(under)) if math.isfinite(p[1])])
            parts.append(f'<polygon points="{band}" fill="{colour}" opacity="0.15"/>')
        dash = ' stroke-dasharray="5 4"' if line.dashed else ""
        parts.append(
            f'<polyline points="{_points(points)}" fill="none" stroke="{colour}" '
            f'stroke-width="2"{dash}/>'
        )
        parts.extend(
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.6" fill="{colour}"/>' for a, b in points
        )
        if points:
            ends.append((points[-1][1], line.name, colour))
    parts.extend(_end_labels(ends))
    parts += [_text(LEFT + 6, up(at) - 4, label, colour=_PALE) for label, at in limits.items()]
    return _svg(parts)


def stacked(
    names: Sequence[str],
    bars: Sequence[tuple[str, Mapping[str, float]]],
    *,
    x: str,
    y: str,
    grey: str = "",
) -> str:
    """Stacked bars: (label, value by name) each, in the order of `names` from the bottom. grey: the
    name of what is there, but not the matter."""
    colours = {name: COLOURS[at % len(COLOURS)] for at, name in enumerate(names)} | {grey: _GREY}
    tops = [sum(values.get(name, 0.0) for name in names) for _, values in bars]
    up = _Scale(Axis(y, low=0.0), tops, HEIGHT - BOTTOM, TOP)
    parts = [_frame(None, up, x, y)]
    slot = (WIDTH - RIGHT - LEFT) / max(1, len(bars))
    for at, (label, values) in enumerate(bars):
        left, below = LEFT + slot * (at + 0.15), 0.0
        for name in names:
            value = values.get(name, 0.0)
            parts.append(
                f'<rect x="{left:.1f}" y="{up(below + value):.1f}" width="{slot * 0.7:.1f}" '
                f'height="{up(below) - up(below + value):.1f}" '
                f'fill="{colours[name]}"><title>{escape(name)}: {value:.3g}'
                "</title></rect>"
            )
            below += value
        parts.append(_text(left + slot * 0.35, HEIGHT - BOTTOM + 16, label, anchor="middle"))
    for number, name in enumerate(names):
        row = TOP + 14 + 18 * number
        parts.append(
            f'<rect x="{WIDTH - RIGHT + 12}" y="{row - 9}" width="10" height="10" '
            f'fill="{colours[name]}"/>'
        )
        parts.append(_text(WIDTH - RIGHT + 27, row, name))
    return _svg(parts)


def heat_map(
    columns: Sequence[str],
    rows: Sequence[str],
    values: Sequence[Sequence[float]],
    *,
    x: str,
    y: str,
) -> str:
    """Cells by row and column, darker for more; each shows its number. NaN stays blank."""
    found = [v for row in values for v in row if math.isfinite(v)]
    low, high = min(found, default=0.0), max(found, default=1.0)
    wide = (WIDTH - RIGHT - LEFT) / max(1, len(columns))
    tall = (HEIGHT - BOTTOM - TOP) / max(1, len(rows))
    parts = []
    for at, row in enumerate(values):
        parts.append(_text(LEFT - 8, TOP + tall * (at + 0.5) + 4, rows[at], anchor="end"))
        for column, value in enumerate(row):
            if not math.isfinite(value):
                continue
            share = (value - low) / (high - low) if high > low else 0.5
            left, top = LEFT + wide * column, TOP + tall * at
            parts.append(
                f'<rect x="{left + 1:.1f}" y="{top + 1:.1f}" width="{wide - 2:.1f}" '
                f'height="{tall - 2:.1f}" fill="{COLOURS[0]}" opacity="{0.08 + 0.85 * share:.3f}"/>'
            )
            colour = "#fff" if share > 0.5 else _INK
            parts.append(
                _text(
                    left + wide / 2,
                    top + tall / 2 + 4,
                    f"{value:.3g}",
                    anchor="middle",
                    colour=colour,
                )
            )
    for column, label in enumerate(columns):
        middle = LEFT + wide * (column + 0.5)
        parts.append(_text(middle, HEIGHT - BOTTOM + 16, label, anchor="middle"))
    parts.append(_axis_labels(x, y))
    return _svg(parts)


def _svg(parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="system-ui, sans-serif" font-size="13" role="img">{"".join(parts)}</svg>'
    )


def _frame(across: _Scale | None, up: _Scale, x: str, y: str) -> str:
    parts = []
    for tick, label in up.labels.items():
        parts.append(
            f'<line x1="{LEFT}" y1="{up(tick):.1f}" x2="{WIDTH - RIGHT}" y2="{up(tick):.1f}" '
            f'stroke="{_FAINT}"/>'
        )
        parts.append(_text(LEFT - 8, up(tick) + 4, label, anchor="end"))
    if across is not None:
        row = HEIGHT - BOTTOM + 16
        parts += [
            _text(across(tick), row, label, anchor="middle")
            for tick, label in across.labels.items()
        ]
    return "".join(parts) + _axis_labels(x, y)


def _axis_labels(x: str, y: str) -> str:
    middle = (TOP + HEIGHT - BOTTOM) / 2
    turned = (
        f'<g transform="translate(14 {middle}) rotate(-90)">{_text(0, 0, y, anchor="middle")}</g>'
    )
    return turned + _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x, anchor="middle")


def _end_labels(ends: Sequence[tuple[float, str, str]]) -> list[str]:
    """Names at the right ends of lines, pushed apart where they would overlap."""
    parts, last = [], -math.inf
    for at, name, colour in sorted(ends):
        row = max(at + 4, last + 14)
        parts.append(_text(WIDTH - RIGHT + 8, row, name, colour=colour))
        last = row
    return parts


def _text(x: float, y: float, text: str, *, anchor: str = "start", colour: str = _INK) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    # a white edge keeps it readable on lines and bands
    edge = 'stroke="#fff" stroke-width="3" paint-order="stroke"' if colour != "#fff" else ""
    return f'<text {place} fill="{colour}" {edge}>{escape(text)}</text>'


def _rule(x1: float, y1: float, x2: float, y2: float) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        'stroke="#9aa7b4" stroke-dasharray="4 4"/>'
    )


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in points)


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers from low to just over high."""
    raw = (high - low) / 5
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = math.floor(low / step)
    return [round(step * at, 12) for at in range(first, math.ceil(high / step - 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    ticks = [m * 10.0**power for power in range(first, last + 1) for m in (1, 2, 5)]
    begin = max((t for t in ticks if t <= low), default=ticks[0])
    end = min((t for t in ticks if t >= high), default=ticks[-1])
    return [t for t in ticks if begin <= t <= end]
