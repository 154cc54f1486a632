"""The HTTP API as values: what to send, and how its answer is read. Nothing is sent here.

A function a call. `Client` and `AsyncClient` send what these return, so that both speak the same.
Each raises ValueError for arguments that make no request, and OSError for an image file that cannot
be read.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote

import numpy as np
from pydantic import ValidationError

from vitrine_client import errors
from vitrine_client.models import (
    Collection,
    Embeddings,
    Item,
    ItemResult,
    Query,
    Readiness,
    Record,
    SearchResult,
    Stored,
    read_image,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import httpx

    from vitrine_client.models import Combine, FieldType, Image, Rerank, Vector

T = TypeVar("T")

_SIGNATURES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)


@dataclass(frozen=True, kw_only=True)
class Call(Generic[T]):
    """One request and the reader of its answer.

    repeatable: a second execution leaves the same state and gives the same answer, so the call may
    be sent again when the connection broke before the answer. answers: statuses besides 2xx that
    `read` understands.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    files: Sequence[tuple[str, tuple[str, bytes, str]]] | None = None
    repeatable: bool = True
    answers: frozenset[int] = frozenset()

    def receive(self, response: httpx.Response) -> T:
        """The answer. Raises ApiError for a refusal, UnexpectedAnswer for anything else."""
        if not response.is_success and response.status_code not in self.answers:
            if response.status_code < 400:
                raise errors.UnexpectedAnswer(
                    f"{response.url} answered {response.status_code}; no Vitrine server redirects."
                )
            raise errors.from_answer(response.status_code, response.headers, response.content)
        try:
            return self.read(response)
        except (ValueError, KeyError, TypeError) as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            raise errors.UnexpectedAnswer(
                f"{response.url} did not answer as a Vitrine server does: {reason}."
            ) from error


def list_collections() -> Call[list[Collection]]:
    def read(response: httpx.Response) -> list[Collection]:
        return [Collection.model_validate(entry) for entry in response.json()["collections"]]

    return Call(method="GET", path="/v1/collections", read=read)


def put_collection(
    name: str,
    *,
    index: str | None,
    metric: str | None,
    fields: Mapping[str, FieldType] | None,
    target_recall: float | None,
    quality: str | None,
    cleanup: Sequence[str] | None,
) -> Call[Collection]:
    settings = given(
        index=index,
        metric=metric,
        fields=fields,
        target_recall=target_recall,
        quality=quality,
        cleanup=cleanup,
    )
    return json_call("PUT", collection_path(name), settings, _read_collection)


def get_collection(name: str) -> Call[Collection]:
    return Call(method="GET", path=collection_path(name), read=_read_collection)


def delete_collection(name: str) -> Call[None]:
    # not repeatable: the second answer would be 404
    return Call(method="DELETE", path=collection_path(name), read=_read_nothing, repeatable=False)


def put_item(item: Item, *, collection: str) -> Call[Stored]:
    path = _item(collection, item.id)
    if item.image is None:
        body = {**_part(item.image, item.vector), "metadata": dict(item.metadata)}
        return json_call("PUT", path, body, _read_stored)
    image = read_image(item.image)
    if not item.metadata:
        headers = {"content-type": media_type(image)}
        return Call(method="PUT", path=path, read=_read_stored, headers=headers, content=image)
    # a part of its own: proxies cut headers and query strings at a few kB
    metadata = json.dumps(dict(item.metadata), allow_nan=False).encode()
    files = [
        ("metadata", ("metadata.json", metadata, "application/json")),
        ("image", ("image", image, media_type(image))),
    ]
    return Call(method="PUT", path=path, read=_read_stored, files=files)


def put_items(items: Sequence[Item], *, collection: str) -> Call[list[ItemResult]]:
    """One batch, as NDJSON: images and vectors may be mixed, and ids need no escaping."""

    def line(item: Item) -> bytes:
        content = {"id": item.id, **_part(item.image, item.vector)}
        if item.metadata:
            content["metadata"] = dict(item.metadata)
        return json.dumps(content, allow_nan=False).encode()

    def read(response: httpx.Response) -> list[ItemResult]:
        return [_item_result(entry) for entry in response.json()["items"]]

    return Call(
        method="POST",
        path=f"{collection_path(collection)}/items:batch",
        read=read,
        headers={"content-type": "application/x-ndjson"},
        content=b"\n".join(line(item) for item in items),
    )


def get_item(item_id: str, *, collection: str) -> Call[Record]:
    def read(response: httpx.Response) -> Record:
        return Record.model_validate_json(response.content)

    return Call(method="GET", path=_item(collection, item_id), read=read)


def get_image(item_id: str, *, collection: str) -> Call[bytes]:
    return Call(method="GET", path=f"{_item(collection, item_id)}/image", read=_read_bytes)


def get_original(item_id: str, *, collection: str) -> Call[bytes]:
    return Call(method="GET", path=f"{_item(collection, item_id)}/original", read=_read_bytes)


def put_metadata(item_id: str, metadata: Mapping[str, Any], *, collection: str) -> Call[Stored]:
    path = f"{_item(collection, item_id)}/metadata"
    return json_call("PUT", path, dict(metadata), _read_stored)


def delete_item(item_id: str, *, collection: str) -> Call[Stored]:
    path = _item(collection, item_id)
    return Call(method="DELETE", path=path, read=_read_stored, repeatable=False)


def search(
    *,
    image: Image | None,
    vector: Vector | None,
    text: str | None,
    item_id: str | None,
    queries: Sequence[Query] | None,
    collection: str,
    k: int,
    offset: int,
    filter: Mapping[str, Any] | None,
    group_by: str | None,
    min_score: float | None,
    combine: Combine,
    rerank: Rerank,
    with_metadata: bool,
    with_vector: bool,
) -> Call[SearchResult]:
    path = f"{collection_path(collection)}/search"
    options = given(
        k=k,
        offset=offset or None,
        filter=filter,
        group_by=group_by,
        min_score=min_score,
        combine=None if combine == "sum" else combine,
        rerank=None if rerank == "none" else rerank,
        with_metadata=None if with_metadata else False,
        with_vector=with_vector or None,
    )
    chosen = given(image=image, vector=vector, text=text, item_id=item_id, queries=queries)
    if len(chosen) != 1:
        raise ValueError("search by one of image, vector, text, item_id and queries")
    if image is not None:
        # the bytes as they are: base64 would cost a third more on the wire
        content = read_image(image)
        params = {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in options.items()
        }
        return Call(
            method="POST",
            path=path,
            read=_read_search,
            params=params,
            headers={"content-type": media_type(content)},
            content=content,
        )
    if queries is not None:
        target: dict[str, Any] = {"queries": [_query(query) for query in queries]}
    else:
        target = {**_part(None, vector), **given(text=text, item_id=item_id)}
    return json_call("POST", path, {**target, **options}, _read_search)


def embeddings(images: Sequence[Image], *, model: str | None) -> Call[Embeddings]:
    contents = [read_image(image) for image in images]
    uris = [f"data:{media_type(content)};base64,{base64_of(content)}" for content in contents]
    body = {**given(model=model), "input": uris, "encoding_format": "base64"}

    def read(response: httpx.Response) -> Embeddings:
        answer = response.json()
        rows = sorted(answer["data"], key=lambda entry: int(entry["index"]))
        if len(rows) != len(images):
            raise ValueError(f"{len(rows)} embeddings for {len(images)} images")
        vectors = [np.frombuffer(base64.b64decode(row["embedding"]), "<f4") for row in rows]
        return Embeddings(model=answer["model"], vectors=np.stack(vectors).astype(np.float32))

    return json_call("POST", "/v1/embeddings", body, read)


def health() -> Call[None]:
    return Call(method="GET", path="/healthz", read=_read_nothing)


def ready() -> Call[Readiness]:
    """503 is an answer here, with the checks that failed."""

    def read(response: httpx.Response) -> Readiness:
        return Readiness.model_validate_json(response.content)

    return Call(method="GET", path="/readyz", read=read, answers=frozenset({503}))


def media_type(image: bytes) -> str:
    """Content type by the first bytes; the server decides what it accepts."""
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return "image/webp"
    for signature, name in _SIGNATURES:
        if image.startswith(signature):
            return name
    return "application/octet-stream"


def numbers(vector: Vector) -> list[float]:
    """A vector (D,) as JSON numbers. Raises ValueError unless it is one finite row."""
    row = np.asarray(vector, dtype=np.float32)
    if row.ndim != 1:
        raise ValueError(f"vector: has shape {row.shape}, (D,) is accepted")
    if not np.isfinite(row).all():
        raise ValueError("vector: holds NaN or infinity, finite numbers are accepted")
    values: list[float] = row.tolist()
    return values


def given(**values: object) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def json_call(
    method: str, path: str, body: Mapping[str, Any], read: Callable[[httpx.Response], T]
) -> Call[T]:
    content = json.dumps(body, allow_nan=False).encode()
    headers = {"content-type": "application/json"}
    return Call(method=method, path=path, read=read, headers=headers, content=content)


def collection_path(name: str) -> str:
    return f"/v1/collections/{segment('collection', name)}"


def _item(collection: str, item_id: str) -> str:
    return f"{collection_path(collection)}/items/{segment('id', item_id)}"


def segment(field_name: str, value: str) -> str:
    # URLs resolve dot segments: DELETE …/items/.. would reach the collection
    if value in ("", ".", ".."):
        raise ValueError(f"{field_name}: {value!r} cannot be part of a URL")
    return quote(value, safe="")


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _part(image: Image | None, vector: Vector | None) -> dict[str, Any]:
    return given(
        image=None if image is None else base64_of(read_image(image)),
        vector=None if vector is None else numbers(vector),
    )


def _query(query: Query) -> dict[str, Any]:
    other = given(text=query.text, item_id=query.item_id)
    part = {**_part(query.image, query.vector), **other}
    return {**part, "weight": query.weight}


def _item_result(entry: Mapping[str, Any]) -> ItemResult:
    problem = entry.get("error")
    if problem is None:
        flags = tuple(entry.get("flags", ()))
        sequence = None if entry.get("skipped") else int(entry["sequence"])
        return ItemResult(id=entry["id"], sequence=sequence, flags=flags)
    error = errors.from_problem(problem, status=int(problem["status"]))
    return ItemResult(id=entry["id"], error=error)


def _read_bytes(response: httpx.Response) -> bytes:
    return response.content


def _read_nothing(response: httpx.Response) -> None:
    return None


def _read_stored(response: httpx.Response) -> Stored:
    return Stored.model_validate_json(response.content)


def _read_collection(response: httpx.Response) -> Collection:
    return Collection.model_validate_json(response.content)


def _read_search(response: httpx.Response) -> SearchResult:
    return SearchResult.model_validate_json(response.content)
