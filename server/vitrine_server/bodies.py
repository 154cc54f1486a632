"""Bytes of a request → typed values, with every limit checked before anything is parsed."""

from __future__ import annotations

import base64
import binascii
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

from multipart import MultipartError, PushMultipartParser, parse_options_header
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from starlette.requests import ClientDisconnect

from vitrine_server.errors import BadRequest, Invalid, Overloaded, TooLarge
from vitrine_server.services import core

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.types import Scope

    from vitrine_server.records import Metadata

Model = TypeVar("Model", bound=BaseModel)

JSON = "application/json"
NDJSON = "application/x-ndjson"
MULTIPART = "multipart/form-data"
# A query of 64 vectors of 4096 numbers, or a batch's metadata, stay below.
_MAX_FIELDS = 20_000
_MAX_VALUES = 300_000
_HELD = "vitrine.held"  # key of the ASGI scope: bytes of the body
# four times as fast as binascii; it takes text without padding, but refuses both alphabets in one
_BASE64 = TypeAdapter(bytes, config=ConfigDict(val_json_bytes="base64"))


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart body."""

    name: str
    filename: str | None
    data: bytes


class Budget:
    """Bytes of all bodies that are inside, so that many large ones cannot fill the memory."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.held = 0

    def hold(self, scope: Scope, size: int) -> None:
        """Count bytes of a request until it is answered. Raises Overloaded."""
        if self.held + size > self._max_bytes:
            raise Overloaded(
                "Too many bytes of other requests are being processed.", retry_after_s=1
            )
        self.held += size
        scope[_HELD] = scope.get(_HELD, 0) + size

    def free(self, scope: Scope) -> None:
        """The request is answered."""
        self.held -= scope.pop(_HELD, 0)


async def read(request: Request, max_bytes: int) -> bytes:
    """The whole body. Raises TooLarge from the header or while it arrives, never after; Overloaded
    when the bodies of all requests are too many bytes."""
    announced = _header(request, b"content-length") or "0"
    if announced.isdigit() and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    encoding = _header(request, b"content-encoding")
    if encoding is not None and encoding.lower() != "identity":
        raise Invalid(
            f"Content-Encoding {encoding[:40]!r} is not accepted.",
            code="unsupported_content_encoding",
            field="Content-Encoding",
            accepted="a body that is not compressed",
        )
    budget = core(request).budget
    pieces: list[bytes] = []
    received = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        piece: bytes = message.get("body", b"")
        received += len(piece)
        if received > max_bytes:
            raise _too_large(max_bytes)
        budget.hold(request.scope, len(piece))
        pieces.append(piece)
        if not message.get("more_body", False):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(
        f"The body is larger than {max_bytes} bytes.",
        code="body_too_large",
        field="body",
        accepted=f"at most {max_bytes} bytes",
    )


def _header(request: Request, name: bytes) -> str | None:
    """`request.headers.get`, which encodes and compares text, at a fifth of its cost."""
    for each, value in request.scope["headers"]:
        if each == name:
            text: str = value.decode("latin-1")
            return text
    return None


def media_type(request: Request) -> str:
    """Content type without its parameters, lower case; "" when there is none."""
    return (_header(request, b"content-type") or "").partition(";")[0].strip().lower()


def parse_json(model: type[Model], text: bytes | str, *, field: str = "body") -> Model:
    """Raises BadRequest for what is not JSON, Invalid naming the first wrong field, and TooLarge
    for more values than any good request has."""
    check_values(text, field)
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise _explain(error, field) from None


def parse_query(model: type[Model], values: Mapping[str, str]) -> Model:
    """Query parameters → model. Raises Invalid naming the parameter."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise _explain(error, "query") from None


def parse_metadata(text: bytes | str) -> Metadata:
    """A JSON object. Raises BadRequest, Invalid or TooLarge."""
    check_values(text, "metadata")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise BadRequest(
            "The metadata is not JSON.",
            code="malformed_json",
            field="metadata",
            accepted="a JSON object",
        ) from None
    if not isinstance(value, dict):
        raise Invalid("The metadata is not an object.", field="metadata", accepted="a JSON object")
    return value


def decode_base64(text: str, *, field: str) -> bytes:
    """Standard or URL-safe base64, a data: URI too. Raises Invalid."""
    if text.startswith("data:"):
        head, _, text = text.partition(",")
        if not head.endswith(";base64"):
            raise Invalid("The data: URI is not base64.", field=field, accepted="data:…;base64,…")
    if len(text) % 4 == 0:
        with suppress(ValidationError):
            return _BASE64.validate_strings(text)
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("The image is not base64.", field=field, accepted="base64") from None


def parse_multipart(request: Request, body: bytes, *, max_parts: int) -> list[Part]:
    """Parts in order. Raises BadRequest for a body that is not whole, TooLarge for too many."""
    _, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get("boundary", "")
    parts: list[Part] = []
    name, filename, data = "", None, bytearray()
    try:
        with PushMultipartParser(boundary, max_segment_count=max_parts + 1) as parser:
            for event in parser.parse(body):
                if event is None:
                    parts.append(Part(name, filename, bytes(data)))
                elif isinstance(event, (bytes, bytearray)):
                    data += event
                else:
                    name, filename, data = event.name or "", event.filename, bytearray()
                    if len(parts) == max_parts:
                        raise TooLarge(
                            f"The body has more than {max_parts} parts.",
                            code="too_many_parts",
                            field="body",
                            accepted=f"at most {max_parts} parts",
                        )
    except MultipartError as error:
        raise BadRequest(
            f"The multipart body cannot be parsed: {error}.",
            code="malformed_multipart",
            field="body",
            accepted="multipart/form-data as in RFC 7578",
        ) from None
    return parts


def unknown_part(name: str, accepted: str) -> Invalid:
    """The refusal of a part that has no meaning here."""
    return Invalid(
        f"There is no part {name[:128]!r} here.",
        code="unknown_field",
        field=name[:128],
        accepted=accepted,
    )


def path_segment(value: str) -> str:
    """A path parameter as the caller meant it; paths are routed before they are unquoted."""
    return unquote(value, errors="surrogateescape")


def check_values(text: bytes | str, field: str) -> None:
    """Raises TooLarge for JSON of more values than any good request has."""
    # Each value is an object of Python, each wrong field an error of pydantic's: 20 MB of JSON can
    # be a gigabyte of those. Colons and commas bound both without parsing, the length bounds them.
    if len(text) <= _MAX_FIELDS:
        return
    raw = text.encode() if isinstance(text, str) else text
    if raw.count(b":") > _MAX_FIELDS or raw.count(b",") > _MAX_VALUES:
        raise TooLarge(
            f"The {field} has too many values.",
            code="too_many_values",
            field=field,
            accepted=f"JSON of at most {_MAX_FIELDS} fields and {_MAX_VALUES} values",
        )


def _explain(error: ValidationError, field: str) -> BadRequest | Invalid:
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "json_invalid":
        return BadRequest(
            f"The {field} is not JSON: {message}.",
            code="malformed_json",
            field=field,
            accepted="one JSON object",
        )
    where = ".".join(str(part) for part in first["loc"]) or field
    if first["type"] == "extra_forbidden":
        return Invalid(
            f"There is no parameter {where[:128]!r} here.",
            code="unknown_field",
            field=where[:128],
            accepted="the parameters listed in /openapi.json",
        )
    return Invalid(f"{where[:128]}: {message}.", field=where[:128], accepted=message)
