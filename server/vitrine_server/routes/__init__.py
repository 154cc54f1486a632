"""The HTTP API, a module a subject: parse, call the pipeline, render."""

from __future__ import annotations

from vitrine_server.routes import (
    collections,
    compare,
    copies,
    embeddings,
    feedback,
    items,
    reports,
    search,
    system,
    watches,
    web,
)

ROUTERS = (
    collections.router,
    items.router,
    search.router,
    embeddings.router,
    compare.router,
    copies.router,
    watches.router,
    feedback.router,
    reports.router,
    system.router,
    web.router,
)
