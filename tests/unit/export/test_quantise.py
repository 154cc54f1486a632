"""The INT8 graph: exactly the linear layers are quantised, with the right scales."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime  # type: ignore[import-untyped]
import pytest
from onnx import TensorProto, helper, numpy_helper, shape_inference

from vitrine_export import engines, gate, quantise
from vitrine_export.errors import ExportError
from vitrine_export.quantise import FP8, INT8, INT8_CPU, Range

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vitrine_training.model import DesignViT


@pytest.fixture(scope="module")
def ranges(graph: onnx.ModelProto, pixels: NDArray[np.uint8]) -> dict[str, Range]:
    layers = quantise.linear_layers(graph)
    names = sorted({layer.activation for layer in layers})
    session = engines.session(quantise.with_outputs(graph, names).SerializeToString())
    return quantise.calibrate(
        layers,
        lambda part: dict(zip(names, session.run(names, {"pixels": part}), strict=True)),
        pixels,
        batch=16,
        advance=lambda count: None,
    )


@pytest.fixture(scope="module")
def int8(graph: onnx.ModelProto, ranges: dict[str, Range]) -> onnx.ModelProto:
    return quantise.quantise(graph, ranges, INT8)


@pytest.fixture(scope="module")
def fp8(graph: onnx.ModelProto, ranges: dict[str, Range]) -> onnx.ModelProto:
    return quantise.quantise(graph, ranges, FP8)


def unfused(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """ONNX Runtime that computes each Q/DQ node as it stands: it cannot fuse the ones of FP8."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def producers(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in model.graph.node for name in node.output}


@pytest.mark.parametrize("number", ["int8", "fp8"])
def test_every_linear_layer_and_nothing_else_is_quantised(
    graph: onnx.ModelProto, tower: DesignViT, number: str, request: pytest.FixtureRequest
) -> None:
    model: onnx.ModelProto = request.getfixturevalue(number)
    source = producers(model)
    quantised = []
    for node in model.graph.node:
        found = [name in source and source[name].op_type for name in node.input]
        if node.op_type == "MatMul" and "DequantizeLinear" in found:
            assert found[:2] == ["DequantizeLinear", "DequantizeLinear"]
            quantised.append(node.name)
        elif node.op_type != "DequantizeLinear":
            # the head, LayerNormalization, softmax, attention products and additions see floats
            assert "DequantizeLinear" not in found, node.op_type
    # four layers a block and the readout's grid; not the head
    assert len(quantised) == 4 * tower.config.depth + 1
    assert quantised == [layer.node for layer in quantise.linear_layers(graph)]


def test_a_product_that_a_softmax_reads_stays_float() -> None:
    weights = [numpy_helper.from_array(np.ones((8, 4), np.float32), name) for name in "uvw"]
    bias = numpy_helper.from_array(np.ones(4, np.float32), "bias")
    shape = [1, 3, 8]
    nodes = [
        helper.make_node("MatMul", ["x", "u"], ["a"], "layer"),
        helper.make_node("MatMul", ["x", "v"], ["b"], "scores"),
        helper.make_node("Cast", ["b"], ["e"], "as in a half graph", to=TensorProto.FLOAT),
        helper.make_node("Softmax", ["e"], ["shares"], "s1"),
        helper.make_node("MatMul", ["x", "w"], ["c"], "scores with bias"),
        helper.make_node("Add", ["bias", "c"], ["d"], "add"),
        helper.make_node("Softmax", ["d"], ["more"], "s2"),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 4])
        for name in ("a", "shares", "more")
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs, [*weights, bias]),
        opset_imports=[helper.make_opsetid("", 20)],
    )
    assert [layer.node for layer in quantise.linear_layers(model)] == ["layer"]


def test_fp8_has_one_scale_a_tensor_and_e4m3_values(fp8: onnx.ModelProto) -> None:
    onnx.checker.check_model(fp8, full_check=True)
    constants = {item.name: item for item in fp8.graph.initializer}
    quantised = [n for n in fp8.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    for node in quantised:
        assert constants[node.input[1]].dims == []
        assert constants[node.input[2]].data_type == TensorProto.FLOAT8E4M3FN
    weights = [n for n in quantised if n.input[0] in constants]
    assert weights
    for node in weights:
        assert constants[node.input[0]].data_type == TensorProto.FLOAT8E4M3FN
        values = numpy_helper.to_array(constants[node.input[0]]).astype(np.float32)
        assert np.abs(values).max() == 448


def test_the_rest_of_the_graph_is_untouched(graph: onnx.ModelProto, int8: onnx.ModelProto) -> None:
    before = Counter(node.op_type for node in graph.graph.node)
    after = Counter(node.op_type for node in int8.graph.node)
    del after["QuantizeLinear"], after["DequantizeLinear"]
    assert after == before


def test_types_and_shapes_of_scales(int8: onnx.ModelProto) -> None:
    onnx.checker.check_model(int8, full_check=True)
    constants = {item.name: item for item in int8.graph.initializer}
    source = producers(int8)
    for node in int8.graph.node:
        if node.op_type == "QuantizeLinear":
            assert constants[node.input[1]].dims == []
            assert constants[node.input[2]].data_type == TensorProto.INT8
        weight = source.get(node.input[1]) if node.op_type == "MatMul" else None
        if weight is not None and weight.op_type == "DequantizeLinear":
            values, scale, zero = (numpy_helper.to_array(constants[n]) for n in weight.input)
            assert values.dtype == zero.dtype == np.int8
            assert values.min() >= -127
            assert not zero.any()
            (axis,) = (item.i for item in weight.attribute if item.name == "axis")
            assert axis == 1  # one scale for each output channel
            assert scale.shape == zero.shape == (values.shape[axis],)


def test_every_float_tensor_between_layers_stays_float(int8: onnx.ModelProto) -> None:
    inferred = shape_inference.infer_shapes(int8, check_type=True, strict_mode=True)
    source = producers(int8)
    for item in inferred.graph.value_info:
        kind = source[item.name].op_type
        if kind == "QuantizeLinear":
            assert item.type.tensor_type.elem_type == TensorProto.INT8
        elif kind in ("LayerNormalization", "Softmax", "MatMul", "Gemm", "DequantizeLinear"):
            assert item.type.tensor_type.elem_type == TensorProto.FLOAT, kind


def test_no_float_copy_of_a_quantised_weight_is_left(
    graph: onnx.ModelProto, int8: onnx.ModelProto
) -> None:
    weights = {layer.weight for layer in quantise.linear_layers(graph)}
    assert not weights & {item.name for item in int8.graph.initializer}


@pytest.mark.parametrize("number", ["int8", "fp8"])
def test_embeddings_stay_close(
    graph: onnx.ModelProto, pixels: NDArray[np.uint8], number: str, request: pytest.FixtureRequest
) -> None:
    expected, found = (
        unfused(model).run(None, {"pixels": pixels})[0]
        for model in (graph, request.getfixturevalue(number))
    )
    cosine = (expected * found).sum(axis=1)
    assert cosine.min() > 0.99
    assert cosine.max() < 1 - 1e-7  # it is another computation, not the same graph


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_weights_are_rounded_by_at_most_half_a_step(kind: type) -> None:
    random = np.random.default_rng(0)
    weight = random.normal(size=(24, 40)).astype(np.float32)
    weight *= np.exp(random.normal(size=(1, 40))).astype(np.float32)
    weight = weight.astype(kind)
    scale, values = quantise.quantise_weights(weight, INT8)
    assert scale.dtype == kind
    steps = scale.astype(np.float32)
    error = np.abs(values * steps - weight.astype(np.float32))
    # the largest value of a channel may be clipped by what the scale lost in FP16
    assert (error <= steps * (0.5001 if kind is np.float32 else 0.6)).all()
    assert (np.abs(values).max(axis=0) == 127).all()


def test_a_channel_of_zeros_stays_zero() -> None:
    weight = np.zeros((3, 4), np.float32)
    weight[:, 0] = 1
    scale, values = quantise.quantise_weights(weight, INT8)
    assert np.isfinite(scale).all()
    assert (scale > 0).all()
    assert not values[:, 1:].any()


def squared_error(values: NDArray[np.float32], threshold: float) -> float:
    step = threshold / 127
    rounded = np.clip(np.rint(values / step), -127, 127) * step
    return float(((values - rounded) ** 2).mean())


@pytest.mark.parametrize("tail", [0.0, 8.0, 60.0])
def test_threshold_is_near_the_best_of_an_exhaustive_search(tail: float) -> None:
    random = np.random.default_rng(1)
    values = random.normal(size=200_000).astype(np.float32)
    values[:40] *= 1 + tail
    found = quantise.Range()
    for part in np.split(values, 10):  # the range grows while batches arrive
        found.add(part)
    candidates = np.linspace(0.02, 1, 400) * np.abs(values).max()
    best = min(squared_error(values, candidate) for candidate in candidates)
    assert squared_error(values, found.threshold(INT8)) <= 1.03 * best
    assert found.threshold(FP8) == np.abs(values).max()


def test_range_of_constant_zero_gives_a_usable_scale() -> None:
    found = quantise.Range()
    found.add(np.zeros(10, np.float32))
    assert found.threshold(INT8) > 0


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_an_encoder_that_overflows_is_refused(poison: float) -> None:
    with pytest.raises(ExportError, match="NaN or infinity"):
        quantise.Range().add(np.array([1, poison], np.float32))


def test_shared_inputs_and_weights_are_quantised_once() -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 8])
    weight = numpy_helper.from_array(np.eye(8, dtype=np.float32), "w")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="first"),
        helper.make_node("MatMul", ["x", "w"], ["b"], name="second"),
        helper.make_node("Add", ["a", "b"], ["y"], name="sum"),
    ]
    opset = [helper.make_opsetid("", 20)]
    shared = helper.make_model(helper.make_graph(nodes, "g", [x], [y], [weight]))
    del shared.opset_import[:]
    shared.opset_import.extend(opset)
    seen = Range()
    seen.add(np.ones(8, np.float32))
    result = quantise.quantise(shared, {"first": seen, "second": seen}, INT8)
    counts = Counter(node.op_type for node in result.graph.node)
    assert counts == {"QuantizeLinear": 1, "DequantizeLinear": 2, "MatMul": 2, "Add": 1}


def test_the_gate_refuses_an_engine_whose_weights_are_damaged(
    int8: onnx.ModelProto, graph: onnx.ModelProto, pixels: NDArray[np.uint8]
) -> None:
    damaged = onnx.ModelProto()
    damaged.CopyFrom(int8)
    weight = next(
        x for x in damaged.graph.initializer if x.data_type == TensorProto.INT8 and x.dims
    )
    weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), weight.name))
    expected, found = (
        engines.session(model.SerializeToString()).run(None, {"pixels": pixels})[0]
        for model in (graph, damaged)
    )
    row = gate.judge("int8", gate.accuracy(expected, found), gate.Speed({1: [1.0]}))
    assert not row.passed


def test_unsigned_activations_are_the_same_numbers(
    graph: onnx.ModelProto, ranges: dict[str, Range], pixels: NDArray[np.uint8]
) -> None:
    signed, unsigned = (quantise.quantise(graph, ranges, number) for number in (INT8, INT8_CPU))
    kinds = {item.name: item.data_type for item in unsigned.graph.initializer}
    zeros = [node.input[2] for node in unsigned.graph.node if node.op_type == "QuantizeLinear"]
    assert {kinds[name] for name in zeros} == {TensorProto.UINT8}
    found = [unfused(model).run(None, {"pixels": pixels})[0] for model in (signed, unsigned)]
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)
