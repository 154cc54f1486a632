"""The evaluation as one HTML page: the table, and example rankings to look at."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from vitrine_training.evaluate import Embedder, Gallery, Row

_EXAMPLES, _HITS = 12, 8
_STYLE = """
body { font: 14px sans-serif; margin: 2em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 2em }
td, th { padding: 3px 10px; text-align: right; border-bottom: 1px solid #ddd }
td:nth-child(-n+2), th:nth-child(-n+2) { text-align: left }
.ranking { display: flex; gap: 6px; margin: 6px 0 }
.ranking img { width: 112px; height: 112px; border: 3px solid #ddd }
.ranking img.query { border-color: #1f5fa8; margin-right: 14px }
.ranking img.right { border-color: #2e7d4f }
"""


def write_page(
    path: Path, rows: Sequence[Row], galleries: Sequence[tuple[str, Gallery]], embed: Embedder
) -> None:
    """Write the page; queries are spread evenly over each gallery, not chosen."""
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        f"<title>Retrieval quality</title><style>{_STYLE}</style><h1>Retrieval quality</h1>",
        _table(rows),
    ]
    for name, gallery in galleries:
        parts.append(
            f"<h2>{escape(name)}</h2><p>Query (blue), then the first {_HITS} of all other images; "
            "green is the same design.</p>"
        )
        vectors = embed(gallery.pixels)
        sizes = np.bincount(gallery.groups)
        askable = np.flatnonzero(sizes[gallery.groups] > 1)
        chosen = askable[np.linspace(0, len(askable) - 1, min(_EXAMPLES, len(askable)), dtype=int)]
        parts += [_ranking(gallery, vectors, int(query)) for query in chosen]
    path.write_text("\n".join([*parts, "</html>"]) + "\n", encoding="utf-8")


def _table(rows: Sequence[Row]) -> str:
    names = list(rows[0].metrics)
    head = "".join(f"<th>{escape(name)}</th>" for name in ("set", "method", "queries", *names))
    lines = []
    for row in rows:
        cells = [escape(row.set), escape(row.method), str(row.queries)]
        cells += [
            f'<span title="{m.low:.3f} to {m.high:.3f}">{m.mean:.3f}</span>'
            for m in (row.metrics[name] for name in names)
        ]
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _ranking(gallery: Gallery, vectors: NDArray[np.float32], query: int) -> str:
    scores = vectors @ vectors[query]
    scores[query] = -np.inf
    hits = np.argsort(-scores, kind="stable")[:_HITS]
    shown = [_image(gallery, query, "query", "")]
    for hit in hits:
        kind = "right" if gallery.groups[hit] == gallery.groups[query] else "wrong"
        shown.append(_image(gallery, int(hit), kind, f", {scores[hit]:.3f}"))
    return f'<div class="ranking">{"".join(shown)}</div>'


def _image(gallery: Gallery, index: int, kind: str, note: str) -> str:
    bgr = np.ascontiguousarray(gallery.pixels[index][:, :, ::-1])
    jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    title = escape(gallery.files[index] + note, quote=True)
    data = base64.b64encode(jpeg).decode()
    return f'<img class="{kind}" title="{title}" src="data:image/jpeg;base64,{data}">'
