from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from vitrine_server.catalogue import Catalogue
from vitrine_server.collection import EncoderIdentity, NewItem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from vitrine_server.collection import Collection

DIMENSION = 16


@pytest.fixture
def encoder() -> EncoderIdentity:
    return EncoderIdentity("test", "a" * 64, DIMENSION)


@pytest.fixture
def catalogue(tmp_path: Path, encoder: EncoderIdentity) -> Iterator[Catalogue]:
    opened = Catalogue(tmp_path / "data", encoder=encoder)
    yield opened
    opened.close()


@pytest.fixture
def collection(catalogue: Catalogue) -> Collection:
    return catalogue.get("default")


@pytest.fixture
def item() -> Callable[..., NewItem]:
    """An item whose vector is drawn from its seed."""

    def make(item_id: str, seed: int = 0, **metadata: Any) -> NewItem:
        vector = np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)
        return NewItem(item_id, vector, metadata)

    return make
