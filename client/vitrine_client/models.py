"""What goes in and what comes back. Answers are frozen pydantic models that ignore new fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import numpy as np

    from vitrine_client.errors import ApiError

# bytes are an encoded image (JPEG, PNG, WebP, …), a path is a file that holds one
Image: TypeAlias = bytes | str | Path
Vector: TypeAlias = Sequence[float] | NDArray[Any]
Metadata: TypeAlias = Mapping[str, Any]
FieldType: TypeAlias = Literal["keyword", "number", "date", "bool"]
Combine: TypeAlias = Literal["sum", "views"]
Rerank: TypeAlias = Literal["none", "k_reciprocal"]


def read_image(image: Image) -> bytes:
    """The encoded image itself. Raises OSError when the file cannot be read."""
    return image if isinstance(image, bytes) else Path(image).read_bytes()


@dataclass(frozen=True, kw_only=True)
class Item:
    """An item to store: an id with an image or a vector (D,), one of the two."""

    id: str
    image: Image | None = None
    vector: Vector | None = None
    metadata: Metadata = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.image is None) == (self.vector is None):
            raise ValueError(f"item {self.id!r}: give one of image and vector")


@dataclass(frozen=True, kw_only=True)
class Query:
    """One part of a combined query: an image, a vector (D,), a text or a stored item; weighted."""

    image: Image | None = None
    vector: Vector | None = None
    text: str | None = None
    item_id: str | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        parts = (self.image, self.vector, self.text, self.item_id)
        if sum(part is not None for part in parts) != 1:
            raise ValueError("a query holds one of image, vector, text and item_id")


@dataclass(frozen=True, kw_only=True)
class ItemResult:
    """What became of one item of a batch: its sequence number, or the error that refused it.

    flags: what the collection's `quality` found wrong with the image; without sequence and error it
    was skipped for that.
    """

    id: str
    sequence: int | None = None
    error: ApiError | None = None
    flags: tuple[str, ...] = ()


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Stored(_Answer):
    """A write that is on disk and visible to the next search.

    flags: what the collection's `quality` found wrong with the image; sequence is None when it was
    skipped for that.
    """

    id: str
    sequence: int | None = None
    flags: tuple[str, ...] = ()


class Record(_Answer):
    """A stored item. created and updated are ISO 8601 in UTC."""

    id: str
    metadata: dict[str, Any]
    group: str | None = None
    created: str
    updated: str
    sequence: int


class Hit(_Answer):
    """A neighbour. score is the cosine for the default metric; higher is nearer.

    rerank_score: of a hit that was re-ranked; hits are ordered by it, before those without.
    """

    id: str
    score: float
    group: str | None = None
    metadata: dict[str, Any] | None = None
    vector: tuple[float, ...] | None = None
    rerank_score: float | None = None


class Encoder(_Answer):
    """Which encoder made the vectors; equal fingerprints mean the same vector space."""

    name: str
    fingerprint: str


class SearchResult(_Answer):
    """Hits, best first. timings_ms: decode, queue, encode, search, hydrate on the server.

    fallback: why rows were compared exactly, when the collection's GPU index cannot filter.
    """

    hits: tuple[Hit, ...]
    encoder: Encoder
    snapshot: str
    timings_ms: dict[str, float]
    fallback: str | None = None


class Collection(_Answer):
    """A collection's settings and state.

    index: what was asked for ("setting"), what the index is and why. sequence: of the last write.
    read_only: a write has failed on the disk, and only searches are answered.
    """

    name: str
    metric: str
    fields: dict[str, str]
    target_recall: float
    quality: str = "off"
    cleanup: tuple[str, ...] = ()
    index: dict[str, Any]
    count: int
    sequence: int = 0
    encoder: Encoder
    dimension: int
    read_only: bool = False


class Readiness(_Answer):
    """Whether the server can answer, and what each of its checks says."""

    ready: bool
    checks: dict[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Embeddings:
    """vectors: (N, D) float32, in the order of the input."""

    model: str
    vectors: NDArray[np.float32]
