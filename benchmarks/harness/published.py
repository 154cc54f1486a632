"""The model repository that serves an encoder: the published one, or one exported for this."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from harness.machine import ROOT
from vitrine_server import manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

MODEL = "image_encoder"


def repository_of(encoder: str, *, images: Path, kept: Path) -> Path:
    """model_repository/cpu where it serves the encoder, else a repository in `kept`, which is
    exported the first time (minutes). images: for its calibration and its gate."""
    published = ROOT / "model_repository" / "cpu"
    for repository in (published, kept / encoder):
        if _name(repository) == encoder:
            return repository
    repository = kept / encoder
    shutil.rmtree(repository, ignore_errors=True)
    (repository / MODEL / "1").mkdir(parents=True)
    for file in (f"{MODEL}/config.pbtxt", f"{MODEL}/1/model.py"):
        shutil.copy(published / file, repository / file)
    command: Sequence[str | Path] = [
        Path(sys.executable).with_name("vitrine-export"),
        *("--encoder", encoder, "--target", "cpu"),
        *("--images", images.resolve(), "--output", repository.resolve()),
    ]
    if subprocess.run(command, cwd=ROOT).returncode != 0:
        raise SystemExit(f"The encoder {encoder} cannot be exported.")
    return repository


def _name(repository: Path) -> str | None:
    try:
        return manifest.load(repository / MODEL / "1").encoder.name
    except manifest.ManifestError:
        return None
