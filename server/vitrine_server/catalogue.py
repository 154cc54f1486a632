"""Every collection in the data folder, which one process owns at a time.

A collection is a folder that appears by one rename when its files are complete, and disappears by
one rename before they are deleted.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import threading
from typing import TYPE_CHECKING

import structlog

from vitrine_server.collection import Collection, CollectionInfo, CollectionSettings
from vitrine_server.config import ConfigError
from vitrine_server.durable import publish, sync_folder
from vitrine_server.errors import CollectionNotFound, Conflict, Invalid, Unavailable
from vitrine_server.store import DamagedStore

if TYPE_CHECKING:
    from pathlib import Path

    from vitrine_server.records import EncoderIdentity

DEFAULT = "default"

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_UNFINISHED = "."  # collection names cannot begin with a dot

_log = structlog.get_logger(__name__)


class Catalogue:
    """The collections of a data folder. Every method may be called from any thread."""

    def __init__(self, data: Path, *, encoder: EncoderIdentity) -> None:
        """Open all collections, and make `default` when there is none.

        A collection whose files are damaged is listed in `damaged`, and using it raises
        Unavailable; the others are served. Raises ConfigError when another process has the folder.
        """
        self.encoder = encoder
        self.damaged: dict[str, str] = {}
        self._folder = data / "collections"
        self._collections: dict[str, Collection] = {}
        self._changing = threading.Lock()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = _own(data)
            sync_folder(data.absolute().parent)
            sync_folder(data)
        except OSError as error:
            raise ConfigError(f"VITRINE_DATA: {data} cannot be used: {error.strerror}.") from None
        try:
            self._open_all()
            if DEFAULT not in self._collections and DEFAULT not in self.damaged:
                self._create(DEFAULT, CollectionSettings())
        except BaseException:
            self.close()
            raise

    def list(self) -> list[CollectionInfo]:
        """The collections that can be used, by name."""
        return [collection.describe() for _, collection in sorted(self._collections.items())]

    def get(self, name: str) -> Collection:
        """Raises CollectionNotFound; Unavailable (`collection_damaged`) for damaged files."""
        collection = self._collections.get(name)
        if collection is not None:
            return collection
        if name in self.damaged:
            raise Unavailable(
                f"The files of collection {name!r} are damaged: {self.damaged[name]}",
                code="collection_damaged",
            )
        raise CollectionNotFound(name)

    def create(self, name: str, settings: CollectionSettings) -> Collection:
        """Make a collection; the same again is no error. Raises Invalid for a bad name, Conflict
        naming the setting when one of that name has other settings.
        """
        if not _NAME.fullmatch(name):
            raise Invalid(
                f"{name[:128]!r} cannot be the name of a collection.",
                code="invalid_name",
                field="collection",
                accepted="1 to 64 of a-z, 0-9, _ and -, beginning with a letter or digit",
            )
        with self._changing:
            if name not in self._collections and name not in self.damaged:
                return self._create(name, settings)
            collection = self.get(name)
            for key in type(settings).model_fields:
                has, wanted = getattr(collection.settings, key), getattr(settings, key)
                if has != wanted:
                    raise Conflict(
                        f"Collection {name!r} exists with {key} = {has!r}.",
                        code="collection_exists",
                        field=key,
                        accepted=f"{has!r}, or another name, or deleting the collection first",
                    )
            return collection

    def drop(self, name: str) -> None:
        """Delete a collection with everything in it; `default` is made anew, empty.

        Raises CollectionNotFound.
        """
        with self._changing:
            collection = self._collections.pop(name, None)
            if collection is None and self.damaged.pop(name, None) is None:
                raise CollectionNotFound(name)
            if collection is not None:
                collection.close()
            gone = self._folder / f"{_UNFINISHED}dropped-{secrets.token_hex(8)}"
            (self._folder / name).rename(gone)
            sync_folder(self._folder)
            if name == DEFAULT:
                self._create(DEFAULT, CollectionSettings())
        shutil.rmtree(gone)

    def close(self) -> None:
        """Finish waiting writes, close every collection and give the folder back."""
        with self._changing:
            for collection in self._collections.values():
                collection.close()
            self._collections.clear()
            os.close(self._lock)

    def _open_all(self) -> None:
        for folder in sorted(self._folder.iterdir()):
            if folder.name.startswith(_UNFINISHED):
                shutil.rmtree(folder)
            elif _NAME.fullmatch(folder.name) and folder.is_dir():
                try:
                    self._collections[folder.name] = Collection(folder, serving=self.encoder)
                except DamagedStore as error:
                    _log.error("collection damaged", collection=folder.name, error=str(error))
                    self.damaged[folder.name] = str(error)

    def _create(self, name: str, settings: CollectionSettings) -> Collection:
        building = self._folder / f"{_UNFINISHED}new-{secrets.token_hex(8)}"
        building.mkdir()
        Collection.create(building, settings, self.encoder)
        publish(building, self._folder / name)
        collection = Collection(self._folder / name, serving=self.encoder)
        self._collections[name] = collection
        return collection


def _own(data: Path) -> int:
    """Take the folder's lock for the life of this process; the descriptor that holds it."""
    path = data / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise ConfigError(
            f"VITRINE_DATA: {data} is in use by another Vitrine server (process {owner}); "
            "stop it, or give this one another folder."
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor
