"""Float graph → 8-bit graph: explicit Q/DQ pairs around the linear layers, and nowhere else.

A linear layer is a MatMul whose second operand is a constant matrix: it works on tokens. A Gemm
works on one vector an image: it is a head or a projection, less than a hundredth of the work, and
what it rounds is not averaged over tokens (it was nearly all the error of design-vit's INT8). It
stays in the type of the graph, as the patch embedding, LayerNormalization, softmax, the products
inside attention and the residual additions do: FP32, or FP16 for TensorRT. TensorRT and OpenVINO
run such a graph with 8-bit arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from vitrine_export.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

_BINS = 2048
# What is done to pixels before the first layer reads them.
_PIXELWISE = {"Cast", "Reshape", "Transpose", "Mul", "Add"}


@dataclass(frozen=True)
class Format:
    """An 8-bit number type. Scales are symmetric: zero is zero.

    largest: its largest value. per_channel: one scale for each output channel of the weights
    instead of one for the tensor. unsigned: activations are the same numbers plus 128, as UINT8.
    """

    name: str
    dtype: np.dtype[Any]
    largest: float
    per_channel: bool
    unsigned: bool = False


# -128 is never used, so that negation stays in range
INT8 = Format("int8", np.dtype(np.int8), 127.0, per_channel=True)
# For CPUs, whose instruction (VNNI, AMX) multiplies unsigned activations by signed weights: others
# have 128 added to each value that it reads. TensorRT takes no zero point.
INT8_CPU = Format("int8", np.dtype(np.int8), 127.0, per_channel=True, unsigned=True)
# E4M3 as in "FP8 Formats for Deep Learning" (arXiv 2209.05433); TensorRT takes one scale a tensor
FP8 = Format("fp8", np.dtype(ml_dtypes.float8_e4m3fn), 448.0, per_channel=False)


@dataclass(frozen=True)
class Linear:
    """A linear layer of a graph: names of its node, input tensor and weights (inputs, outputs)."""

    node: str
    activation: str
    weight: str


def pixelwise(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes that cast, arrange and normalise pixels, before the first layer, in graph order."""
    pixels = {
        item.name
        for item in model.graph.input
        if item.type.tensor_type.elem_type == TensorProto.UINT8
    }
    found = []
    for node in model.graph.node:
        if node.op_type in _PIXELWISE and node.input[0] in pixels:
            pixels.update(node.output)
            found.append(node)
    return found


def linear_layers(model: onnx.ModelProto) -> list[Linear]:
    """The layers that are quantised, in graph order.

    The one that reads pixels is not: everything that follows is made of what it rounds, and it is a
    fiftieth of the work. One whose answer a softmax reads is not: differences decide there, and
    they are small beside the values that are rounded.
    """
    matrices = {item.name for item in model.graph.initializer if len(item.dims) == 2}
    pixels = {name for node in pixelwise(model) for name in node.output}
    compared = {node.input[0] for node in model.graph.node if node.op_type == "Softmax"}
    for node in reversed(model.graph.node):
        if node.op_type in ("Add", "Cast") and node.output[0] in compared:
            compared.update(node.input)
    return [
        Linear(node.name, node.input[0], node.input[1])
        for node in model.graph.node
        if node.op_type == "MatMul"
        and node.input[1] in matrices
        and node.input[0] not in pixels
        and node.output[0] not in compared
    ]


def with_outputs(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """A copy of the graph that also returns the named tensors."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    return copy


class Range:
    """Histogram of |x| of one tensor; its bins widen as larger values arrive."""

    def __init__(self) -> None:
        self.counts = np.zeros(_BINS, np.int64)
        self.limit = 0.0
        self.largest = 0.0

    def add(self, values: NDArray[np.float32]) -> None:
        """Count a batch. Raises ExportError when it holds NaN or infinity."""
        magnitude = np.abs(values).ravel()
        largest = float(magnitude.max(initial=0.0))
        if not np.isfinite(largest):
            raise ExportError("The encoder computes NaN or infinity on the calibration images.")
        self.largest = max(self.largest, largest)
        if self.limit == 0.0:
            self.limit = largest
        while largest > self.limit:
            # twice the range: neighbouring bins are merged
            self.counts[: _BINS // 2] = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts[_BINS // 2 :] = 0
            self.limit *= 2
        if self.limit > 0:
            bins = (magnitude * (_BINS / self.limit)).astype(np.int32)
            found = np.bincount(bins, minlength=_BINS + 1)  # the limit itself falls beside
            found[_BINS - 1] += found[_BINS]
            self.counts += found[:_BINS]

    def threshold(self, format: Format) -> float:
        """The magnitude that the format's largest value stands for.

        For INT8 the clipping point with the least expected squared error: rounding costs step²/12
        for each value inside, clipping (|x| - threshold)² outside. The steps of FP8 shrink with the
        value, so clipping would win nothing: it is the largest magnitude seen.
        """
        if self.largest == 0.0:
            return 1.0
        if format is FP8:
            return self.largest
        width = self.limit / _BINS
        centres = (np.arange(_BINS) + 0.5) * width
        total, first, second = (
            np.concatenate([[0.0], np.cumsum(self.counts * centres**power)]) for power in range(3)
        )
        cut = np.arange(1, _BINS + 1)
        points = cut * width
        rounding = total[cut] * (points / format.largest) ** 2 / 12
        clipping = (
            (second[-1] - second[cut])
            - 2 * points * (first[-1] - first[cut])
            + points**2 * (total[-1] - total[cut])
        )
        return float(points[np.argmin(rounding + clipping)])


def quantise(
    model: onnx.ModelProto, ranges: Mapping[str, Range], format: Format
) -> onnx.ModelProto:
    """Insert the Q/DQ pairs. `ranges`: linear layer → its input over the calibration images.

    The layers keep their names when a graph is converted to FP16, so ranges measured on the FP32
    graph serve both. Scales have the type of the graph: DequantizeLinear gives what its scale is.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    layers = {layer.node: layer for layer in linear_layers(model)}
    weights = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    constants: dict[str, onnx.TensorProto] = {}
    nodes: list[onnx.NodeProto] = []

    def constant(name: str, value: NDArray[np.generic]) -> str:
        constants.setdefault(name, numpy_helper.from_array(value, name))
        return name

    done: set[str] = set()
    for node in graph.node:
        layer = layers.get(node.name)
        if layer is not None:
            source, quantised = layer.activation, f"{layer.activation}_dq"
            kind = weights[layer.weight].dtype
            if quantised not in done:
                step = ranges[node.name].threshold(format) / format.largest
                step = max(step, float(np.finfo(kind).tiny))
                scale = constant(f"{source}_scale", np.asarray(step, kind))
                middle = np.array(128, np.uint8) if format.unsigned else np.zeros((), format.dtype)
                zero = constant(f"zero_{middle.dtype.name}", middle)
                nodes += _pair(source, scale, zero, quantised)
                done.add(quantised)
            weight = f"{layer.weight}_dq"
            if weight not in done:
                scales, values = quantise_weights(weights[layer.weight], format)
                inputs = [
                    constant(f"{weight}_{format.name}", values),
                    constant(f"{weight}_scale", scales),
                    constant(f"{weight}_zero", np.zeros(scales.shape, format.dtype)),
                ]
                dequantize = helper.make_node("DequantizeLinear", inputs, [weight], f"{weight}_d")
                if format.per_channel:
                    dequantize.attribute.append(helper.make_attribute("axis", 1))
                nodes.append(dequantize)
                done.add(weight)
            node.input[0], node.input[1] = quantised, weight
        nodes.append(node)
    used = {name for node in nodes for name in node.input}
    kept = [item for item in graph.initializer if item.name in used]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    kept = [onnx.TensorProto.FromString(item.SerializeToString()) for item in kept]
    del graph.initializer[:]
    graph.initializer.extend([*kept, *constants.values()])
    return result


def quantise_weights(weight: NDArray[Any], format: Format) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scales (of the weight's type) and values of a matrix (inputs, outputs).

    The values are rounded with the scales as stored, so FP16 scales cost no accuracy.
    """
    exact = weight.astype(np.float32)
    largest = np.abs(exact).max(axis=0 if format.per_channel else None, keepdims=True)
    # a channel of zeros gets the smallest normal scale, not 0 / 0
    scale = np.maximum(largest / format.largest, np.finfo(weight.dtype).tiny).astype(weight.dtype)
    scaled = np.clip(exact / scale.astype(np.float32), -format.largest, format.largest)
    values = (scaled if format is FP8 else np.rint(scaled)).astype(format.dtype)
    return scale.ravel() if format.per_channel else scale.reshape(()), values


def calibrate(
    layers: list[Linear],
    run: Callable[[NDArray[np.uint8]], Mapping[str, NDArray[np.float32]]],
    pixels: NDArray[np.uint8],
    *,
    batch: int,
    advance: Callable[[int], object],
) -> dict[str, Range]:
    """Layer → the range of its input over the calibration images.

    run: a batch of pixels → the activation tensors by name (a graph of `with_outputs`).
    """
    ranges = {layer.activation: Range() for layer in layers}
    for start in range(0, len(pixels), batch):
        part = pixels[start : start + batch]
        tensors = run(part)
        for name, found in ranges.items():
            found.add(tensors[name])
        advance(len(part))
    return {layer.node: ranges[layer.activation] for layer in layers}


def _pair(source: str, scale: str, zero: str, target: str) -> list[onnx.NodeProto]:
    middle = f"{source}_8bit"
    return [
        helper.make_node("QuantizeLinear", [source, scale, zero], [middle], name=f"{source}_q"),
        helper.make_node("DequantizeLinear", [middle, scale, zero], [target], name=f"{source}_d"),
    ]
