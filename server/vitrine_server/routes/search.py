"""Search: an image with options in the query string, or JSON."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import orjson
from fastapi import APIRouter, Request, Response
from starlette.datastructures import QueryParams

from vitrine_server import bodies, schemas
from vitrine_server.errors import Invalid
from vitrine_server.metrics import StageTimes
from vitrine_server.pipeline import Part, vector_of
from vitrine_server.rendering import timed_response
from vitrine_server.routes.declare import COLLECTION, IMAGE_BODY, body_of, route
from vitrine_server.services import core
from vitrine_server.shown import hits_json

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_PARTS = 64
_SHORT_QUERY = 256

router = APIRouter()


@route(
    router,
    "POST",
    COLLECTION + "/search",
    scope="read",
    answer=schemas.SearchAnswer,
    body={**IMAGE_BODY, **body_of(bodies.JSON, "SearchBody")},
)
async def search(request: Request, collection: str) -> Response:
    """An image with options in the query string, or JSON."""
    parts, name = core(request), bodies.path_segment(collection)
    parts.catalogue.get(name)
    kind = bodies.media_type(request)
    if kind != bodies.JSON:
        parts.admission.queries.check()  # refuse before the image is read
    query, options = await _read(request, kind, parts.max_body_bytes)
    times = StageTimes()
    result = await parts.pipeline.search(name, query, options, times)
    parts.metrics.count_result(known=result.known)
    shown = hits_json(
        result.hits, with_metadata=options.with_metadata, with_vector=options.with_vector
    )
    info = parts.encoder.info
    answer = {
        "hits": orjson.Fragment(shown),
        "encoder": {"name": info.name, "fingerprint": info.fingerprint},
        "snapshot": result.snapshot,
        "timings_ms": times.milliseconds(),
    }
    if result.fallback is not None:
        answer["fallback"] = result.fallback
    return timed_response(parts, answer, times)


async def _read(
    request: Request, kind: str, max_bytes: int
) -> tuple[list[Part], schemas.SearchOptions]:
    body = await bodies.read(request, max_bytes)
    if kind == bodies.JSON:
        if (plain := _vector_query(body)) is not None:
            return plain
        asked = bodies.parse_json(schemas.SearchBody, body)
        return query_parts(asked), asked
    options = _options(request.scope["query_string"])
    if kind != bodies.MULTIPART:
        return [Part(image=body)], options
    parts = bodies.parse_multipart(request, body, max_parts=_MAX_PARTS)
    for part in parts:
        if part.name != "image":
            raise bodies.unknown_part(part.name, "image")
    if not parts:
        raise Invalid("The body has no part.", field="image", accepted="a part image")
    return [Part(image=part.data) for part in parts], options


def _remembering(
    parse: Callable[[bytes], schemas.SearchOptions],
) -> Callable[[bytes], schemas.SearchOptions]:
    """A client asks with the same options again and again."""
    known = lru_cache(256)(parse)
    return lambda text: known(text) if len(text) <= _SHORT_QUERY else parse(text)


@_remembering
def _options(query: bytes) -> schemas.SearchOptions:
    return bodies.parse_query(schemas.SearchOptions, QueryParams(query))


@_remembering
def _json_options(text: bytes) -> schemas.SearchOptions:
    return schemas.SearchOptions.model_validate(orjson.loads(text))


def _vector_query(body: bytes) -> tuple[list[Part], schemas.SearchOptions] | None:
    """A query that is one vector, read at a quarter of the cost of its model.

    None: the model has to read it, or to say what is wrong.
    """
    bodies.check_values(body, "body")
    try:
        asked = orjson.loads(body)
        vector = vector_of(asked.pop("vector"))
        return [Part(vector=vector)], _json_options(orjson.dumps(asked))
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        return None


def query_parts(asked: schemas.SearchBody) -> list[Part]:
    """The pieces of a query. Raises Invalid unless each is exactly one thing."""
    single = [asked.image, asked.vector, asked.text, asked.item_id]
    if sum(value is not None for value in [*single, asked.queries]) != 1:
        raise Invalid(
            "The query must be one thing.",
            code="invalid_query",
            field="image",
            accepted="exactly one of image, vector, text, item_id and queries",
        )
    if asked.queries is None:
        return [_part(asked, "", 1.0)]
    return [
        _part(part, f"queries.{index}.", part.weight) for index, part in enumerate(asked.queries)
    ]


def _part(part: schemas.QueryPart, where: str, weight: float) -> Part:
    if sum(v is not None for v in (part.image, part.vector, part.text, part.item_id)) != 1:
        raise Invalid(
            "A query must be one thing.",
            code="invalid_query",
            field=where.rstrip("."),
            accepted="exactly one of image, vector, text and item_id",
        )
    image = None
    if part.image is not None:
        image = bodies.decode_base64(part.image, field=f"{where}image")
    return Part(
        image=image,
        vector=None if part.vector is None else vector_of(part.vector),
        text=part.text,
        item_id=part.item_id,
        weight=weight,
        where=f"{where}text" if part.text is not None else "",
    )
