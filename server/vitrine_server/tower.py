"""One model on Triton that turns a tensor into embeddings: batches, proof, transport, errors.

The engine behind Triton must be the one that the manifest describes: after every (re)connect the
manifest's known input is embedded and compared before any other answer is trusted.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import structlog
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc

from vitrine_server.batching import Batcher
from vitrine_server.breaker import Breaker
from vitrine_server.errors import DeadlineExceeded, EncoderUnavailable, Overloaded
from vitrine_server.manifest import MIN_PROBE_COSINE
from vitrine_server.shared_memory import Region

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_PROBE_TIMEOUT_S = 10.0
_CHANNEL_OPTIONS = [
    # Where the name has several addresses, calls are spread over all of them.
    ("grpc.lb_policy_name", "round_robin"),
    # A restarted Triton is found again within a second, not after gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Encoded:
    """embedding: (D,) float32 with unit length; seconds in the batcher's queue and in Triton."""

    embedding: NDArray[np.float32]
    queue_s: float
    encode_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What a tower is on Triton, and its known answer.

    tensor, datatype: the input's name and KServe type. probe: (1, …) known input; answer: (D,).
    """

    name: str
    tensor: str
    datatype: str
    probe: NDArray[Any]
    answer: NDArray[np.float32]


class Connection:
    """A channel to Triton. `epoch` changes whenever the connection was lost."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self.epoch = 0
        self._watcher: asyncio.Task[None] | None = None

    def watch(self) -> None:
        """Count a new epoch as soon as this connection is lost: another engine may come up."""
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch())

    async def close(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            with suppress(asyncio.CancelledError):
                await self._watcher
        await self._channel.close()

    async def _watch(self) -> None:
        # Whatever the state is by now: between two looks Triton may have gone and come back.
        if self._channel.get_state() is grpc.ChannelConnectivity.READY:
            await self._channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        self.epoch += 1


class Tower:
    """Embeds items of one shape and dtype with one model."""

    def __init__(
        self,
        connection: Connection,
        model: Model,
        *,
        max_batch: int,
        concurrency: int,
        shared_memory: bool,
        observe_batch: Callable[[int], None],
    ) -> None:
        self._connection = connection
        self._model = model
        self._max_batch = max_batch
        self._slots = concurrency + 1  # one more for the probe of `check`
        self._share = shared_memory
        self._region: Region | None = None
        self._region_epoch = -1
        self._observe_batch = observe_batch
        self._batcher = Batcher[NDArray[Any], NDArray[np.float32]](
            self._embed_batch, max_batch=max_batch, concurrency=concurrency
        )
        self._breaker = Breaker()
        self._verified_epoch = -1
        self._verifying = asyncio.Lock()

    @property
    def verified(self) -> bool:
        return self._verified_epoch == self._connection.epoch and self._breaker.closed

    async def embed(self, item: NDArray[Any], *, deadline: float) -> Encoded:
        """Raises EncoderUnavailable, Overloaded or DeadlineExceeded."""
        done = await self._batcher.submit(item, deadline=deadline)
        return Encoded(done.value, done.queue_s, done.run_s)

    async def check(self) -> None:
        """Raises EncoderUnavailable unless the model is loaded and gives its known answer."""
        await self._verify()
        try:
            answer = await self._connection.stub.ModelReady(
                service_pb2.ModelReadyRequest(name=self._model.name), timeout=_PROBE_TIMEOUT_S
            )
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from None
        if not answer.ready:
            self._distrust()
            raise EncoderUnavailable(f"Triton has not loaded {self._model.name}.", retry_after_s=1)

    async def close(self) -> None:
        """Tell Triton to let go of the shared memory. No call may be under way."""
        if self._region is not None:
            with suppress(grpc.aio.AioRpcError):
                await self._connection.stub.SystemSharedMemoryUnregister(
                    service_pb2.SystemSharedMemoryUnregisterRequest(name=self._region.name),
                    timeout=1,
                )

    async def _embed_batch(
        self, items: Sequence[NDArray[Any]], deadline: float
    ) -> Sequence[NDArray[np.float32]]:
        async def encode() -> NDArray[np.float32]:
            if not self.verified:
                await self._verify()
            epoch = self._connection.epoch
            found = await self._infer(items, timeout_s=max(0.0, deadline - time.monotonic()))
            if self._connection.epoch != epoch:
                raise EncoderUnavailable("Triton was replaced meanwhile.", retry_after_s=1)
            return found

        self._observe_batch(len(items))
        return list(await self._breaker.call(encode, deadline=deadline))

    async def _infer(
        self, items: Sequence[NDArray[Any]], *, timeout_s: float
    ) -> NDArray[np.float32]:
        """(B, D) float32. An answer of another shape, or without unit length, is refused."""
        request = service_pb2.ModelInferRequest(model_name=self._model.name)
        tensor = request.inputs.add(name=self._model.tensor, datatype=self._model.datatype)
        tensor.shape.extend((len(items), *items[0].shape))
        request.outputs.add(name="embedding")
        region = self._region
        if region is None:
            request.raw_input_contents.append(np.stack(items).tobytes())
            response = await self._call(request, timeout_s)
        else:
            # A request that nobody waits for any more may still read its slot while the next one
            # writes there: its answer is dropped.
            with region.slot() as slot:
                np.stack(items, out=slot.array[: len(items)])
                tensor.parameters["shared_memory_region"].string_param = region.name
                tensor.parameters["shared_memory_offset"].int64_param = slot.offset
                tensor.parameters["shared_memory_byte_size"].int64_param = slot.array[
                    : len(items)
                ].nbytes
                response = await self._call(request, timeout_s)
        return self._embeddings(response, len(items))

    async def _call(self, request: Any, timeout_s: float) -> Any:
        try:
            return await self._connection.stub.ModelInfer(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise self._failed(error) from None

    def _embeddings(self, response: Any, count: int) -> NDArray[np.float32]:
        dimension = self._model.answer.size
        raw = response.raw_output_contents[0] if response.raw_output_contents else b""
        if len(raw) != count * dimension * 4:
            self._distrust()
            raise EncoderUnavailable("Triton answered with a tensor of an unexpected size.")
        embeddings = np.frombuffer(raw, np.float32).reshape(count, dimension)
        lengths = np.einsum("bd,bd->b", embeddings, embeddings)
        if not np.all(np.abs(lengths - 1) < 0.01):  # also false for NaN
            self._distrust()
            raise EncoderUnavailable("Triton answered with vectors that are not normalised.")
        return embeddings

    async def _verify(self) -> None:
        """Known-answer test; the first caller runs it, the others wait for its outcome."""
        async with self._verifying:
            if self.verified:
                return
            epoch = self._connection.epoch
            await self._share_memory()
            answer = await self._infer(list(self._model.probe), timeout_s=_PROBE_TIMEOUT_S)
            cosine = float(answer[0] @ self._model.answer)
            if cosine < MIN_PROBE_COSINE:
                raise EncoderUnavailable(
                    f"Triton serves another {self._model.name} than the manifest describes "
                    f"(known-answer cosine {cosine:.3f}): restart it after `make export`."
                )
            self._verified_epoch = epoch
            self._connection.watch()

    async def _share_memory(self) -> None:
        """A region for this connection; without one, tensors travel inside the requests.

        The region of a lost connection is not unregistered: that Triton is gone, or still reads it.
        """
        if not self._share or self._region_epoch == self._connection.epoch:
            return
        self._region = None
        epoch = self._connection.epoch
        try:
            region = Region((self._max_batch, *self._model.probe.shape[1:]), slots=self._slots)
        except OSError as error:
            _log.warning("no shared memory for pixels", reason=error.strerror)
            self._share = False
            return
        try:
            await self._connection.stub.SystemSharedMemoryRegister(
                service_pb2.SystemSharedMemoryRegisterRequest(
                    name=region.name, key=region.key, offset=0, byte_size=region.size
                ),
                timeout=_PROBE_TIMEOUT_S,
            )
        except grpc.aio.AioRpcError as error:
            if error.code() in (
                grpc.StatusCode.UNAVAILABLE,
                grpc.StatusCode.DEADLINE_EXCEEDED,
            ):
                raise self._failed(error) from None
            # It runs on another machine, as another user, or does not allow it.
            _log.warning("Triton takes no shared memory", reason=error.details())
            self._share = False
            return
        finally:
            region.hide()
        self._region, self._region_epoch = region, epoch

    def _distrust(self) -> None:
        self._verified_epoch = -1

    def _failed(self, error: grpc.aio.AioRpcError) -> Exception:
        details = error.details() or ""
        code = error.code()
        # the texts are those of a queue policy, which a repository may set for itself
        if code is grpc.StatusCode.DEADLINE_EXCEEDED or "timeout expired" in details.lower():
            return DeadlineExceeded("The encoder did not answer before the request's deadline.")
        if "queue" in details.lower():
            return Overloaded("The encoder's queue is full.", retry_after_s=1)
        self._distrust()
        if "shared memory" in details.lower():
            self._region_epoch = -1
        return EncoderUnavailable(
            f"The encoder does not answer ({code.name.lower()}).", retry_after_s=1
        )
