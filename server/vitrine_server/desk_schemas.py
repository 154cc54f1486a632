"""JSON of the routes behind the desk: what requests may say and what answers hold."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vitrine_server.evidence import Calibration
from vitrine_server.schemas import CompareBody, Encoder, QueryPart, SearchBody, WeightedPart


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CopiesOptions(_Request):
    """min_score: by default the calibrated threshold, so that only likely copies are shown."""

    k: int = Field(10, ge=1, le=64)
    min_score: float | None = Field(None, ge=0, le=1)
    with_metadata: bool = True


class CopiesBody(CopiesOptions):
    """One of image (base64) and item_id (which is left out of the answer)."""

    image: str | None = None
    item_id: str | None = None


class HashEvidence(BaseModel):
    """distance: differing bits. part: of the query, "whole" or "region" (on a plain ground)."""

    distance: int
    bits: int
    part: str
    orientation: str


class DeepEvidence(BaseModel):
    cosine: float
    part: str


class AlignmentEvidence(BaseModel):
    """points: that agree on one shift, turn and scale from the query to the item."""

    points: int
    mirrored: bool
    scale: float
    angle_deg: float


class CopyEvidence(BaseModel):
    """hash is null for an item without a picture, alignment when it was not looked for."""

    hash: HashEvidence | None
    deep: DeepEvidence
    alignment: AlignmentEvidence | None


class Copy(BaseModel):
    """copy: whether the score reaches the threshold."""

    id: str
    score: float
    copy_: bool = Field(alias="copy")
    group: str | None
    metadata: dict[str, Any] | None = None
    evidence: CopyEvidence


class CopiesAnswer(BaseModel):
    copies: list[Copy]
    threshold: float
    calibration: Calibration
    encoder: Encoder
    snapshot: str
    timings_ms: dict[str, float]


class CalibrationBody(_Request):
    """sample: items that are changed and looked up."""

    sample: int = Field(100, ge=8, le=2000)
    false_positive_rate: float = Field(0.01, gt=0, lt=0.5)
    seed: int = Field(0, ge=0)


class CalibrationJob(BaseModel):
    """table: threshold, precision and recall by false_positive_rate. recall: by change."""

    state: Literal["running", "done", "failed"]
    done: int
    total: int
    error: str | None
    table: list[dict[str, float]]
    recall: dict[str, float]


class CalibrationAnswer(BaseModel):
    calibration: Calibration
    job: CalibrationJob | None


class WatchBody(QueryPart):
    """One of image (base64), vector, text, item_id and queries; and when to fire."""

    id: str | None = None
    queries: list[WeightedPart] | None = Field(None, min_length=1, max_length=64)
    min_score: float = Field(allow_inf_nan=False)
    filter: dict[str, Any] | None = None
    webhook: str | None = Field(None, max_length=2048)


class WatchAnswer(BaseModel):
    """query: what was watched for, without images and vectors. since: a sequence number."""

    id: str
    created: str
    since: int
    min_score: float
    filter: dict[str, Any] | None
    webhook: str | None
    query: dict[str, Any]


class NewWatchAnswer(WatchAnswer):
    """secret: signs what is posted to the webhook; it is shown once."""

    secret: str


class WatchesAnswer(BaseModel):
    watches: list[WatchAnswer]


class Alert(BaseModel):
    """An item that fired a watch. sequence: of the write that did."""

    number: int
    watch: str
    item: str
    sequence: int
    score: float
    created: str
    attempts: int
    delivered: str | None


class AlertsOptions(_Request):
    after: int = Field(0, ge=0)
    limit: int = Field(100, ge=1, le=10_000)
    watch: str | None = None


class AlertsAnswer(BaseModel):
    """next: what to pass as `after` for those that follow."""

    alerts: list[Alert]
    next: int


class FeedbackBody(_Request):
    """query: an item's id, or "sha256:" and the hexadecimal digest of the image that was sent."""

    query: str = Field(min_length=1, max_length=512)
    item: str = Field(min_length=1, max_length=512)
    verdict: Literal["right", "wrong"]
    score: float | None = Field(None, allow_inf_nan=False)
    rank: int | None = Field(None, ge=1)
    note: str | None = Field(None, max_length=2000)


class FeedbackStored(BaseModel):
    number: int


class FeedbackOptions(_Request):
    after: int = Field(0, ge=0)
    limit: int = Field(100, ge=1, le=10_000)
    format: Literal["json", "csv"] = "json"


class Judgement(BaseModel):
    number: int
    created: str
    query: str
    item: str
    verdict: Literal["right", "wrong"]
    score: float | None
    rank: int | None
    encoder: str
    fingerprint: str
    note: str | None


class FeedbackAnswer(BaseModel):
    """next: what to pass as `after` for those that follow."""

    feedback: list[Judgement]
    next: int


class QualityOptions(_Request):
    step: Literal["hour", "day", "week", "month"] = "day"


class QualityRow(BaseModel):
    """precision: share of the judged hits that were right. first: of those at rank 1."""

    period: str
    encoder: str
    fingerprint: str
    right: int
    wrong: int
    precision: float
    first: float | None


class QualityAnswer(BaseModel):
    quality: list[QualityRow]


class ReportBody(SearchBody):
    """A search. class_field: the metadata field whose values percentiles are counted within."""

    format: Literal["json", "csv", "pdf"] = "json"
    class_field: str | None = Field(None, min_length=1, max_length=128)


class ReportHit(BaseModel):
    """percentile: share in % of the items of its class that score lower."""

    model_config = ConfigDict(extra="allow")

    rank: int
    id: str
    score: float
    percentile: float
    class_items: int
    group: str | None
    sequence: int
    stored: str
    metadata: dict[str, Any]
    thumbnail_sha256: str | None


class ReportAnswer(BaseModel):
    """digest: SHA-256 over all but `created`: the same search of the same state repeats it."""

    format: int
    kind: Literal["search"]
    created: str
    server: str
    collection: dict[str, Any]
    encoder: Encoder
    query: list[dict[str, Any]]
    options: dict[str, Any]
    compared: int
    hits: list[ReportHit]
    digest: str


class ComparisonReportBody(CompareBody):
    """Two pictures. class_field: the metadata field within which b's percentile is counted."""

    format: Literal["json", "csv", "pdf"] = "json"
    class_field: str | None = Field(None, min_length=1, max_length=128)


class ComparisonReportAnswer(BaseModel):
    """collection and percentile are of b, and null where b is no item. digest: as of a search's
    report.
    """

    format: int
    kind: Literal["comparison"]
    created: str
    server: str
    encoder: Encoder
    score: float
    shown_score: float
    a: dict[str, Any]
    b: dict[str, Any]
    matches: list[dict[str, Any]]
    difference: dict[str, Any] | None
    options: dict[str, Any]
    collection: dict[str, Any] | None
    percentile: dict[str, Any] | None
    digest: str


BODIES = (
    CopiesBody,
    CalibrationBody,
    WatchBody,
    FeedbackBody,
    ReportBody,
    ComparisonReportBody,
)
