"""The images that calibrate and judge an engine: a folder of the user's, or our own drawings.

Every image goes through `vitrine_server.images`, as in serving. The two sets share no picture.
"""

from __future__ import annotations

import hashlib
import io
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from vitrine_export.errors import ExportError
from vitrine_server import images
from vitrine_server.errors import VitrineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from vitrine_server.manifest import Preprocessing

GATE_IMAGES = 256
CALIBRATION_IMAGES = 512
MIN_GATE_IMAGES = 200
MIN_CALIBRATION_IMAGES = 32
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}


@dataclass(frozen=True)
class ImageSets:
    """gate, calibration: (N, S, S, 3) uint8. source: where they come from, for the manifest."""

    gate: NDArray[np.uint8]
    calibration: NDArray[np.uint8]
    source: str
    skipped: int


def load(
    folder: Path | None, preprocessing: Preprocessing, *, advance: Callable[[], object]
) -> ImageSets:
    """Decode both sets; `advance` is called once an image.

    The choice depends on the files alone, not on their order on disk. Raises ExportError when the
    folder holds too few usable images.
    """
    wanted = GATE_IMAGES + CALIBRATION_IMAGES
    encoded = _drawings(wanted) if folder is None else _files(folder)
    pixels: list[NDArray[np.uint8]] = []
    seen: set[bytes] = set()
    skipped = 0
    for data in encoded:
        digest = hashlib.sha256(data).digest()
        if digest in seen:
            continue
        seen.add(digest)
        try:
            pixels.append(images.decode(data, preprocessing))
        except VitrineError:
            skipped += 1
            continue
        advance()
        if len(pixels) == wanted:
            break
    if len(pixels) < MIN_GATE_IMAGES + MIN_CALIBRATION_IMAGES:
        raise ExportError(
            f"{folder} holds {len(pixels)} different usable images; the gate needs "
            f"{MIN_GATE_IMAGES} and calibration {MIN_CALIBRATION_IMAGES}: give a larger folder, or "
            "none to use the project's own drawings."
        )
    gate = min(GATE_IMAGES, max(MIN_GATE_IMAGES, len(pixels) // 3))
    everything = np.stack(pixels)
    source = "drawings of vitrine_training.corpus" if folder is None else str(folder.name)
    return ImageSets(everything[:gate], everything[gate:], source, skipped)


def batches(inputs: NDArray[Any], size: int) -> Iterator[NDArray[Any]]:
    """Consecutive batches of at most `size` rows."""
    for start in range(0, len(inputs), size):
        yield inputs[start : start + size]


def _files(folder: Path) -> Iterator[bytes]:
    if not folder.is_dir():
        raise ExportError(f"The image folder {folder} does not exist.")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    random.Random(0).shuffle(paths)
    for path in paths:
        if path.is_file():
            yield path.read_bytes()


def _drawings(count: int) -> Iterator[bytes]:
    """PNG sheets of the procedural corpus, two views of each design, so that neighbours exist."""
    from vitrine_training import corpus  # the renderer is slow to import and rarely needed

    for number in range(count):
        sheet = corpus.draw(number // 2, view=number % 2)
        file = io.BytesIO()
        Image.fromarray(sheet).save(file, "PNG", compress_level=1)
        yield file.getvalue()
