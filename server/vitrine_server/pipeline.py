"""QUERY and INGEST, stage by stage.

QUERY   admission → cache → images → encoder → collection (index, then records)
INGEST  admission → images → cache → encoder → collection (store, then index)
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
import time
from array import array
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from vitrine_server import cleanup, deadlines, hashes, images, quality
from vitrine_server.errors import (
    EncoderMismatch,
    Invalid,
    InvalidVector,
    VitrineError,
)
from vitrine_server.pools import WatchedPool
from vitrine_server.quality import Checked, Ingested
from vitrine_server.records import NewItem, SearchQuery, check_id, check_metadata, check_vector
from vitrine_server.search_batches import SEARCH_THREADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from vitrine_server.admission import Admission
    from vitrine_server.cache import EmbeddingCache
    from vitrine_server.config import Settings
    from vitrine_server.encoder import Encoder
    from vitrine_server.galleries import Galleries, Gallery
    from vitrine_server.metrics import StageTimes
    from vitrine_server.records import (
        Metadata,
        SearchResult,
    )
    from vitrine_server.schemas import SearchOptions
    from vitrine_server.search_batches import Answer
    from vitrine_server.tower import Encoded

T = TypeVar("T")
# Up to here hashing takes less than the way to another thread and back: 0.1 ms.
_HASH_INLINE_BYTES = 128 * 1024


@dataclass(slots=True)
class Part:
    """One piece of a query: an encoded image, a vector (D,) float32, a text or the id of an item.

    where: the field that held it, as errors name it.
    """

    image: bytes | None = None
    vector: NDArray[np.float32] | None = None
    text: str | None = None
    item_id: str | None = None
    weight: float = 1.0
    where: str = ""


@dataclass(frozen=True, slots=True)
class Draft:
    """An item as it came in: an encoded image or a vector."""

    id: str
    metadata: Metadata
    image: bytes | None = None
    vector: NDArray[np.float32] | None = None


class Pipeline:
    """The one path that every request takes. Lives on one event loop."""

    def __init__(
        self,
        *,
        settings: Settings,
        catalogue: Galleries,
        encoder: Encoder,
        admission: Admission,
        cache: EmbeddingCache,
        count_decode_cpu: Callable[[float], None],
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._encoder = encoder
        self._admission = admission
        self._cache = cache
        self._count_decode_cpu = count_decode_cpu
        self._limits = images.Limits(
            max_bytes=int(settings.max_image_mb * 1e6),
            max_pixels=int(settings.max_megapixels * 1e6),
        )
        self._decoders = WatchedPool(settings.decode_threads, "decode")
        self._workers = ThreadPoolExecutor(SEARCH_THREADS + 2, "collection")

    async def search(
        self, name: str, parts: Sequence[Part], options: SearchOptions, times: StageTimes
    ) -> SearchResult:
        """Answer one query. Raises what its stages raise."""
        if options.k + options.offset > self._settings.max_k:
            raise Invalid(
                f"k + offset is {options.k + options.offset}.",
                field="k",
                accepted=f"k + offset of at most {self._settings.max_k}",
            )
        check_rerank(parts, options)
        collection = self._catalogue.get(name)
        deadline = self._deadline()
        pictures = sum(part.image is not None or part.text is not None for part in parts)
        gate = self._admission.queries if pictures else self._admission.lookups
        with gate.admit(pictures or 1):
            if options.combine == "views":
                vector, *views = await self._views(collection, parts, times, deadline)
            else:
                vector, views = await self._query_vector(collection, parts, times, deadline), []
            query = SearchQuery(
                vector=vector,
                views=tuple(views),
                k=options.k,
                offset=options.offset,
                filter=options.filter,
                group_by=options.group_by,
                min_score=options.min_score,
                with_vector=options.with_vector,
                rerank=options.rerank == "k_reciprocal",
            )
            result = await self._search(collection, query, deadline)
        times.add("search", result.search_s)
        times.add("hydrate", result.hydrate_s)
        return result

    async def ingest(
        self, name: str, drafts: Sequence[Draft], times: StageTimes
    ) -> list[Ingested | VitrineError]:
        """Store items; what became of each, or the reason. Durable and searchable on return.

        Raises what concerns the whole request: CollectionNotFound, Overloaded, StorageFailed, ….
        """
        collection = self._catalogue.get(name)
        deadline = self._deadline()
        with self._admission.writes.admit(len(drafts)):
            made = await asyncio.gather(
                *(self._item(collection, draft, times, deadline) for draft in drafts),
                return_exceptions=True,
            )
            checked: list[Checked | VitrineError] = []
            for outcome in made:
                if isinstance(outcome, BaseException) and not isinstance(outcome, VitrineError):
                    raise outcome
                checked.append(outcome)
            action = collection.settings.quality
            if action != "off" and len(checked) > 1:
                checked = await self.run(lambda: quality.among(action, checked))
            items = [one.item for one in checked if isinstance(one, Checked) and one.item]
            sequences: Iterator[int] = iter(())
            if items:
                with times.timed("store"):
                    stored: list[int] = await asyncio.wrap_future(collection.upsert(items))
                sequences = iter(stored)
        return [
            Ingested(None if one.item is None else next(sequences), one.flags)
            if isinstance(one, Checked)
            else one
            for one in checked
        ]

    async def answer(
        self, collection: Gallery, queries: Sequence[SearchQuery], *, deadline: float
    ) -> list[Answer]:
        """A result or the reason for each query, searched together with others that wait.

        Raises DeadlineExceeded; Unavailable when there is nobody to ask.
        """
        searches = collection.searches(self.run)
        return (await searches.submit(queries, deadline=deadline)).value

    async def vector(
        self, name: str, parts: Sequence[Part], times: StageTimes
    ) -> NDArray[np.float32]:
        """The vector (D,) float32 that a search with these parts compares with."""
        collection = self._catalogue.get(name)
        with self._admission.queries.admit(len(parts)):
            return await self._query_vector(collection, parts, times, self._deadline())

    async def embed(
        self, parts: Sequence[Part], times: StageTimes, *, steps: Sequence[cleanup.Step] = ()
    ) -> list[NDArray[np.float32]]:
        """Embeddings (D,) float32 of images and texts, in order; the first failure is raised.

        steps: what is done to the images first, as a collection's `cleanup` asks for.
        """
        deadline = self._deadline()
        with self._admission.queries.admit(len(parts)):
            return list(
                await asyncio.gather(*(self._embed(part, times, deadline, steps) for part in parts))
            )

    async def run(self, call: Callable[[], T]) -> T:
        """A blocking call of a collection, away from the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._workers, call)

    @property
    def longest_decode_s(self) -> float:
        """Seconds that the oldest decode has been running."""
        return self._decoders.longest_s

    def close(self) -> None:
        self._decoders.shutdown()
        self._workers.shutdown()

    def _deadline(self) -> float:
        return deadlines.within(self._settings.request_timeout_s)

    async def _query_vector(
        self, collection: Gallery, parts: Sequence[Part], times: StageTimes, deadline: float
    ) -> NDArray[np.float32]:
        """Weighted sum of the parts; each counts by its direction when the metric is cosine."""
        if len(parts) == 1 and parts[0].weight == 1:
            return await self._part_vector(collection, parts[0], times, deadline)
        metric = collection.settings.metric
        vectors = await asyncio.gather(
            *(self._part_vector(collection, part, times, deadline) for part in parts)
        )
        dimension = collection.encoder.dimension
        total = np.zeros(dimension, np.float32)
        for part, vector in zip(parts, vectors, strict=True):
            total += part.weight * check_vector(vector, dimension, metric, field="queries")
        if float(np.linalg.norm(total)) < 1e-6:
            raise InvalidVector(
                "The weighted queries cancel out.",
                field="queries",
                accepted="queries whose weighted sum is not zero",
            )
        return total

    async def _views(
        self, collection: Gallery, parts: Sequence[Part], times: StageTimes, deadline: float
    ) -> list[NDArray[np.float32]]:
        """The vectors of the parts, which count alike."""
        if any(part.weight != 1 for part in parts):
            raise Invalid(
                "Views have no weights.",
                field="queries",
                accepted='queries of weight 1, or "combine": "sum"',
            )
        return await asyncio.gather(
            *(self._part_vector(collection, part, times, deadline) for part in parts)
        )

    async def _part_vector(
        self, collection: Gallery, part: Part, times: StageTimes, deadline: float
    ) -> NDArray[np.float32]:
        if part.image is not None or part.text is not None:
            self._check_space(collection)
            return await self._embed(part, times, deadline, collection.settings.cleanup)
        if part.item_id is not None:
            item_id = part.item_id
            return await self.run(lambda: collection.vector(item_id))
        assert part.vector is not None  # a part is one thing
        return part.vector

    async def _item(
        self, collection: Gallery, draft: Draft, times: StageTimes, deadline: float
    ) -> Checked:
        # what is cheap to refuse is refused before the decode
        check_id(draft.id)
        check_metadata(draft.metadata, collection.settings.fields)
        if draft.image is None:
            assert draft.vector is not None  # an item is one thing
            check_vector(draft.vector, collection.encoder.dimension, collection.settings.metric)
            return Checked(NewItem(id=draft.id, vector=draft.vector, metadata=draft.metadata))
        self._check_space(collection)
        data, settings = draft.image, collection.settings
        picture, luminance, phash, digest = await self._decode(
            lambda: self._picture(data, settings.cleanup), times, deadline
        )
        flags = quality.flags(luminance) if settings.quality != "off" else ()
        if flags and settings.quality != "keep":
            return quality.left_out(settings.quality, flags)

        async def encode() -> NDArray[np.float32]:
            return _timed(await self._encoder.encode(picture.pixels, deadline=deadline), times)

        if self._settings.keep_originals:
            await self.run(lambda: collection.keep_original(data))
        key = cleanup.key(digest.digest(), settings.cleanup)
        item = NewItem(
            id=draft.id,
            vector=await self._cache.get("image", key, encode, deadline=deadline),
            metadata=draft.metadata,
            thumbnail=picture.thumbnail,
            image_sha256=digest.hexdigest(),
            hashes=(phash,),
        )
        if settings.quality == "off":
            return Checked(item)
        return await self.run(lambda: quality.checked(collection, item, flags))

    def _picture(
        self, data: bytes, steps: Sequence[cleanup.Step]
    ) -> tuple[images.Picture, NDArray[np.uint8], int, hashlib._Hash]:
        """Pixels and thumbnail, the luminance of that and its hash, the SHA-256 of the bytes."""
        picture = images.decode_with_thumbnail(
            data, self._encoder.info.preprocessing, limits=self._limits, steps=steps
        )
        luminance = hashes.open_thumbnail(picture.thumbnail)
        return picture, luminance, hashes.phash(luminance), hashlib.sha256(data)

    async def _embed(
        self,
        part: Part,
        times: StageTimes,
        deadline: float,
        steps: Sequence[cleanup.Step] = (),
    ) -> NDArray[np.float32]:
        if part.image is None:
            return await self._embed_text(part, times, deadline)
        data = part.image

        async def encode() -> NDArray[np.float32]:
            pixels = await self._decode(
                lambda: images.decode(
                    data, self._encoder.info.preprocessing, limits=self._limits, steps=steps
                ),
                times,
                deadline,
            )
            return _timed(await self._encoder.encode(pixels, deadline=deadline), times)

        if len(data) <= _HASH_INLINE_BYTES:
            digest = hashlib.sha256(data).digest()
        else:
            digest = await self.run(lambda: hashlib.sha256(data).digest())
        key = cleanup.key(digest, steps)
        return await self._cache.get("image", key, encode, deadline=deadline)

    async def _embed_text(
        self, part: Part, times: StageTimes, deadline: float
    ) -> NDArray[np.float32]:
        text, field = part.text or "", part.where or "text"
        if not self._encoder.has_text:
            raise Invalid(
                f"Encoder {self._encoder.info.name!r} has no text tower.",
                code="text_not_supported",
                field=field,
                accepted="an image, a vector or an item_id; or an encoder exported with text",
            )

        async def encode() -> NDArray[np.float32]:
            encoded = await self._encoder.encode_text(text, field=field, deadline=deadline)
            return _timed(encoded, times)

        digest = hashlib.sha256(text.encode(errors="surrogatepass")).digest()
        return await self._cache.get("text", digest, encode, deadline=deadline)

    async def _decode(self, call: Callable[[], T], times: StageTimes, deadline: float) -> T:
        """Raises DeadlineExceeded; what waits for a decoder then is not executed."""

        def measured() -> T:
            started = time.thread_time()
            try:
                return call()
            finally:
                self._count_decode_cpu(time.thread_time() - started)

        with times.timed("decode"):
            return await self._decoders.run(measured, deadline=deadline)

    async def _search(
        self, collection: Gallery, query: SearchQuery, deadline: float
    ) -> SearchResult:
        (found,) = await self.answer(collection, [query], deadline=deadline)
        if isinstance(found, VitrineError):
            raise found
        return found

    def _check_space(self, collection: Gallery) -> None:
        info = self._encoder.info
        if collection.encoder.fingerprint != info.fingerprint:
            raise EncoderMismatch(
                f"Collection {collection.name!r} holds vectors of encoder "
                f"{collection.encoder.name!r}; the server encodes with {info.name!r}.",
                field="collection",
                accepted="a collection made with the encoder in use",
            )


def check_rerank(parts: Sequence[Part], options: SearchOptions) -> None:
    """Raise Invalid when a text is to be re-ranked, which does not help it (docs/evaluation.md)."""
    if options.rerank != "none" and any(part.text is not None for part in parts):
        raise Invalid("Texts are not re-ranked.", field="rerank", accepted='"none", or no text')


def _timed(encoded: Encoded, times: StageTimes) -> NDArray[np.float32]:
    times.add("queue", encoded.queue_s)
    times.add("encode", encoded.encode_s)
    return encoded.embedding


def vector_of(values: Sequence[float]) -> NDArray[np.float32]:
    """Numbers as (D,) float32; one that is too large becomes infinite, which is refused later.

    Raises TypeError for what is no number, OverflowError for what no float64 holds.
    """
    try:
        packed = struct.pack(f"{len(values)}f", *values)
    except struct.error:
        packed = array("f", values).tobytes()  # at twice the cost; it says what is wrong
    return np.frombuffer(packed, np.float32)
