"""The application that owns the collections: the lifetime of its parts, and all routes."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from fastapi_offline import FastAPIOffline

from vitrine_server.assembly import Assembly
from vitrine_server.catalogue import Catalogue
from vitrine_server.compare import Comparer
from vitrine_server.desk import Desk
from vitrine_server.grpc_api import GrpcServer
from vitrine_server.http_server import Drain
from vitrine_server.routes import ROUTERS
from vitrine_server.routes.declare import complete_openapi
from vitrine_server.services import Services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

    from vitrine_server.config import Settings
    from vitrine_server.encoder import Encoder


def create_app(
    settings: Settings,
    *,
    encoder: Encoder | None = None,
    drain: Drain | None = None,
    with_grpc: bool = False,
) -> FastAPI:
    """The sidecar as an ASGI application; its parts live as long as its lifespan.

    encoder: instead of the published one behind Triton. drain: of the server that runs it.
    with_grpc: listen for gRPC as well. Raises
    ManifestError when no engine can be served, KeysUnusable.
    """
    assembly = Assembly(settings, encoder=encoder)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        catalogue = Catalogue(
            settings.data,
            encoder=assembly.identity,
            results_bytes=int(settings.result_cache_mb * 1e6),
        )
        assembly.metrics.items = lambda: {one.name: one.count for one in catalogue.list()}
        try:
            async with assembly.open(catalogue, drain=drain or Drain()) as core:
                comparer = Comparer(
                    settings=settings,
                    catalogue=catalogue,
                    encoder=core.encoder,
                    admission=core.admission,
                )
                desk = Desk(settings=settings, catalogue=catalogue, pipeline=core.pipeline)
                app.state.services = Services(
                    settings=settings,
                    catalogue=catalogue,
                    encoder=core.encoder,
                    admission=core.admission,
                    pipeline=core.pipeline,
                    metrics=core.metrics,
                    budget=core.budget,
                    drain=core.drain,
                    keys=core.keys,
                    comparer=comparer,
                    desk=desk,
                )
                grpc_server = GrpcServer(app.state.services, keys=core.keys) if with_grpc else None
                if grpc_server is not None:
                    await grpc_server.start()
                try:
                    yield assembly.state(core)
                finally:
                    if grpc_server is not None:
                        await grpc_server.stop()
                    await desk.close()
                    comparer.close()
        finally:
            catalogue.close()

    app = FastAPIOffline(
        title="Vitrine",
        version="1",
        description="Image search: designs, products and copies by their pictures.",
        lifespan=lifespan,
        redoc_url=None,
    )
    for router in ROUTERS:
        app.include_router(router)
    assembly.surround(app, ROUTERS)
    complete_openapi(app)
    return app
