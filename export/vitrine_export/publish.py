"""Engine files → the folder that Triton serves, so that a crash at any moment leaves one engine.

1. the engine is written under a name with its hash, beside the one in use, and synced
2. `manifest.json` is replaced by an atomic rename: this is the commit
3. engine files that no manifest names are removed

Triton's own backends want a fixed name: `model.plan` or `model.onnx` links to the engine in use. A
link that lags behind the manifest is found by the probe that the sidecar sends.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from typing import TYPE_CHECKING

from vitrine_export.errors import ExportError
from vitrine_server.manifest import FILE_NAME, EngineFile, file_sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from vitrine_server.manifest import Manifest

_LOCK = ".export.lock"
_TEMPORARY = ".partial"
_HEADROOM_BYTES = 64 * 2**20


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for one export. Raises ExportError when another one is at work."""
    with (folder / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ExportError(
                f"Another export is publishing into {folder}: wait until it has ended."
            ) from None
        yield


def engine_file(path: Path) -> EngineFile:
    """The manifest's entry for an engine: its name in the folder holds its hash."""
    digest = file_sha256(path)
    return EngineFile(
        file=f"engine-{digest[:16]}{path.suffix}", sha256=digest, bytes=path.stat().st_size
    )


def publish(
    engine: Path,
    manifest: Manifest,
    folder: Path,
    *,
    companion: bytes = b"",
    reports: Mapping[str, str],
) -> None:
    """Make `manifest` and its engine what is served from `folder`.

    companion: content of the tokeniser's file. reports: texts for people, by file name. Call it
    under `locked`. Raises ExportError when the disk does not take the files; what was served before
    is then untouched.
    """
    free = shutil.disk_usage(folder).free
    if free < manifest.engine.bytes + _HEADROOM_BYTES:
        raise ExportError(
            f"{folder} has {free / 1e6:.0f} MB of free space; the engine needs "
            f"{(manifest.engine.bytes + _HEADROOM_BYTES) / 1e6:.0f} MB."
        )
    target = folder / manifest.engine.file
    try:
        if not target.is_file() or file_sha256(target) != manifest.engine.sha256:
            _write(target, engine.read_bytes())
        kept = {manifest.engine.file}
        if manifest.tokeniser is not None and manifest.tokeniser.file is not None:
            kept.add(manifest.tokeniser.file.file)
            _write(folder / manifest.tokeniser.file.file, companion)
        text = manifest.model_dump_json(indent=2) + "\n"
        _write(folder / FILE_NAME, text.encode())
        _link(folder / f"model{target.suffix}", target.name)
        _collect(folder, keep=kept)
        for name, content in reports.items():
            _write(folder / name, content.encode())
    except OSError as error:
        detail = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        raise ExportError(f"The engine cannot be written to {folder}: {detail}.") from error


def _write(path: Path, data: bytes) -> None:
    """Replace `path` atomically and durably."""
    temporary = path.with_name(path.name + _TEMPORARY)
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link(path: Path, target: str) -> None:
    temporary = path.with_name(path.name + _TEMPORARY)
    if temporary.is_symlink():
        temporary.unlink()
    temporary.symlink_to(target)
    temporary.replace(path)


def _collect(folder: Path, *, keep: set[str]) -> None:
    for path in folder.iterdir():
        stale = path.name.startswith(("engine-", "tokenizer-")) and path.name not in keep
        if stale or path.name.endswith(_TEMPORARY):
            path.unlink()
