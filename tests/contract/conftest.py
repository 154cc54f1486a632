"""The real application in process, with an encoder that needs no Triton: 8×8 colour averages."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
from PIL import Image

from vitrine_server import manifest
from vitrine_server.app import create_app
from vitrine_server.config import Settings
from vitrine_server.tower import Encoded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from fastapi import FastAPI
    from numpy.typing import NDArray

DIMENSION = 8 * 8 * 3


class AverageEncoder:
    """The Encoder protocol on plain numpy: close pictures have close vectors."""

    ready = True
    has_text = False

    def __init__(self) -> None:
        preprocessing = manifest.Preprocessing(
            size=224, resize="letterbox", mean=(0, 0, 0), std=(1, 1, 1)
        )
        space = {"weights_sha256": "0" * 64, "pooling": "mean", "normalisation": "l2"}
        self.info = manifest.EncoderInfo(
            name="averages",
            family="test",
            source="tests",
            licence="Apache-2.0",
            trained=True,
            dimension=DIMENSION,
            preprocessing=preprocessing,
            fingerprint=manifest.fingerprint(preprocessing=preprocessing, **space),
            **space,
        )

    async def encode(self, pixels: NDArray[np.uint8], *, deadline: float) -> Encoded:
        cells = pixels.reshape(8, 28, 8, 28, 3).mean((1, 3)).reshape(-1) - 127.3
        return Encoded((cells / np.linalg.norm(cells)).astype(np.float32), 0.0, 0.0)

    async def encode_text(self, text: str, *, field: str, deadline: float) -> Encoded:
        raise AssertionError("this encoder has no text tower")

    async def check(self) -> None:
        return

    async def close(self) -> None:
        return


@pytest.fixture
def encoder() -> AverageEncoder:
    return AverageEncoder()


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[FastAPI]:
    application = create_app(Settings(data=tmp_path), encoder=AverageEncoder())
    async with application.router.lifespan_context(application):
        yield application


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://vitrine") as client:
        yield client


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """Encoded pictures that differ by seed."""

    def draw(seed: int = 0, *, kind: str = "PNG", mode: str = "RGB") -> bytes:
        rng = np.random.default_rng(seed)
        cells = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
        image = Image.fromarray(cells).resize((320, 240), Image.Resampling.NEAREST)
        file = io.BytesIO()
        image.convert(mode).save(file, kind)
        return file.getvalue()

    return draw
