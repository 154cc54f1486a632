"""Every error that a request can meet, as one tree.

    VitrineError
    ├── BadRequest                400  the request cannot be parsed
    ├── Unauthorised              401  no API key, or one that is not known
    ├── Forbidden                 403  the key's scope does not cover the call
    ├── NotFound                  404
    │   ├── CollectionNotFound
    │   └── ItemNotFound
    ├── RequestTimeout            408  the client sends too slowly
    ├── Conflict                  409
    │   └── EncoderMismatch
    ├── TooLarge                  413  body, image, batch over a limit
    ├── UnsupportedMedia          415  not one of the accepted image formats
    ├── Invalid                   422  parsed, but a value cannot be used
    │   ├── InvalidImage
    │   ├── InvalidVector
    │   └── InvalidFilter
    ├── Overloaded                429  the door is full, or a key's rate used up; try again later
    ├── HeadersTooLarge           431
    ├── Unavailable               503
    │   └── EncoderUnavailable
    ├── DeadlineExceeded          504
    └── StorageFailed             507  the disk refused a write; the collection is read-only

`app.py` maps a class to its status in one function and renders RFC 9457 problem+json.
"""

from __future__ import annotations

from typing import ClassVar


class VitrineError(Exception):
    """Root of the tree.

    detail: one sentence for the person who reads the answer, without internals.
    field: the part of the request that is wrong ("k", "metadata.price", "image", …).
    accepted: what would have been accepted there.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    default_code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        field: str | None = None,
        accepted: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.default_code
        self.field = field
        self.accepted = accepted
        self.retry_after_s = retry_after_s


class BadRequest(VitrineError):
    status = 400
    title = "Malformed request"
    default_code = "malformed_request"


class Unauthorised(VitrineError):
    status = 401
    title = "Unauthorised"
    default_code = "unauthorised"


class Forbidden(VitrineError):
    status = 403
    title = "Forbidden"
    default_code = "forbidden"


class NotFound(VitrineError):
    status = 404
    title = "Not found"
    default_code = "not_found"


class CollectionNotFound(NotFound):
    default_code = "collection_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"There is no collection called {name[:128]!r}.",
            field="collection",
            accepted="a name listed by GET /v1/collections; PUT /v1/collections/{name} creates one",
        )


class ItemNotFound(NotFound):
    default_code = "item_not_found"

    def __init__(self, item_id: str, collection: str, *, field: str = "id") -> None:
        super().__init__(
            f"Collection {collection!r} has no item {item_id[:128]!r}.",
            field=field,
            accepted="the id of an item in this collection",
        )


class RequestTimeout(VitrineError):
    status = 408
    title = "Request timeout"
    default_code = "request_timeout"


class Conflict(VitrineError):
    status = 409
    title = "Conflict"
    default_code = "conflict"


class EncoderMismatch(Conflict):
    """The collection's vectors come from another vector space than the encoder in use."""

    default_code = "encoder_mismatch"


class TooLarge(VitrineError):
    status = 413
    title = "Too large"
    default_code = "too_large"


class UnsupportedMedia(VitrineError):
    status = 415
    title = "Unsupported media type"
    default_code = "unsupported_media_type"


class Invalid(VitrineError):
    status = 422
    title = "Invalid value"
    default_code = "invalid_parameter"


class InvalidImage(Invalid):
    default_code = "invalid_image"


class InvalidVector(Invalid):
    default_code = "invalid_vector"


class InvalidFilter(Invalid):
    default_code = "invalid_filter"


class Overloaded(VitrineError):
    status = 429
    title = "Too many requests"
    default_code = "overloaded"


class HeadersTooLarge(VitrineError):
    status = 431
    title = "Request header fields too large"
    default_code = "headers_too_large"


class Unavailable(VitrineError):
    status = 503
    title = "Unavailable"
    default_code = "unavailable"


class EncoderUnavailable(Unavailable):
    default_code = "encoder_unavailable"


class DeadlineExceeded(VitrineError):
    status = 504
    title = "Deadline exceeded"
    default_code = "deadline_exceeded"


class StorageFailed(VitrineError):
    status = 507
    title = "Storage failed"
    default_code = "storage_failed"


def forget_frames(error: BaseException | None) -> None:
    """Let go of what an error came through, once it is an answer.

    The frames hold the request's body and often the error itself: cycles, which would keep the
    bodies of many requests until the collector comes.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__context__
