"""The exported graph: its structure, and that it computes what PyTorch computes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn

from vitrine_export import engines, onnx_graph
from vitrine_export.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from vitrine_server.manifest import Preprocessing
    from vitrine_training.model import DesignViT


def runner(model: onnx.ModelProto) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    session = engines.session(model.SerializeToString())
    return lambda pixels: session.run(None, {"pixels": pixels})[0]


def test_input_is_uint8_nhwc_and_output_float32_with_a_dynamic_batch(
    graph: onnx.ModelProto,
) -> None:
    (given,), (answer,) = graph.graph.input, graph.graph.output
    assert (given.name, given.type.tensor_type.elem_type) == ("pixels", TensorProto.UINT8)
    dims = given.type.tensor_type.shape.dim
    assert dims[0].dim_param
    assert [dim.dim_value for dim in dims[1:]] == [64, 64, 3]
    assert (answer.name, answer.type.tensor_type.elem_type) == ("embedding", TensorProto.FLOAT)
    dims = answer.type.tensor_type.shape.dim
    assert dims[0].dim_param
    assert dims[1].dim_value == 32


def test_nothing_but_a_cast_touches_the_uint8_input(graph: onnx.ModelProto) -> None:
    """TensorRT accepts UINT8 tensors as inputs of a cast, and nowhere else."""
    users = [node.op_type for node in graph.graph.node if "pixels" in node.input]
    assert users == ["Cast"]


def test_layer_norm_stays_one_operation(graph: onnx.ModelProto, tower: DesignViT) -> None:
    counts = Counter(node.op_type for node in graph.graph.node)
    assert counts["LayerNormalization"] == 2 * tower.config.depth + 1
    assert counts["Softmax"] == counts["Gelu"] == tower.config.depth
    assert "Pow" not in counts  # the sign of a LayerNorm taken apart
    assert graph.opset_import[0].version >= 18


def test_equals_pytorch_at_every_batch(
    graph: onnx.ModelProto,
    tower: DesignViT,
    preprocessing: Preprocessing,
    pixels: NDArray[np.uint8],
) -> None:
    batches = [pixels[:count] for count in (1, 3, 64)]
    module = onnx_graph.PixelEncoder(tower, preprocessing)
    assert onnx_graph.compare(runner(graph), module, batches) <= 1e-5


def test_embeddings_are_those_of_the_models_own_normalisation(
    graph: onnx.ModelProto, tower: DesignViT, pixels: NDArray[np.uint8]
) -> None:
    with torch.inference_mode():
        expected = tower(tower.normalise(torch.from_numpy(pixels))).numpy()
    found = runner(graph)(pixels)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_a_graph_that_differs_is_refused(
    graph: onnx.ModelProto,
    tower: DesignViT,
    preprocessing: Preprocessing,
    pixels: NDArray[np.uint8],
) -> None:
    broken = onnx.ModelProto()
    broken.CopyFrom(graph)
    weight = next(item for item in broken.graph.initializer if item.name.endswith("head.weight"))
    changed = numpy_helper.to_array(weight).copy()
    changed[0] *= 1.01
    weight.CopyFrom(numpy_helper.from_array(changed, weight.name))
    with pytest.raises(ExportError, match="differs from PyTorch"):
        onnx_graph.compare(
            runner(broken), onnx_graph.PixelEncoder(tower, preprocessing), [pixels[:3]]
        )


def test_an_answer_of_another_shape_is_refused(
    tower: DesignViT, preprocessing: Preprocessing, pixels: NDArray[np.uint8]
) -> None:
    with pytest.raises(ExportError, match="shape"):
        onnx_graph.compare(
            lambda _: np.zeros((1, 32), np.float32),
            onnx_graph.PixelEncoder(tower, preprocessing),
            [pixels[:3]],
        )


class Unwritable(nn.Module):
    """A tower with an operation that has no ONNX form."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)[:, :16].reshape(-1, 4, 4)
        return torch.linalg.eigvalsh(flat)


def test_an_unsupported_operation_is_one_sentence(preprocessing: Preprocessing) -> None:
    with pytest.raises(ExportError, match="cannot be written as ONNX") as caught:
        onnx_graph.build(Unwritable(), preprocessing)
    assert "\n" not in str(caught.value)


def test_the_file_is_the_same_each_time_and_names_no_path(
    graph: onnx.ModelProto, tower: DesignViT, preprocessing: Preprocessing, tmp_path: Path
) -> None:
    onnx_graph.save(graph, tmp_path / "one.onnx")
    onnx_graph.save(onnx_graph.build(tower, preprocessing), tmp_path / "two.onnx")
    content = (tmp_path / "one.onnx").read_bytes()
    assert content == (tmp_path / "two.onnx").read_bytes()
    assert b"site-packages" not in content
    assert b".py" not in content


def test_an_unwritable_place_is_one_sentence(graph: onnx.ModelProto, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cannot be written"):
        onnx_graph.save(graph, tmp_path / "missing" / "graph.onnx")
