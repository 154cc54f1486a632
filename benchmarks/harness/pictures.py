"""Images to query with: files of a folder, each sent with other bytes every time.

A stream that repeats one file measures a cache. `salted` gives the same pixels under other bytes,
as a camera or a phone would; `zipf` repeats images as users do.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
_PNG_HEADER = 33  # signature and IHDR


@dataclass(frozen=True, slots=True)
class Picture:
    """name: its path in the folder, which is also its item id."""

    name: str
    data: bytes


def load_folder(folder: Path, *, limit: int | None = None, seed: int = 0) -> list[Picture]:
    """Images below a folder; a seeded sample of `limit` when there are more."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise SystemExit(f"There are no images in {folder}.")
    if limit is not None and len(files) > limit:
        chosen = np.random.default_rng(seed).choice(len(files), limit, replace=False)
        files = [files[at] for at in sorted(chosen)]
    return [Picture(file.relative_to(folder).as_posix(), file.read_bytes()) for file in files]


def content_type(data: bytes) -> str:
    if data.startswith(b"\x89PNG"):
        return "image/png"
    return "image/webp" if data[8:12] == b"WEBP" else "image/jpeg"


def salted(data: bytes, salt: int) -> bytes:
    """The same pixels under other bytes: a comment in a JPEG, a text chunk in a PNG.

    Other formats come back unchanged.
    """
    return b"".join(salted_pieces(data, salt))


def salted_pieces(data: bytes, salt: int) -> tuple[bytes, memoryview]:
    """`salted` in two pieces, of which the long one is not copied."""
    text = f"salt {salt:016x}".encode()
    if data.startswith(b"\xff\xd8"):
        comment = b"\xff\xfe" + struct.pack(">H", len(text) + 2) + text
        return data[:2] + comment, memoryview(data)[2:]
    if data.startswith(b"\x89PNG"):
        chunk = b"tEXtComment\0" + text
        packed = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        return data[:_PNG_HEADER] + packed, memoryview(data)[_PNG_HEADER:]
    return b"", memoryview(data)


def zipf(count: int, draws: int, *, exponent: float, seed: int) -> NDArray[np.int64]:
    """Indices (draws,) in 0..count-1, the r-th most popular with weight r^-exponent.

    Query popularity of web search follows such a law with an exponent near 0.8 (Breslau et al.,
    "Web Caching and Zipf-like Distributions", 1999). An exponent of 0 is uniform.
    """
    rng = np.random.default_rng(seed)
    weights = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    ranks = rng.choice(count, size=draws, p=weights / weights.sum())
    return rng.permutation(count)[ranks]
