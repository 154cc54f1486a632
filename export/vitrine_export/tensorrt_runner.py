"""Executes a TensorRT plan with pycuda: pinned buffers, one stream, CUDA graphs at fixed batches.

This file also runs in Triton's environment, beside gpu_python's model.py, so it needs only NumPy,
TensorRT and pycuda.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from typing import TYPE_CHECKING, Any

import numpy as np
import pycuda.driver as cuda  # type: ignore[import-not-found,unused-ignore]
import tensorrt as trt  # type: ignore[import-not-found,unused-ignore]

if TYPE_CHECKING:
    from numpy.typing import NDArray

INPUT, OUTPUT = "pixels", "embedding"


class TensorRtRunner:
    """One engine with its own stream and buffers; for one thread at a time.

    A batch is padded to the next power of two, for which a CUDA graph has been captured: one launch
    instead of one for each kernel, which is what small batches of a small ViT wait for. Raises
    RuntimeError when the plan does not fit this GPU or this TensorRT.
    """

    def __init__(self, plan: bytes) -> None:
        cuda.init()
        self._cuda = cuda.Device(0).retain_primary_context()
        self._cuda.push()
        try:
            self._load(plan)
        finally:
            self._cuda.pop()

    def _load(self, plan: bytes) -> None:
        self._contexts: list[Any] = []
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise RuntimeError(
                "TensorRT cannot load the plan: it was built by another TensorRT version than "
                f"{trt.__version__} or for another GPU than {cuda.Device(0).name()}"
            )
        _, _, largest = self._engine.get_tensor_profile_shape(INPUT, 0)
        self.max_batch = int(largest[0])
        self._stream = cuda.Stream()
        shapes = {
            INPUT: tuple(largest),
            OUTPUT: (self.max_batch, *tuple(self._engine.get_tensor_shape(OUTPUT))[1:]),
        }
        self._host: dict[str, NDArray[Any]] = {}
        self._device: dict[str, Any] = {}
        for name, shape in shapes.items():
            kind = np.dtype(trt.nptype(self._engine.get_tensor_dtype(name)))
            self._host[name] = cuda.pagelocked_empty(shape, kind)
            self._device[name] = cuda.mem_alloc(self._host[name].nbytes)
        # Activations: the graphs run one after the other, so they may share them.
        self._memory_bytes = max(1, int(self._engine.device_memory_size_v2))
        self._memory = cuda.mem_alloc(self._memory_bytes)
        self._graphs = {batch: self._capture(batch) for batch in self._batches()}

    def _batches(self) -> list[int]:
        powers = [1 << n for n in range(self.max_batch.bit_length())]
        return sorted({batch for batch in powers if batch <= self.max_batch} | {self.max_batch})

    def _capture(self, batch: int) -> CudaGraph:
        """A graph with a context of its own: one that changes its shape spoils what it captured."""
        context = self._engine.create_execution_context(
            trt.ExecutionContextAllocationStrategy.USER_MANAGED
        )
        context.set_device_memory(int(self._memory), self._memory_bytes)
        context.set_optimization_profile_async(0, self._stream.handle)
        context.set_input_shape(INPUT, (batch, *self._host[INPUT].shape[1:]))
        for name, memory in self._device.items():
            context.set_tensor_address(name, int(memory))
        self._contexts.append(context)

        def enqueue() -> None:
            if not context.execute_async_v3(self._stream.handle):
                raise RuntimeError("TensorRT refused to execute the engine")

        # The first run of a shape allocates and selects; that must not be part of the graph.
        enqueue()
        self._stream.synchronize()
        return CudaGraph(self._stream.handle, enqueue)

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, S, S, 3) uint8 → (B, D) float32; B may exceed the engine's largest batch."""
        self._cuda.push()
        try:
            parts = [
                self._embed(pixels[start : start + self.max_batch])
                for start in range(0, len(pixels), self.max_batch)
            ]
        finally:
            self._cuda.pop()
        return np.concatenate(parts)

    def _embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        count = len(pixels)
        batch = next(size for size in self._graphs if size >= count)
        self._host[INPUT][:count] = pixels
        cuda.memcpy_htod_async(self._device[INPUT], self._host[INPUT][:count], self._stream)
        self._graphs[batch].launch(self._stream.handle)
        answer = self._host[OUTPUT][:count]
        cuda.memcpy_dtoh_async(answer, self._device[OUTPUT], self._stream)
        self._stream.synchronize()
        return answer.astype(np.float32)

    def time_ms(self, batch: int, *, runs: int) -> list[float]:
        """GPU milliseconds of `runs` executions, without transfers, as trtexec reports them."""
        self._cuda.push()
        try:
            graph = self._graphs[batch]
            events = [(cuda.Event(), cuda.Event()) for _ in range(runs)]
            for start, end in events:
                start.record(self._stream)
                graph.launch(self._stream.handle)
                end.record(self._stream)
            self._stream.synchronize()
            return [float(end.time_since(start)) for start, end in events]
        finally:
            self._cuda.pop()


class CudaGraph:
    """A captured stream. pycuda has no graphs, so these six calls go to the driver itself.

    https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__GRAPH.html
    """

    _THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may go on

    def __init__(self, stream: int, enqueue: Any) -> None:
        self._driver = ctypes.CDLL("libcuda.so.1")
        graph, self._executable = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), self._THREAD_LOCAL)
        try:
            enqueue()
        finally:
            self._call("cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
        self._call(
            "cuGraphInstantiateWithFlags",
            ctypes.byref(self._executable),
            graph,
            ctypes.c_ulonglong(0),
        )
        self._call("cuGraphDestroy", graph)

    def launch(self, stream: int) -> None:
        """Enqueue the whole graph."""
        self._call("cuGraphLaunch", self._executable, ctypes.c_void_p(stream))

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._driver, name)(*arguments)
        if code:
            raise RuntimeError(f"{name} failed with CUDA error {code}")
