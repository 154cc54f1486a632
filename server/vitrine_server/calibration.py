"""Weights and threshold of the copy score, measured on a collection's own pictures.

A sample of the items is changed in every way of `transformations`, and each result is looked up.
The item itself is the copy that must be found; the best of the others is what a picture that has
no copy here would bring up, because the item is taken out of the answer for that. Items of the
same group count as neither.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import simplejpeg

from vitrine_server import transformations
from vitrine_server.errors import Conflict, DeadlineExceeded, Invalid, Overloaded, VitrineError
from vitrine_server.evidence import Calibration, Evidence, Model, Weights, fit, threshold_at
from vitrine_server.metrics import StageTimes
from vitrine_server.records import iso_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vitrine_server.copies import Copy, CopyFinder, Found

MIN_ITEMS = 8
CHANGES = len(transformations.ALL)
_PAGE = 1000
_BUSY_S = 1.0
# two of the same picture in the catalogue are no strangers
_SAME_HASH = 4
_SAME_COSINE = 0.999
_SAME_POINTS = 30  # of strangers at most 9 agree by chance


@dataclass(frozen=True, slots=True)
class Example:
    """A changed picture that was looked up: the evidence for its original, and for strangers."""

    change: str
    copy: Evidence | None
    strangers: tuple[Evidence, ...]


@dataclass
class Job:
    """A calibration under way. done, total: look-ups."""

    total: int
    state: Literal["running", "done", "failed"] = "running"
    done: int = 0
    error: str | None = None
    table: list[dict[str, float]] = field(default_factory=list)
    recall: dict[str, float] = field(default_factory=dict)


def examples_of(change: str, original: str, group: str | None, copies: Sequence[Copy]) -> Example:
    """What a look-up of a changed item says about copies and strangers."""
    own = next((copy.evidence for copy in copies if copy.id == original), None)
    strangers = tuple(
        copy.evidence
        for copy in copies
        if copy.id != original
        and (group is None or copy.group != group)
        and not _same(copy.evidence)
    )
    return Example(change, own, strangers)


def calibrate(
    examples: Sequence[Example], *, fingerprint: str, false_positive_rate: float
) -> Calibration:
    """Raises ValueError without copies or strangers."""
    copies = [example.copy for example in examples if example.copy is not None]
    strangers = [each for example in examples for each in example.strangers]

    # of the others the quick score has said enough
    hard = [each for each in strangers if each.alignment is not None] or strangers

    def model(*, with_alignment: bool) -> Model:
        weights = fit(copies, hard if with_alignment else strangers, with_alignment=with_alignment)
        scores = best_strangers(examples, weights)
        return Model(weights=weights, threshold=threshold_at(scores, false_positive_rate))

    return Calibration(
        source="measured",
        created=iso_time(time.time_ns() // 1000),
        fingerprint=fingerprint,
        false_positive_rate=false_positive_rate,
        copies=len(examples),
        strangers=len(examples),
        full=model(with_alignment=True),
        quick=model(with_alignment=False),
    )


def best_strangers(examples: Sequence[Example], weights: Weights) -> list[float]:
    """For each look-up, the best score of anything that is no copy."""
    return [
        max((weights.score(each) for each in example.strangers), default=0.0)
        for example in examples
    ]


def recall_by_change(examples: Sequence[Example], model: Model) -> dict[str, float]:
    """Share of the copies that reach the threshold, for each change."""
    found: dict[str, list[bool]] = {}
    for example in examples:
        hit = example.copy is not None and model.weights.score(example.copy) >= model.threshold
        found.setdefault(example.change, []).append(hit)
    return {change: float(np.mean(hits)) for change, hits in found.items()}


def trade_off(examples: Sequence[Example], weights: Weights) -> list[dict[str, float]]:
    """Threshold, precision and recall at several shares of false positives.

    Precision is of a stream in which every second picture has a copy here.
    """
    strangers = best_strangers(examples, weights)
    own = [0.0 if one.copy is None else weights.score(one.copy) for one in examples]
    table = []
    for rate in (0.001, 0.005, 0.01, 0.02, 0.05):
        threshold = threshold_at(strangers, rate)
        recall = float(np.mean([score >= threshold for score in own]))
        false = float(np.mean([score >= threshold for score in strangers]))
        precision = recall / (recall + false) if recall + false else 1.0
        row = {"threshold": threshold, "precision": precision, "recall": recall}
        table.append({"false_positive_rate": rate, **row})
    return table


async def run(
    finder: CopyFinder,
    name: str,
    job: Job,
    items: Sequence[tuple[str, str | None, bytes]],
    *,
    fingerprint: str,
    false_positive_rate: float,
    seed: int,
) -> Calibration | None:
    """Look all changed items up, slowly, and calibrate; None when the job failed.

    items: (id, group, thumbnail).
    """
    examples = []
    try:
        for number, (item_id, group, thumbnail) in enumerate(items):
            pixels = simplejpeg.decode_jpeg(thumbnail, "RGB")
            rng = np.random.default_rng([seed, number])
            for change, apply in transformations.ALL.items():
                changed = transformations.encode(apply(pixels, rng))
                found = await _patiently(finder, name, changed)
                examples.append(examples_of(change, item_id, group, found.copies))
                job.done += 1
        made = calibrate(examples, fingerprint=fingerprint, false_positive_rate=false_positive_rate)
    except (VitrineError, ValueError) as error:
        job.state, job.error = "failed", str(error)
        return None
    job.table = trade_off(examples, made.full.weights)
    job.recall = recall_by_change(examples, made.full)
    job.state = "done"
    return made


async def _patiently(finder: CopyFinder, name: str, image: bytes) -> Found:
    """Look an image up once nobody else is waiting."""
    while True:
        try:
            return await finder.find(name, image=image, item_id=None, times=StageTimes())
        except (Overloaded, DeadlineExceeded):  # noqa: PERF203 - a look-up takes far longer
            await asyncio.sleep(_BUSY_S)


def sample(
    finder: CopyFinder, name: str, count: int, seed: int
) -> list[tuple[str, str | None, bytes]]:
    """(id, group, thumbnail) of items chosen evenly among those with a picture. Blocking.

    Raises Invalid when there are too few.
    """
    collection = finder.collection(name)
    rng = np.random.default_rng(seed)
    chosen: list[tuple[float, str, str | None, bytes]] = []
    after = 0
    while page := collection.written(after, _PAGE):
        for record, _ in page:
            ticket = float(rng.random())
            if len(chosen) == count and ticket >= chosen[-1][0]:
                continue
            thumbnail = collection.thumbnail(record.id)
            if thumbnail is not None:
                chosen.append((ticket, record.id, record.group, thumbnail))
                chosen.sort(key=lambda row: row[0])
                del chosen[count:]
        after = page[-1][0].sequence
    if len(chosen) < MIN_ITEMS:
        raise Invalid(
            f"Collection {name!r} has {len(chosen)} items with a picture.",
            field="collection",
            accepted=f"a collection of {MIN_ITEMS} items or more that were stored as images",
        )
    return [row[1:] for row in chosen]


def refuse_second(job: Job | None) -> None:
    """Raises Conflict while a calibration runs."""
    if job is not None and job.state == "running":
        raise Conflict(
            f"A calibration is running: {job.done} of {job.total} look-ups are done.",
            code="calibration_running",
            field="collection",
            accepted="waiting for it; GET copies/calibration tells how far it is",
        )


def _same(evidence: Evidence) -> bool:
    """A copy that the catalogue holds already, under another id."""
    if evidence.alignment is not None and evidence.alignment.points >= _SAME_POINTS:
        return True
    return (
        evidence.distance is not None
        and evidence.distance <= _SAME_HASH
        and evidence.cosine >= _SAME_COSINE
    )
