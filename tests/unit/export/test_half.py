"""The FP16 graph: what stays in FP32, and that 8-bit layers can be inserted into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
from onnx import TensorProto, numpy_helper, shape_inference

from vitrine_export import engines, half, quantise

if TYPE_CHECKING:
    from numpy.typing import NDArray

pytest.importorskip("modelopt.onnx.autocast", reason="ModelOpt is not installed (optional)")
# ModelOpt's own dependencies use deprecated calls
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def fp16(graph: onnx.ModelProto, pixels: NDArray[np.uint8]) -> onnx.ModelProto:
    return half.to_fp16(graph, pixels[:8])


def types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = shape_inference.infer_shapes(model)
    parts = (*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output)
    found = {item.name: item.type.tensor_type.elem_type for item in parts}
    return found | {item.name: item.data_type for item in inferred.graph.initializer}


def embed(model: onnx.ModelProto, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """ONNX Runtime with each Q/DQ node computed as it stands: it cannot fuse the ones of FP8."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    answer: NDArray[np.float32] = session.run(None, {"pixels": pixels})[0]
    return answer


def test_every_product_is_fp16_and_every_sum_of_many_terms_fp32(fp16: onnx.ModelProto) -> None:
    kinds = types(fp16)
    seen = set()
    for node in fp16.graph.node:
        if node.op_type in ("MatMul", "Gemm", "Conv", "Gelu"):
            assert kinds[node.output[0]] == TensorProto.FLOAT16, node.name
        elif node.op_type in half.KEPT_IN_FP32:
            assert kinds[node.output[0]] == TensorProto.FLOAT, node.name
        seen.add(node.op_type)
    assert {"LayerNormalization", "Softmax", "ReduceMean", "ReduceL2"} <= seen


def test_inputs_and_outputs_keep_their_types(fp16: onnx.ModelProto) -> None:
    assert fp16.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
    assert fp16.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT


def test_pixels_are_normalised_in_fp32(graph: onnx.ModelProto, fp16: onnx.ModelProto) -> None:
    kinds = types(fp16)
    names = {node.name for node in quantise.pixelwise(graph) if node.op_type in ("Mul", "Add")}
    found = [node for node in fp16.graph.node if node.name in names]
    assert len(found) == len(names) == 2
    assert {kinds[node.output[0]] for node in found} == {TensorProto.FLOAT}


def test_embeddings_are_those_of_fp32(
    graph: onnx.ModelProto, fp16: onnx.ModelProto, pixels: NDArray[np.uint8]
) -> None:
    expected, found = embed(graph, pixels), embed(fp16, pixels)
    assert (expected * found).sum(axis=1).min() > 0.9999
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-4)


@pytest.mark.parametrize("number", [quantise.INT8, quantise.FP8], ids=lambda number: number.name)
def test_8_bit_layers_in_an_fp16_graph_have_fp16_scales(
    graph: onnx.ModelProto,
    fp16: onnx.ModelProto,
    pixels: NDArray[np.uint8],
    number: quantise.Format,
) -> None:
    layers = quantise.linear_layers(graph)
    assert [layer.node for layer in quantise.linear_layers(fp16)] == [x.node for x in layers]
    names = sorted({layer.activation for layer in layers})
    session = engines.session(quantise.with_outputs(graph, names).SerializeToString())
    ranges = quantise.calibrate(
        layers,
        lambda part: dict(zip(names, session.run(names, {"pixels": part}), strict=True)),
        pixels,
        batch=16,
        advance=lambda count: None,
    )
    model = quantise.quantise(fp16, ranges, number)
    onnx.checker.check_model(model, full_check=True)
    constants = {item.name: item for item in model.graph.initializer}
    kinds = types(model)
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale = constants[node.input[1]]
            assert scale.data_type == TensorProto.FLOAT16
            assert (numpy_helper.to_array(scale) > 0).all()
        if node.op_type == "DequantizeLinear":
            assert kinds[node.output[0]] == TensorProto.FLOAT16
    expected, found = embed(graph, pixels), embed(model, pixels)
    assert (expected * found).sum(axis=1).min() > 0.98
