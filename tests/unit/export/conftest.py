"""A small DesignViT, its graph and some pixels: everything here takes seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from vitrine_export import onnx_graph
from vitrine_server.manifest import Preprocessing
from vitrine_training.model import DesignViT, DesignViTConfig

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

SIZE = 64


@pytest.fixture(scope="session")
def tower() -> DesignViT:
    config = DesignViTConfig(image_size=SIZE, dim=64, depth=2, heads=2, embedding=32)
    return DesignViT.from_seed(0, config)


@pytest.fixture(scope="session")
def preprocessing(tower: DesignViT) -> Preprocessing:
    return Preprocessing(
        size=SIZE, resize="letterbox", mean=tower.config.mean, std=tower.config.std
    )


@pytest.fixture(scope="session")
def graph(tower: DesignViT, preprocessing: Preprocessing) -> onnx.ModelProto:
    return onnx_graph.build(tower, preprocessing)


@pytest.fixture(scope="session")
def pixels() -> NDArray[np.uint8]:
    """(64, SIZE, SIZE, 3): flat areas and edges, unlike noise, so that embeddings differ."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (64, 4, 4, 3), dtype=np.uint8)
    return coarse.repeat(SIZE // 4, axis=1).repeat(SIZE // 4, axis=2)
