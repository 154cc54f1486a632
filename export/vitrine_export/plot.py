"""Throughput by batch for each precision, as an SVG beside the manifest."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vitrine_server.manifest import GateRow, Manifest

_WIDTH, _HEIGHT = 720, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 130, 56, 52
_COLOURS = {
    "fp32": "#475569",
    "fp16": "#0369a1",
    "bf16": "#0369a1",
    "int8": "#c2410c",
    "fp8": "#7e22ce",
}


def throughput(manifest: Manifest) -> str:
    """SVG text: images a second over batch size (logarithmic), one line for each precision."""
    rows = [row for row in manifest.gate.rows if row.images_per_s_by_batch]
    batches = sorted({batch for row in rows for batch in row.images_per_s_by_batch})
    top = _round_up(max(row.images_per_s for row in rows))
    device = manifest.device.get("name", "")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="12" fill="#334155">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_LEFT, 24, f"{manifest.encoder.name}: images a second by batch", size=16),
        _text(_LEFT, 42, device, fill="#64748b"),
        *_grid(batches, top),
        *(part for row in rows for part in _line(row, batches, top, row.precision)),
        *_names(rows, batches, top, served=manifest.precision),
        _text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 12, "batch", anchor="middle"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _x(batch: int, batches: list[int]) -> float:
    span = math.log2(batches[-1] / batches[0]) or 1.0
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * math.log2(batch / batches[0]) / span


def _y(rate: float, top: float) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * rate / top


def _round_up(value: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten, so that quarters are round numbers."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if value <= step * power)


def _grid(batches: list[int], top: float) -> list[str]:
    parts = []
    for quarter in range(5):
        rate = top * quarter / 4
        y = _y(rate, top)
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
            'stroke="#e2e8f0"/>'
        )
        parts.append(_text(_LEFT - 8, y + 4, f"{rate:g}", anchor="end"))
    parts += [
        _text(_x(batch, batches), _HEIGHT - _BOTTOM + 18, str(batch), anchor="middle")
        for batch in batches
    ]
    return parts


def _line(row: GateRow, batches: list[int], top: float, precision: str) -> list[str]:
    colour = _COLOURS[precision]
    dash = "" if row.passed else ' stroke-dasharray="5 4"'
    points = [
        (_x(batch, batches), _y(rate, top))
        for batch, rate in sorted(row.images_per_s_by_batch.items())
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in points]
    return [
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>',
        *dots,
    ]


def _names(rows: list[GateRow], batches: list[int], top: float, *, served: str) -> list[str]:
    """Each line's name at its right end; names that would overlap are moved apart."""
    heights = [_y(row.images_per_s_by_batch[batches[-1]], top) for row in rows]
    ends = sorted(zip(heights, rows, strict=True), key=lambda end: end[0])
    parts, previous = [], -math.inf
    for y, row in ends:
        y = max(y, previous + 16)
        previous = y
        note = "served" if row.precision == served else "" if row.passed else "refused"
        label = f"{row.precision} ({note})" if note else row.precision
        x = _WIDTH - _RIGHT + 10
        parts.append(_text(x, y + 4, label, fill=_COLOURS[row.precision], weight="600"))
    return parts


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 12,
    anchor: str = "start",
    fill: str = "#334155",
    weight: str = "400",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" fill="{fill}" '
        f'font-weight="{weight}">{escape(text)}</text>'
    )
