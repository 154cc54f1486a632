"""The published engine's manifest: what it is, which vector space it fills, how it was proven.

Export writes it, Triton's model and the sidecar read it. It is the commit record of a publication:
the engine files lie beside it under content-hashed names, and `manifest.json` is replaced by an
atomic rename after they are on disk.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
FILE_NAME = "manifest.json"
MIN_PROBE_COSINE = 0.99

Precision = Literal["fp32", "fp16", "bf16", "int8", "fp8"]


class ManifestError(Exception):
    """The engine must not be served; the message is one sentence that says why and what to do."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Preprocessing(_Part):
    """How an image becomes the `pixels` tensor; mean and std are applied inside the graph.

    resize: "letterbox" fits the whole image and fills the rest (drawings), "crop" resizes the short
    side and cuts the centre (photos). fill: RGB of the letterbox and of transparent pixels.
    """

    size: int
    resize: Literal["letterbox", "crop"]
    fill: tuple[int, int, int] = (255, 255, 255)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class EncoderInfo(_Part):
    """The encoder behind an engine. `fingerprint` names its vector space (see `fingerprint`)."""

    name: str
    family: str
    source: str
    licence: str
    trained: bool
    weights_sha256: str
    pooling: str
    normalisation: Literal["l2"] = "l2"
    dimension: int
    preprocessing: Preprocessing
    fingerprint: str


class EngineFile(_Part):
    file: str
    sha256: str
    bytes: int


class Tokeniser(_Part):
    """How a text becomes the `tokens` tensor of `text_encoder`, (B, length) int64.

    kind: "hashed" is `vitrine_server.tokens` with `buckets`; "huggingface" is the tokenizers
    library on `file`, which pads and cuts to `length` by itself. probe: the ids of a known text.
    """

    kind: Literal["hashed", "huggingface"]
    length: int
    buckets: int = 0
    file: EngineFile | None = None
    probe: tuple[int, ...]


class GateRow(_Part):
    """One precision's figures against FP32 on the gate images, and whether it may be served."""

    precision: Precision
    cosine_mean: float
    cosine_min: float
    recall_at_10: float
    finite: bool
    latency_ms_batch_1: float
    images_per_s: float
    best_batch: int
    images_per_s_by_batch: dict[int, float] = {}
    passed: bool
    reason: str


class Gate(_Part):
    images: int
    image_source: str
    rows: tuple[GateRow, ...]


class Manifest(_Part):
    """properties: settings that Triton's model hands to the runtime unchanged.

    tokeniser: only a text encoder has one. Its `encoder` is that of the images, because both towers
    fill one vector space; its `probe_embedding` is the answer to the tokeniser's probe.
    """

    format: Literal[1] = 1
    encoder: EncoderInfo
    precision: Precision
    runtime: Literal["openvino", "onnxruntime", "tensorrt"]
    properties: dict[str, str] = {}
    engine: EngineFile
    tokeniser: Tokeniser | None = None
    gate: Gate
    probe_embedding: tuple[float, ...]
    created: str
    tools: dict[str, str]
    device: dict[str, str]


def fingerprint(
    *, weights_sha256: str, preprocessing: Preprocessing, pooling: str, normalisation: str
) -> str:
    """Name of a vector space: vectors with equal fingerprints may be compared.

    Precision is left out on purpose: the gate has shown that its embeddings are neighbours of the
    FP32 ones.
    """
    text = json.dumps(
        [weights_sha256, preprocessing.model_dump(mode="json"), pooling, normalisation],
        sort_keys=True,
        separators=(",", ":"),
    )
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def probe_pixels(size: int) -> NDArray[np.uint8]:
    """The known-answer image, (1, size, size, 3) uint8: rings over a colour ramp.

    Integer arithmetic alone, so every platform draws the same bytes.
    """
    y, x = np.mgrid[0:size, 0:size].astype(np.int64)
    centre = size // 2
    rings = ((x - centre) ** 2 + (y - centre) ** 2) // (4 * size) % 2 * 160
    channels = [rings + 95 * x // size, rings + 95 * y // size, 255 - rings]
    return np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8)[None]


def load(folder: Path) -> Manifest:
    """Read and check `folder/manifest.json` and the engine file that it names.

    Raises ManifestError when there is none, when it is of another format, or when the engine is
    missing or is not the file that passed the gate.
    """
    path = folder / FILE_NAME
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise ManifestError(f"No engine is published in {folder}: run `make export`.") from None
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ManifestError(f"{path} is not JSON ({error}): run `make export` again.") from None
    found = document.get("format") if isinstance(document, dict) else None
    if found != FORMAT:
        raise ManifestError(
            f"{path} has format {found!r}, this version reads format {FORMAT}: "
            "run `make export` again."
        )
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ManifestError(f"{path}: {where}: {first['msg']}: run `make export` again.") from None
    _verify(manifest, folder)
    return manifest


def _verify(manifest: Manifest, folder: Path) -> None:
    encoder = manifest.encoder
    expected = fingerprint(
        weights_sha256=encoder.weights_sha256,
        preprocessing=encoder.preprocessing,
        pooling=encoder.pooling,
        normalisation=encoder.normalisation,
    )
    again = "run `make export` again."
    if encoder.fingerprint != expected:
        raise ManifestError(
            f"The manifest in {folder} names vector space {encoder.fingerprint[:12]}, but its own "
            f"fields give {expected[:12]}: it was changed by hand; {again}"
        )
    if len(manifest.probe_embedding) != encoder.dimension:
        raise ManifestError(
            f"The manifest in {folder} has a probe of {len(manifest.probe_embedding)} values for "
            f"an encoder of dimension {encoder.dimension}: {again}"
        )
    row = next((row for row in manifest.gate.rows if row.precision == manifest.precision), None)
    if row is None or not row.passed:
        raise ManifestError(
            f"The {manifest.precision} engine in {folder} has not passed the gate: {again}"
        )
    name = manifest.engine.file
    if Path(name).name != name:
        raise ManifestError(f"The manifest in {folder} names an engine outside its folder: {again}")
    engine = folder / name
    if not engine.is_file():
        raise ManifestError(f"The engine {engine} that the manifest names is missing: {again}")
    if file_sha256(engine) != manifest.engine.sha256:
        raise ManifestError(
            f"The engine {engine} is not the file that passed the gate (its SHA-256 differs): "
            f"{again}"
        )
