"""Figures of the running server: stage times, requests, batch sizes, catalogue size.

Each stage of a request is timed once, into a `StageTimes`; that is shown in the response
(`timings_ms`, `Server-Timing`) and observed in the `vitrine_stage_seconds` histogram.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from vitrine_server import metrics_sum

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

STAGES = ("decode", "queue", "encode", "search", "hydrate", "store", "compare")

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)


class StageTimes:
    """Seconds that one request spent in each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def add(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - started)

    def milliseconds(self) -> dict[str, float]:
        return {stage: round(seconds * 1e3, 3) for stage, seconds in self.seconds.items()}

    def server_timing(self) -> str:
        """Value of the Server-Timing header (W3C Server Timing), durations in milliseconds."""
        return ", ".join(
            f"{stage};dur={seconds * 1e3:.3f}" for stage, seconds in self.seconds.items()
        )


class Metrics:
    """The Prometheus registry of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "vitrine_requests",
            "Requests answered",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._request_seconds = Histogram(
            "vitrine_request_seconds",
            "Time from the request's first byte to the answer's last",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        stage_seconds = Histogram(
            "vitrine_stage_seconds",
            "Time that a request spent in a stage",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._stages = {stage: stage_seconds.labels(stage) for stage in STAGES}
        self.encode_batch = Histogram(
            "vitrine_encode_batch_images",
            "Images in one call of the encoder",
            buckets=_IMAGES,
            registry=self.registry,
        )
        self._decode_cpu = Counter(
            "vitrine_decode_cpu_seconds",
            "Processor time spent on decoding images",
            registry=self.registry,
        )
        self._lookups = Counter(
            "vitrine_cache_lookups",
            "Embeddings (image, text) and answers (result) looked up: hit, remote (in Redis), "
            "shared (computed for another request at that moment), miss",
            ["kind", "outcome"],
            registry=self.registry,
        )
        self._results = {
            known: self._lookups.labels("result", "hit" if known else "miss")
            for known in (False, True)
        }
        self._cache_bytes = Gauge(
            "vitrine_cache_bytes", "Memory that cached embeddings take", registry=self.registry
        )
        self._in_flight = Gauge(
            "vitrine_images_in_flight",
            "Images admitted and not yet answered",
            registry=self.registry,
        )
        self._ready = Gauge(
            "vitrine_encoder_ready",
            "1 when the encoder answers its known-answer probe",
            registry=self.registry,
        )
        self._items = Gauge(
            "vitrine_items", "Items in a collection", ["collection"], registry=self.registry
        )
        self.items: Callable[[], Mapping[str, int]] = dict  # read when it is scraped
        # what the other processes of this server have counted
        self.elsewhere: Callable[[], Awaitable[metrics_sum.Snapshot]] | None = None
        self._answered: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def watch(
        self,
        *,
        images_in_flight: Callable[[], float],
        encoder_ready: Callable[[], float],
        cache_bytes: Callable[[], float],
    ) -> None:
        """Gauges that are read when they are scraped."""
        self._in_flight.set_function(images_in_flight)
        self._ready.set_function(encoder_ready)
        self._cache_bytes.set_function(cache_bytes)

    def count_decode_cpu(self, seconds: float) -> None:
        self._decode_cpu.inc(seconds)

    def count_lookup(self, kind: str, outcome: str) -> None:
        self._lookups.labels(kind, outcome).inc()

    def count_result(self, *, known: bool) -> None:
        self._results[known].inc()

    def observe_stages(self, times: StageTimes) -> None:
        for stage, seconds in times.seconds.items():
            self._stages[stage].observe(seconds)

    def observe_request(self, *, method: str, route: str, status: int, seconds: float) -> None:
        answered = self._answered.get((method, route, status))
        if answered is None:
            # `labels` looks at every label again each time, which takes longer than to count
            counter = self._requests.labels(method, route, str(status))
            answered = counter, self._request_seconds.labels(route)
            self._answered[method, route, status] = answered
        answered[0].inc()
        answered[1].observe(seconds)

    async def render(self) -> bytes:
        """Prometheus text exposition format 0.0.4; of all processes, where there are more."""
        self._items.clear()
        for collection, count in self.items().items():
            self._items.labels(collection).set(count)
        if self.elsewhere is None:
            return generate_latest(self.registry)
        own = metrics_sum.snapshot(self.registry)
        return metrics_sum.render(metrics_sum.total([own, await self.elsewhere()]))
