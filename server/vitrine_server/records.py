"""What a collection takes and gives: items, hits, settings, and the checks at its door."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple, TypeAlias

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field, field_validator

from vitrine_server.cleanup import STEPS, Step
from vitrine_server.errors import Invalid, InvalidVector, TooLarge
from vitrine_server.quality import Action

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vitrine_server.index.faiss_api import Metric

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
Metadata: TypeAlias = dict[str, JsonValue]

FieldType = Literal["keyword", "number", "date", "bool"]
IndexFamily = Literal[
    "auto",
    "exact",
    "hnsw",
    "ivf",
    "ivf_pq",
    "ivf_rabitq",
    "sq8",
    "fp16",
    "gpu_flat",
    "gpu_ivf",
    "gpu_ivf_pq",
    "gpu_cagra",
]

GROUP = "group"
RESERVED_FIELDS = (GROUP, "not", "any")
MAX_ID_BYTES = 512
MAX_METADATA_BYTES = 16 * 1024
MAX_METADATA_DEPTH = 8
MAX_MAGNITUDE = 1e12
MIN_NORM = 1e-30

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

FieldName = Annotated[str, Field(min_length=1, max_length=128)]


@dataclass(frozen=True, slots=True)
class EncoderIdentity:
    """The vector space that a collection's vectors belong to."""

    name: str
    fingerprint: str
    dimension: int


class CollectionSettings(BaseModel):
    """What a collection is created with; it does not change afterwards.

    fields: metadata fields with a type, checked at ingest and fast to filter on. Other metadata
    fields can be filtered on as well; their type is that of their values. quality: what becomes of
    images that a search can make little of. cleanup: what is done to every image, stored or
    queried with, before it is encoded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: IndexFamily = "auto"
    metric: Literal["cosine", "inner_product", "l2", "l1"] = "cosine"
    fields: dict[FieldName, FieldType] = Field(default_factory=dict, max_length=64)
    target_recall: float = Field(0.95, gt=0, le=1)
    quality: Action = "off"
    cleanup: tuple[Step, ...] = Field((), max_length=len(STEPS))

    @field_validator("fields")
    @classmethod
    def _not_reserved(cls, fields: dict[str, FieldType]) -> dict[str, FieldType]:
        for name in fields:
            if name in RESERVED_FIELDS:
                raise ValueError(f"{name!r} is reserved")
        return fields


class NewItem(NamedTuple):
    """An item to store. vector: (D,) float32. `metadata["group"]` is the item's group.

    image_sha256: of the image as it was sent, hex. hashes: its perceptual hashes, 64 bits each.
    """

    id: str
    vector: NDArray[np.float32]
    metadata: Metadata
    thumbnail: bytes | None = None
    image_sha256: str | None = None
    hashes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """A stored item. created and updated: ISO 8601, UTC. sequence: number of its last write."""

    id: str
    metadata: Metadata
    group: str | None
    created: str
    updated: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Shown:
    """What hits show of an item, made once for all of them (`shown.shown`).

    before_score, after_score: the JSON of a hit around its score, with the metadata as stored from
    `metadata_from` to the last brace. memory: bytes that all this takes, about.
    """

    id: str
    group: str | None
    before_score: bytes
    after_score: bytes
    metadata_from: int
    memory: int

    @property
    def metadata_json(self) -> bytes:
        return self.after_score[self.metadata_from : -1]


class Hit(NamedTuple):
    """An answer to a search. score: larger is better (cosine, inner product, negative distance).

    rerank_score: what it was ordered by, where that was another.
    """

    item: Shown
    score: float
    vector: NDArray[np.float32] | None
    rerank_score: float | None = None

    @property
    def id(self) -> str:
        return self.item.id

    @property
    def group(self) -> str | None:
        return self.item.group

    @property
    def metadata(self) -> Metadata:
        """Read from its JSON each time."""
        metadata: Metadata = orjson.loads(self.item.metadata_json)
        return metadata


@dataclass(slots=True)  # frozen, each takes three times as long to make
class SearchQuery:
    """One question. vector: (D,) float32.

    views: more vectors, of other views of the same design. Groups are then scored by the mean, over
    all views, of the view's best match in the group; this needs group_by.
    group_by: "group" or any metadata field: one hit, the best, for each of its values; an item
    without a value is a group of its own. min_score: hits below it are left out. rerank: order the
    first hits anew by their k-reciprocal neighbours (`rerank`); for cosine, without groups.
    """

    vector: NDArray[np.float32]
    k: int
    offset: int = 0
    filter: dict[str, JsonValue] | None = None
    group_by: str | None = None
    min_score: float | None = None
    with_vector: bool = False
    views: tuple[NDArray[np.float32], ...] = ()
    rerank: bool = False


@dataclass(slots=True)
class SearchResult:
    """Hits, best first. snapshot: name of the state searched. The times are of the whole batch.

    known: the same query was answered before, and nothing was written since.
    fallback: why rows were compared exactly, when a GPU's index cannot filter.
    """

    hits: tuple[Hit, ...]
    snapshot: str
    search_s: float
    hydrate_s: float
    known: bool = False
    fallback: str | None = None


@dataclass(frozen=True, slots=True)
class HashMatch:
    """An item near a perceptual hash. distance: differing bits."""

    id: str
    distance: int


@dataclass(frozen=True, slots=True)
class HashPair:
    """Two items with near perceptual hashes. distance: differing bits."""

    id: str
    other: str
    distance: int


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    name: str
    settings: CollectionSettings
    encoder: EncoderIdentity
    count: int
    sequence: int
    snapshot: str
    index: dict[str, JsonValue]
    read_only: bool


def group_of(metadata: Metadata) -> str | None:
    """The item's group, None when it has none."""
    group = metadata.get(GROUP)
    return group if isinstance(group, str) else None


def iso_time(microseconds: int) -> str:
    """Microseconds since 1970 UTC as "2026-11-21T09:30:00.000000Z"."""
    seconds, rest = divmod(microseconds, 1_000_000)
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:06d}Z"


def date_number(text: str) -> float:
    """An ISO 8601 date (midnight UTC) or date and time as microseconds since 1970 UTC.

    A time without an offset is UTC. Raises ValueError.
    """
    moment = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    elapsed = moment - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return float((elapsed.days * 86_400 + elapsed.seconds) * 1_000_000 + elapsed.microseconds)


def check_id(item_id: str) -> None:
    """Raise Invalid unless the id is 1 to 512 bytes of UTF-8 without control characters."""
    if item_id.isascii() and item_id.isprintable() and 1 <= len(item_id) <= MAX_ID_BYTES:
        return  # most ids, in a tenth of the time
    accepted = f"1 to {MAX_ID_BYTES} bytes of UTF-8 without control characters"
    try:
        size = len(item_id.encode())
    except UnicodeEncodeError:
        size = 0
    if not 1 <= size <= MAX_ID_BYTES or _CONTROL.search(item_id):
        raise Invalid(
            f"{item_id[:128]!r} cannot be an item id.",
            code="invalid_id",
            field="id",
            accepted=accepted,
        )


def check_ids(item_ids: Sequence[str]) -> None:
    """`check_id` for many at once."""
    joined = "".join(item_ids)
    lengths = list(map(len, item_ids))
    if not (
        joined.isascii()
        and joined.isprintable()
        and min(lengths) >= 1
        and max(lengths) <= MAX_ID_BYTES
    ):
        for item_id in item_ids:
            check_id(item_id)


def check_vector(
    vector: NDArray[np.float32], dimension: int, metric: Metric, *, field: str = "vector"
) -> NDArray[np.float32]:
    """The vector as it is stored and compared: (D,) float32, of length 1 for cosine.

    Raises InvalidVector for another shape, NaN, infinity, or a zero vector under cosine.
    """
    (checked,) = check_vectors([vector], dimension, metric, field=field)
    return np.asarray(checked)


def check_vectors(
    vectors: Sequence[NDArray[np.float32]],
    dimension: int,
    metric: Metric,
    *,
    field: str = "vector",
) -> NDArray[np.float32]:
    """`check_vector` for many at once: (B, D) float32."""
    accepted = f"{dimension} finite numbers" + (", not all 0" if metric == "cosine" else "")
    for vector in vectors:
        if vector.shape != (dimension,):
            found = f"has {vector.size} values" if vector.ndim == 1 else f"has shape {vector.shape}"
            raise InvalidVector(
                f"The vector {found}; this collection holds vectors of {dimension}.",
                field=field,
                accepted=accepted,
            )
    wide = np.concatenate(vectors, dtype=np.float64).reshape(-1, dimension)
    squared = np.vecdot(wide, wide)  # float64 holds the square of every float32
    if not np.isfinite(squared).all():
        raise InvalidVector("The vector holds NaN or infinity.", field=field, accepted=accepted)
    if metric != "cosine":
        if np.abs(wide).max() > MAX_MAGNITUDE:
            raise InvalidVector(
                f"The vector holds a value beyond ±{MAX_MAGNITUDE:g}.",
                field=field,
                accepted=f"{dimension} numbers within ±{MAX_MAGNITUDE:g}",
            )
        return wide.astype(np.float32)
    norms = np.sqrt(squared)
    if norms.min() < MIN_NORM:
        raise InvalidVector(
            "The vector is zero, and a zero vector has no cosine.", field=field, accepted=accepted
        )
    wide /= norms[:, None]
    return wide.astype(np.float32)


def check_hashes(hashes: Sequence[int]) -> NDArray[np.uint64]:
    """The perceptual hashes as an array (m,). Raises Invalid for other than numbers of 64 bits."""
    try:
        return np.array(hashes, np.uint64)
    except (OverflowError, TypeError, ValueError):
        raise Invalid(
            "A perceptual hash is not a number of 64 bits.",
            field="hashes",
            accepted="whole numbers from 0 to 2^64 - 1",
        ) from None


def check_metadata(metadata: Metadata, fields: dict[str, FieldType]) -> bytes:
    """The metadata as JSON bytes. Raises Invalid or TooLarge naming `metadata.<field>`."""
    (text,) = check_metadatas([metadata], fields)
    return text


def check_metadatas(metadatas: Sequence[Metadata], fields: dict[str, FieldType]) -> list[bytes]:
    """`check_metadata` for many at once."""
    try:
        texts = [*map(orjson.dumps, metadatas)]
    except TypeError as error:
        raise Invalid(
            f"Metadata is not JSON: {error}.",
            field="metadata",
            accepted="a JSON object with integers of at most 64 bits and valid Unicode",
        ) from None
    whole = b"".join(texts)
    brackets = whole.count(b"[") + whole.count(b"{")
    # a null may have been NaN, and brackets may nest too deeply: find out
    if b"null" in whole or brackets >= len(texts) + MAX_METADATA_DEPTH:
        for metadata, text in zip(metadatas, texts, strict=True):
            if b"null" in text or text.count(b"[") + text.count(b"{") > MAX_METADATA_DEPTH:
                _check_plain(metadata, "metadata", MAX_METADATA_DEPTH)
    longest = max(map(len, texts), default=0)
    if longest > MAX_METADATA_BYTES:
        raise TooLarge(
            f"The metadata takes {longest} bytes as JSON.",
            code="metadata_too_large",
            field="metadata",
            accepted=f"at most {MAX_METADATA_BYTES} bytes",
        )
    for metadata in metadatas:
        if not isinstance(metadata, dict):
            raise Invalid("Metadata is not an object.", field="metadata", accepted="a JSON object")
        group = metadata.get(GROUP)
        if group is not None and not (isinstance(group, str) and 0 < len(group.encode()) <= 512):
            raise _wrong_value(GROUP, group, "a string of 1 to 512 bytes")
    for name, kind in fields.items():
        for metadata in metadatas:
            if metadata.get(name) is not None:
                _check_field(name, metadata[name], kind)
    return texts


def _check_plain(value: JsonValue, where: str, depth: int) -> None:
    """Refuse what JSON cannot carry or what nests too deeply."""
    if isinstance(value, float) and not math.isfinite(value):
        raise Invalid(f"{where} is {value}.", field=where, accepted="a finite number")
    if not isinstance(value, (dict, list)):
        return
    if depth == 0:
        raise Invalid(
            f"{where} nests too deeply.",
            field=where,
            accepted=f"at most {MAX_METADATA_DEPTH} levels of objects and lists",
        )
    if isinstance(value, list):
        for element in value:
            _check_plain(element, where, depth - 1)
        return
    for name, element in value.items():
        if not isinstance(name, str):
            raise Invalid(f"{where} has a key {name!r}.", field=where, accepted="string keys")
        _check_plain(element, f"{where}.{name[:128]}", depth - 1)


def _check_field(name: str, value: JsonValue, kind: FieldType) -> None:
    if kind == "keyword":
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(element, str) for element in values):
            raise _wrong_value(name, value, "a string or a list of strings")
    elif kind == "number":
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _wrong_value(name, value, "a number")
    elif kind == "bool":
        if not isinstance(value, bool):
            raise _wrong_value(name, value, "true or false")
    else:
        accepted = 'an ISO 8601 date such as "2024-01-31" or "2024-01-31T09:30:00Z"'
        if not isinstance(value, str):
            raise _wrong_value(name, value, accepted)
        try:
            date_number(value)
        except ValueError:
            raise _wrong_value(name, value, accepted) from None


def _wrong_value(name: str, value: JsonValue, accepted: str) -> Invalid:
    shown = repr(value)
    return Invalid(
        f"metadata.{name} is {shown if len(shown) <= 80 else shown[:77] + '...'}.",
        code="invalid_metadata",
        field=f"metadata.{name}",
        accepted=accepted,
    )
