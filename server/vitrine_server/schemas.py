"""The HTTP API's JSON: what requests may say and what answers hold. OpenAPI is made from these."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from vitrine_server.cleanup import Step
from vitrine_server.quality import Action, Flag


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _json_object(value: object) -> object:
    """A filter in the query string is JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError("must be a JSON object") from None


# One error is enough: a list of a million wrong values would make a million.
Numbers = Annotated[list[float], Field(fail_fast=True)]
Filter = Annotated[dict[str, Any], BeforeValidator(_json_object)]


class SearchOptions(_Request):
    """How many hits, which, and what each holds. k + offset is limited by VITRINE_MAX_K.

    combine: several queries are one weighted sum, or views of one design: then each group (group_by
    is needed) scores the mean, over the views, of the view's best match in it.
    rerank: order the first 200 candidates anew by their k-reciprocal neighbours; the hits' scores
    stay what they are. For the metric cosine, without text and without group_by.
    """

    k: int = Field(10, ge=1)
    offset: int = Field(0, ge=0)
    filter: Filter | None = None
    group_by: str | None = Field(None, min_length=1, max_length=128)
    min_score: float | None = Field(None, allow_inf_nan=False)
    combine: Literal["sum", "views"] = "sum"
    rerank: Literal["none", "k_reciprocal"] = "none"
    with_metadata: bool = True
    with_vector: bool = False


class QueryPart(_Request):
    """One of image (base64), vector and item_id."""

    image: str | None = None
    vector: Numbers | None = None
    text: str | None = None
    item_id: str | None = None


class WeightedPart(QueryPart):
    weight: float = Field(1.0, ge=-1000, le=1000, allow_inf_nan=False)


class SearchBody(SearchOptions, QueryPart):
    """One of image, vector, text, item_id and queries."""

    queries: Annotated[list[WeightedPart], Field(fail_fast=True)] | None = Field(
        None, min_length=1, max_length=64
    )


class CompareSource(_Request):
    """An image (base64), or an item of a collection."""

    image: str | None = None
    item_id: str | None = None
    collection: str | None = Field(None, description='the item\'s; "default" where none is named')


class CompareBody(_Request):
    """Two pictures; `a` is the query in a report, `b` the hit."""

    a: CompareSource
    b: CompareSource


class ItemBody(_Request):
    """One of image (base64) and vector."""

    image: str | None = None
    vector: Numbers | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class BatchLine(ItemBody):
    id: str


class EmbeddingsBody(_Request):
    input: str | Annotated[list[str], Field(fail_fast=True)]
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None


class Stored(BaseModel):
    id: str
    sequence: int


class Problem(BaseModel):
    """RFC 9457 problem details; `code` is stable."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    field: str | None = None
    accepted: str | None = None


class Ingested(BaseModel):
    """flags: what the collection's `quality` found wrong with the image. skipped: it was left out
    for that.
    """

    id: str
    sequence: int | None = None
    skipped: bool = False
    flags: list[Flag] = []


class BatchResult(Ingested):
    error: Problem | None = None


class BatchAnswer(BaseModel):
    items: list[BatchResult]
    stored: int
    failed: int
    skipped: int


class Encoder(BaseModel):
    name: str
    fingerprint: str


class Hit(BaseModel):
    """rerank_score: of a hit that was re-ranked; hits are ordered by it, before those without."""

    id: str
    score: float
    group: str | None
    metadata: dict[str, Any] | None = None
    vector: list[float] | None = None
    rerank_score: float | None = None


class BackupBody(_Request):
    """file: its name in the folder `backups` of the server's data folder."""

    file: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")


class RestoreBody(BackupBody):
    """replace: a collection of that name is replaced whole."""

    replace: bool = False


class SearchAnswer(BaseModel):
    """fallback: why rows were compared exactly, when a GPU's index cannot filter."""

    hits: list[Hit]
    encoder: Encoder
    snapshot: str
    timings_ms: dict[str, float]
    fallback: str | None = None


class ItemAnswer(BaseModel):
    id: str
    metadata: dict[str, Any]
    group: str | None
    created: str
    updated: str
    sequence: int


class CollectionAnswer(BaseModel):
    """`index` says what was asked for (`setting`), what the index is and why. sequence: of the
    last write.
    """

    name: str
    metric: str
    fields: dict[str, str]
    target_recall: float
    quality: Action
    cleanup: list[Step]
    index: dict[str, Any]
    count: int
    sequence: int
    encoder: Encoder
    dimension: int
    snapshot: str
    read_only: bool


class CollectionsAnswer(BaseModel):
    """text_queries: whether a search may be a text."""

    collections: list[CollectionAnswer]
    text_queries: bool


class CompareSide(BaseModel):
    """view: what the encoder sees, as a data: URI; heat: rows of 8, falls of the score when a patch
    is blanked; fall_top, fall_random: the same for the hottest and a random fifth of the patches.
    """

    view: str
    heat: list[list[float]]
    fall_top: float
    fall_random: float


class CompareMatch(BaseModel):
    """Regions as [left, top, width, height], shares of the view; score: cosine of the regions."""

    a: tuple[float, float, float, float]
    b: tuple[float, float, float, float]
    score: float


class ComparePose(BaseModel):
    """What was done to b: mirrored, turned about the centre, scaled, moved (shares of the side)."""

    shift_x: float
    shift_y: float
    scale: float
    degrees: float
    mirrored: bool


class CompareDifference(BaseModel):
    """overlay: data: URI of a PNG; lines of both dark, of a alone orange, of b alone blue."""

    pose: ComparePose
    agreement: float
    overlay: str


class CompareAnswer(BaseModel):
    """score: as a search gives it; shown_score: of the views, which the falls are counted from.

    difference: null unless both are drawings.
    """

    score: float
    shown_score: float
    a: CompareSide
    b: CompareSide
    matches: list[CompareMatch]
    difference: CompareDifference | None
    encoder: Encoder
