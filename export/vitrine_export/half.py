"""FP32 graph → FP16 graph for TensorRT, by ModelOpt's AutoCast.

TensorRT 11 has only strongly typed networks, so the types are decided here. LayerNormalization,
softmax, the means of the readout and the final L2 normalisation are computed in FP32: a sum of
squares overflows FP16 at 65,504 (TensorRT issue 2709), and eleven bits are few for a sum of 197
terms. So is the normalisation of pixels: near the mean it is a small difference of large numbers,
and white paper would not become zero. Everything else, the residual stream among it, is FP16.
"""

from __future__ import annotations

import logging
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from vitrine_export import quantise
from vitrine_export.errors import ExportError

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEPT_IN_FP32 = ("LayerNormalization", "Softmax", "ReduceMean", "ReduceL2", "Clip", "Expand", "Div")


def to_fp16(model: onnx.ModelProto, pixels: NDArray[np.uint8]) -> onnx.ModelProto:
    """The graph in FP16, with the same inputs, outputs and names of linear layers.

    pixels: some calibration images; a node whose values would leave FP16's range stays in FP32.
    Raises ExportError when ModelOpt is not installed.
    """
    convert = _autocast()
    normalisation = [n.name for n in quantise.pixelwise(model) if n.op_type in ("Mul", "Add")]
    with tempfile.TemporaryDirectory(prefix="vitrine-fp16-") as folder:
        path, data = Path(folder) / "fp32.onnx", Path(folder) / "pixels.npz"
        onnx.save(model, path)
        np.savez(data, pixels=pixels)
        converted: onnx.ModelProto = convert(
            onnx_path=str(path),
            low_precision_type="fp16",
            keep_io_types=True,
            op_types_to_exclude=list(KEPT_IN_FP32),
            nodes_to_exclude=[f"^{re.escape(name)}$" for name in normalisation],
            calibration_data=str(data),
            providers=["cpu"],
        )
    return converted


def _autocast() -> Any:
    try:
        from modelopt.onnx import autocast  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise ExportError(
            f"FP16 needs NVIDIA ModelOpt ({error}): make export TARGET=gpu installs it."
        ) from error
    logging.getLogger("modelopt.onnx").setLevel(logging.ERROR)
    return autocast.convert_to_mixed_precision
