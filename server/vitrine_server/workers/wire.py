"""What fronts and owner say to one another: JSON for what is small, raw bytes for the rest.

A frame is two lengths (little-endian, 32 bits), a head and a body:

    head length | body length | head: JSON [number, kind, content] | body

Vectors are float32, metadata is JSON as it is stored, images are as they are. Nothing of a frame is
executed, whoever wrote it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from vitrine_server.errors import TooLarge, VitrineError
from vitrine_server.records import Hit, NewItem, SearchQuery, SearchResult
from vitrine_server.shown import shown

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

MAX_FRAME_BYTES = 256 * 1024 * 1024

_LENGTHS = struct.Struct("<II")


class Malformed(Exception):
    """What came is not a frame; the connection cannot be used any more."""


@dataclass(frozen=True, slots=True)
class Message:
    """content: JSON. body: what belongs to it in raw bytes."""

    kind: str
    content: Any = None
    body: bytes = b""


def frame(number: int, message: Message) -> bytes:
    """A message as it is sent; `number` pairs an answer with its call. Raises TooLarge."""
    head = orjson.dumps([number, message.kind, message.content])
    if len(head) + len(message.body) > MAX_FRAME_BYTES:
        raise TooLarge(
            "The request is too large to be passed on.",
            field="body",
            accepted=f"items of at most {MAX_FRAME_BYTES} bytes together",
        )
    return b"".join((_LENGTHS.pack(len(head), len(message.body)), head, message.body))


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, Message]:
    """The next message. Raises asyncio.IncompleteReadError at the end, Malformed."""
    head_bytes, body_bytes = _LENGTHS.unpack(await reader.readexactly(_LENGTHS.size))
    if head_bytes + body_bytes > MAX_FRAME_BYTES:
        raise Malformed(f"a frame of {head_bytes + body_bytes} bytes")
    text = await reader.readexactly(head_bytes)
    body = await reader.readexactly(body_bytes)
    try:
        number, kind, content = orjson.loads(text)
    except ValueError:
        raise Malformed("a head that is not JSON") from None
    return number, Message(kind, content, body)


def error_content(error: VitrineError) -> dict[str, Any]:
    """An error, so that `error_of` raises the same on the other side."""
    return {
        "type": type(error).__name__,
        "detail": error.detail,
        "code": error.code,
        "field": error.field,
        "accepted": error.accepted,
        "retry_after_s": error.retry_after_s,
    }


def error_of(content: dict[str, Any]) -> VitrineError:
    kind = kinds().get(content.pop("type"), VitrineError)
    error = kind.__new__(kind)
    VitrineError.__init__(error, **content)
    return error


def packed_queries(queries: Sequence[SearchQuery], deadline: float) -> tuple[Any, bytes]:
    """Content and body of a search; deadline: time.monotonic, one clock for the whole machine."""
    asked = [
        {
            "k": query.k,
            "offset": query.offset,
            "filter": query.filter,
            "group_by": query.group_by,
            "min_score": query.min_score,
            "with_vector": query.with_vector,
            "rerank": query.rerank,
        }
        for query in queries
    ]
    blobs = _Blobs()
    sizes = [
        [blobs.add(vector.tobytes()) for vector in (query.vector, *query.views)]
        for query in queries
    ]
    return [deadline, sizes, asked], blobs.joined()


def queries_of(content: Any, body: bytes) -> tuple[list[SearchQuery], float]:
    """Queries and their deadline."""
    deadline, sizes, asked = content
    blobs = _Reader(body)
    queries = []
    for own, options in zip(sizes, asked, strict=True):
        vector, *views = (np.frombuffer(blobs.take(size), np.float32) for size in own)
        queries.append(SearchQuery(vector, views=tuple(views), **options))
    return queries, deadline


def results_message(results: Sequence[SearchResult | VitrineError]) -> Message:
    content: list[dict[str, Any]] = []
    blobs = _Blobs()
    for result in results:
        if isinstance(result, VitrineError):
            content.append(error_content(result))
            continue
        hits = [
            (
                hit.item.id,
                hit.item.group,
                hit.score,
                blobs.add(hit.item.metadata_json),
                0 if hit.vector is None else blobs.add(hit.vector.tobytes()),
                hit.rerank_score,
            )
            for hit in result.hits
        ]
        times = result.search_s, result.hydrate_s
        rest = result.snapshot, *times, result.known, result.fallback
        content.append({"hits": hits, "rest": rest})
    return Message("ok", content, blobs.joined())


def results_of(message: Message) -> list[SearchResult | VitrineError]:
    results: list[SearchResult | VitrineError] = []
    blobs = _Reader(message.body)
    for found in message.content:
        if "type" in found:
            results.append(error_of(found))
            continue
        hits = tuple(
            Hit(
                item=shown(item_id, group, blobs.take(metadata)),
                score=score,
                vector=np.frombuffer(blobs.take(vector), np.float32) if vector else None,
                rerank_score=rerank_score,
            )
            for item_id, group, score, metadata, vector, rerank_score in found["hits"]
        )
        results.append(SearchResult(hits, *found["rest"]))
    return results


def packed_items(items: Sequence[NewItem]) -> tuple[Any, bytes]:
    """Content and body of an upsert."""
    blobs = _Blobs()
    content = [
        (
            item.id,
            blobs.add(item.vector.tobytes()),
            blobs.add(orjson.dumps(item.metadata)),
            blobs.add(item.thumbnail or b""),
            item.image_sha256,
            item.hashes,
        )
        for item in items
    ]
    return content, blobs.joined()


def items_of(content: Any, body: bytes) -> list[NewItem]:
    blobs = _Reader(body)
    return [
        NewItem(
            id=item_id,
            vector=np.frombuffer(blobs.take(vector), np.float32),
            metadata=orjson.loads(blobs.take(metadata)),
            thumbnail=blobs.take(thumbnail) if thumbnail else None,
            image_sha256=digest,
            hashes=tuple(hashes),
        )
        for item_id, vector, metadata, thumbnail, digest, hashes in content
    ]


def vector_message(vector: NDArray[np.float32]) -> Message:
    return Message("ok", body=vector.tobytes())


def vector_of(message: Message) -> NDArray[np.float32]:
    return np.frombuffer(message.body, np.float32)


class _Blobs:
    """Pieces of a body; each is written down by its length."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def add(self, piece: bytes) -> int:
        self._pieces.append(piece)
        return len(piece)

    def joined(self) -> bytes:
        return b"".join(self._pieces)


class _Reader:
    """Takes the pieces of a body in the order in which they were added."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def take(self, length: int) -> bytes:
        start, self._at = self._at, self._at + length
        return self._body[start : self._at]


def kinds() -> dict[str, type[VitrineError]]:
    """Every class of errors by its name."""
    return {kind.__name__: kind for kind in _family(VitrineError)}


def _family(kind: type[VitrineError]) -> Iterator[type[VitrineError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _family(child)
