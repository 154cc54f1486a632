"""Two pictures side by side, with the evidence for their score. Never in the way of a search.

COMPARE  lane → images → encoder (originals, patches, regions) → alignment

The evidence costs some 150 to 250 images of encoder time. They go to the encoder a few at a time,
and only when no request is inside or after a wait, so a search meets at most one such handful. One
comparison runs at a time; a few wait; more are answered 429.
"""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import cv2
import numpy as np

from vitrine_server import deadlines, explain, images, overlay
from vitrine_server.errors import EncoderMismatch, NotFound, Overloaded, VitrineError
from vitrine_server.records import MIN_NORM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from vitrine_server.admission import Admission
    from vitrine_server.catalogue import Catalogue
    from vitrine_server.cleanup import Step
    from vitrine_server.config import Settings
    from vitrine_server.encoder import Encoder
    from vitrine_server.explain import Pixels

T = TypeVar("T")

HANDFUL = 2  # images that go to the encoder together
MAX_WAITING = 4
_CALM_WAIT_S = 0.5
_CALM_POLL_S = 0.005
_TIMEOUT_S = 60.0
_NICE = 10
VIEW_SCALE = 2  # a view has twice the side of the encoder's pixels


@dataclass(frozen=True, slots=True)
class Source:
    """One of the two: an encoded image, or an item of a collection. where: its field."""

    where: str
    image: bytes | None = None
    collection: str = ""
    item_id: str = ""


@dataclass(frozen=True, slots=True)
class Side:
    """view: (V, V, 3) uint8, what the encoder sees, larger. heat: (GRID, GRID), falls of the score.

    fall_top, fall_random: of the score, when the hottest fifth or a random fifth is blanked.
    """

    view: Pixels
    heat: NDArray[np.float32]
    fall_top: float
    fall_random: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """score: cosine as a search gives it; shown_score: that of the pictures that are shown.

    They differ where an item's thumbnail stands for an original that was not kept.
    """

    score: float
    shown_score: float
    sides: tuple[Side, Side]
    matches: list[explain.Match]
    difference: overlay.Difference | None


@dataclass(frozen=True, slots=True)
class _Picture:
    """pixels: (S, S, 3) as a search decodes them. stored: the item's vector, if it is one."""

    pixels: Pixels
    view: Pixels
    stored: NDArray[np.float32] | None


@contextmanager
def _naming(source: Source) -> Iterator[None]:
    """Errors inside name the field of the request that the source was in."""
    try:
        yield
    except VitrineError as error:
        field = "item_id" if error.field == "id" else error.field
        error.field = f"{source.where}.{field}" if field else source.where
        raise


class Comparer:
    """The slow lane beside the pipeline. Lives on one event loop."""

    def __init__(
        self, *, settings: Settings, catalogue: Catalogue, encoder: Encoder, admission: Admission
    ) -> None:
        self._catalogue = catalogue
        self._encoder = encoder
        self._admission = admission
        self._limits = images.Limits(
            max_bytes=int(settings.max_image_mb * 1e6),
            max_pixels=int(settings.max_megapixels * 1e6),
        )
        # Linux gives every thread a niceness of its own.
        self._worker = ThreadPoolExecutor(
            1,
            "compare",
            lambda: os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE),
        )
        self._turn = asyncio.Lock()
        self._inside = 0

    async def compare(self, a: Source, b: Source) -> Comparison:
        """Raises what decoding and encoding raise, ItemNotFound, Overloaded, EncoderMismatch."""
        if self._inside > MAX_WAITING:
            raise Overloaded(
                f"{self._inside} comparisons are waiting.",
                accepted=f"at most {MAX_WAITING} waiting comparisons; try again later",
                retry_after_s=5,
            )
        self._inside += 1
        try:
            async with self._turn:
                return await self._compare(a, b)
        finally:
            self._inside -= 1

    def close(self) -> None:
        self._worker.shutdown()

    async def _compare(self, a: Source, b: Source) -> Comparison:
        deadline = deadlines.within(_TIMEOUT_S)
        first = await self._run(lambda: self._picture(a, self._steps(a, b)))
        second = await self._run(lambda: self._picture(b, self._steps(b, a)))
        vector_a, vector_b = await self._encode([first.pixels, second.pixels], deadline)
        shown_score = float(vector_a @ vector_b)
        stored_a = vector_a if first.stored is None else first.stored
        stored_b = vector_b if second.stored is None else second.stored
        sides = (
            await self._side(first, vector_b, shown_score, deadline),
            await self._side(second, vector_a, shown_score, deadline),
        )
        matches = await self._matches(first.view, second.view, deadline)
        difference = await self._run(lambda: _difference(first.view, second.view))
        return Comparison(float(stored_a @ stored_b), shown_score, sides, matches, difference)

    async def _side(
        self, picture: _Picture, other: NDArray[np.float32], score: float, deadline: float
    ) -> Side:
        pixels, fill = picture.pixels, self._encoder.info.preprocessing.fill

        async def falls(choices: Sequence[Sequence[int]]) -> NDArray[np.float32]:
            hidden = [explain.blanked(pixels, cells, fill) for cells in choices]
            return score - await self._encode(hidden, deadline) @ other

        cells = explain.inked(pixels, fill)
        heat = np.zeros(explain.GRID**2, np.float32)
        if cells:
            heat[cells] = await falls([[cell] for cell in cells])
        draws = [explain.random_cells(draw) for draw in range(explain.RANDOM_DRAWS)]
        checked = await falls([explain.hottest(heat), *draws])
        square = heat.reshape(explain.GRID, explain.GRID)
        return Side(picture.view, square, float(checked[0]), float(checked[1:].mean()))

    async def _matches(self, a: Pixels, b: Pixels, deadline: float) -> list[explain.Match]:
        fill, size = self._encoder.info.preprocessing.fill, self._encoder.info.preprocessing.size
        places = [explain.regions(view, fill) for view in (a, b)]
        vectors = []
        for view, found in zip((a, b), places, strict=True):
            parts = [explain.region_pixels(view, place) for place in found]
            vectors.append(await self._encode([_resized(part, size) for part in parts], deadline))
        return explain.best_matches(places[0], vectors[0], places[1], vectors[1])

    async def _encode(self, pictures: Sequence[Pixels], deadline: float) -> NDArray[np.float32]:
        """(n, D) float32, a handful at a time, each when the encoder has nothing better to do."""
        vectors = np.empty((len(pictures), self._encoder.info.dimension), np.float32)
        for start in range(0, len(pictures), HANDFUL):
            await self._calm()
            handful = pictures[start : start + HANDFUL]
            done = await asyncio.gather(
                *(self._encoder.encode(one, deadline=deadline) for one in handful)
            )
            vectors[start : start + len(handful)] = [one.embedding for one in done]
        return vectors

    async def _calm(self) -> None:
        """Wait until no request is inside, but not for ever: under load it is slow, not lost."""
        for _ in range(round(_CALM_WAIT_S / _CALM_POLL_S)):
            if not self._admission.inside:
                return
            await asyncio.sleep(_CALM_POLL_S)

    async def _run(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._worker, call)

    def _steps(self, source: Source, other: Source) -> Sequence[Step]:
        """What an item's collection does to images; an image is treated as the other side is."""
        for one in (source, other):
            if one.image is None:
                with _naming(one):
                    return self._catalogue.get(one.collection).settings.cleanup
        return ()

    def _picture(self, source: Source, steps: Sequence[Step]) -> _Picture:
        with _naming(source):
            stored = None
            data = source.image
            if data is None:
                data, stored = self._item(source)
            preprocessing = self._encoder.info.preprocessing
            large = preprocessing.model_copy(update={"size": VIEW_SCALE * preprocessing.size})
            return _Picture(
                images.decode(data, preprocessing, limits=self._limits, steps=steps),
                images.decode(data, large, limits=self._limits, steps=steps),
                stored,
            )

    def _item(self, source: Source) -> tuple[bytes, NDArray[np.float32]]:
        """The item's original or thumbnail, and its stored vector, of length 1."""
        collection = self._catalogue.get(source.collection)
        if collection.encoder.fingerprint != self._encoder.info.fingerprint:
            raise EncoderMismatch(
                f"Collection {collection.name!r} holds vectors of encoder "
                f"{collection.encoder.name!r}; the server encodes with "
                f"{self._encoder.info.name!r}.",
                field="collection",
                accepted="a collection made with the encoder in use",
            )
        vector = collection.vector(source.item_id)
        try:
            image: bytes | None = collection.original(source.item_id)
        except NotFound:  # originals are kept only where VITRINE_KEEP_ORIGINALS says so
            image = collection.thumbnail(source.item_id)
        if image is None:
            raise NotFound(
                f"Item {source.item_id[:128]!r} was stored as a vector, without an image.",
                code="image_not_found",
                field="id",
                accepted="the id of an item that was stored with its image",
            )
        return image, vector / max(float(np.linalg.norm(vector)), MIN_NORM)


def _difference(a: Pixels, b: Pixels) -> overlay.Difference | None:
    """For drawings alone: photos have no lines to lay over each other."""
    if not (overlay.is_drawing(a) and overlay.is_drawing(b)):
        return None
    return overlay.difference(a, b)


def _resized(part: Pixels, size: int) -> Pixels:
    return np.asarray(cv2.resize(part, (size, size), interpolation=cv2.INTER_CUBIC), np.uint8)
