"""A search as a document that can be repeated and defended: JSON and CSV; PDF in `report_pdf`.

The JSON holds everything that the answer depends on: the query's hashes, options and filter, the
encoder's fingerprint, the state of the collection that was searched, and for each hit its score,
the write that stored it and the hash of its picture. `digest` is the SHA-256 of all but the time:
the same question of the same state gives the same digest. CSV and PDF are made from the JSON.
"""

from __future__ import annotations

import csv
import hashlib
import io
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from vitrine_server.collection import Collection
    from vitrine_server.records import Metadata

FORMAT = 1
MAX_COMPARED = 200_000
NOTICE = (
    "Scores measure visual similarity by the encoder named above. They are evidence for a person "
    "to judge, not a finding of infringement or of its absence."
)

_PAGE = 1000


class Scored(Protocol):
    """An item and its score, such as a hit."""

    @property
    def id(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def metadata(self) -> Metadata: ...


def percentiles(
    collection: Collection,
    vector: NDArray[np.float32],
    hits: Sequence[Scored],
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
            [
                *map(plain_cell, (hit[name] for name in names)),
                *map(plain_cell, (same | own).values()),
            ]
        )
    return file.getvalue()


def plain_cell(value: Any) -> Any:
    """Spreadsheets run what looks like a formula (OWASP, CSV Injection)."""
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return "" if value is None else value
