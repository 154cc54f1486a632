"""Images as they were sent, one file each, named by the SHA-256 of its content.

A file is on disk before the record that names it, and is removed some time after the last such
record: `keep` and a delete of the same image may run at the same time.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import threading
import time
from typing import TYPE_CHECKING

import structlog

from vitrine_server import durable
from vitrine_server.durable import Damaged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

FOLDER = "originals"
# longer than any request between the file and its record
GRACE_S = 600.0

_NAME = re.compile(r"[0-9a-f]{64}")

_log = structlog.get_logger(__name__)


class Originals:
    """The images of one collection. Every method may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, image: bytes) -> str:
        """Put an image on disk; its SHA-256 as hex. Raises StorageFailed."""
        name = hashlib.sha256(image).hexdigest()
        path = self.path(name)
        try:
            try:
                os.utime(path)  # as good as new: not to be collected before its record comes
            except FileNotFoundError:
                self._write(path, image)
        except OSError as error:
            raise durable.refused(error, "an image") from error
        return name

    def read(self, name: str) -> bytes:
        """The image with this SHA-256. Raises KeyError when it was not kept, Damaged."""
        try:
            image = self.path(name).read_bytes()
        except FileNotFoundError:
            raise KeyError(name) from None
        except OSError as error:
            raise Damaged(f"{self.path(name)} cannot be read: {error.strerror}.") from error
        if hashlib.sha256(image).hexdigest() != name:
            raise Damaged(f"{self.path(name)} is not the image that was kept.")
        return image

    def path(self, name: str) -> Path:
        """Where the image with this SHA-256 is, or would be. Raises KeyError for other names: a
        restored archive can hold any.
        """
        if not _NAME.fullmatch(name):
            raise KeyError(name)
        return self._folder / name[:2] / name

    def __contains__(self, name: str) -> bool:
        return _NAME.fullmatch(name) is not None and self.path(name).is_file()

    def collect(
        self, names: Iterable[str] | None, in_use: Callable[[list[str]], set[str]]
    ) -> list[str]:
        """Remove those of the images (None: of all) that no record names, and what an interrupted
        `keep` left; the ones that are too young to tell. in_use: which of some a record names.
        """
        oldest = time.time() - GRACE_S
        young: list[str] = []
        for path in (
            self._folder.glob("??/*")
            if names is None
            else (self._folder / name[:2] / name for name in names if _NAME.fullmatch(name))
        ):
            name = path.name
            try:
                if path.stat().st_mtime > oldest:
                    young.append(name)
                elif not in_use([name]):
                    path.unlink()
            except FileNotFoundError:
                pass
        return young

    def _write(self, path: Path, image: bytes) -> None:
        if not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            durable.sync_folder(self._folder)
            durable.sync_folder(self._folder.parent)
        temporary = path.with_name(path.name[:2] + secrets.token_hex(8))
        try:
            durable.write_file(temporary, [image])
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)
        durable.sync_folder(path.parent)


class Collector:
    """Removes images whose last record is gone, in the background."""

    def __init__(self, originals: Originals, in_use: Callable[[list[str]], set[str]]) -> None:
        self._originals = originals
        self._in_use = in_use
        self._waiting: set[str] = set()
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._stopped = False

    def start(self) -> None:
        """Look at all images once: the process may have ended before it had removed some."""
        threading.Thread(target=self._run, args=(None,), name="originals", daemon=True).start()

    def released(self, names: Iterable[str]) -> None:
        """Records that named these images are gone; others may still name them. Cheap."""
        with self._lock:
            self._waiting.update(names)
            if self._waiting and self._timer is None and not self._stopped:
                self._timer = threading.Timer(GRACE_S + 1, self._run_waiting)
                self._timer.daemon = True
                self._timer.start()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            if self._timer is not None:
                self._timer.cancel()

    def _run_waiting(self) -> None:
        with self._lock:
            names, self._waiting, self._timer = self._waiting, set(), None
        self._run(names)

    def _run(self, names: Iterable[str] | None) -> None:
        try:
            young = self._originals.collect(names, self._in_use)
        except Exception as error:
            if not self._stopped:
                _log.error("images were not collected", error=str(error))
            return
        self.released(young)
