"""JPEG files to pixels, on the CPU by thread and on the GPU."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from sizes import Missing, Sizes, median_s

if TYPE_CHECKING:
    from collections.abc import Callable


def decode(device: torch.device, sizes: Sizes) -> list[dict[str, Any]]:
    """A row for each decoder, size and number of threads."""
    rows: list[dict[str, Any]] = []
    for side in sizes.jpeg_sides:
        files = [jpeg(seed, side) for seed in range(sizes.jpegs)]
        for name, read in _cpu_decoders().items():
            for threads in (n for n in sizes.threads if n <= (os.cpu_count() or 1)):
                with ThreadPoolExecutor(threads) as pool:
                    everything = partial(_all, pool, read, files)
                    seconds = median_s(everything, torch.device("cpu"), seconds=sizes.seconds)
                rows.append(_row(name, side, threads, len(files) / seconds))
        row = {"decoder": "nvJPEG through torchvision", "pixels": side}
        try:
            seconds = median_s(_on_gpu(files, device), device, seconds=sizes.seconds)
            rows.append(row | {"images_per_s": len(files) / seconds})
        except Missing as reason:
            rows.append(row | {"missing": str(reason)})
    return rows


def jpeg(seed: int, side: tuple[int, int]) -> bytes:
    """A JPEG with about the detail of a photo: smooth fields, edges, a little grain."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize(side)
    grain = rng.normal(0, 6, (side[1], side[0], 3))
    pixels = np.clip(np.asarray(coarse, np.float64) + grain, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    return file.getvalue()


def _cpu_decoders() -> dict[str, Callable[[bytes], object]]:
    found: dict[str, Callable[[bytes], object]] = {
        "Pillow": lambda file: np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
    }
    try:
        import simplejpeg

        found["libjpeg-turbo"] = simplejpeg.decode_jpeg
    except ImportError:
        pass
    return found


def _all(pool: ThreadPoolExecutor, read: Callable[[bytes], object], files: list[bytes]) -> int:
    return len(list(pool.map(read, files)))


def _on_gpu(files: list[bytes], device: torch.device) -> Callable[[], object]:
    if device.type != "cuda":
        raise Missing("nvJPEG runs on CUDA alone")
    try:
        from torchvision.io import decode_jpeg
    except (ImportError, RuntimeError) as error:
        raise Missing(f"torchvision: {error}") from None
    tensors = [torch.frombuffer(bytearray(file), dtype=torch.uint8) for file in files]
    return lambda: decode_jpeg(tensors, device=device)


def _row(name: str, side: tuple[int, int], threads: int, images_per_s: float) -> dict[str, Any]:
    return {"decoder": name, "pixels": side, "threads": threads, "images_per_s": images_per_s}
