"""How a route is declared: its answer, its body and its problems in the OpenAPI document.

Bodies are read by the routes themselves (limits come before parsing), so their models are named
here by reference and added to the document by `complete_openapi`.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema
from starlette.routing import Route

from vitrine_server import api_keys, bodies, desk_schemas, schemas
from vitrine_server.records import CollectionSettings
from vitrine_server.rendering import PROBLEM

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fastapi import APIRouter, FastAPI

    from vitrine_server.api_keys import Scope

Handler: TypeAlias = Callable[..., Awaitable[Response]]

COLLECTION = "/v1/collections/{collection}"

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "model": schemas.Problem,
        "description": "The request is refused; the problem names the field",
    },
    "5XX": {"model": schemas.Problem, "description": "The server cannot answer now"},
}
_BODY_MODELS = (
    CollectionSettings,
    schemas.BatchLine,
    schemas.CompareBody,
    schemas.ItemBody,
    schemas.SearchBody,
    schemas.EmbeddingsBody,
    *desk_schemas.BODIES,
)

_IMAGE = {"schema": {"type": "string", "format": "binary"}}
IMAGE_BODY: Mapping[str, Any] = {
    "image/*": _IMAGE,
    bodies.MULTIPART: {"schema": {"type": "object", "properties": {"image": _IMAGE["schema"]}}},
}


def body_of(media_type: str, model: str) -> dict[str, Any]:
    """A request body in the document: media type → one of the models below."""
    return {media_type: {"schema": {"$ref": f"#/components/schemas/{model}"}}}


def route(
    router: APIRouter,
    method: str,
    path: str,
    *,
    scope: Scope | None,
    answer: type | None = None,
    media_type: str = bodies.JSON,
    body: Mapping[str, Any] | None = None,
) -> Callable[[Handler], Handler]:
    """Declare a handler `(request, **path parameters) -> Response`.

    scope: what a key must be good for; it is checked before the handler runs, so before a byte of
    the body is read. None: no key is asked for (the path is in `door._OPEN`). answer: the model of
    a JSON answer; media_type: of another one.
    """
    good: dict[str, Any] = {"model": answer} if answer else {"content": {media_type: {}}}
    extra: dict[str, Any] = {"x-scope": scope, "security": [{"key": []}]} if scope else {}
    if body:
        extra["requestBody"] = {"required": True, "content": body}

    def declare(handler: Handler) -> Handler:
        @functools.wraps(handler)
        async def checked(request: Request, **parameters: str) -> Response:
            if scope is not None:
                api_keys.caller().require(scope)
            return await handler(request, **parameters)

        router.add_api_route(
            path,
            checked,
            methods=[method],
            responses={**_PROBLEMS, 200: good},
            response_class=JSONResponse if answer else Response,
            openapi_extra=extra,
            response_model=None,
        )
        return handler

    return declare


def serve_directly(app: FastAPI, routers: Iterable[APIRouter]) -> None:
    """Put each route before FastAPI's own, which stays for the document and for refusals.

    FastAPI looks for dependencies, parameters and response models that no handler here has, and
    that takes more of a request's time than the handler.
    """
    app.router.routes[:0] = [
        _direct(route)
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute)
    ]


def _direct(documented: APIRoute) -> Route:
    async def endpoint(request: Request) -> Response:
        request.scope["route"] = documented  # as metrics and logs name it
        answer: Response = await documented.endpoint(request, **request.path_params)
        return answer

    direct = Route(documented.path, endpoint, include_in_schema=False)
    direct.methods = set(documented.methods or ())  # Starlette would add HEAD
    return direct


def complete_openapi(app: FastAPI) -> None:
    """Add the models that routes read by themselves to the generated document."""
    _, definitions = models_json_schema(
        [(model, "validation") for model in _BODY_MODELS],
        ref_template="#/components/schemas/{model}",
    )
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        document["components"]["schemas"].update(definitions["$defs"])
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for calls in document["paths"].values():
            for call in calls.values():
                call["responses"].pop("422", None)  # FastAPI's own: routes answer with problems
                for status in _PROBLEMS:
                    content = call["responses"][status]["content"]
                    if bodies.JSON in content:  # the document is made once and completed once
                        content[PROBLEM] = content.pop(bodies.JSON)
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI documents this as its extension point
