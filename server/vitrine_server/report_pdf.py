"""Reports as PDF, made from their JSON: the same bytes for the same content."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import orjson
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.platypus import Image, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

from vitrine_server.report import NOTICE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FONT = "STSong-Light"  # one of Adobe's standard CJK fonts, which every reader has: not embedded
_HIT_MM = 26.0
_QUERY_MM = 45.0
_VIEW_MM = 84.0
_MAX_QUERIES = 4
_MAX_LINES, _MAX_LINE = 10, 200  # of an item's metadata
_COLUMNS_MM = (10, 32, 88, 20, 30)

_BASE = getSampleStyleSheet()["Normal"]
_TEXT = ParagraphStyle("text", _BASE, fontName=_FONT, fontSize=8, leading=10, wordWrap="CJK")
_TITLE = ParagraphStyle("title", _TEXT, fontSize=15, leading=20)


def search(
    content: Mapping[str, Any], queries: Sequence[bytes], pictures: Mapping[str, bytes]
) -> bytes:
    """queries: JPEGs; pictures: the hits' thumbnails by item id."""
    story: list[Any] = []
    if queries:
        row = [_picture(data, _QUERY_MM) for data in queries[:_MAX_QUERIES]]
        story += [Table([row], hAlign="LEFT"), Spacer(1, 2 * mm)]
    story += [_table_of(_search_facts(content)), Spacer(1, 4 * mm)]
    rows: list[list[Any]] = [[_words(n) for n in ("#", "picture", "item", "score", "percentile")]]
    for hit in content["hits"]:
        picture = pictures.get(hit["id"])
        rows.append(
            [
                _words(hit["rank"]),
                "" if picture is None else _picture(picture, _HIT_MM),
                _lines(hit["id"], hit["metadata"]),
                _words(f"{hit['score']:.4f}"),
                _words(f"{hit['percentile']:.2f} of {hit['class_items']:,}"),
            ]
        )
    widths = [width * mm for width in _COLUMNS_MM]
    story.append(_ruled(Table(rows, colWidths=widths, repeatRows=1)))
    return _document("Search report", story)


def comparison(content: Mapping[str, Any], figures: Sequence[tuple[str, Sequence[bytes]]]) -> bytes:
    """figures: (caption, one or two pictures side by side), in order."""
    story: list[Any] = [_table_of(_comparison_facts(content)), Spacer(1, 4 * mm)]
    for caption, pictures in figures:
        row = [_picture(data, _VIEW_MM) for data in pictures]
        story += [_words(caption), Table([row], hAlign="LEFT"), Spacer(1, 3 * mm)]
    return _document("Comparison report", story)


def _document(title: str, story: list[Any]) -> bytes:
    file = io.BytesIO()
    SimpleDocTemplate(
        file,
        pagesize=A4,
        title=f"Vitrine {title.lower()}",
        author="Vitrine",
        leftMargin=15 * mm,
        rightMargin=15 * mm,
        topMargin=15 * mm,
        bottomMargin=15 * mm,
        invariant=1,  # no clock and no chance in the file
    ).build([_words(title, _TITLE), Spacer(1, 3 * mm), *story, Spacer(1, 4 * mm), _words(NOTICE)])
    return file.getvalue()


def _search_facts(content: Mapping[str, Any]) -> list[tuple[str, object]]:
    facts = [*_origin(content), ("compared for percentiles", f"{content['compared']:,} items")]
    facts += [("query", _json(part)) for part in content["query"]]
    return [*facts, *_options(content), *_seal(content)]


def _comparison_facts(content: Mapping[str, Any]) -> list[tuple[str, object]]:
    facts: list[tuple[str, object]] = [("score", f"{content['score']:.4f}")]
    if content["percentile"] is not None:
        place = content["percentile"]
        shown = f"{place['percentile']:.2f} of {place['class_items']:,} items"
        facts.append(("percentile", f"{shown}, class {place['class'] or 'of all'}"))
    for side in ("a", "b"):
        known = {key: value for key, value in content[side].items() if key != "heat"}
        facts.append((side, _json(known)))
    return [*facts, *_origin(content), *_options(content), *_seal(content)]


def _origin(content: Mapping[str, Any]) -> list[tuple[str, object]]:
    facts: list[tuple[str, object]] = [("made", content["created"])]
    if (collection := content["collection"]) is not None:
        facts += [
            ("collection", f"{collection['name']}, {collection['count']:,} items"),
            ("state searched", f"{collection['snapshot']}, write {collection['sequence']:,}"),
            ("index", _json(collection["index"])),
        ]
    encoder = content["encoder"]
    return [*facts, ("encoder", f"{encoder['name']}, fingerprint {encoder['fingerprint']}")]


def _options(content: Mapping[str, Any]) -> list[tuple[str, object]]:
    return [
        (name, _json(value) if isinstance(value, dict) else value)
        for name, value in content["options"].items()
        if value is not None
    ]


def _seal(content: Mapping[str, Any]) -> list[tuple[str, object]]:
    return [("server", content["server"]), ("digest (SHA-256)", content["digest"])]


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _words(value: object, style: ParagraphStyle = _TEXT) -> Paragraph:
    return Paragraph(escape(str(value)), style)


def _lines(item_id: str, metadata: Mapping[str, Any]) -> list[Paragraph]:
    lines = [item_id, *(f"{key}: {value}" for key, value in metadata.items())]
    return [_words(line[:_MAX_LINE]) for line in lines[:_MAX_LINES]]


def _table_of(facts: Sequence[tuple[str, object]]) -> Table:
    rows = [[_words(name), _words(value)] for name, value in facts]
    return _ruled(Table(rows, colWidths=[38 * mm, 142 * mm]))


def _ruled(table: Table) -> Table:
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


pdfmetrics.registerFont(UnicodeCIDFont(_FONT))
