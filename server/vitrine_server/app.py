"""The application: its parts' lifetime, its routes, and the one place where an error becomes a
status.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from vitrine_server import manifest, tokeniser
from vitrine_server.admission import Admission
from vitrine_server.api_keys import Keys
from vitrine_server.bodies import Budget
from vitrine_server.cache import EmbeddingCache, RemoteCache
from vitrine_server.catalogue import Catalogue
from vitrine_server.compare import Comparer
from vitrine_server.desk import Desk
from vitrine_server.door import Door
from vitrine_server.encoder import Encoder, TritonEncoder
from vitrine_server.errors import BadRequest, VitrineError
from vitrine_server.grpc_api import GrpcServer
from vitrine_server.http_server import Drain
from vitrine_server.metrics import Metrics
from vitrine_server.observe import REQUEST_ID, Observe
from vitrine_server.pipeline import Pipeline
from vitrine_server.records import EncoderIdentity
from vitrine_server.rendering import PROBLEM, problem, problem_response
from vitrine_server.routes import ROUTERS
from vitrine_server.routes.declare import Direct, complete_openapi
from vitrine_server.services import Services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vitrine_server.config import Settings

_log = structlog.get_logger(__name__)


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
    metrics = Metrics()
    budget = Budget(int(settings.max_buffered_mb * 1e6))
    keys = Keys(settings.api_keys) if settings.api_keys else None
    published = None if encoder else manifest.load(settings.encoder_folder)
    text = tokeniser.load(settings.text_encoder_folder, published.encoder) if published else None
    info = published.encoder if published else cast("Encoder", encoder).info
    if not info.trained:
        _log.warning(
            "encoder is not trained: its weights come from a fixed seed, similarity means little",
            encoder=info.name,
        )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        served: Encoder = encoder or _triton_encoder(
            settings, cast("manifest.Manifest", published), text, metrics
        )
        identity = EncoderIdentity(info.name, info.fingerprint, info.dimension)
        catalogue = Catalogue(
            settings.data,
            encoder=identity,
            results_bytes=int(settings.result_cache_mb * 1e6),
        )
        admission = Admission(
            max_images=settings.max_images_in_flight, max_wait_s=settings.max_wait_s
        )
        cache = EmbeddingCache(
            max_bytes=int(settings.cache_mb * 1e6),
            remote=_remote_cache(settings, identity),
            count=metrics.count_lookup,
        )
        pipeline = Pipeline(
            settings=settings,
            catalogue=catalogue,
            encoder=served,
            admission=admission,
            cache=cache,
            count_decode_cpu=metrics.count_decode_cpu,
        )
        comparer = Comparer(
            settings=settings, catalogue=catalogue, encoder=served, admission=admission
        )
        desk = Desk(settings=settings, catalogue=catalogue, pipeline=pipeline)
        metrics.watch(
            cache_bytes=lambda: cache.bytes,
            images_in_flight=lambda: admission.inside,
            encoder_ready=lambda: float(served.ready),
            items=lambda: {one.name: one.count for one in catalogue.list()},
        )
        app.state.services = Services(
            settings,
            catalogue,
            served,
            admission,
            pipeline,
            comparer,
            metrics,
            budget,
            drain or Drain(),
            desk,
        )
        grpc_server = GrpcServer(app.state.services, keys=keys) if with_grpc else None
        if grpc_server is not None:
            await grpc_server.start()
        try:
            yield
        finally:
            if grpc_server is not None:
                await grpc_server.stop()
            await desk.close()
            comparer.close()
            pipeline.close()
            catalogue.close()
            await cache.close()
            await served.close()

    app = FastAPIOffline(
        title="Vitrine",
        version="1",
        description="Image search: designs, products and copies by their pictures.",
        lifespan=lifespan,
        redoc_url=None,
    )
    for router in ROUTERS:
        app.include_router(router)
    app.add_exception_handler(VitrineError, _on_vitrine_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_middleware(Direct, routers=ROUTERS)
    app.add_middleware(Door, keys=keys, budget=budget)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["Retry-After", "Server-Timing", REQUEST_ID],
        )
    app.add_middleware(Observe, metrics=metrics, log_requests=settings.log_requests)
    complete_openapi(app)
    return app


def _triton_encoder(
    settings: Settings,
    published: manifest.Manifest,
    text: tokeniser.TextEncoder | None,
    metrics: Metrics,
) -> TritonEncoder:
    return TritonEncoder(
        address=f"{settings.triton_host}:{settings.triton_grpc_port}",
        manifest=published,
        max_batch=settings.encoder_batch,
        concurrency=settings.encoder_calls,
        shared_memory=settings.triton_shared_memory,
        observe_batch=metrics.encode_batch.observe,
        text=text,
    )


def _remote_cache(settings: Settings, identity: EncoderIdentity) -> RemoteCache | None:
    if settings.redis_url is None:
        return None
    return RemoteCache(
        settings.redis_url, fingerprint=identity.fingerprint, dimension=identity.dimension
    )


async def _on_vitrine_error(request: Request, error: Exception) -> Response:
    return problem_response(cast("VitrineError", error))


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """What the router refuses: an unknown path, a method that a path does not have."""
    refused = cast("HTTPException", error)
    answer = BadRequest(str(refused.detail), code="malformed_request")
    if refused.status_code == 404:
        answer = BadRequest("There is nothing at this path.", code="not_found")
    elif refused.status_code == 405:
        answer = BadRequest("This path does not take this method.", code="method_not_allowed")
    shown = problem(answer) | {"status": refused.status_code, "title": refused.detail}
    return Response(
        orjson.dumps(shown),
        refused.status_code,
        headers=dict(refused.headers or {}),
        media_type=PROBLEM,
    )
