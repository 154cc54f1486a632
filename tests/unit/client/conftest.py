from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fake_server import FakeVitrine, serve
from PIL import Image

from vitrine_client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def fake() -> FakeVitrine:
    return FakeVitrine()


@pytest.fixture
def url(fake: FakeVitrine) -> Iterator[str]:
    with serve(fake) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as vitrine:
        yield vitrine


@pytest.fixture(scope="session")
def draw() -> Callable[[int], bytes]:
    """A PNG by number; different numbers look different."""

    def picture(number: int) -> bytes:
        noise = np.random.default_rng(number).integers(0, 256, (8, 8), np.uint8)
        file = io.BytesIO()
        Image.fromarray(noise).resize((32, 32)).save(file, "PNG")
        return file.getvalue()

    return picture
