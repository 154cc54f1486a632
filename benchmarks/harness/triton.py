"""Triton itself as a scenario: KServe v2 over gRPC, tensors in the message or in shared memory."""

from __future__ import annotations

import asyncio
import time
from multiprocessing import shared_memory
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from harness.openloop import Prepared
from harness.wire import Answer, WireError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MODEL = "image_encoder"
MIN_COSINE = 0.99
RELEASE_S = 10.0
_OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


class TritonRequests:
    """Requests of one image each, and the embeddings that an idle Triton gave for them.

    pixels: (N, S, S, 3) uint8. With shared memory all of them lie in one region, and a request
    names an offset: that is the least that a client can send. Close it to give the region back.
    """

    def __init__(self, address: str, pixels: NDArray[np.uint8], *, shared: bool) -> None:
        self.address = address
        self._pixels = np.ascontiguousarray(pixels)
        self._region: shared_memory.SharedMemory | None = None
        self._channel = grpc.insecure_channel(address, options=_OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        if shared:
            self._share()
        answers = [self._stub.ModelInfer(self.request(at)) for at in range(len(pixels))]
        self.expected: list[NDArray[np.float32]] = [embedding_of(answer) for answer in answers]

    def request(self, index: int) -> Any:
        """A ModelInferRequest for one image."""
        image = self._pixels[index]
        request = service_pb2.ModelInferRequest(model_name=MODEL)
        tensor = request.inputs.add(name="pixels", datatype="UINT8")
        tensor.shape.extend((1, *image.shape))
        request.outputs.add(name="embedding")
        if self._region is None:
            request.raw_input_contents.append(image.tobytes())
        else:
            tensor.parameters["shared_memory_region"].string_param = self._name
            tensor.parameters["shared_memory_byte_size"].int64_param = image.nbytes
            tensor.parameters["shared_memory_offset"].int64_param = index * image.nbytes
        return request

    def infer(self, index: int) -> bool:
        """Send one request and wait; whether the answer is the one of an idle server."""
        return self.is_right(index, embedding_of(self._stub.ModelInfer(self.request(index))))

    def is_right(self, index: int, embedding: NDArray[np.float32]) -> bool:
        expected = self.expected[index]
        return embedding.shape == expected.shape and float(embedding @ expected) >= MIN_COSINE

    def prepare(self, number: int) -> Prepared:
        """For the open-loop generator."""
        index = number % len(self._pixels)
        return Prepared(
            self.request(index),
            is_right=lambda body: self.is_right(index, np.frombuffer(body, np.float32)),
        )

    def close(self) -> None:
        if self._region is not None:
            try:
                self._unregister()
            finally:
                self._region.close()
                self._region.unlink()
        self._channel.close()

    def _share(self) -> None:
        self._region = shared_memory.SharedMemory(create=True, size=self._pixels.nbytes)
        view = np.ndarray(self._pixels.shape, np.uint8, self._region.buf)
        view[:] = self._pixels
        self._name = self._region.name.lstrip("/")
        self._stub.SystemSharedMemoryRegister(
            service_pb2.SystemSharedMemoryRegisterRequest(
                name=self._name, key=f"/{self._name}", byte_size=self._pixels.nbytes
            )
        )

    def _unregister(self) -> None:
        """Triton gives a region up only when the requests that a stopped load left are answered."""
        request = service_pb2.SystemSharedMemoryUnregisterRequest(name=self._name)
        deadline = time.monotonic() + RELEASE_S
        while True:
            try:
                self._stub.SystemSharedMemoryUnregister(request)
                return
            except grpc.RpcError as error:
                if "in use" not in (error.details() or "") or time.monotonic() > deadline:
                    raise
            time.sleep(0.05)


class TritonChannel:
    """The open-loop generator's way to Triton. One HTTP/2 connection carries all requests."""

    opened = 1

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    async def warm(self, count: int) -> None:
        await self._stub.ServerLive(service_pb2.ServerLiveRequest())

    def start(self, payload: Any) -> asyncio.Future[Answer]:
        return asyncio.ensure_future(self._infer(payload))

    async def close(self) -> None:
        await self._channel.close()

    async def _infer(self, request: Any) -> Answer:
        try:
            answer = await self._stub.ModelInfer(request)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE and not error.details():
                raise WireError("Triton does not answer") from None
            return Answer(503, b"", (error.details() or "").encode())
        return Answer(200, b"", bytes(answer.raw_output_contents[0]))


def embedding_of(answer: Any) -> NDArray[np.float32]:
    return np.frombuffer(answer.raw_output_contents[0], np.float32)


def decode_all(files: Sequence[bytes], preprocessing: Any) -> NDArray[np.uint8]:
    """(N, S, S, 3) uint8 by the server's own decoder."""
    from vitrine_server import images

    return np.stack([images.decode(file, preprocessing) for file in files])
