"""`model_repository/cpu/image_encoder` in the real Triton: right answers, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
import torch
import tritonclient.grpc as triton
from serving import TRITON_ENV, eventually, free_ports

from vitrine_export import engines, text_export
from vitrine_export.text import TextTower
from vitrine_server import manifest as manifests
from vitrine_server import triton_process
from vitrine_server.tokens import MAX_TOKENS, tokenise
from vitrine_training.text import TextTower as HashedTower

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Damage = Callable[[Path, dict[str, Any]], None]

pytestmark = [pytest.mark.triton, pytest.mark.slow]
BUCKETS = 512


def embed(
    client: triton.InferenceServerClient, pixels: NDArray[np.uint8], **options: Any
) -> NDArray[np.float32]:
    tensor = triton.InferInput("pixels", pixels.shape, "UINT8")
    tensor.set_data_from_numpy(pixels)
    answer = client.infer("image_encoder", [tensor], **options)
    return np.asarray(answer.as_numpy("embedding"))


def images(count: int) -> NDArray[np.uint8]:
    random = np.random.default_rng(2)
    coarse = random.integers(0, 256, (count, 7, 7, 3), dtype=np.uint8)
    return coarse.repeat(32, axis=1).repeat(32, axis=2)


# Models that must not be served, and models that another runtime must save ------------------------


def rewrite(folder: Path, document: dict[str, Any]) -> None:
    (folder / "manifest.json").write_text(json.dumps(document))


def no_manifest(folder: Path, document: dict[str, Any]) -> None:
    (folder / "manifest.json").unlink()


def no_json(folder: Path, document: dict[str, Any]) -> None:
    (folder / "manifest.json").write_text("{")


def other_format(folder: Path, document: dict[str, Any]) -> None:
    rewrite(folder, document | {"format": 99})


def missing_engine(folder: Path, document: dict[str, Any]) -> None:
    (folder / document["engine"]["file"]).unlink()


def other_bytes(folder: Path, document: dict[str, Any]) -> None:
    engine = folder / document["engine"]["file"]
    data = bytearray(engine.read_bytes())
    data[len(data) // 2] ^= 1
    engine.write_bytes(data)


def other_answer(folder: Path, document: dict[str, Any]) -> None:
    probe = [-value for value in document["probe_embedding"]]
    rewrite(folder, document | {"probe_embedding": probe})


def no_graph(folder: Path, document: dict[str, Any]) -> None:
    data = b"this is not ONNX"
    (folder / document["engine"]["file"]).write_bytes(data)
    engine = document["engine"] | {"sha256": hashlib.sha256(data).hexdigest()}
    rewrite(folder, document | {"engine": engine})


def openvino_fails(folder: Path, document: dict[str, Any]) -> None:
    rewrite(folder, document | {"properties": {"INFERENCE_PRECISION_HINT": "no such type"}})


def onnxruntime_was_chosen(folder: Path, document: dict[str, Any]) -> None:
    rewrite(folder, document | {"runtime": "onnxruntime", "properties": {}})


def damaged_cache(folder: Path, document: dict[str, Any]) -> None:
    """What an interrupted start may leave: half of a compiled model."""
    compiled = folder / "cache"
    script = "import sys, openvino, json\nopenvino.Core().compile_model(sys.argv[1], 'CPU', "
    script += "json.loads(sys.argv[2]))"
    settings = json.dumps(document["properties"] | {"CACHE_DIR": str(compiled)})
    engine = folder / document["engine"]["file"]
    subprocess.run([TRITON_ENV / "bin" / "python", "-c", script, engine, settings], check=True)
    blobs = list(compiled.glob("*.blob"))
    assert blobs
    for blob in blobs:
        blob.write_bytes(blob.read_bytes()[: blob.stat().st_size // 2])


REFUSED: dict[Damage, str] = {
    no_manifest: "No engine is published",
    no_json: "is not JSON",
    other_format: "not of format 1",
    missing_engine: "is missing",
    other_bytes: "SHA-256 differs",
    other_answer: "the probe's cosine is -1",
    no_graph: "No runtime serves the engine",
}
SERVED: list[Damage] = [openvino_fails, onnxruntime_was_chosen, damaged_cache]


def hashed_tower() -> HashedTower:
    """A small text tower; the same weights each time."""
    torch.manual_seed(0)
    return HashedTower(buckets=BUCKETS, dim=16, embedding=256).eval()


def publish_texts(image_folder: Path, work: Path) -> None:
    """The tower in the vector space of the published images, by the real export."""
    module = hashed_tower()
    tower = TextTower(module=module, kind="hashed", length=MAX_TOKENS, buckets=BUCKETS)
    built = text_export.build(tower, manifests.load(image_folder), work=work)
    text_export.install(built, image_folder)


@dataclass(frozen=True)
class Models:
    """A running Triton with the published model and its variants; `index` by model name."""

    index: dict[str, dict[str, str]]
    address: str
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def models(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    root = tmp_path_factory.mktemp("variants")
    shutil.copytree(published / "image_encoder", root / "image_encoder")
    for damage in (*REFUSED, *SERVED):
        target = root / damage.__name__
        shutil.copytree(published / "image_encoder", target)
        config = (target / "config.pbtxt").read_text()
        (target / "config.pbtxt").write_text(
            config.replace('name: "image_encoder"', f'name: "{damage.__name__}"')
        )
        document = json.loads((target / "1" / "manifest.json").read_text())
        damage(target / "1", document)
    publish_texts(root / "image_encoder" / "1", tmp_path_factory.mktemp("texts"))
    with triton_of(root) as models:
        yield models


@contextmanager
def triton_of(root: Path) -> Iterator[Models]:
    """A Triton with all models of a folder, loaded or refused; what it prints is left beside it."""
    found = triton_process.find(TRITON_ENV)
    http, grpc, metrics = free_ports(3)
    command = [
        str(found.home / "bin" / "tritonserver"),
        f"--model-repository={root}",
        f"--backend-directory={found.home / 'backends'}",
        "--exit-on-error=false",
        "--strict-readiness=false",
        f"--http-port={http}",
        f"--grpc-port={grpc}",
        f"--metrics-port={metrics}",
        *(f"--{each}-address=127.0.0.1" for each in ("http", "grpc", "metrics")),
    ]
    with (root.parent / "triton.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=triton_process.environment(found), stdout=log, stderr=log
        )
    try:
        index = loaded(f"http://127.0.0.1:{http}", process)
        yield Models(index, f"127.0.0.1:{grpc}", process)
    finally:
        process.terminate()
        process.wait(60)


def loaded(url: str, process: subprocess.Popen[bytes]) -> dict[str, dict[str, str]]:
    """Triton's index, once each model is loaded or refused."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert process.poll() is None, "Triton has ended"
        try:
            models = httpx.post(f"{url}/v2/repository/index", timeout=30).json()
        except httpx.TransportError:
            models = []
        if models and all(model.get("state") in ("READY", "UNAVAILABLE") for model in models):
            return {model["name"]: model for model in models}
        time.sleep(0.5)
    raise AssertionError("Triton did not finish loading")


@pytest.fixture(scope="module")
def client(models: Models) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(models.address) as connection:
        yield connection


def test_concurrent_requests_of_all_sizes_get_their_own_answers(
    client: triton.InferenceServerClient, published: Path
) -> None:
    pixels = images(120)
    sizes = [1, 2, 3, 1, 5, 8, 1, 1, 4, 16, 1, 2, 7, 1, 3, 1, 32, 1, 6, 24]
    starts = np.cumsum([0, *sizes])[:-1]
    with ThreadPoolExecutor(len(sizes)) as pool:
        answers = list(
            pool.map(
                lambda part: embed(client, pixels[part[0] : part[0] + part[1]]),
                zip(starts, sizes, strict=True),
            )
        )
    assert [len(answer) for answer in answers] == sizes
    folder = published / "image_encoder" / "1"
    found = manifests.load(folder)
    engine = engines.load(folder / found.engine.file, found.precision, "openvino")
    expected = np.concatenate([engine.embed(part) for part in np.split(pixels, 15)])
    cosine = (np.concatenate(answers) * expected).sum(axis=1)
    assert cosine.min() > 0.9999
    # distinct pictures: a mixed-up answer would show
    others = expected @ expected.T - 2 * np.eye(len(expected))
    assert others.max() < 0.9999


def test_a_wrong_shape_fails_alone(client: triton.InferenceServerClient) -> None:
    pixels = images(8)

    def ask(number: int) -> NDArray[np.float32] | str:
        try:
            return embed(client, pixels[:1] if number % 2 else pixels[:1, :32, :32].copy())
        except triton.InferenceServerException as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    for number, answer in enumerate(answers):
        if number % 2:
            assert isinstance(answer, np.ndarray)
        else:
            assert "accepted is (B, 224, 224, 3)" in answer


def test_a_request_that_nobody_waits_for_any_more_is_not_executed(
    client: triton.InferenceServerClient,
) -> None:
    """The queue has no limits of its own, and `config.pbtxt` says why: calls are cancelled."""
    pixels = images(32)
    answers: list[object] = []
    tensor = triton.InferInput("pixels", pixels.shape, "UINT8")
    tensor.set_data_from_numpy(pixels)

    def executed() -> int:
        statistics = client.get_inference_statistics("image_encoder")
        return int(statistics.model_stats[0].inference_count)

    before = executed()
    for _ in range(12):  # the model is busy for a while
        client.async_infer(
            "image_encoder", [tensor], lambda result, error: answers.append(error or result)
        )
    eventually(lambda: executed() > before, limit_s=60, what="they are under way")
    with pytest.raises(triton.InferenceServerException, match="Deadline Exceeded"):
        embed(client, images(1), client_timeout=0.02)
    eventually(lambda: len(answers) == 12, limit_s=120, what="the others are answered")
    embed(client, images(1))
    assert executed() == before + 12 * len(pixels) + 1


def test_what_the_model_has_taken_is_answered_before_triton_ends(
    published: Path, tmp_path: Path
) -> None:
    """Batches that the engine computes when SIGTERM comes, and the ones that wait for it."""
    root = tmp_path / "models"
    shutil.copytree(published / "image_encoder", root / "image_encoder")
    pixels = images(32)
    answers: list[object] = []
    tensor = triton.InferInput("pixels", pixels.shape, "UINT8")
    tensor.set_data_from_numpy(pixels)
    with triton_of(root) as models, triton.InferenceServerClient(models.address) as connection:
        for _ in range(6):
            connection.async_infer(
                "image_encoder", [tensor], lambda result, error: answers.append(error or result)
            )
        eventually(lambda: answers, limit_s=60, what="the first batch is answered")
        models.process.terminate()
        models.process.wait(60)
        eventually(lambda: len(answers) == 6, limit_s=10, what="every request is answered")
    for each in answers:
        assert not isinstance(each, Exception), each


@pytest.mark.parametrize("damage", REFUSED, ids=lambda damage: damage.__name__)
def test_an_engine_that_does_not_match_is_refused(models: Models, damage: Damage) -> None:
    model = models.index[damage.__name__]
    assert model["state"] == "UNAVAILABLE"
    assert REFUSED[damage] in model["reason"]


@pytest.mark.parametrize("damage", SERVED, ids=lambda damage: damage.__name__)
def test_what_another_runtime_can_serve_is_served(
    models: Models, damage: Damage, published: Path
) -> None:
    model = models.index[damage.__name__]
    assert model["state"] == "READY", model.get("reason")
    expected = manifests.load(published / "image_encoder" / "1").probe_embedding
    pixels = manifests.probe_pixels(224)
    tensor = triton.InferInput("pixels", pixels.shape, "UINT8")
    tensor.set_data_from_numpy(pixels)
    with triton.InferenceServerClient(models.address) as connection:
        answer = connection.infer(damage.__name__, [tensor]).as_numpy("embedding")
    assert float(answer[0] @ np.array(expected, np.float32)) > 0.99


def test_texts_are_embedded_beside_the_images(
    models: Models, client: triton.InferenceServerClient
) -> None:
    assert models.index["text_encoder"]["state"] == "READY"
    texts = ["a chair", "a lamp with a conical shade", "椅子", ""]

    def ask(tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        tensor = triton.InferInput("tokens", tokens.shape, "INT64")
        tensor.set_data_from_numpy(tokens)
        return np.asarray(client.infer("text_encoder", [tensor]).as_numpy("embedding"))

    tokens = tokenise(texts, buckets=BUCKETS)
    np.testing.assert_allclose(ask(tokens), hashed_tower().encode(texts), atol=1e-4)
    with pytest.raises(triton.InferenceServerException, match=rf"accepted is \(B, {MAX_TOKENS}\)"):
        ask(tokens[:, :16].copy())
