"""Vision Transformers in FP16 on one device: eager, compiled, as a CUDA graph, in TensorRT."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from sizes import Missing, Sizes, median_s
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

PATCH = 16


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        batch, count, width = tokens.shape
        qkv = self.qkv(self.norm1(tokens)).reshape(batch, count, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.out(mixed.transpose(1, 2).reshape(batch, count, width))
        tokens = tokens + self.down(functional.gelu(self.up(self.norm2(tokens))))
        return tokens


class VisionTransformer(nn.Module):
    """ViT (Dosovitskiy et al. 2021): pixels (B, S, S, 3) uint8 → embedding (B, width), unit length.
    Weights are random; speed does not depend on them."""

    def __init__(self, width: int, blocks: int, heads: int, image: int) -> None:
        super().__init__()
        count = (image // PATCH) ** 2 + 1
        self.patches = nn.Conv2d(3, width, PATCH, PATCH)
        self.first = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(torch.randn(1, count, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        image = pixels.permute(0, 3, 1, 2).to(self.places.dtype) / 127.5 - 1
        tokens = self.patches(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.first.expand(len(tokens), -1, -1), tokens], 1) + self.places
        return functional.normalize(self.norm(self.blocks(tokens))[:, 0], dim=-1)


def flops(width: int, blocks: int, image: int) -> float:
    """Multiplications and additions of one image, counted as two operations."""
    tokens = (image // PATCH) ** 2 + 1
    linear = 12 * width * width * tokens
    attention = 2 * width * tokens * tokens
    return 2.0 * (blocks * (linear + attention) + (tokens - 1) * 3 * PATCH * PATCH * width)


def peak(device: torch.device, sizes: Sizes) -> dict[str, float]:
    """TFLOP/s of a square FP16 product (FP32 on a CPU), and GB/s of a copy, as measured."""
    side = sizes.matrix
    left = torch.randn(side, side, device=device, dtype=_type(device))
    product = median_s(lambda: left @ left, device, seconds=sizes.seconds)
    copy = torch.empty_like(left)
    copied = median_s(lambda: copy.copy_(left), device, seconds=sizes.seconds)
    return {
        "tflops": 2 * side**3 / product / 1e12,
        "copy_gb_per_s": 2 * left.nbytes / copied / 1e9,
    }


@torch.inference_mode()
def encode(device: torch.device, sizes: Sizes) -> list[dict[str, Any]]:
    """A row for each model, way and batch; share_of_peak against the product measured here."""
    most = peak(device, sizes)["tflops"]
    rows = []
    for name, (width, blocks, heads) in sizes.models.items():
        model = (
            VisionTransformer(width, blocks, heads, sizes.image).to(device, _type(device)).eval()
        )
        for batch in sizes.batches:
            pixels = torch.randint(
                0, 256, (batch, sizes.image, sizes.image, 3), dtype=torch.uint8, device=device
            )
            for way, prepare in _ways(device, compiled=batch in sizes.compiled).items():
                row: dict[str, Any] = {"model": name, "way": way, "batch": batch}
                try:
                    call = prepare(model, pixels)
                    seconds = median_s(call, device, seconds=sizes.seconds)
                except Exception as error:  # torch.compile needs a compiler, which may be missing
                    rows.append(row | {"failed": f"{type(error).__name__}: {error}"[:200]})
                    continue
                tflops = batch * flops(width, blocks, sizes.image) / seconds / 1e12
                rows.append(row | _figures(batch, seconds, tflops, most))
    return rows


def tensorrt(device: torch.device, sizes: Sizes) -> list[dict[str, Any]]:
    """The same models as strongly typed FP16 networks in TensorRT. Raises Missing without it."""
    if device.type != "cuda":
        raise Missing("TensorRT runs on CUDA alone")
    try:
        import onnxscript  # noqa: F401 (torch's exporter asks for it late)
        import tensorrt as trt
    except ImportError as error:
        raise Missing(f"no {error.name}") from None
    most = peak(device, sizes)["tflops"]
    rows = []
    for name, (width, blocks, heads) in sizes.models.items():
        model = (
            VisionTransformer(width, blocks, heads, sizes.image).to(device, torch.float16).eval()
        )
        for batch in sizes.batches:
            shape = (batch, sizes.image, sizes.image, 3)
            pixels = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
            row: dict[str, Any] = {"model": name, "way": f"TensorRT {trt.__version__}"}
            try:
                call = _engine(trt, model, pixels)
            except (RuntimeError, TypeError) as error:  # no plan: its log says why
                rows.append(row | {"batch": batch, "failed": str(error)[:200]})
                continue
            seconds = median_s(call, device, seconds=sizes.seconds)
            tflops = batch * flops(width, blocks, sizes.image) / seconds / 1e12
            rows.append(row | {"batch": batch} | _figures(batch, seconds, tflops, most))
    return rows


def onnx_bytes(model: nn.Module, pixels: torch.Tensor) -> bytes:
    """The model as ONNX, for this one shape."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter, about its own future
        file = Path(folder) / "model.onnx"
        torch.onnx.export(
            model,
            (pixels,),
            file,
            input_names=["pixels"],
            output_names=["embedding"],
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        return file.read_bytes()


def _engine(trt: Any, model: nn.Module, pixels: torch.Tensor) -> Callable[[], object]:
    """A call of an engine of one fixed shape, checked against PyTorch."""
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx_bytes(model, pixels)):
        raise RuntimeError(parser.get_error(0).desc())
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    runtime = trt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(plan)
    context = engine.create_execution_context()
    with torch.inference_mode():
        expected = model(pixels)
    embedding = torch.empty_like(expected)
    context.set_tensor_address("pixels", pixels.data_ptr())
    context.set_tensor_address("embedding", embedding.data_ptr())

    # the runtime and the engine live as long as the call does
    def call(_: object = (runtime, engine)) -> object:
        return context.execute_async_v3(torch.cuda.current_stream().cuda_stream)

    call()
    torch.cuda.synchronize()
    cosine = float((embedding.float() * expected.float()).sum(-1).min())
    if cosine < 0.99:
        raise RuntimeError(f"TensorRT's embeddings are not PyTorch's (cosine {cosine:.3f})")
    return call


def _ways(
    device: torch.device, *, compiled: bool
) -> dict[str, Callable[[nn.Module, torch.Tensor], Callable[[], object]]]:
    def eager(model: nn.Module, pixels: torch.Tensor) -> Callable[[], object]:
        return lambda: model(pixels)

    def inductor(model: nn.Module, pixels: torch.Tensor) -> Callable[[], object]:
        torch.compiler.reset()  # after a few shapes of one function Dynamo stays eager, silently
        fast = torch.compile(model, mode="max-autotune-no-cudagraphs", dynamic=False)
        return _captured(lambda: fast(pixels))

    def graph(model: nn.Module, pixels: torch.Tensor) -> Callable[[], object]:
        return _captured(lambda: model(pixels))

    if device.type != "cuda":
        return {"eager": eager}
    more = {"compiled, CUDA graph": inductor} if compiled else {}
    return {"eager": eager, "CUDA graph": graph, **more}


def _captured(call: Callable[[], object]) -> Callable[[], object]:
    """Capture a call once; replay it without the work of launching its kernels."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # what allocates and compiles must not be captured
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def _figures(batch: int, seconds: float, tflops: float, most: float) -> dict[str, float]:
    return {
        "ms": seconds * 1e3,
        "images_per_s": batch / seconds,
        "tflops": tflops,
        "share_of_peak": tflops / most,
    }


def _type(device: torch.device) -> torch.dtype:
    return torch.float16 if device.type == "cuda" else torch.float32
