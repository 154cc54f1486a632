"""The loss curves of a training as one SVG, without a plotting library."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_WIDTH, _HEIGHT, _MARGIN = 720, 360, 44
_COLOURS = ("#1f5fa8", "#c2571a", "#2e7d4f", "#7a4fa3")


def write_loss_plot(log: Path, out: Path) -> None:
    """Draw the terms of the loss in `log` (JSON lines with "step") over the steps."""
    rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    rows = sorted({row["step"]: row for row in rows}.values(), key=lambda row: row["step"])
    if not rows:
        return
    hidden = {"step", "images_per_s", "gradient_norm", "loss"}
    names = [name for name in rows[-1] if name not in hidden]
    last = max(row["step"] for row in rows)
    top = max(row[name] for row in rows for name in names if name in row) or 1.0
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_MARGIN}" y="{_HEIGHT - 8}">0</text>',
        f'<text x="{_WIDTH - _MARGIN}" y="{_HEIGHT - 8}" text-anchor="end">{last} steps</text>',
        f'<text x="4" y="{_MARGIN}">{top:.2f}</text>',
        f'<path d="M{_MARGIN} {_MARGIN}V{_HEIGHT - _MARGIN}H{_WIDTH - _MARGIN}" '
        'stroke="#888" fill="none"/>',
    ]
    for index, name in enumerate(names):
        colour = _COLOURS[index % len(_COLOURS)]
        points = " ".join(
            f"{_MARGIN + (_WIDTH - 2 * _MARGIN) * row['step'] / last:.1f},"
            f"{_HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * row[name] / top:.1f}"
            for row in rows
            if name in row
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}"/>')
        parts.append(
            f'<text x="{_WIDTH - _MARGIN}" y="{_MARGIN + 16 * index}" text-anchor="end" '
            f'fill="{colour}">{escape(name)}</text>'
        )
    out.write_text("\n".join([*parts, "</svg>"]) + "\n", encoding="utf-8")
