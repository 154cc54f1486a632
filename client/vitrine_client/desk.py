"""What people do around the search, as calls for `Client.send` and `AsyncClient.send`.

    with Client() as vitrine:
        found = vitrine.send(desk.copies(image="photo.jpg"))
        for group in vitrine.lines(desk.duplicates()):
            print(group)

Answers are the JSON of the HTTP API, which its OpenAPI document describes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vitrine_client.models import read_image
from vitrine_client.protocol import (
    Call,
    base64_of,
    collection_path,
    given,
    json_call,
    media_type,
    numbers,
    segment,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import httpx

    from vitrine_client.models import Image, Vector


def copies(
    *,
    image: Image | None = None,
    item_id: str | None = None,
    collection: str = "default",
    k: int = 10,
    min_score: float | None = None,
) -> Call[dict[str, Any]]:
    """Stored items that may be copies of an image, or of an item; see POST …/copies."""
    if (image is None) == (item_id is None):
        raise ValueError("copies of one of image and item_id")
    path = f"{collection_path(collection)}/copies"
    options = given(k=k, min_score=min_score)
    if image is None:
        return json_call("POST", path, {**options, "item_id": item_id}, _read)
    return _image_call(path, image, options)


def duplicates(*, collection: str = "default") -> Call[None]:
    """Groups of copies in a whole collection, for `lines`: events as GET …/duplicates has them."""
    return Call(method="GET", path=f"{collection_path(collection)}/duplicates", read=_nothing)


def calibration(*, collection: str = "default") -> Call[dict[str, Any]]:
    """What copy scores rest on, and how far a measurement is."""
    return Call(method="GET", path=_calibration(collection), read=_read)


def calibrate(
    *, collection: str = "default", sample: int = 100, false_positive_rate: float = 0.01
) -> Call[dict[str, Any]]:
    """Start to measure copy scores on the collection's own pictures."""
    body = {"sample": sample, "false_positive_rate": false_positive_rate}
    call = json_call("POST", _calibration(collection), body, _read)
    return replace(call, repeatable=False)


def forget_calibration(*, collection: str = "default") -> Call[dict[str, Any]]:
    """Go back to the calibration that ships."""
    return Call(method="DELETE", path=_calibration(collection), read=_read)


def add_watch(
    *,
    images: Sequence[Image] = (),
    text: str | None = None,
    item_id: str | None = None,
    vector: Vector | None = None,
    min_score: float,
    watch_id: str | None = None,
    filter: Mapping[str, Any] | None = None,
    webhook: str | None = None,
    collection: str = "default",
) -> Call[dict[str, Any]]:
    """Watch for one of images (views of one thing), text, item_id and vector (D,).

    The answer's `secret` signs what is posted to the webhook; it is shown once.
    """
    parts: list[dict[str, Any]] = [{"image": base64_of(read_image(image))} for image in images]
    single = given(text=text, item_id=item_id, vector=None if vector is None else numbers(vector))
    if bool(parts) + len(single) != 1:
        raise ValueError("watch for one of images, text, item_id and vector")
    body = {"queries": parts} if parts else single
    options = given(id=watch_id, filter=filter, webhook=webhook)
    path = f"{collection_path(collection)}/watches"
    call = json_call("POST", path, {**body, **options, "min_score": min_score}, _read)
    return replace(call, repeatable=False)


def watches(*, collection: str = "default") -> Call[dict[str, Any]]:
    return Call(method="GET", path=f"{collection_path(collection)}/watches", read=_read)


def delete_watch(watch: str, *, collection: str = "default") -> Call[dict[str, Any]]:
    path = f"{collection_path(collection)}/watches/{segment('watch', watch)}"
    return Call(method="DELETE", path=path, read=_read, repeatable=False)


def alerts(
    *, after: int = 0, limit: int = 100, watch: str | None = None, collection: str = "default"
) -> Call[dict[str, Any]]:
    """Alerts numbered above `after`; the answer's `next` is what to ask for after these."""
    params = {
        key: str(value) for key, value in given(after=after, limit=limit, watch=watch).items()
    }
    return Call(
        method="GET", path=f"{collection_path(collection)}/alerts", read=_read, params=params
    )


def add_feedback(
    query: Image,
    item: str,
    *,
    right: bool,
    score: float | None = None,
    rank: int | None = None,
    note: str | None = None,
    collection: str = "default",
) -> Call[dict[str, Any]]:
    """Say that a hit was right or wrong.

    query: the id of a stored item (str), or the image that was searched with (bytes or Path), of
    which only the SHA-256 is sent.
    """
    if not isinstance(query, str):
        query = f"sha256:{hashlib.sha256(read_image(query)).hexdigest()}"
    body = {"query": query, "item": item, "verdict": "right" if right else "wrong"}
    path = f"{collection_path(collection)}/feedback"
    call = json_call("POST", path, {**body, **given(score=score, rank=rank, note=note)}, _read)
    return replace(call, repeatable=False)


def feedback(
    *, after: int = 0, limit: int = 100, collection: str = "default"
) -> Call[dict[str, Any]]:
    """Judgements numbered above `after`."""
    path = f"{collection_path(collection)}/feedback"
    params = {"after": str(after), "limit": str(limit)}
    return Call(method="GET", path=path, read=_read, params=params)


def feedback_csv(*, collection: str = "default") -> Call[str]:
    """What training reads: query, item, verdict."""

    def read(response: httpx.Response) -> str:
        return response.text

    path = f"{collection_path(collection)}/feedback"
    return Call(method="GET", path=path, read=read, params={"format": "csv"})


def quality(*, step: str = "day", collection: str = "default") -> Call[dict[str, Any]]:
    """The share of right hits by hour, day, week or month, and by encoder."""
    path = f"{collection_path(collection)}/feedback/quality"
    return Call(method="GET", path=path, read=_read, params={"step": step})


def report(
    *,
    images: Sequence[Image] = (),
    item_id: str | None = None,
    format: str = "json",
    k: int = 10,
    filter: Mapping[str, Any] | None = None,
    group_by: str | None = None,
    min_score: float | None = None,
    class_field: str | None = None,
    collection: str = "default",
) -> Call[bytes]:
    """A search as a document: format is json, csv or pdf. images are views of one thing."""
    if bool(images) == (item_id is not None):
        raise ValueError("a report of one of images and item_id")
    options = given(filter=filter, group_by=group_by, min_score=min_score, class_field=class_field)
    body: dict[str, Any] = {"format": format, "k": k, **options, **given(item_id=item_id)}
    if images:
        body["queries"] = [{"image": base64_of(read_image(image))} for image in images]

    return json_call("POST", f"{collection_path(collection)}/reports", body, _content)


def comparison_report(
    *,
    image: Image | None = None,
    item_id: str | None = None,
    with_item: str,
    format: str = "json",
    class_field: str | None = None,
    collection: str = "default",
) -> Call[bytes]:
    """A comparison of an image, or of an item, with an item as a document: json, csv or pdf."""
    if (image is None) == (item_id is None):
        raise ValueError("a comparison of one of image and item_id")
    a: dict[str, Any] = {"item_id": item_id, "collection": collection}
    if image is not None:
        a = {"image": base64_of(read_image(image))}
    b = {"item_id": with_item, "collection": collection}
    body = {"a": a, "b": b, "format": format, **given(class_field=class_field)}
    return json_call("POST", "/v1/compare/reports", body, _content)


def backup(file: str, *, collection: str = "default") -> Call[dict[str, Any]]:
    """Write a collection to a file of this name on the server; what the file holds."""
    call = json_call("POST", f"{collection_path(collection)}/backup", {"file": file}, _read)
    return replace(call, repeatable=False)


def restore(
    file: str, *, collection: str = "default", replace_it: bool = False
) -> Call[dict[str, Any]]:
    """Make a collection of a backup on the server, which may replace one; its description."""
    body = {"file": file, "replace": replace_it}
    call = json_call("POST", f"{collection_path(collection)}/restore", body, _read)
    return replace(call, repeatable=False)


def _calibration(collection: str) -> str:
    return f"{collection_path(collection)}/copies/calibration"


def _image_call(path: str, image: Image, options: dict[str, Any]) -> Call[dict[str, Any]]:
    """The bytes as they are, options in the query string."""
    content = read_image(image)
    params = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in options.items()
    }
    headers = {"content-type": media_type(content)}
    return Call(
        method="POST", path=path, read=_read, params=params, headers=headers, content=content
    )


def _read(response: httpx.Response) -> dict[str, Any]:
    answer: dict[str, Any] = response.json()
    if not isinstance(answer, dict):
        raise TypeError("an object was expected")
    return answer


def _content(response: httpx.Response) -> bytes:
    return response.content


def _nothing(response: httpx.Response) -> None:
    return None
