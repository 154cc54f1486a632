"""Every error of the client, as one tree.

    VitrineError
    ├── NoAnswer                  nothing usable came back; `url` says from where
    │   ├── ServerUnreachable     no connection: the request was not executed
    │   ├── ConnectionLost        broken after sending: it may have been executed
    │   └── TimedOut              it may have been executed
    ├── UnexpectedAnswer          an answer, but not one of this API
    └── ApiError                  the server refused: status, code, detail, field, accepted
        ├── BadRequest            400
        ├── Unauthorised          401  no API key, or one that the server does not know
        ├── Forbidden             403  the key's scope does not cover the call
        ├── NotFound              404
        │   ├── CollectionNotFound
        │   └── ItemNotFound
        ├── Conflict              409
        │   └── EncoderMismatch
        ├── TooLarge              413
        ├── UnsupportedMedia      415
        ├── Invalid               422
        │   ├── InvalidImage
        │   ├── InvalidVector
        │   └── InvalidFilter
        ├── Overloaded            429
        ├── Unavailable           503
        │   └── EncoderUnavailable
        ├── DeadlineExceeded      504
        └── StorageFailed         507

A refusal becomes the class of its `code`, or of its status when this version does not know the
code. Wrong arguments that need no server are ValueError.
"""

from __future__ import annotations

import email.utils
import json
from datetime import datetime, timezone
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class VitrineError(Exception):
    """Root of the tree; `str(error)` is one sentence for a person."""


class NoAnswer(VitrineError):
    def __init__(self, detail: str, *, url: str) -> None:
        super().__init__(detail)
        self.url = url


class ServerUnreachable(NoAnswer):
    pass


class ConnectionLost(NoAnswer):
    pass


class TimedOut(NoAnswer):
    pass


class UnexpectedAnswer(VitrineError):
    pass


class ApiError(VitrineError):
    """The server's refusal (RFC 9457 problem+json).

    code: stable, for programs. field: the part of the request that is wrong. accepted: what would
    have been accepted there. retry_after_s: when the server asks to try again.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int,
        code: str,
        field: str | None = None,
        accepted: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        self.code = code
        self.field = field
        self.accepted = accepted
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        where = f"{self.field}: " if self.field else ""
        hint = f" (accepted: {self.accepted})" if self.accepted else ""
        return f"{where}{self.detail}{hint}"


class BadRequest(ApiError):
    pass


class Unauthorised(ApiError):
    pass


class Forbidden(ApiError):
    pass


class NotFound(ApiError):
    pass


class CollectionNotFound(NotFound):
    pass


class ItemNotFound(NotFound):
    pass


class Conflict(ApiError):
    pass


class EncoderMismatch(Conflict):
    pass


class TooLarge(ApiError):
    pass


class UnsupportedMedia(ApiError):
    pass


class Invalid(ApiError):
    pass


class InvalidImage(Invalid):
    pass


class InvalidVector(Invalid):
    pass


class InvalidFilter(Invalid):
    pass


class Overloaded(ApiError):
    pass


class Unavailable(ApiError):
    pass


class EncoderUnavailable(Unavailable):
    pass


class DeadlineExceeded(ApiError):
    pass


class StorageFailed(ApiError):
    pass


_BY_CODE: dict[str, type[ApiError]] = {
    "collection_not_found": CollectionNotFound,
    "item_not_found": ItemNotFound,
    "encoder_mismatch": EncoderMismatch,
    "invalid_image": InvalidImage,
    "invalid_vector": InvalidVector,
    "invalid_filter": InvalidFilter,
    "encoder_unavailable": EncoderUnavailable,
}
_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorised,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    415: UnsupportedMedia,
    422: Invalid,
    429: Overloaded,
    503: Unavailable,
    504: DeadlineExceeded,
    507: StorageFailed,
}


def from_problem(
    problem: Mapping[str, Any], *, status: int, retry_after_s: float | None = None
) -> ApiError:
    """The error of a problem+json object; of the status alone when the object says nothing.

    Proxies answer with pages of their own: those have no code, and get `http_<status>`.
    """

    def text(key: str) -> str | None:
        value = problem.get(key)
        return value if isinstance(value, str) and value else None

    code = text("code") or f"http_{status}"
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status, ApiError)
    return kind(
        text("detail") or text("title") or f"The server answered {status} {_phrase(status)}.",
        status=status,
        code=code,
        field=text("field"),
        accepted=text("accepted"),
        retry_after_s=retry_after_s,
    )


def from_answer(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """The error of an HTTP answer with a status of 400 or more."""
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    return from_problem(
        problem if isinstance(problem, dict) else {},
        status=status,
        retry_after_s=retry_after_s(headers.get("retry-after")),
    )


def retry_after_s(header: str | None) -> float | None:
    """Seconds to wait by a Retry-After header, which is a number of seconds or an HTTP date."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            moment = email.utils.parsedate_to_datetime(header)
        except ValueError:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=timezone.utc)
        seconds = (moment - datetime.now(timezone.utc)).total_seconds()
    # "nan" and "inf" are floats too
    return min(max(seconds, 0.0), 3600.0) if seconds == seconds else None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "error"
