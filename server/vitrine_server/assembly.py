"""What every process that answers HTTP is made of: the parts that a query needs, and what surrounds
its routes. Here alone an error becomes a status.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import orjson
import structlog
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from vitrine_server import manifest, shedding, tokeniser
from vitrine_server.admission import Admission
from vitrine_server.api_keys import Keys
from vitrine_server.bodies import Budget
from vitrine_server.cache import EmbeddingCache, RemoteCache
from vitrine_server.door import Door
from vitrine_server.encoder import TritonEncoder
from vitrine_server.errors import BadRequest, VitrineError
from vitrine_server.metrics import Metrics
from vitrine_server.observe import REQUEST_ID, Observe
from vitrine_server.pipeline import Pipeline
from vitrine_server.records import EncoderIdentity
from vitrine_server.rendering import PROBLEM, problem, problem_response
from vitrine_server.routes.declare import Direct
from vitrine_server.services import Core

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from fastapi import APIRouter, FastAPI
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.types import ASGIApp

    from vitrine_server.config import Settings
    from vitrine_server.encoder import Encoder
    from vitrine_server.galleries import Galleries
    from vitrine_server.http_server import Drain

_log = structlog.get_logger(__name__)


class Assembly:
    """The parts of one process, made from its settings."""

    def __init__(self, settings: Settings, *, encoder: Encoder | None) -> None:
        """encoder: instead of the published one behind Triton. Raises ManifestError when no engine
        can be served, KeysUnusable.
        """
        self.metrics = Metrics()
        self.keys = Keys(settings.api_keys) if settings.api_keys else None
        self._settings = settings
        self._budget = Budget(int(settings.max_buffered_mb * 1e6))
        self._encoder = encoder
        if encoder is None:
            self._manifest = manifest.load(settings.encoder_folder)
            self._text = tokeniser.load(settings.text_encoder_folder, self._manifest.encoder)
        info = self._manifest.encoder if encoder is None else encoder.info
        self.identity = EncoderIdentity(info.name, info.fingerprint, info.dimension)
        if not info.trained:
            _log.warning(
                "encoder is not trained: its weights come from a fixed seed, similarity means "
                "little",
                encoder=info.name,
            )

    @asynccontextmanager
    async def open(
        self, catalogue: Galleries, *, drain: Drain, processes: int = 1
    ) -> AsyncIterator[Core]:
        """The parts that a query needs, until the block ends. processes: that share its load."""
        settings, metrics = self._settings, self.metrics
        encoder = self._encoder or self._triton_encoder()
        admission = Admission(
            max_images=settings.max_images_in_flight,
            max_wait_s=settings.max_wait_s,
            processes=processes,
        )
        cache = EmbeddingCache(
            max_bytes=int(settings.cache_mb * 1e6),
            remote=self._remote_cache(),
            count=metrics.count_lookup,
        )
        pipeline = Pipeline(
            settings=settings,
            catalogue=catalogue,
            encoder=encoder,
            admission=admission,
            cache=cache,
            count_decode_cpu=metrics.count_decode_cpu,
        )
        metrics.watch(
            cache_bytes=lambda: cache.bytes,
            images_in_flight=lambda: admission.inside,
            encoder_ready=lambda: float(encoder.ready),
        )
        try:
            yield Core(
                settings,
                catalogue,
                encoder,
                admission,
                pipeline,
                metrics,
                self._budget,
                drain,
                self.keys,
            )
        finally:
            pipeline.close()
            await cache.close()
            await encoder.close()

    def state(self, parts: Core) -> dict[str, Any]:
        """What the lifespan hands to the HTTP server."""
        if self._settings.log_requests:
            return {}  # the application writes the lines
        return {
            shedding.STATE: shedding.Shedding(
                parts.admission.queries,
                galleries=parts.catalogue,
                keys=self.keys,
                metrics=self.metrics,
            )
        }

    def surround(
        self, app: FastAPI, routers: Sequence[APIRouter], *, before: Sequence[Middleware] = ()
    ) -> None:
        """Serve the routes behind the door. before: what a request passes between the two."""
        settings = self._settings
        app.add_exception_handler(VitrineError, _on_vitrine_error)
        app.add_exception_handler(HTTPException, _on_http_exception)
        # around FastAPI's own middleware, which the routes that match have no use for
        way_in: ASGIApp = Direct(app.build_middleware_stack(), routers=routers)
        for each in before:
            way_in = each.cls(way_in, *each.args, **each.kwargs)
        way_in = Door(way_in, keys=self.keys, budget=self._budget)
        if settings.cors_origins:
            way_in = CORSMiddleware(
                way_in,
                allow_origins=settings.cors_origins,
                allow_methods=["*"],
                allow_headers=["*"],
                expose_headers=["Retry-After", "Server-Timing", REQUEST_ID],
            )
        app.middleware_stack = Observe(
            way_in, metrics=self.metrics, log_requests=settings.log_requests
        )

    def _triton_encoder(self) -> TritonEncoder:
        settings = self._settings
        return TritonEncoder(
            address=f"{settings.triton_host}:{settings.triton_grpc_port}",
            manifest=self._manifest,
            max_batch=settings.encoder_batch,
            concurrency=settings.encoder_calls,
            shared_memory=settings.triton_shared_memory,
            observe_batch=self.metrics.encode_batch.observe,
            text=self._text,
        )

    def _remote_cache(self) -> RemoteCache | None:
        if self._settings.redis_url is None:
            return None
        return RemoteCache(
            self._settings.redis_url,
            fingerprint=self.identity.fingerprint,
            dimension=self.identity.dimension,
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
