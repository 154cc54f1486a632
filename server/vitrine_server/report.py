"""A search as a document that can be repeated and defended: JSON, CSV, PDF.

The JSON holds everything that the answer depends on: the query's hashes, options and filter, the
encoder's fingerprint, the state of the collection that was searched, and for each hit its score,
the write that stored it and the hash of its picture. `digest` is the SHA-256 of all but the time:
the same question of the same state gives the same digest. CSV and PDF are made from the JSON.
"""

from __future__ import annotations

import csv
import hashlib
import io
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import numpy as np
import orjson
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.platypus import Image, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from vitrine_server.collection import Collection
    from vitrine_server.records import Hit

FORMAT = 1
MAX_COMPARED = 200_000
NOTICE = (
    "Scores measure visual similarity by the encoder named above. They are evidence for a person "
    "to judge, not a finding of infringement or of its absence."
)

_PAGE = 1000
_FONT = "STSong-Light"  # one of Adobe's standard CJK fonts, which every reader has: not embedded
_IMAGE_MM = 26.0
_QUERY_MM = 45.0


def percentiles(
    collection: Collection,
    vector: NDArray[np.float32],
    hits: Sequence[Hit],
    class_field: str | None,
) -> tuple[dict[str, dict[str, Any]], int]:
    """For each hit: among how many items of its class it is, and the share that scores below it.

    Without a class field, or for a hit without a class, all items are its class. At most
    MAX_COMPARED items, the oldest, are compared; their number is the second value. Blocking.
    """
    scores: dict[str, list[float]] = {}
    compared = after = 0
    while compared < MAX_COMPARED and (page := collection.written(after, _PAGE)):
        found = np.stack([stored for _, stored in page]) @ vector
        for (record, _), score in zip(page, found.tolist(), strict=True):
            scores.setdefault(_class(record.metadata, class_field), []).append(score)
        compared += len(page)
        after = page[-1][0].sequence
    ranked = {name: np.sort(np.array(values)) for name, values in scores.items()}
    shown = {}
    for hit in hits:
        name = _class(hit.metadata, class_field)
        same = ranked.get(name, np.empty(0))
        below = int(np.searchsorted(same, hit.score - 1e-6))
        share = below / max(1, len(same) - 1)
        shown[hit.id] = {
            "class": name or None,
            "class_items": len(same),
            "percentile": round(100 * min(1.0, share), 2),
        }
    return shown, compared


def _class(metadata: Mapping[str, Any], field: str | None) -> str:
    value = metadata.get(field) if field else None
    return value if isinstance(value, str) else ""


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 over all but the time of making and the digest itself."""
    kept = {key: value for key, value in content.items() if key not in ("created", "digest")}
    return hashlib.sha256(orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)).hexdigest()


def as_csv(content: Mapping[str, Any]) -> str:
    """A row a hit; what holds for all of them is repeated in each."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    names = ("rank", "id", "score", "percentile", "class", "class_items", "group", "sequence")
    same = {
        "metadata": None,
        "thumbnail_sha256": None,
        "collection": content["collection"]["name"],
        "snapshot": content["collection"]["snapshot"],
        "encoder_fingerprint": content["encoder"]["fingerprint"],
        "query_sha256": " ".join(part.get("image_sha256", "") for part in content["query"]).strip(),
        "created": content["created"],
        "digest": content["digest"],
    }
    writer.writerow([*names, *same])
    for hit in content["hits"]:
        own = {
            "metadata": orjson.dumps(hit["metadata"]).decode(),
            "thumbnail_sha256": hit["thumbnail_sha256"],
        }
        writer.writerow(
            [*map(_plain, (hit[name] for name in names)), *map(_plain, (same | own).values())]
        )
    return file.getvalue()


def _plain(value: Any) -> Any:
    """Spreadsheets run what looks like a formula (OWASP, CSV Injection)."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return "" if value is None else value


def as_pdf(
    content: Mapping[str, Any], queries: Sequence[bytes], pictures: Mapping[str, bytes]
) -> bytes:
    """The same bytes for the same content. queries: JPEGs; pictures: thumbnails by item id."""
    pdfmetrics.registerFont(UnicodeCIDFont(_FONT))
    base = getSampleStyleSheet()["Normal"]
    text = ParagraphStyle("text", base, fontName=_FONT, fontSize=8, leading=10, wordWrap="CJK")
    title = ParagraphStyle("title", text, fontSize=15, leading=20)

    def words(value: object, style: ParagraphStyle = text) -> Paragraph:
        return Paragraph(escape(str(value)), style)

    story: list[Any] = [words("Search report", title), Spacer(1, 3 * mm)]
    if queries:
        row = [_picture(data, _QUERY_MM) for data in queries[:4]]
        story += [Table([row], hAlign="LEFT"), Spacer(1, 2 * mm)]
    facts = [[words(name), words(value)] for name, value in _facts(content)]
    story += [_lined(Table(facts, colWidths=[38 * mm, 142 * mm])), Spacer(1, 4 * mm)]
    rows: list[list[Any]] = [[words(n) for n in ("#", "picture", "item", "score", "percentile")]]
    for hit in content["hits"]:
        picture = pictures.get(hit["id"])
        lines = [hit["id"], *(f"{key}: {value}" for key, value in hit["metadata"].items())]
        rows.append(
            [
                words(hit["rank"]),
                "" if picture is None else _picture(picture, _IMAGE_MM),
                [words(line[:200]) for line in lines[:10]],
                words(f"{hit['score']:.4f}"),
                words(f"{hit['percentile']:.2f} of {hit['class_items']:,}"),
            ]
        )
    widths = [10 * mm, 32 * mm, 88 * mm, 20 * mm, 30 * mm]
    story += [_lined(Table(rows, colWidths=widths, repeatRows=1)), Spacer(1, 4 * mm)]
    story.append(words(NOTICE))
    file = io.BytesIO()
    SimpleDocTemplate(
        file,
        pagesize=A4,
        title="Vitrine search report",
        author="Vitrine",
        leftMargin=15 * mm,
        rightMargin=15 * mm,
        topMargin=15 * mm,
        bottomMargin=15 * mm,
        invariant=1,  # no clock and no chance in the file
    ).build(story)
    return file.getvalue()


def _facts(content: Mapping[str, Any]) -> list[tuple[str, object]]:
    collection, encoder = content["collection"], content["encoder"]
    facts: list[tuple[str, object]] = [
        ("made", content["created"]),
        ("collection", f"{collection['name']}, {collection['count']:,} items"),
        ("state searched", f"{collection['snapshot']}, write {collection['sequence']:,}"),
        ("index", orjson.dumps(collection["index"]).decode()),
        ("encoder", f"{encoder['name']}, fingerprint {encoder['fingerprint']}"),
        ("compared for percentiles", f"{content['compared']:,} items"),
    ]
    facts += [("query", orjson.dumps(part).decode()) for part in content["query"]]
    facts += [
        (name, orjson.dumps(value).decode() if isinstance(value, dict) else value)
        for name, value in content["options"].items()
        if value is not None
    ]
    return [*facts, ("server", content["server"]), ("digest (SHA-256)", content["digest"])]


def _lined(table: Table) -> Table:
    table.setStyle(
        TableStyle(
            [
                ("LINEBELOW", (0, 0), (-1, -1), 0.3, colors.lightgrey),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (-1, -1), 2),
                ("TOPPADDING", (0, 0), (-1, -1), 2),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
            ]
        )
    )
    return table


def _picture(data: bytes, side_mm: float) -> Image:
    image = Image(io.BytesIO(data))
    scale = side_mm * mm / max(image.imageWidth, image.imageHeight)
    image.drawWidth, image.drawHeight = image.imageWidth * scale, image.imageHeight * scale
    return image
