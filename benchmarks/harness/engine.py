"""The published engine in this process: the ceiling that serving is measured against."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from vitrine_export import engines
from vitrine_server import images, manifest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray


class LocalEngine:
    """Decoder and engine without a server, with the settings that Triton's model uses."""

    def __init__(self, folder: Path, *, decode_threads: int) -> None:
        self.manifest = manifest.load(folder)
        self._preprocessing = self.manifest.encoder.preprocessing
        self._infer = _loader(self.manifest)(folder / self.manifest.engine.file)
        self._decoders = ThreadPoolExecutor(decode_threads)
        row = next(
            row for row in self.manifest.gate.rows if row.precision == self.manifest.precision
        )
        self.best_batch = row.best_batch

    def decode(self, files: Sequence[bytes]) -> NDArray[np.uint8]:
        """(B, S, S, 3) uint8, decoded by all threads."""
        return np.stack(list(self._decoders.map(self._decode, files)))

    def encode(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, S, S, 3) uint8 → (B, D) float32."""
        return np.asarray(self._infer(pixels), np.float32)

    def images_per_s(self, files: Sequence[bytes], *, batch: int, seconds: float) -> float:
        """Decode and encode, batch after batch, for a while."""
        done, started = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < seconds:
            chosen = [files[(done + at) % len(files)] for at in range(batch)]
            self.encode(self.decode(chosen))
            done += batch
        return done / elapsed

    def _decode(self, data: bytes) -> NDArray[np.uint8]:
        return images.decode(data, self._preprocessing)


def _loader(published: manifest.Manifest) -> Any:
    def openvino_engine(path: Path) -> Any:
        streams = int(published.properties.get("NUM_STREAMS", "1"))
        return engines.load(path, published.precision, "openvino", streams=streams).embed

    def onnxruntime_engine(path: Path) -> Any:
        return engines.load(path, published.precision, "onnxruntime").embed

    loaders = {"openvino": openvino_engine, "onnxruntime": onnxruntime_engine}
    if published.runtime not in loaders:
        raise SystemExit(f"The {published.runtime} engine cannot be run in process here.")
    return loaders[published.runtime]
