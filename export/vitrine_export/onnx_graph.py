"""PyTorch tower → ONNX graph, proven equal to PyTorch.

pixels (B, S, S, 3) uint8 → [cast, normalise, tower, L2] → embedding (B, D) float32
tokens (B, T) int64       → [tower, L2]                  → embedding (B, D) float32
"""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnxscript import opset20 as op
from torch import Tensor, nn

from vitrine_export import simplify
from vitrine_export.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from vitrine_server.manifest import Preprocessing

OPSET = 20  # the first with Gelu as one operation; LayerNormalization came with 17
MAX_ERROR = 1e-4
INPUT, TEXT_INPUT, OUTPUT = "pixels", "tokens", "embedding"


class PixelEncoder(nn.Module):
    """A tower as it is served: (B, S, S, 3) uint8 → (B, D) of unit length."""

    scale: Tensor
    shift: Tensor

    def __init__(self, tower: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.tower = tower
        # (x / 255 - mean) / std as one multiplication and one addition, in float64 first
        mean = np.asarray(preprocessing.mean, np.float64)
        std = np.asarray(preprocessing.std, np.float64)
        scale, shift = 1 / (255 * std), -mean / std
        if np.ptp(scale) == np.ptp(shift) == 0:
            scale, shift = scale[:1], shift[:1]
        self.register_buffer("scale", torch.from_numpy(scale).float()[:, None, None])
        self.register_buffer("shift", torch.from_numpy(shift).float()[:, None, None])

    def forward(self, pixels: Tensor) -> Tensor:
        # The cast comes first: TensorRT takes UINT8 as an input and for nothing else. The layout
        # changes next: OpenVINO's arithmetic is slow on a last axis of three.
        x = pixels.float().permute(0, 3, 1, 2) * self.scale + self.shift
        return F.normalize(self.tower(x), dim=-1)


class TokenEncoder(nn.Module):
    """A text tower as it is served: (B, T) int64 → (B, D) of unit length."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, tokens: Tensor) -> Tensor:
        return F.normalize(self.tower(tokens), dim=-1)


def trace(tower: nn.Module, preprocessing: Preprocessing) -> onnx.ModelProto:
    """An image tower as an FP32 graph with a dynamic batch. Raises ExportError."""
    size = preprocessing.size
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    model = _export(PixelEncoder(tower, preprocessing), example, INPUT)
    _read_shape_after_cast(model)
    return model


def build(tower: nn.Module, preprocessing: Preprocessing) -> onnx.ModelProto:
    """The traced graph without the work that its answer does not need. Raises ExportError."""
    model = trace(tower, preprocessing)
    simplify.patches_as_rows(model)
    simplify.fold_attention_scale(model)
    simplify.keep_class_token(model)
    return model


def build_text(tower: nn.Module, probe: Sequence[int]) -> onnx.ModelProto:
    """Trace a text tower likewise. probe: the T ids of some text."""
    return _export(TokenEncoder(tower), torch.tensor([probe, probe]), TEXT_INPUT)


def _export(module: nn.Module, example: Tensor, name: str) -> onnx.ModelProto:
    table: dict[Any, Any] = {torch.ops.aten.scaled_dot_product_attention.default: _attention}
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module.eval(),
                (example,),
                dynamo=True,
                optimize=True,
                opset_version=OPSET,
                input_names=[name],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=4096)},),
                custom_translation_table=table,
                verbose=False,
            )
    except Exception as error:
        # The exporter raises many types; its text names the operation that has no ONNX form.
        reason = " ".join(str(error).split())[:300]
        raise ExportError(f"The encoder cannot be written as ONNX: {reason}") from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    if program is None:
        raise ExportError("The encoder cannot be written as ONNX: the exporter returned nothing.")
    model: onnx.ModelProto = program.model_proto
    _strip(model)
    _name_output(model)
    return model


def _attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Attention as MatMul, Softmax, MatMul: the pattern that every runtime here fuses.

    The exporter's own translation computes the transposed shape at run time with a dozen nodes.
    """
    if is_causal or enable_gqa or dropout_p:
        raise ValueError("causal, grouped or dropout attention is not translated")
    factor = float(query.shape[-1]) ** -0.5 if scale is None else scale
    constant: Any = op.Constant(value_float=factor)
    scaled: Any = op.Mul(query, op.CastLike(constant, query))
    scores: Any = op.MatMul(scaled, op.Transpose(key, perm=[0, 1, 3, 2]))
    if attn_mask is not None:
        scores = op.Add(scores, attn_mask)
    return op.MatMul(op.Softmax(scores, axis=-1), value)


def _strip(model: onnx.ModelProto) -> None:
    """Remove the exporter's notes: they hold paths of this machine, and change between runs."""
    graph = model.graph
    del model.metadata_props[:]
    del graph.metadata_props[:]
    del graph.value_info[:]
    graph.name = "encoder"
    model.doc_string = graph.doc_string = ""
    parts: list[Any] = [*graph.node, *graph.initializer, *graph.input, *graph.output]
    for part in parts:
        del part.metadata_props[:]
        part.doc_string = ""


def _name_output(model: onnx.ModelProto) -> None:
    """Call the graph's output OUTPUT; a tensor inside that has this name gets another."""
    current = model.graph.output[0].name
    names = {OUTPUT: f"{OUTPUT}_inside", current: OUTPUT}
    for node in model.graph.node:
        for part in (node.input, node.output):
            part[:] = [names.get(name, name) for name in part]
    items: list[Any] = [*model.graph.initializer, *model.graph.output]
    for item in items:
        item.name = names.get(item.name, item.name)


def _read_shape_after_cast(model: onnx.ModelProto) -> None:
    """Let nodes that want the batch size ask the float tensor, not the UINT8 input."""
    cast = next(node for node in model.graph.node if INPUT in node.input and node.op_type == "Cast")
    users = [node for node in model.graph.node if INPUT in node.input and node is not cast]
    nodes = [cast, *(node for node in model.graph.node if node is not cast)]
    for node in users:
        if node.op_type != "Shape":
            raise ExportError(f"The graph uses {INPUT} before its cast, in a {node.op_type}.")
        node.input[0] = cast.output[0]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


def save(model: onnx.ModelProto, path: Path) -> None:
    """Check and write a graph as one file. Raises ExportError."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise ExportError(f"The graph is not valid ONNX: {error}") from error
    try:
        onnx.save(model, path)
    except ValueError as error:  # protobuf's limit
        raise ExportError(
            "The graph is larger than 2 GB, which one ONNX file cannot hold."
        ) from error
    except OSError as error:
        raise ExportError(f"{path} cannot be written ({error.strerror}).") from error


def compare(
    run: Callable[[NDArray[Any]], NDArray[np.float32]],
    module: nn.Module,
    batches: Iterable[NDArray[Any]],
) -> float:
    """Largest absolute difference between `run` (the exported graph) and PyTorch over `batches`.

    module: a PixelEncoder or TokenEncoder. Raises ExportError when the difference exceeds
    MAX_ERROR or an answer is not finite.
    """
    module.eval()
    worst = 0.0
    for batch in batches:
        with torch.inference_mode():
            expected = module(torch.from_numpy(batch)).numpy()
        found = run(batch)
        if found.shape != expected.shape or not np.isfinite(found).all():
            raise ExportError(
                f"The exported graph answers a batch of {len(batch)} with shape {found.shape} or "
                f"values that are not finite; PyTorch answers {expected.shape}."
            )
        worst = max(worst, float(np.abs(found - expected).max()))
    if worst > MAX_ERROR:
        raise ExportError(
            f"The exported graph differs from PyTorch by {worst:.1e} (at most {MAX_ERROR:.0e} is "
            "accepted): this encoder must not be served from this graph."
        )
    return worst
