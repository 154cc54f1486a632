"""Triton's Python model of an encoder: images as pixels, or texts as tokens.

On a CPU it runs OpenVINO, or ONNX Runtime where that fails; as gpu_python's model a TensorRT plan.
It runs in Triton's own environment (OpenVINO, ONNX Runtime, nothing of Vitrine), so it reads
`manifest.json` as plain JSON. The engine is served only when it is the file that passed the gate
and gives the manifest's known answer.

Batches overlap: `execute` hands one to a thread and returns, so that Triton has the next one ready
before the engine is free. Every core stays busy while a batch's slowest part, its answers and the
requests that follow them are under way. One item that finds the engine idle is embedded before
`execute` returns: nothing waits behind it, and the way through a thread takes 0.3 ms.

Tensors cross by DLPack: the backend is compiled against NumPy 1, and under NumPy 2 (all there is
for Python 3.13) `as_numpy()` and `Tensor(name, array)` give wrong values without an error. NumPy's
own DLPack capsule is misused by `from_dlpack` (a crash in time); ONNX Runtime's is not.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Semaphore
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from onnxruntime import OrtValue

OUTPUT = "embedding"
FORMAT = 1
MIN_PROBE_COSINE = 0.99
OVERLAP = 2  # batches that the engine has at a time

# Called by OVERLAP threads at the same time.
Embed = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Input:
    """The input tensor without its batch axis, and the known input of the manifest's answer."""

    name: str
    shape: tuple[int, ...]
    probe: np.ndarray


@dataclass(frozen=True)
class Answer:
    """A response and the memory of its tensor, which Triton copies and does not keep alive.

    It has copied it when `send` returns, or when it calls `execute` again.
    """

    response: Any
    rows: Any = None


class TritonPythonModel:
    """All requests of one call are one inference: pixels or tokens → (B, D) float32."""

    def initialize(self, args: dict[str, str]) -> None:
        folder = Path(args["model_repository"]) / args["model_version"]
        manifest, engine = read_published(folder)
        self.input = describe_input(manifest)
        self.embed = load(engine, manifest, folder / "cache")
        # Each batch size compiles kernels when it is first seen; the first client must not wait.
        largest = json.loads(args["model_config"])["max_batch_size"]
        batch = 1
        while batch <= largest:
            self.embed(np.repeat(self.input.probe, batch, axis=0))
            batch *= 2
        self.room = Semaphore(OVERLAP)
        self.threads = ThreadPoolExecutor(OVERLAP)
        self.under_way: set[Future[None]] = set()
        self.kept: list[Answer] = []

    def execute(self, requests: list[Any]) -> list[Any]:
        """A response for each request; None where a thread will send it."""
        idle = len(requests) == 1 and not self.under_way
        responses: list[Any] = [None] * len(requests)
        parts: dict[int, np.ndarray] = {}
        for index, request in enumerate(requests):
            # it takes 0.1 ms to ask, and what has not waited was not given up
            if not idle and request.is_cancelled():
                responses[index] = failure("The request was cancelled.", "CANCELLED")
                continue
            name = self.input.name
            part = np.from_dlpack(pb_utils.get_input_tensor_by_name(request, name))
            if part.shape[1:] != self.input.shape:
                expected = ", ".join(str(side) for side in self.input.shape)
                responses[index] = failure(
                    f"{name} has shape {list(part.shape)}; accepted is (B, {expected}).",
                    "INVALID_ARG",
                )
                continue
            parts[index] = part
        counts = [len(part) for part in parts.values()]
        if idle and counts == [1]:
            self.kept = answers(self.attempt(parts[0]), counts)
            return [self.kept[0].response]
        if parts:
            # Also one part is copied: a request's memory is Triton's again when this call returns.
            batch = np.concatenate(list(parts.values()))
            senders = [requests[index].get_response_sender() for index in parts]
            self.room.acquire()
            future = self.threads.submit(self.send, batch, counts, senders)
            self.under_way.add(future)
            future.add_done_callback(self.under_way.discard)
        return responses

    def attempt(self, batch: np.ndarray) -> np.ndarray | str:
        """The embeddings of a batch, or why there are none."""
        try:
            embeddings = self.embed(batch)
        except Exception as problem:  # each waiting client is told; the model stays loaded
            return str(problem)
        return (
            embeddings if np.isfinite(embeddings).all() else "the engine answered NaN or infinity"
        )

    def send(self, batch: np.ndarray, counts: list[int], senders: list[Any]) -> None:
        """Answer the requests of a batch that a thread has."""
        found = self.attempt(batch)
        self.room.release()
        for sender, answer in zip(senders, answers(found, counts), strict=True):
            deliver(sender, answer)

    def finalize(self) -> None:
        """Answer what was accepted."""
        self.threads.shutdown()


def answers(found: np.ndarray | str, counts: list[int]) -> list[Answer]:
    """For each request of a batch its rows, or why there are none."""
    if isinstance(found, str):
        return [Answer(failure(f"The encoder failed: {found}", "INTERNAL")) for _ in counts]
    made, start = [], 0
    for count in counts:
        # The inner value: ONNX Runtime 1.23 (Python 3.10) has DLPack on that one alone.
        rows = OrtValue.ortvalue_from_numpy(found[start : start + count])
        output = pb_utils.Tensor.from_dlpack(OUTPUT, rows._get_c_value())
        made.append(Answer(pb_utils.InferenceResponse([output]), rows))
        start += count
    return made


def deliver(sender: Any, answer: Answer) -> None:
    try:
        sender.send(answer.response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
    except Exception as problem:  # the batch's others are still to be answered
        pb_utils.Logger.log_error(f"an answer could not be sent: {problem}")


def failure(message: str, code: str) -> Any:
    """An error response; `code` is a name in TritonError."""
    error = pb_utils.TritonError(message, getattr(pb_utils.TritonError, code))
    return pb_utils.InferenceResponse(output_tensors=[], error=error)


def describe_input(manifest: dict[str, Any]) -> Input:
    """What the model takes: tokens when its manifest has a tokeniser, else pixels."""
    tokeniser = manifest.get("tokeniser")
    if tokeniser is not None:
        return Input("tokens", (tokeniser["length"],), np.array([tokeniser["probe"]], np.int64))
    size = manifest["encoder"]["preprocessing"]["size"]
    return Input("pixels", (size, size, 3), probe_pixels(size))


def read_published(folder: Path) -> tuple[dict[str, Any], Path]:
    """The manifest and its engine, checked. Raises TritonModelException with one sentence."""
    for attempt in range(3):
        try:
            manifest = json.loads((folder / "manifest.json").read_bytes())
        except FileNotFoundError:
            raise refusal(f"No engine is published in {folder}: run `make export`.") from None
        except ValueError as error:
            raise refusal(f"{folder}/manifest.json is not JSON ({error})") from None
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise refusal(f"{folder}/manifest.json is not of format {FORMAT}")
        engine = folder / Path(manifest["engine"]["file"]).name
        if engine.is_file():
            break
        # A new engine may have been published between the two reads.
        time.sleep(0.2 * attempt)
    else:
        raise refusal(f"The engine {engine} that the manifest names is missing")
    if hashlib.sha256(engine.read_bytes()).hexdigest() != manifest["engine"]["sha256"]:
        raise refusal(f"The engine {engine} is not the file that passed the gate (SHA-256 differs)")
    return manifest, engine


def refusal(reason: str) -> Exception:
    """What makes Triton refuse the model, with a sentence for its log."""
    sentence = reason if reason.endswith(".") else f"{reason}: run `make export` again."
    return pb_utils.TritonModelException(sentence)


def load(engine: Path, manifest: dict[str, Any], cache: Path) -> Embed:
    """The first runtime that loads the engine and gives the manifest's known answer."""
    reasons: list[str] = []
    for loader in LOADERS[manifest["runtime"]]:
        try:
            embed = loader(engine, manifest["properties"], cache)
            check_probe(embed, manifest)
        except Exception as error:  # a missing package, an unsupported CPU, a wrong answer
            reasons.append(f"{loader.__name__}: {error}")
            continue
        if reasons:
            pb_utils.Logger.log_warn(f"{loader.__name__} serves the encoder: {reasons[0]}")
        return embed
    raise refusal(f"No runtime serves the engine {engine} ({'; '.join(reasons)})")


def load_openvino(engine: Path, properties: dict[str, str], cache: Path) -> Embed:
    """Compiled for this CPU; the compiled form is kept in `cache`, so that a restart is quick.

    A batch is shared among NUM_STREAMS parts, as in the gate; a smaller one is computed whole.
    """
    import openvino

    core = openvino.Core()
    kept = os.access(engine.parent, os.W_OK)
    if kept:
        core.set_property({"CACHE_DIR": str(cache)})

    def requests(streams: str) -> deque[list[Any]]:
        """For each batch at a time, a request for each stream."""
        compiled = core.compile_model(str(engine), "CPU", properties | {"NUM_STREAMS": streams})
        return deque(
            [compiled.create_infer_request() for _ in range(int(streams))] for _ in range(OVERLAP)
        )

    streams = properties.get("NUM_STREAMS", "1")
    with one_at_a_time(cache) if kept else nullcontext():
        whole = requests("1")
        parts = requests(streams) if streams != "1" else whole

    def embed(batch: np.ndarray) -> np.ndarray:
        idle = parts if len(batch) >= int(streams) else whole
        used = idle.popleft()
        try:
            pieces = np.array_split(batch, len(used))
            for request, piece in zip(used, pieces, strict=True):
                request.start_async({0: piece}, share_inputs=True)
            for request in used:
                request.wait()
            return np.concatenate([request.get_tensor(OUTPUT).data for request in used])
        finally:
            idle.append(used)

    return embed


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """For instances that start together: one would crash on what another has half written."""
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def load_onnxruntime(engine: Path, properties: dict[str, str], cache: Path) -> Embed:
    """The fallback: slower, and without settings or a cache of its own."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(engine), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    return one_by_one(lambda batch: session.run([OUTPUT], {name: batch})[0])


def load_tensorrt(engine: Path, properties: dict[str, str], cache: Path) -> Embed:
    """A plan of this GPU and this TensorRT."""
    from tensorrt_runner import TensorRtRunner

    return one_by_one(TensorRtRunner(engine.read_bytes()).embed)


def one_by_one(embed: Embed) -> Embed:
    """For an engine that uses all there is for one batch, or that one thread may call."""
    lock = Lock()

    def alone(batch: np.ndarray) -> np.ndarray:
        with lock:
            return embed(batch)

    return alone


# Runtime of the manifest → what is tried, in this order.
LOADERS = {
    "openvino": (load_openvino, load_onnxruntime),
    "onnxruntime": (load_onnxruntime,),
    "tensorrt": (load_tensorrt,),
}


def check_probe(embed: Embed, manifest: dict[str, Any]) -> None:
    """Raise ValueError unless the engine embeds the known input as it did in the gate."""
    expected = np.asarray(manifest["probe_embedding"], np.float32)
    found = embed(describe_input(manifest).probe)[0]
    if found.shape != expected.shape:
        raise ValueError(f"the probe has {found.size} values, the manifest {expected.size}")
    cosine = float(found @ expected / (np.linalg.norm(found) * np.linalg.norm(expected)))
    if not cosine >= MIN_PROBE_COSINE:  # also when it is NaN
        raise ValueError(f"the probe's cosine is {cosine:.4f}, at least {MIN_PROBE_COSINE} is due")


def probe_pixels(size: int) -> np.ndarray:
    """As `vitrine_server.manifest.probe_pixels`, which this environment does not have."""
    y, x = np.mgrid[0:size, 0:size].astype(np.int64)
    centre = size // 2
    rings = ((x - centre) ** 2 + (y - centre) ** 2) // (4 * size) % 2 * 160
    channels = [rings + 95 * x // size, rings + 95 * y // size, 255 - rings]
    return np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8)[None]
