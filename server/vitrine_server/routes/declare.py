"""How a route is declared: its answer, its body and its problems in the OpenAPI document.

Bodies are read by the routes themselves (limits come before parsing), so their models are named
here by reference and added to the document by `complete_openapi`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from vitrine_server import api_keys, bodies, desk_schemas, schemas
from vitrine_server.errors import VitrineError
from vitrine_server.records import CollectionSettings
from vitrine_server.rendering import PROBLEM, problem_response

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fastapi import APIRouter, FastAPI
    from starlette.types import ASGIApp, Receive, Scope, Send

Handler: TypeAlias = Callable[..., Awaitable[Response]]

COLLECTION = "/v1/collections/{collection}"
_GROUP_NAME = re.compile(r"\(\?P<\w+>")

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {
        "model": schemas.Problem,
        "description": "The request is refused; the problem names the field",
    },
    "5XX": {"model": schemas.Problem, "description": "The server cannot answer now"},
}
_BODY_MODELS = (
    CollectionSettings,
    schemas.BackupBody,
    schemas.BatchLine,
    schemas.CompareBody,
    schemas.ItemBody,
    schemas.RestoreBody,
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
    scope: api_keys.Scope | None,
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


class Direct:
    """ASGI middleware: serves the routes that match. All else goes on to FastAPI, which documents
    them and refuses what none of them takes.

    FastAPI looks for dependencies, parameters and response models that no handler here has, and
    that takes more of a request's time than the handler.
    """

    def __init__(self, app: ASGIApp, *, routers: Iterable[APIRouter]) -> None:
        self._app = app
        routes = [
            route for router in routers for route in router.routes if isinstance(route, APIRoute)
        ]
        by_method: dict[str, list[APIRoute]] = {}
        for route in routes:
            for method in route.methods or ():
                by_method.setdefault(method, []).append(route)
        self._tables = {method: _Table(routes) for method, routes in by_method.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        table = self._tables.get(scope["method"]) if scope["type"] == "http" else None
        found = None if table is None else table.find(scope["path"])
        if found is None:
            await self._app(scope, receive, send)
            return
        route, parameters = found
        scope["route"] = route  # as metrics and logs name it
        answer: Response
        try:
            answer = await route.endpoint(Request(scope, receive, send), **parameters)
        except VitrineError as error:
            answer = problem_response(error)
        await answer(scope, receive, send)


class _Table:
    """The routes of one method as one regular expression: the first that matches a path."""

    def __init__(self, routes: Sequence[APIRoute]) -> None:
        alternatives = []
        # by the number of the empty group at the end of its alternative: where its parameters
        # begin, and their names
        self._routes: dict[int, tuple[APIRoute, int, list[str]]] = {}
        groups = 0
        for route in routes:
            names = list(route.path_regex.groupindex)
            alternatives.append(_GROUP_NAME.sub("(", route.path_regex.pattern) + "()")
            self._routes[groups + len(names) + 1] = route, groups, names
            groups += len(names) + 1
        self._pattern = re.compile("|".join(alternatives))

    def find(self, path: str) -> tuple[APIRoute, dict[str, str]] | None:
        match = self._pattern.match(path)
        if match is None or match.lastindex is None:
            return None
        route, first, names = self._routes[match.lastindex]
        values = match.groups()[first : first + len(names)]
        return route, dict(zip(names, values, strict=True))


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
