"""A KServe gRPC server that behaves as badly as a test asks; good answers are colour averages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from standing import StandIn, averages
from tritonclient.grpc import service_pb2, service_pb2_grpc

from vitrine_server import manifest
from vitrine_server.encoder import TritonEncoder

if TYPE_CHECKING:
    from numpy.typing import NDArray


class FalseTriton(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """mode: good, short, long, nan, zero, unnormalised, other (engine), failing, hung."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.mode = "good"
        self.calls = 0
        self._server: Any = None

    async def start(self) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def kill(self) -> None:
        await self._server.stop(grace=None)

    async def ModelReady(self, request: Any, context: Any) -> Any:
        return service_pb2.ModelReadyResponse(ready=True)

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        self.calls += 1
        if self.mode == "failing":
            await context.abort(grpc.StatusCode.UNAVAILABLE, "model is unloaded")
        if self.mode == "hung":
            await asyncio.sleep(3600)
        count = request.inputs[0].shape[0]
        pixels = np.frombuffer(request.raw_input_contents[0], np.uint8)
        embeddings = [averages(each) for each in pixels.reshape(count, 224, 224, 3)]
        answer = service_pb2.ModelInferResponse(model_name=request.model_name)
        answer.outputs.add(name="embedding", datatype="FP32", shape=[count, len(embeddings[0])])
        answer.raw_output_contents.append(self._damaged(np.stack(embeddings)).tobytes())
        return answer

    def _damaged(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.mode == "short":
            return embeddings[:, :-1]
        if self.mode == "long":
            return np.concatenate([embeddings, embeddings])
        if self.mode == "other":
            return np.roll(embeddings, 1, axis=1)
        factor = {"nan": np.nan, "zero": 0.0, "unnormalised": 2.0}.get(self.mode, 1.0)
        return (embeddings * factor).astype(np.float32)


def encoder_of(triton: FalseTriton) -> TritonEncoder:
    """The real encoder, with a manifest that describes the good answers."""
    info = StandIn().info
    probe = averages(manifest.probe_pixels(224)[0])
    document = manifest.Manifest(
        encoder=info,
        precision="fp32",
        runtime="onnxruntime",
        engine=manifest.EngineFile(file="engine", sha256="0" * 64, bytes=1),
        gate=manifest.Gate(images=1, image_source="tests", rows=()),
        probe_embedding=tuple(float(value) for value in probe),
        created="2026-01-01T00:00:00Z",
        tools={},
        device={},
    )
    return TritonEncoder(
        address=f"127.0.0.1:{triton.port}",
        manifest=document,
        max_batch=8,
        concurrency=3,
        shared_memory=False,
        observe_batch=lambda _: None,
    )
