"""Pixels to embeddings, through Triton's gRPC endpoint.

The engine behind Triton must be the one that the manifest describes: after every (re)connect the
manifest's known-answer image is encoded and compared before any other answer is trusted.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc

from vitrine_server.batching import Batcher
from vitrine_server.errors import DeadlineExceeded, EncoderUnavailable, Overloaded
from vitrine_server.manifest import MIN_PROBE_COSINE, probe_pixels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vitrine_server.manifest import EncoderInfo, Manifest
    from vitrine_server.metrics import Metrics

MODEL = "image_encoder"
_PROBE_TIMEOUT_S = 10.0
_CHANNEL_OPTIONS = [
    # A restarted Triton is found again within a second, not after gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]


@dataclass(frozen=True, slots=True)
class Encoded:
    """embedding: (D,) float32 with unit length; seconds in the batcher's queue and in Triton."""

    embedding: NDArray[np.float32]
    queue_s: float
    encode_s: float


class Encoder(Protocol):
    """What the pipeline asks of an encoder."""

    @property
    def info(self) -> EncoderInfo: ...

    @property
    def ready(self) -> bool:
        """Whether the last contact was good."""

    async def encode(self, pixels: NDArray[np.uint8], *, deadline: float) -> Encoded:
        """One image (S, S, 3) uint8 → its embedding. `deadline`: time.monotonic clock.

        Raises EncoderUnavailable, Overloaded or DeadlineExceeded.
        """

    async def check(self) -> None:
        """Raises EncoderUnavailable unless the encoder answers with the expected vector space."""

    async def close(self) -> None: ...


class TritonEncoder:
    """`image_encoder` of a Triton Inference Server (KServe v2 over gRPC)."""

    def __init__(
        self,
        *,
        address: str,
        manifest: Manifest,
        max_batch: int,
        concurrency: int,
        metrics: Metrics,
    ) -> None:
        self._info = manifest.encoder
        self._address = address
        self._expected = np.asarray(manifest.probe_embedding, np.float32)
        self._metrics = metrics
        self._channel = grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._batcher = Batcher[NDArray[np.uint8], NDArray[np.float32]](
            self._encode_batch, max_batch=max_batch, concurrency=concurrency
        )
        self._verified = False
        self._verifying = asyncio.Lock()
        self._watcher: asyncio.Task[None] | None = None

    @property
    def info(self) -> EncoderInfo:
        return self._info

    @property
    def ready(self) -> bool:
        return self._verified

    async def encode(self, pixels: NDArray[np.uint8], *, deadline: float) -> Encoded:
        done = await self._batcher.submit(pixels, deadline=deadline)
        return Encoded(done.value, done.queue_s, done.run_s)

    async def check(self) -> None:
        await self._verify()
        try:
            answer = await self._stub.ModelReady(
                service_pb2.ModelReadyRequest(name=MODEL), timeout=_PROBE_TIMEOUT_S
            )
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from None
        if not answer.ready:
            self._verified = False
            raise EncoderUnavailable(f"Triton has not loaded {MODEL}.", retry_after_s=1)

    async def close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            with suppress(asyncio.CancelledError):
                await self._watcher
        await self._channel.close()

    async def _encode_batch(
        self, images: Sequence[NDArray[np.uint8]], deadline: float
    ) -> Sequence[NDArray[np.float32]]:
        if not self._verified:
            await self._verify()
        self._metrics.encode_batch.observe(len(images))
        return list(await self._infer(images, timeout_s=max(0.0, deadline - time.monotonic())))

    async def _infer(
        self, images: Sequence[NDArray[np.uint8]], *, timeout_s: float
    ) -> NDArray[np.float32]:
        """(B, D) float32. An answer of another shape, or without unit length, is refused."""
        size = self._info.preprocessing.size
        request = service_pb2.ModelInferRequest(model_name=MODEL)
        tensor = request.inputs.add(name="pixels", datatype="UINT8")
        tensor.shape.extend((len(images), size, size, 3))
        request.outputs.add(name="embedding")
        # Work that waits in Triton's queue past its deadline is dropped there, unexecuted.
        request.parameters["timeout"].int64_param = max(1, int(timeout_s * 1e6))
        request.raw_input_contents.append(b"".join(image.tobytes() for image in images))
        try:
            response = await self._stub.ModelInfer(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from None
        raw = response.raw_output_contents[0] if response.raw_output_contents else b""
        if len(raw) != len(images) * self._info.dimension * 4:
            self._verified = False
            raise EncoderUnavailable("Triton answered with a tensor of an unexpected size.")
        embeddings = np.frombuffer(raw, np.float32).reshape(len(images), self._info.dimension)
        lengths = np.einsum("bd,bd->b", embeddings, embeddings)
        if not np.all(np.abs(lengths - 1) < 0.01):  # also false for NaN
            self._verified = False
            raise EncoderUnavailable("Triton answered with vectors that are not normalised.")
        return embeddings

    async def _verify(self) -> None:
        """Known-answer test; the first caller runs it, the others wait for its outcome."""
        async with self._verifying:
            if self._verified:
                return
            pixels = probe_pixels(self._info.preprocessing.size)
            answer = await self._infer(list(pixels), timeout_s=_PROBE_TIMEOUT_S)
            cosine = float(answer[0] @ self._expected)
            if cosine < MIN_PROBE_COSINE:
                raise EncoderUnavailable(
                    "Triton serves another engine than the manifest describes "
                    f"(known-answer cosine {cosine:.3f}): restart it after `make export`."
                )
            self._verified = True
            if self._watcher is None or self._watcher.done():
                self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        """Take the trust back as soon as the connection is lost: another engine may come up."""
        state = self._channel.get_state()
        while state is grpc.ChannelConnectivity.READY:
            await self._channel.wait_for_state_change(state)
            state = self._channel.get_state()
        self._verified = False

    def _failed(self, error: grpc.aio.AioRpcError) -> Exception:
        details = error.details() or ""
        code = error.code()
        if code is grpc.StatusCode.DEADLINE_EXCEEDED or "timeout expired" in details.lower():
            return DeadlineExceeded("The encoder did not answer before the request's deadline.")
        if "queue" in details.lower():
            return Overloaded("The encoder's queue is full.", retry_after_s=1)
        self._verified = False
        return EncoderUnavailable(
            f"The encoder does not answer ({code.name.lower()}).", retry_after_s=1
        )
