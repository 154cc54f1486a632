"""Exact rewrites of an encoder's graph that no runtime here makes by itself.

They run before the graph is compared with PyTorch, so that comparison proves them, and before
calibration, so that ranges are measured on what is served.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ELEMENTWISE = {"Add", "Mul", "Sub", "Div", "Gelu", "Erf", "Tanh", "Sigmoid"}
_ATTENTION_LAYOUT = [0, 2, 1, 3]


class Graph:
    """A graph by tensor name: who makes a tensor, who uses it, which ones are constants."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.constants = {item.name: item for item in model.graph.initializer}
        self.maker: dict[str, onnx.NodeProto] = {}
        self.users: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            self.maker.update(dict.fromkeys(node.output, node))
            for name in node.input:
                self.users.setdefault(name, []).append(node)

    def value(self, name: str) -> NDArray[Any] | None:
        """A constant's value; None for a tensor that is computed."""
        found = self.constants.get(name)
        return None if found is None else numpy_helper.to_array(found)

    def add_constant(self, name: str, value: NDArray[Any]) -> str:
        """Add an initializer, once for each name."""
        if name not in self.constants:
            item = numpy_helper.from_array(value, name)
            self.model.graph.initializer.append(item)
            self.constants[name] = item
        return name

    def only_maker(self, name: str, kind: str) -> onnx.NodeProto | None:
        """The node of this kind that makes `name` for a single user."""
        node = self.maker.get(name)
        if node is None or node.op_type != kind or len(self.users[name]) != 1:
            return None
        return node

    def sort(self, added: list[onnx.NodeProto], *, without: frozenset[str]) -> None:
        """Insert `added` where their inputs are known; drop nodes that make `without`, and unused
        constants."""
        waiting = list(added)
        known = {item.name for item in self.model.graph.input} | set(self.constants)
        nodes: list[onnx.NodeProto] = []

        def place(node: onnx.NodeProto) -> None:
            nodes.append(node)
            known.update(node.output)
            for other in [each for each in waiting if known.issuperset(each.input)]:
                waiting.remove(other)
                place(other)

        for node in self.model.graph.node:
            if not without.intersection(node.output):
                place(node)
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del self.model.graph.node[:]
        self.model.graph.node.extend(copies)
        used = {name for node in copies for name in node.input}
        for item in [item for item in self.model.graph.initializer if item.name not in used]:
            self.model.graph.initializer.remove(item)


def fold_attention_scale(model: onnx.ModelProto) -> int:
    """Multiply the query projections by the attention's scale; how many were changed.

    softmax((s · (xW + b)) Kᵀ) = softmax((x(sW) + sb) Kᵀ): a pass over all queries less. For heads
    of 64 the scale is 1/8, which changes no bit of a weight but its exponent.
    """
    graph = Graph(model)
    dropped: dict[str, str] = {}
    for softmax in (node for node in model.graph.node if node.op_type == "Softmax"):
        scores = graph.only_maker(softmax.input[0], "MatMul")
        scale = None if scores is None else graph.only_maker(scores.input[0], "Mul")
        factor = None if scale is None else graph.value(scale.input[1])
        if scores is None or scale is None or factor is None or factor.size != 1:
            continue
        if _scale_linear(graph, scale.input[0], factor):
            dropped[scale.output[0]] = scores.input[0] = scale.input[0]
    graph.sort([], without=frozenset(dropped))
    return len(dropped)


def _scale_linear(graph: Graph, name: str, factor: NDArray[Any]) -> bool:
    """Scale the linear layer behind `name`; False when there is none to which that can be done."""
    while (node := graph.maker.get(name)) is not None and len(graph.users[name]) == 1:
        if node.op_type not in ("Transpose", "Reshape"):
            break
        name = node.input[0]
    bias = graph.only_maker(name, "Add")
    if bias is None:
        return False
    product = graph.only_maker(bias.input[0], "MatMul")
    if product is None:
        return False
    weight, shift = graph.value(product.input[1]), graph.value(bias.input[1])
    if weight is None or shift is None:
        return False
    # Equal constants are stored once, so the old one may be another layer's too.
    scaled = f"{product.output[0]}_scaled"
    product.input[1] = graph.add_constant(f"{scaled}_weight", weight * factor.ravel()[0])
    bias.input[1] = graph.add_constant(f"{scaled}_bias", shift * factor.ravel()[0])
    return True


@dataclass(frozen=True)
class _Rows:
    """A node that can work on the class token alone. axis, inputs: where the tokens lie.

    Axes count from the end; `inputs` has them by position.
    """

    node: onnx.NodeProto
    axis: int
    inputs: dict[int, int]


def keep_class_token(model: onnx.ModelProto) -> int:
    """Compute the last block for the class token alone; how many nodes became smaller.

    The other tokens of the last block reach the answer only as its attention's keys and values.
    """
    graph = Graph(model)
    last = next((node for node in model.graph.node if _takes_class_token(graph, node)), None)
    if last is None:
        return 0
    rows: dict[str, _Rows] = {}
    waiting = [(last.input[0], -2)]
    while waiting:
        name, axis = waiting.pop()
        node = graph.maker.get(name)
        inputs = None if node is None or name in rows else _inputs_by_row(graph, node, axis)
        if node is not None and inputs is not None:
            rows[name] = _Rows(node, axis, inputs)
            waiting += [(node.input[position], below) for position, below in inputs.items()]
    # What another node needs whole stays whole, and with it all that it is made of.
    while whole := [name for name in rows if not _is_used_by_rows(graph, rows, name, last)]:
        for name in whole:
            del rows[name]
    gathers: dict[str, onnx.NodeProto] = {}
    for row in list(rows.values()):
        for position, axis in row.inputs.items():
            name = row.node.input[position]
            if name not in rows:
                first = f"{name}_class_token"
                index = graph.add_constant("class_token", np.array([0], np.int64))
                gathers[first] = helper.make_node(
                    "Gather", [name, index], [first], first, axis=axis
                )
                row.node.input[position] = first
        if row.node.op_type == "Reshape":
            shape = graph.value(row.node.input[1])
            assert shape is not None  # else it were no row
            narrow = shape.copy()
            narrow[row.axis] = 1
            row.node.input[1] = graph.add_constant(f"{row.node.output[0]}_shape", narrow)
    graph.sort(list(gathers.values()), without=frozenset())
    return len(rows)


def patches_as_rows(model: onnx.ModelProto) -> int:
    """Make a patch embedding a product of patches with a matrix; how many were changed (0 or 1).

    A convolution whose stride is its kernel reads each pixel once, so it is one: of the patches'
    pixels as they lie, (B, patches, side · side · 3). The pixels then need no other layout, which
    takes CPUs longer than the product, and are normalised along a long axis instead of one of 3.
    """
    graph = Graph(model)
    conv = next((node for node in model.graph.node if node.op_type == "Conv"), None)
    normalised = None if conv is None else _normalised_pixels(graph, conv.input[0])
    tokens = None if conv is None else _tokens_of(graph, conv)
    if conv is None or normalised is None or tokens is None:
        return 0
    cast, steps = normalised
    weight = graph.value(conv.input[1])
    image = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    if weight is None or not _reads_patches(conv, weight, image[1]):
        return 0
    side, outputs = weight.shape[-1], len(weight)
    across = image[1] // side
    nodes: list[onnx.NodeProto] = []

    def add(kind: str, value: NDArray[Any], **attributes: Any) -> None:
        """A node that takes the last one's output and a constant."""
        name = f"{conv.name}_{len(nodes)}"
        inputs = [nodes[-1].output[0] if nodes else cast, graph.add_constant(f"{name}_with", value)]
        nodes.append(helper.make_node(kind, inputs, [f"{name}_made"], name, **attributes))

    add("Reshape", np.array([0, across, side, across, side * 3]))
    swapped = f"{conv.name}_swapped"
    nodes.append(
        helper.make_node(
            "Transpose", [nodes[-1].output[0]], [swapped], swapped, perm=[0, 1, 3, 2, 4]
        )
    )
    add("Reshape", np.array([0, across * across, side * side * 3]))
    for step, value in steps:
        add(step.op_type, value if value.size == 1 else np.tile(value.ravel(), side * side))
    add("MatMul", np.ascontiguousarray(weight.transpose(2, 3, 1, 0).reshape(-1, outputs)))
    if len(conv.input) == 3 and (bias := graph.value(conv.input[2])) is not None:
        add("Add", bias)
    nodes[-1].output[0] = tokens
    replaced = {conv.output[0], tokens, graph.users[conv.output[0]][0].output[0], conv.input[0]}
    replaced.update(step.input[0] for step, _ in steps)
    graph.sort(nodes, without=frozenset(replaced))
    return 1


def _normalised_pixels(
    graph: Graph, name: str
) -> tuple[str, list[tuple[onnx.NodeProto, NDArray[Any]]]] | None:
    """The cast pixels behind a tensor that is made of them alone, by one change of the layout to
    channels first and then by multiplications and additions, which come in order."""
    steps: list[tuple[onnx.NodeProto, NDArray[Any]]] = []
    while (node := graph.maker.get(name)) is not None and len(graph.users[name]) == 1:
        if node.op_type == "Transpose" and _attribute(node, "perm", []) == [0, 3, 1, 2]:
            return node.input[0], steps[::-1]
        value = graph.value(node.input[1]) if node.op_type in ("Mul", "Add") else None
        if value is None:
            break
        steps.append((node, value))
        name = node.input[0]
    return None


def _tokens_of(graph: Graph, conv: onnx.NodeProto) -> str | None:
    """The tensor (B, patches, channels) that a convolution's output becomes."""
    name = conv.output[0]
    for kind in ("Reshape", "Transpose"):
        users = graph.users[name]
        if len(users) != 1 or users[0].op_type != kind:
            return None
        name = users[0].output[0]
    return name if _attribute(users[0], "perm", []) == [0, 2, 1] else None


def _reads_patches(conv: onnx.NodeProto, weight: NDArray[Any], size: int) -> bool:
    side = weight.shape[-1]
    return (
        weight.shape[1:] == (3, side, side)
        and size % side == 0
        and _attribute(conv, "strides", []) == [side, side]
        and not any(_attribute(conv, "pads", [0]))
        and set(_attribute(conv, "dilations", [1])) == {1}
    )


def _takes_class_token(graph: Graph, node: onnx.NodeProto) -> bool:
    if node.op_type != "Gather" or _attribute(node, "axis", 0) != 1:
        return False
    index = graph.value(node.input[1])
    return index is not None and index.ndim == 0 and int(index) == 0


def _inputs_by_row(graph: Graph, node: onnx.NodeProto, axis: int) -> dict[int, int] | None:
    """Token axes of the inputs from which one token's output follows; None when it needs more."""
    if node.op_type in _ELEMENTWISE:
        inputs = {}
        for position, name in enumerate(node.input):
            value = graph.value(name)
            if value is None:
                inputs[position] = axis
            elif value.ndim >= -axis and value.shape[axis] != 1:
                return None
        return inputs
    if node.op_type in ("LayerNormalization", "Softmax"):
        return {0: axis} if _attribute(node, "axis", -1) == -1 and axis != -1 else None
    if node.op_type == "MatMul":
        return {0: axis} if axis == -2 else None
    if node.op_type == "Transpose":
        ours = list(_attribute(node, "perm", [])) == _ATTENTION_LAYOUT and axis in (-2, -3)
        return {0: -5 - axis} if ours else None
    if node.op_type == "Reshape":
        shape = graph.value(node.input[1])
        below = {(4, -3): -2, (3, -2): -3}.get((0 if shape is None else len(shape), axis))
        return None if below is None else {0: below}
    return None


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    found = next((item for item in node.attribute if item.name == name), None)
    return default if found is None else helper.get_attribute_value(found)


def _is_used_by_rows(graph: Graph, rows: dict[str, _Rows], name: str, last: onnx.NodeProto) -> bool:
    """Whether every use of a tensor is by the class token's row, in a place that takes rows."""
    for user in graph.users[name]:
        row = rows.get(user.output[0])
        places = [position for position, used in enumerate(user.input) if used == name]
        if user is not last and (row is None or not set(places) <= set(row.inputs)):
            return False
    return True
