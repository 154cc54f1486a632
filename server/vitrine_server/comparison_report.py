"""A comparison as a document that can be repeated and defended, like the report of a search.

Numbers are rounded to what a repetition gives again: an encoder that works in batches differs in
the last digits.
"""

from __future__ import annotations

import csv
import hashlib
import io
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import orjson

from vitrine_server import report
from vitrine_server.pipeline import Part
from vitrine_server.records import check_vector, iso_time

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vitrine_server.collection import Collection
    from vitrine_server.compare import Comparison, Side, Source
    from vitrine_server.metrics import StageTimes
    from vitrine_server.records import Metadata
    from vitrine_server.services import Services

_DIGITS = 4


@dataclass(frozen=True, slots=True)
class _Scored:
    id: str
    score: float
    metadata: Metadata


async def content(
    parts: Services,
    a: Source,
    b: Source,
    found: Comparison,
    *,
    class_field: str | None,
    times: StageTimes,
) -> dict[str, Any]:
    """The report. Raises what reading the items raises."""
    info = parts.encoder.info
    made: dict[str, Any] = {
        "format": report.FORMAT,
        "kind": "comparison",
        "created": iso_time(time.time_ns() // 1000),
        "server": f"vitrine-server {version('vitrine-server')}",
        "encoder": {"name": info.name, "fingerprint": info.fingerprint},
        "score": _rounded(found.score),
        "shown_score": _rounded(found.shown_score),
        "a": await _side(parts, a, found.sides[0]),
        "b": await _side(parts, b, found.sides[1]),
        "matches": [_all_rounded(asdict(match)) for match in found.matches],
        "difference": None,
        "options": {"class_field": class_field},
        "collection": None,
        "percentile": None,
    }
    if found.difference is not None:
        pose = _all_rounded(asdict(found.difference.pose))
        made["difference"] = {"pose": pose, "agreement": _rounded(found.difference.agreement)}
    if b.image is None:
        collection = parts.catalogue.get(b.collection)
        made["collection"] = _collection(collection)
        made["percentile"] = await _percentile(
            parts, a, b, collection, found.score, class_field, times
        )
    return made | {"digest": report.digest(made)}


def as_csv(made: Mapping[str, Any]) -> str:
    """One row."""
    row: dict[str, Any] = {
        "score": made["score"],
        "shown_score": made["shown_score"],
        **{f"percentile_{key}": value for key, value in (made["percentile"] or {}).items()},
    }
    for side in ("a", "b"):
        for key, value in made[side].items():
            if key != "heat":
                row[f"{side}_{key}"] = _cell(value)
    row["matches"] = len(made["matches"])
    row["agreement"] = None if made["difference"] is None else made["difference"]["agreement"]
    row["encoder_fingerprint"] = made["encoder"]["fingerprint"]
    row["created"], row["digest"] = made["created"], made["digest"]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([list(row), [report.plain_cell(value) for value in row.values()]])
    return file.getvalue()


def _cell(value: Any) -> Any:
    return orjson.dumps(value).decode() if isinstance(value, dict | list) else value


async def _side(parts: Services, source: Source, side: Side) -> dict[str, Any]:
    evidence = {
        "fall_top": _rounded(side.fall_top),
        "fall_random": _rounded(side.fall_random),
        "heat": [[_rounded(value) for value in row] for row in side.heat.tolist()],
    }
    if source.image is not None:
        digest = hashlib.sha256(source.image).hexdigest()
        return {"image_sha256": digest, "image_bytes": len(source.image), **evidence}
    collection = parts.catalogue.get(source.collection)
    record = await parts.pipeline.run(lambda: collection.get(source.item_id))
    thumbnail = await parts.pipeline.run(lambda: collection.thumbnail(source.item_id))
    return {
        "item_id": record.id,
        "collection": collection.name,
        "group": record.group,
        "sequence": record.sequence,
        "stored": record.updated,
        "metadata": record.metadata,
        "thumbnail_sha256": None if thumbnail is None else hashlib.sha256(thumbnail).hexdigest(),
        **evidence,
    }


def _collection(collection: Collection) -> dict[str, Any]:
    info = collection.describe()
    return {
        "name": info.name,
        "count": info.count,
        "sequence": info.sequence,
        "snapshot": info.snapshot,
        "settings": info.settings.model_dump(),
        "index": {"family": info.index.get("family")},
    }


async def _percentile(
    parts: Services,
    a: Source,
    b: Source,
    collection: Collection,
    score: float,
    class_field: str | None,
    times: StageTimes,
) -> dict[str, Any]:
    """Where b stands among the items of its class and collection, by their scores with a."""
    if a.image is not None:
        vector = await parts.pipeline.vector(collection.name, [Part(image=a.image)], times)
    else:
        other = parts.catalogue.get(a.collection)
        vector = await parts.pipeline.run(lambda: other.vector(a.item_id))
    query = check_vector(vector, collection.encoder.dimension, "cosine")
    record = await parts.pipeline.run(lambda: collection.get(b.item_id))
    hit = _Scored(b.item_id, score, record.metadata)
    shares, compared = await parts.pipeline.run(
        lambda: report.percentiles(collection, query, [hit], class_field)
    )
    return {**shares[b.item_id], "compared": compared}


def _rounded(value: float) -> float:
    return round(float(value), _DIGITS)


def _all_rounded(values: Any) -> Any:
    """Every number within, rounded."""
    if isinstance(values, dict):
        return {key: _all_rounded(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_all_rounded(value) for value in values]
    return _rounded(values) if isinstance(values, float) else values
