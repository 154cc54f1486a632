"""Is this image a copy of a stored one? Candidates by hash and by embedding, then the evidence.

    query → upright pixels → the whole and the pictures that stand on a plain ground in it
          → hashes in eight orientations, embeddings, points
    candidates: items with a near hash, items with a near embedding
    evidence:   hash distance, cosine, aligned points → one calibrated score

All of it runs beside the search's path, in threads of its own and for few requests at a time.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import simplejpeg

from vitrine_server import alignment, hashes, images
from vitrine_server.errors import Invalid, ItemNotFound, Overloaded
from vitrine_server.evidence import Calibration, Evidence, Model, Weights
from vitrine_server.pipeline import Part
from vitrine_server.records import SearchQuery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from vitrine_server.catalogue import Catalogue
    from vitrine_server.collection import Collection
    from vitrine_server.config import Settings
    from vitrine_server.journal import Journals
    from vitrine_server.metrics import StageTimes
    from vitrine_server.pipeline import Pipeline
    from vitrine_server.records import Metadata, Record

T = TypeVar("T")

QUERY_SIDE = 640
HASH_RADIUS = (
    18  # bits: 1 in 2,000 pairs of the photos of benchmarks/copies.py is as near by chance
)
CANDIDATES = 24  # of the hash, and of each embedding
ALIGNED = 10  # candidates, best first, whose points are compared
MAX_AT_ONCE = 4
WHOLE, REGION = "whole", "region"
SETTING = "copies.calibration"

_JPEG_QUALITY = 95

# Rounded by hand, with little weight on the embedding, as encoders differ most there. On 1,080
# copies and 1,380 look-ups without one of benchmarks/copies.py (500 photos of clothing, design-vit)
# it finds 98.4 % with 0.1 % of false positives; versions before gave 93.5 and 98.3 %.
DEFAULT = Calibration(
    source="default",
    created="2026-11-21",
    fingerprint="176d9a341d1ace3a07d9153c302957e8a31c86ee185f821e2ba16a746dd458a3",
    false_positive_rate=0.001,
    copies=1080,
    strangers=1380,
    full=Model(weights=Weights(bias=-14.0, hash=3.0, deep=3.0, alignment=20.0), threshold=0.4),
    quick=Model(weights=Weights(bias=-12.0, hash=10.0, deep=8.0, alignment=0.0), threshold=0.9),
)


@dataclass(frozen=True, slots=True)
class View:
    """A query, prepared. jpegs: the whole and its regions, encoded for the encoder.

    oriented: (hash, place of its part, orientation) of all of them. points: of each part.
    """

    jpegs: tuple[bytes, ...]
    parts: tuple[str, ...]
    oriented: tuple[tuple[int, int, str], ...]
    points: tuple[tuple[alignment.Points, alignment.Points], ...]


@dataclass(frozen=True, slots=True)
class Copy:
    """An item that may be a copy of the query."""

    id: str
    score: float
    group: str | None
    metadata: Metadata
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Found:
    """Best first. calibration: what scores and the threshold rest on."""

    copies: tuple[Copy, ...]
    calibration: Calibration
    snapshot: str


class CopyFinder:
    """Finds copies of one image in a collection."""

    def __init__(
        self, *, settings: Settings, catalogue: Catalogue, pipeline: Pipeline, journals: Journals
    ) -> None:
        self._catalogue = catalogue
        self._pipeline = pipeline
        self._journals = journals
        self._limits = images.Limits(
            max_bytes=int(settings.max_image_mb * 1e6),
            max_pixels=int(settings.max_megapixels * 1e6),
        )
        self._threads = ThreadPoolExecutor(1, "copies")
        self._inside = 0

    async def find(
        self, name: str, *, image: bytes | None, item_id: str | None, times: StageTimes
    ) -> Found:
        """Items that may be copies of an image, or of a stored item (which is left out).

        Raises ItemNotFound, Invalid for an item without a picture, Overloaded, and what decoding,
        encoding and searching raise.
        """
        collection = self._catalogue.get(name)
        with self._admitted():
            data = image if image is not None else await self._stored(collection, item_id or "")
            with times.timed("decode"):
                view = await self._run(lambda: prepare(data, self._limits))
            calibration = self.calibration(name)
            # the first is the query as it came, so that its embedding is the one a search has
            sent = (data, *view.jpegs[1:])
            vectors = await self._pipeline.embed(
                [Part(image=each) for each in sent], times, steps=collection.settings.cleanup
            )
            with times.timed("search"):
                found, snapshot = await self._run(
                    lambda: candidates(collection, view, vectors, without=item_id)
                )
            with times.timed("compare"):
                copies = await self._run(
                    lambda: judge(collection, view, vectors, found, calibration)
                )
        return Found(tuple(copies), calibration, snapshot)

    def calibration(self, name: str) -> Calibration:
        """The collection's own, or the one that ships."""
        stored = self._journals.of(name).setting(SETTING)
        return DEFAULT if stored is None else Calibration.model_validate_json(stored)

    def calibrate(self, name: str, calibration: Calibration | None) -> None:
        """Set a collection's own calibration; None: the one that ships."""
        journal = self._journals.of(name)
        if calibration is None:
            journal.remove(SETTING)
        else:
            journal.set(SETTING, calibration.model_dump_json())

    def collection(self, name: str) -> Collection:
        return self._catalogue.get(name)

    def close(self) -> None:
        self._threads.shutdown()

    async def _run(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def _stored(self, collection: Collection, item_id: str) -> bytes:
        await self._pipeline.run(lambda: collection.get(item_id))
        thumbnail = await self._pipeline.run(lambda: collection.thumbnail(item_id))
        if thumbnail is None:
            raise Invalid(
                f"Item {item_id[:128]!r} was stored as a vector, without an image.",
                code="image_not_found",
                field="item_id",
                accepted="the id of an item that was stored with its image",
            )
        return thumbnail

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        if self._inside >= MAX_AT_ONCE:
            raise Overloaded(
                f"{self._inside} comparisons are running.",
                accepted=f"at most {MAX_AT_ONCE} at once; try again later",
                retry_after_s=1,
            )
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1


def prepare(data: bytes, limits: images.Limits = images.DEFAULT_LIMITS) -> View:
    """Decode a query and take its regions, hashes and points. Raises what `images.decode` does."""
    pixels = images.decode_upright(data, QUERY_SIDE, (255, 255, 255), limits=limits)
    parts = [(WHOLE, pixels)]
    parts += [(REGION, box.cut(pixels)) for box in hashes.regions(pixels)]
    luminances = [hashes.grey(cut) for _, cut in parts]
    oriented = []
    for place, luminance in enumerate(luminances):
        named = zip(hashes.symmetries(luminance), hashes.SYMMETRIES, strict=True)
        oriented += [(value, place, orientation) for value, orientation in named]
    return View(
        jpegs=tuple(_jpeg(cut) for _, cut in parts),
        parts=tuple(part for part, _ in parts),
        oriented=tuple(oriented),
        points=tuple(alignment.both_ways(luminance) for luminance in luminances),
    )


def candidates(
    collection: Collection,
    view: View,
    vectors: Sequence[NDArray[np.float32]],
    *,
    without: str | None = None,
) -> tuple[list[str], str]:
    """Ids of the items that are worth a closer look, and the state that was searched."""
    near = collection.near_hashes(
        [value for value, _, _ in view.oriented], max_distance=HASH_RADIUS, limit=CANDIDATES
    )
    results = collection.search([SearchQuery(vector=vector, k=CANDIDATES) for vector in vectors])
    ids = dict.fromkeys(match.id for match in near)
    ids |= dict.fromkeys(hit.id for result in results for hit in result.hits)
    ids.pop(without or "", None)
    return list(ids), results[0].snapshot


def judge(
    collection: Collection,
    view: View,
    vectors: Sequence[NDArray[np.float32]],
    ids: Sequence[str],
    calibration: Calibration,
) -> list[Copy]:
    """The evidence for each item, best first; those deleted meanwhile are left out."""
    looks: list[tuple[Record, Evidence]] = []
    for item_id in ids:
        try:
            record = collection.get(item_id)
            vector = collection.vector(item_id)
        except ItemNotFound:
            continue
        hashed = collection.hashes(record.sequence).tolist()
        looks.append((record, _first_look(view, vectors, vector, hashed)))
    copies = []
    for place, (record, evidence) in enumerate(_promising(looks)):
        thumbnail = collection.thumbnail(record.id) if place < ALIGNED else None
        if thumbnail is not None:
            evidence = replace(evidence, alignment=_aligned(view, evidence, thumbnail))
        score = calibration.full.weights.score(evidence)
        copies.append(Copy(record.id, score, record.group, record.metadata, evidence))
    copies.sort(key=lambda copy: (-copy.score, copy.id))
    return copies


def _promising(looks: Sequence[tuple[Record, Evidence]]) -> list[tuple[Record, Evidence]]:
    """By the better of the two places, among the hashes and among the embeddings: a crop has a far
    hash, a turned picture a far embedding.
    """
    features = np.array([evidence.features[:2] for _, evidence in looks]).reshape(-1, 2)
    places = np.argsort(np.argsort(-features, axis=0, kind="stable"), axis=0)
    order = np.lexsort((places.max(1), places.min(1)))
    return [looks[at] for at in order.tolist()]


def _first_look(
    view: View,
    vectors: Sequence[NDArray[np.float32]],
    vector: NDArray[np.float32],
    own: Sequence[int],
) -> Evidence:
    """Hash and embedding. vector, own: of the item."""
    cosines = [float(_unit(vector) @ _unit(each)) for each in vectors]
    deep = int(np.argmax(cosines))
    evidence = Evidence(None, cosines[deep], deep_part=view.parts[deep])
    if not own:
        return evidence
    distance, place = min(
        (hashes.distance(mine, value), place)
        for place, (value, _, _) in enumerate(view.oriented)
        for mine in own
    )
    _, part, orientation = view.oriented[place]
    return replace(evidence, distance=distance, hash_part=view.parts[part], orientation=orientation)


def _aligned(view: View, evidence: Evidence, thumbnail: bytes) -> alignment.Alignment:
    """Of the whole with an item, or of a region where the evidence points there."""
    item = alignment.thumbnail_points(thumbnail)
    parts = view.points if REGION in (evidence.hash_part, evidence.deep_part) else view.points[:1]
    found = alignment.NONE
    for part in parts:
        found = max(found, alignment.align(part, item), key=lambda each: each.points)
        if found.points >= alignment.ENOUGH:
            break
    return found


def _unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-30), np.float32)


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    encoded: bytes = simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels), _JPEG_QUALITY, colorspace="RGB", colorsubsampling="444"
    )
    return encoded
