"""Refusals of image queries while there is no room for them, before anything is begun.

Under overload most requests are refused, on the processors that the engine computes on. So the
connection asks here when it has a request's headers: what would be refused gets its answer at once,
without a task, the application or an exception, and its body is dropped as it comes. All else, also
every other refusal, is left to the application.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from vitrine_server import api_keys, bodies
from vitrine_server.errors import VitrineError

if TYPE_CHECKING:
    from starlette.types import Scope

    from vitrine_server.admission import Gate
    from vitrine_server.api_keys import Keys
    from vitrine_server.galleries import Galleries
    from vitrine_server.metrics import Metrics

STATE = "vitrine.shedding"  # key of the ASGI lifespan's state

_ROUTE = "/v1/collections/{collection}/search"
_SEARCH = re.compile(_ROUTE.replace("{collection}", "([^/]+)"))
_IMAGE_KINDS = (b"image/", bodies.MULTIPART.encode())


class Shedding:
    """Used on one event loop. keys: None where no keys are in use."""

    def __init__(
        self, gate: Gate, *, galleries: Galleries, keys: Keys | None, metrics: Metrics
    ) -> None:
        self._gate = gate
        self._galleries = galleries
        self._keys = keys
        self._metrics = metrics

    def refusal(self, scope: Scope) -> VitrineError | None:
        """Why the request is refused, counted; None: ask the application."""
        if self._gate.has_room or scope["method"] != "POST":
            return None
        started = time.perf_counter()
        path = _SEARCH.fullmatch(scope["raw_path"].decode("ascii", "replace"))
        headers = dict(scope["headers"])
        kind: bytes = headers.get(b"content-type", b"")
        # a web page needs the headers of CORS with its answer
        if path is None or not kind.startswith(_IMAGE_KINDS) or b"origin" in headers:
            return None
        try:
            who = api_keys.ANYBODY
            if self._keys is not None:
                who = self._keys.authenticate(headers.get(b"authorization"))
                who.require("read")
            self._galleries.get(bodies.path_segment(path[1]))
            error = self._gate.refusal(who.name)
            if error is not None:
                who.charge(1)
        except VitrineError:
            return None
        if error is not None:
            seconds = time.perf_counter() - started
            self._metrics.observe_request(
                method="POST", route=_ROUTE, status=error.status, seconds=seconds
            )
        return error
