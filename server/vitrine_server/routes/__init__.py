"""The HTTP API, a module a subject: parse, call the pipeline, render."""

from __future__ import annotations

from vitrine_server.routes import collections, compare, embeddings, items, search, system, web

ROUTERS = (
    collections.router,
    items.router,
    search.router,
    embeddings.router,
    compare.router,
    system.router,
    web.router,
)
