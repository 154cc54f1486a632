"""ASGI middleware: who calls and until when, before a byte of the body is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitrine_server import api_keys, deadlines

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from vitrine_server.api_keys import Keys
    from vitrine_server.bodies import Budget

# What a load balancer or an orchestrator asks without a key, which says nothing but yes or no; and
# the page, which asks its reader for the key.
_OPEN = {"/healthz", "/readyz", "/"}
_OPEN_FOLDER = "/web/"
_TIMEOUT = deadlines.HEADER.lower().encode()


class Door:
    """Lets callers in. Every path needs a key, whether it exists or not, but for `_OPEN`
    and what lies in `_OPEN_FOLDER`.

    keys: None where no keys are in use. What a key may do is checked by the routes
    (`declare.route`), before they read anything.
    """

    def __init__(self, app: ASGIApp, *, keys: Keys | None, budget: Budget) -> None:
        self._app = app
        self._keys = keys
        self._budget = budget

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        timeout = headers.get(_TIMEOUT)
        deadlines.enter(None if timeout is None else timeout.decode("latin-1"))
        who = api_keys.ANYBODY
        path = scope["path"]
        is_open = path in _OPEN or path.startswith(_OPEN_FOLDER)
        if self._keys is not None and not is_open:
            who = self._keys.authenticate(headers.get(b"authorization"))
        api_keys.enter(who)
        who.charge(1)
        try:
            await self._app(scope, receive, send)
        finally:
            self._budget.free(scope)
