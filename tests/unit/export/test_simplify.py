"""The exact rewrites: same answers, less work, and nothing else changed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from onnx import shape_inference
from test_families import CONFIGS, LAYERS

from vitrine_export import engines, families, onnx_graph, quantise, simplify
from vitrine_export.catalogue import Entry
from vitrine_server.manifest import Preprocessing

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE = 64
# Linear layers of the last block that see the class token alone: query, output and the MLP's two.
# DINOv3 rotates its queries by their places, so there they are computed for all. SigLIP has no
# class token: three layers of its pooling head see one token anyway.
NARROW = {"vit": 4, "dinov2": 4, "clip": 4, "chinese_clip": 4, "dinov3_vit": 3, "siglip": 3}


@pytest.fixture(scope="module", params=sorted(NARROW))
def graphs(request: pytest.FixtureRequest) -> tuple[str, onnx.ModelProto, onnx.ModelProto]:
    """A family's name, and its graph as traced and as rewritten."""
    family = str(request.param)
    config = {key: value for key, value in CONFIGS[family].items() if key != "image_size"}
    entry = Entry(
        name=family,
        family=family,
        source="random:0",
        licence="none",
        resize="crop",
        pooling=families.POOLING[family],
        size=SIZE if family != "dinov2" else 56,
        config=config,
    )
    tower = families.random(entry, seed=0)
    with torch.no_grad():
        for name, parameter in tower.named_parameters():
            if name.endswith("bias"):  # zeros would hide a bias that is not scaled
                parameter.copy_(torch.randn(parameter.shape, generator=torch.manual_seed(1)) * 0.1)
    preprocessing = Preprocessing(
        size=entry.size, resize="crop", mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4)
    )
    traced = onnx_graph.trace(tower, preprocessing)
    return family, traced, onnx_graph.build(tower, preprocessing)


def answers(model: onnx.ModelProto, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = engines.session(model.SerializeToString()).run(
        None, {"pixels": pixels}
    )[0]
    return found


def test_answers_are_the_same(graphs: tuple[str, onnx.ModelProto, onnx.ModelProto]) -> None:
    _, traced, rewritten = graphs
    onnx.checker.check_model(rewritten, full_check=True)
    size = traced.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    pixels = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    np.testing.assert_allclose(answers(rewritten, pixels), answers(traced, pixels), atol=2e-6)


def test_patches_are_rows_of_pixels_which_stay_float(
    graphs: tuple[str, onnx.ModelProto, onnx.ModelProto],
) -> None:
    """As they lie: no layout with the channels first, no convolution."""
    _, traced, rewritten = graphs
    assert Counter(node.op_type for node in traced.graph.node)["Conv"] == 1
    assert not [node for node in rewritten.graph.node if node.op_type == "Conv"]
    makers = {name: node for node in rewritten.graph.node for name in node.output}
    rows = next(node for node in rewritten.graph.node if node.op_type == "MatMul")
    behind, name = [], rows.input[0]
    while name != "pixels":
        behind.append(makers[name].op_type)
        name = makers[name].input[0]
    assert behind == ["Add", "Mul", "Reshape", "Transpose", "Reshape", "Cast"]
    assert rows.name not in {layer.node for layer in quantise.linear_layers(rewritten)}


class Overlapping(torch.nn.Module):
    """Patches that share pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 16, stride=8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self.conv(x).flatten(2).transpose(1, 2)
        return tokens.mean(1)


def test_a_convolution_whose_patches_overlap_stays() -> None:
    half = (0.5, 0.5, 0.5)
    preprocessing = Preprocessing(size=SIZE, resize="crop", mean=half, std=half)
    graph = onnx_graph.trace(Overlapping(), preprocessing)
    assert simplify.patches_as_rows(graph) == 0


def test_the_last_block_works_on_one_token(
    graphs: tuple[str, onnx.ModelProto, onnx.ModelProto],
) -> None:
    family, _, rewritten = graphs
    inferred = shape_inference.infer_shapes(rewritten, strict_mode=True)
    tokens: dict[str, list[int]] = {
        item.name: [dim.dim_value for dim in item.type.tensor_type.shape.dim]
        for item in inferred.graph.value_info
    }
    makers = {node.name: node.output[0] for node in rewritten.graph.node}
    shapes = [tokens[makers[layer.node]] for layer in quantise.linear_layers(rewritten)]
    assert sum(len(shape) == 3 and shape[1] == 1 for shape in shapes) == NARROW[family]


def test_no_multiplication_is_left_in_attention(
    graphs: tuple[str, onnx.ModelProto, onnx.ModelProto],
) -> None:
    family, traced, rewritten = graphs
    before, after = (
        Counter(node.op_type for node in model.graph.node) for model in (traced, rewritten)
    )
    if family != "dinov3_vit":
        assert before["Mul"] - after["Mul"] == LAYERS
    # a patch embedding as rows has one Reshape and one MatMul more, and one Transpose less
    more = {"MatMul": 1, "Reshape": 1, "Transpose": -1, "Softmax": 0, "LayerNormalization": 0}
    assert {kind: after[kind] - before[kind] for kind in more} == more
    assert len(rewritten.graph.initializer) <= len(traced.graph.initializer) + 3 * LAYERS + 8


def test_a_graph_without_class_token_is_left_alone(graph: onnx.ModelProto) -> None:
    """DesignViT averages its tokens."""
    copy: Any = onnx.ModelProto()
    copy.CopyFrom(graph)
    assert simplify.keep_class_token(copy) == 0
    assert copy == graph
