"""What the activations of a graph's linear layers reach on real images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitrine_export import engines, onnx_graph, quantise

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import onnx
    from numpy.typing import NDArray


def ranges(
    graph: onnx.ModelProto,
    pixels: NDArray[np.uint8],
    *,
    batch: int,
    advance: Callable[[int], object] = lambda count: None,
) -> dict[str, quantise.Range]:
    """By linear layer, as `quantise.quantise` takes them. pixels: (N, H, W, 3) uint8.

    advance: called with the number of images that are done.
    """
    layers = quantise.linear_layers(graph)
    names = sorted({layer.activation for layer in layers})
    session = engines.session(quantise.with_outputs(graph, names).SerializeToString())

    def activations(part: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        return dict(zip(names, session.run(names, {onnx_graph.INPUT: part}), strict=True))

    return quantise.calibrate(layers, activations, pixels, batch=batch, advance=advance)
