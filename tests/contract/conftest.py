"""The real application in process, with an encoder that needs no Triton."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
from PIL import Image
from standins import AverageEncoder

from vitrine_server.app import create_app
from vitrine_server.config import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from fastapi import FastAPI


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
