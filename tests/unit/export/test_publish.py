"""Publication is atomic: killed at any system call, the old or the new engine is complete."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vitrine_export import publish
from vitrine_export.errors import ExportError
from vitrine_server import manifest as manifests
from vitrine_server.manifest import EncoderInfo, Gate, GateRow, Manifest, Preprocessing, fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

PREPROCESSING = Preprocessing(size=8, resize="crop", mean=(0, 0, 0), std=(1, 1, 1))


def describe(engine: Path, weights: str) -> Manifest:
    encoder = EncoderInfo(
        name="small",
        family="design-vit",
        source="seed 0",
        licence="none",
        trained=False,
        weights_sha256=weights,
        pooling="mean",
        dimension=2,
        preprocessing=PREPROCESSING,
        fingerprint=fingerprint(
            weights_sha256=weights, preprocessing=PREPROCESSING, pooling="mean", normalisation="l2"
        ),
    )
    row = GateRow(
        precision="fp32",
        cosine_mean=1,
        cosine_min=1,
        recall_at_10=1,
        finite=True,
        latency_ms_batch_1=1,
        images_per_s=1,
        best_batch=1,
        passed=True,
        reason="",
    )
    return Manifest(
        encoder=encoder,
        precision="fp32",
        runtime="openvino",
        engine=publish.engine_file(engine),
        gate=Gate(images=200, image_source="none", rows=(row,)),
        probe_embedding=(1.0, 0.0),
        created="2026-01-01T00:00:00+00:00",
        tools={},
        device={},
    )


@pytest.fixture
def old(tmp_path: Path) -> tuple[Path, Manifest]:
    path = tmp_path / "old.onnx"
    path.write_bytes(b"old engine" * 100)
    return path, describe(path, "old")


@pytest.fixture
def new(tmp_path: Path) -> tuple[Path, Manifest]:
    path = tmp_path / "new.onnx"
    path.write_bytes(b"new engine" * 200)
    return path, describe(path, "new")


@pytest.fixture
def folder(tmp_path: Path, old: tuple[Path, Manifest]) -> Path:
    served = tmp_path / "1"
    served.mkdir()
    (served / "model.py").write_text("# not ours\n")
    publish.publish(*old, served, reports={})
    return served


def engines(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("engine-*"))


def test_a_publication_can_be_loaded_and_removes_the_engine_before(
    folder: Path, old: tuple[Path, Manifest], new: tuple[Path, Manifest]
) -> None:
    assert manifests.load(folder) == old[1]
    publish.publish(*new, folder, reports={})
    assert manifests.load(folder) == new[1]
    assert engines(folder) == [new[1].engine.file]
    assert (folder / "model.py").is_file()


def test_publishing_the_same_engine_again_keeps_it(
    folder: Path, old: tuple[Path, Manifest]
) -> None:
    publish.publish(*old, folder, reports={})
    assert manifests.load(folder) == old[1]
    assert engines(folder) == [old[1].engine.file]


class Killed(BaseException):
    """Stands for SIGKILL: no `except Exception` may see it."""


def killing(calls: list[str], stop: int) -> Callable[[str], None]:
    def step(name: str) -> None:
        calls.append(name)
        if len(calls) == stop:
            raise Killed

    return step


def interrupt(monkeypatch: pytest.MonkeyPatch, stop: int) -> list[str]:
    """Let the process die at the `stop`-th fsync, rename or removal."""
    calls: list[str] = []
    step = killing(calls, stop)
    fsync, replace, unlink = os.fsync, Path.replace, Path.unlink
    monkeypatch.setattr(os, "fsync", lambda number: (step("fsync"), fsync(number)))
    monkeypatch.setattr(
        Path, "replace", lambda self, target: (step("rename"), replace(self, target))
    )
    monkeypatch.setattr(Path, "unlink", lambda self: (step("remove"), unlink(self)))
    return calls


@pytest.mark.parametrize("stop", range(1, 11))
def test_killed_at_any_step_the_old_or_the_new_engine_is_served(
    folder: Path,
    old: tuple[Path, Manifest],
    new: tuple[Path, Manifest],
    monkeypatch: pytest.MonkeyPatch,
    stop: int,
) -> None:
    with monkeypatch.context() as patch:
        calls = interrupt(patch, stop)
        if stop <= 8:
            with pytest.raises(Killed):
                publish.publish(*new, folder, reports={})
        else:
            publish.publish(*new, folder, reports={})
            # engine: write, rename, folder; manifest: the same; link; then the old engine goes
            assert calls == [*["fsync", "rename", "fsync"] * 2, "rename", "remove"]
    # the second rename is the commit
    assert manifests.load(folder) == (old if stop <= 5 else new)[1]
    publish.publish(*new, folder, reports={})
    assert manifests.load(folder) == new[1]
    assert engines(folder) == [new[1].engine.file]
    assert not list(folder.glob("*.partial"))


def test_a_full_disk_leaves_the_old_engine(
    folder: Path,
    old: tuple[Path, Manifest],
    new: tuple[Path, Manifest],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ExportError, match="the disk is full"):
            publish.publish(*new, folder, reports={})
    assert manifests.load(folder) == old[1]


def test_too_little_space_is_said_before_anything_is_written(
    folder: Path, new: tuple[Path, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(folder.iterdir())
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(ExportError, match=r"free space; the engine needs"):
        publish.publish(*new, folder, reports={})
    assert sorted(folder.iterdir()) == before


def test_two_exports_at_once_are_refused(folder: Path) -> None:
    with (
        publish.locked(folder),
        pytest.raises(ExportError, match="Another export"),
        publish.locked(folder),
    ):
        pass
    with publish.locked(folder):
        pass


def test_reports_lie_beside_the_engine(folder: Path, new: tuple[Path, Manifest]) -> None:
    publish.publish(*new, folder, reports={"throughput.svg": "<svg/>"})
    assert (folder / "throughput.svg").read_text() == "<svg/>"


def test_a_plan_is_found_under_the_name_that_triton_wants(folder: Path, tmp_path: Path) -> None:
    for content in (b"plan one", b"plan two"):
        path = tmp_path / "int8.plan"
        path.write_bytes(content)
        found = describe(path, "weights")
        publish.publish(path, found, folder, reports={})
        assert (folder / "model.plan").read_bytes() == content
        assert manifests.load(folder) == found
    assert len(engines(folder)) == 1
