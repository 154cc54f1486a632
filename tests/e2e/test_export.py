"""The export command for real: what it publishes, and that what it publishes is safe to serve."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from serving import copy_model_files

from vitrine_export import engines, onnx_graph
from vitrine_server import manifest as manifests
from vitrine_training.model import DesignViT, DesignViTConfig

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXPORT = Path(sys.executable).with_name("vitrine-export")
pytestmark = pytest.mark.slow


def saved(folder: Path, config: DesignViTConfig) -> Path:
    DesignViT.from_seed(0, config).save(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint so small that its export takes seconds, and so wide that 8 bits suffice."""
    config = DesignViTConfig(image_size=64, dim=256, depth=0, heads=2, embedding=128)
    return saved(tmp_path_factory.mktemp("encoders") / "small", config)


@pytest.fixture(scope="module")
def fragile_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One channel of each block is so large that 8 bits leave nothing of the others."""
    config = DesignViTConfig(image_size=64, dim=64, depth=2, heads=2, embedding=32)
    model = DesignViT.from_seed(0, config)
    with torch.no_grad():
        for block in model.blocks:
            for norm, linear, out in (
                (block.norm1, block.qkv, block.projection),
                (block.norm2, block.fc1, block.fc2),
            ):
                norm.weight[0] *= 1000
                linear.weight[:, 0] /= 1000
                out.weight *= 50  # the blocks must count beside the residual stream
    folder = tmp_path_factory.mktemp("encoders") / "fragile"
    model.save(folder)
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rectangles of all sizes, places and colours on white."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for number in range(264):
        values = np.full((64, 64, 3), 255, np.uint8)
        x, y = random.integers(0, 50, 2)
        width, height = random.integers(6, 40, 2)
        values[y : y + height, x : x + width] = random.integers(0, 255, 3)
        Image.fromarray(values).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four coloured squares each."""
    folder = tmp_path_factory.mktemp("colours")
    random = np.random.default_rng(0)
    for number in range(264):
        values = random.integers(0, 256, (2, 2, 3), dtype=np.uint8)
        image = Image.fromarray(values).resize((64, 64), Image.Resampling.NEAREST)
        image.save(folder / f"{number}.png")
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    copy_model_files(tmp_path / "models")
    return tmp_path / "models"


def export(
    encoder: Path, pictures: Path, repository: Path, *options: str, file_limit: int | None = None
) -> subprocess.Popen[str]:
    """file_limit: bytes that the process may write into one file; then its disk is full."""
    options = ("--target", "cpu", *options)
    command = [EXPORT, "--encoder", encoder, "--images", pictures, "--output", repository, *options]
    limit = [] if file_limit is None else ["prlimit", f"--fsize={file_limit}"]
    return subprocess.Popen(
        [*limit, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"COLUMNS": "100"},
    )


def finished(process: subprocess.Popen[str]) -> tuple[str, str]:
    return process.communicate(timeout=600)


def pixels(size: int, count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_the_shipped_encoder_is_published_with_its_proof(published: Path) -> None:
    folder = published / "image_encoder" / "1"
    found = manifests.load(folder)
    assert found.encoder.name == "design-vit"
    assert found.encoder.dimension == len(found.probe_embedding) == 256
    assert found.gate.images >= 200
    precisions = [row.precision for row in found.gate.rows]
    assert {"fp32", "int8"} <= set(precisions)
    served = next(row for row in found.gate.rows if row.precision == found.precision)
    assert served.passed
    assert served.reason.startswith("the fastest that passed")
    engine = engines.load(folder / found.engine.file, found.precision, "openvino")
    answer = engine.embed(manifests.probe_pixels(224))
    assert float(answer[0] @ np.array(found.probe_embedding)) > 0.9999


def test_precisions_replace_each_other_in_one_vector_space(
    encoder: Path, pictures: Path, repository: Path
) -> None:
    folder = repository / "image_encoder" / "1"
    fingerprints = set()
    for precision in ("int8", "fp32"):
        process = export(encoder, pictures, repository, "--precision", precision)
        output, errors = finished(process)
        assert process.returncode == 0, errors
        assert f"Published small as {precision}" in output.splitlines()[-1]
        found = manifests.load(folder)
        assert found.precision == precision
        fingerprints.add(found.encoder.fingerprint)
        graph = onnx_graph.onnx.load(folder / found.engine.file)
        quantised = any(node.op_type == "DequantizeLinear" for node in graph.graph.node)
        assert quantised is (precision == "int8")
    assert len(fingerprints) == 1
    assert len(list(folder.glob("engine-*"))) == 1


def test_a_killed_or_failed_export_leaves_the_engine_that_was_there(
    encoder: Path, pictures: Path, repository: Path, tmp_path: Path
) -> None:
    process = export(encoder, pictures, repository, "--precision", "fp32")
    _, errors = finished(process)
    assert process.returncode == 0, errors
    folder = repository / "image_encoder" / "1"
    before = manifests.load(folder)

    few = tmp_path / "few"
    few.mkdir()
    shutil.copy(next(pictures.iterdir()), few)
    process = export(encoder, few, repository)
    _, errors = finished(process)
    assert process.returncode == 1
    assert errors.startswith("export: ")
    assert len(errors.splitlines()) == 1
    assert "1 different usable images" in errors

    process = export(encoder, pictures, repository, "--precision", "int8", file_limit=100_000)
    _, errors = finished(process)
    assert process.returncode == 1
    assert len(errors.splitlines()) == 1
    assert "cannot be written (File too large)" in errors
    assert manifests.load(folder) == before

    for delay in (1.0, 6.0):
        process = export(encoder, pictures, repository, "--precision", "int8")
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        finished(process)
        assert manifests.load(folder) == before


def test_a_folder_that_cannot_be_written_is_one_sentence(
    encoder: Path, pictures: Path, repository: Path
) -> None:
    shutil.rmtree(repository / "image_encoder" / "1")
    process = export(encoder, pictures, repository)
    _, errors = finished(process)
    assert process.returncode == 1
    assert len(errors.splitlines()) == 1
    assert "cannot be used (No such file or directory): what was published before" in errors


def test_ctrl_c_ends_with_a_sentence(encoder: Path, pictures: Path, repository: Path) -> None:
    process = export(encoder, pictures, repository)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = finished(process)
    assert process.returncode == 130
    assert "untouched" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--encoder", "nothing"], "neither a folder nor an encoder of the catalogue"),
        (["--encoder", "/nowhere"], "is not a folder"),
        (["--precision", "fp8"], "PRECISION=fp8 is not possible on this CPU"),
        (["--images", "/nowhere"], "does not exist"),
        (["--output", "/tmp"], "is not Vitrine's model repository"),
    ],
)
def test_wrong_arguments_are_one_sentence(
    encoder: Path, pictures: Path, repository: Path, options: list[str], sentence: str
) -> None:
    process = export(encoder, pictures, repository, *options)
    _, errors = finished(process)
    assert process.returncode == 1
    assert len(errors.splitlines()) == 1
    assert sentence in errors
    assert not (repository / "image_encoder" / "1" / "manifest.json").exists()


def test_a_forced_precision_that_fails_the_gate_is_not_published(
    fragile_encoder: Path, colours: Path, repository: Path
) -> None:
    process = export(fragile_encoder, colours, repository, "--precision", "int8")
    output, errors = finished(process)
    assert process.returncode == 1
    assert "mean cosine is below 0.99" in output
    assert errors.strip() == "export: No engine passed the gate: nothing was published."
    assert not (repository / "image_encoder" / "1" / "manifest.json").exists()


def test_json_of_the_manifest_is_readable_without_pydantic(published: Path) -> None:
    """Triton's environment has only the standard library for it."""
    folder = published / "image_encoder" / "1"
    document = json.loads((folder / "manifest.json").read_text())
    assert {"encoder", "engine", "runtime", "properties", "probe_embedding"} <= set(document)
