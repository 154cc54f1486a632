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

from vitrine_server import spaces
from vitrine_server.backup import BackupManifest, Restored, prepare_restore, write_archive
from vitrine_server.collection import Collection, CollectionInfo, CollectionSettings
from vitrine_server.config import ConfigError
from vitrine_server.durable import publish, refused, sync_folder
from vitrine_server.errors import CollectionNotFound, Conflict, Invalid, Unavailable
from vitrine_server.store import DamagedStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vitrine_server.records import EncoderIdentity

DEFAULT = "default"
FOLDER = "collections"

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_UNFINISHED = "."  # collection names cannot begin with a dot
_RETIRED_S = 60.0  # no query takes longer

_log = structlog.get_logger(__name__)


class Catalogue:
    """The collections of a data folder. Every method may be called from any thread."""

    def __init__(self, data: Path, *, encoder: EncoderIdentity, results_bytes: int = 0) -> None:
        """Open all collections, and make `default` when there is none. results_bytes: of answers
        that each collection keeps in memory.

        A collection whose files are damaged is listed in `damaged`, and using it raises
        Unavailable; the others are served. Raises ConfigError when another process has the folder.
        """
        self.encoder = encoder
        self._results_bytes = results_bytes
        # called in the thread of a change, before the change is answered, with a collection's name
        self.on_change: Callable[[str], None] = lambda name: None
        self.damaged: dict[str, str] = {}
        self._folder = data / FOLDER
        self._collections: dict[str, Collection] = {}
        self._retired: list[Collection] = []
        self._changing = threading.Lock()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = own(data)
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
        check_name(name)
        with self._changing:
            if name not in self._collections and name not in self.damaged:
                made = self._create(name, settings)
                self.on_change(name)
                return made
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
            self._close_retired(name)
            gone = self._folder / f"{_UNFINISHED}dropped-{secrets.token_hex(8)}"
            (self._folder / name).rename(gone)
            sync_folder(self._folder)
            if name == DEFAULT:
                self._create(DEFAULT, CollectionSettings())
            self.on_change(name)
        shutil.rmtree(gone)

    def backup(self, name: str, archive: Path) -> BackupManifest:
        """Write a collection, as it is now, to a new file, while it is used. Blocking.

        Raises CollectionNotFound, StorageFailed, Unavailable (`collection_damaged`).
        """
        self.get(name)
        try:
            return write_archive(self._folder / name, archive)
        except DamagedStore as error:
            _log.error("backup failed", collection=name, error=str(error))
            raise Unavailable(
                f"Collection {name!r} cannot be backed up: {error}", code="collection_damaged"
            ) from error

    def restore(self, name: str, archive: Path, *, replace: bool = False) -> CollectionInfo:
        """Make a collection of an archive. One of that name is replaced whole, if that is asked
        for: searches go on in the old one until the new one answers them. Blocking.

        Raises Invalid (`invalid_archive`, `invalid_name`), Conflict (`collection_exists`),
        StorageFailed; nothing has changed then.
        """
        check_name(name)
        known = name in self._collections or name in self.damaged
        if known and not replace:
            raise Conflict(
                f"There is a collection {name!r} already.",
                code="collection_exists",
                field="collection",
                accepted="another name, or replace=true",
            )
        return self._replace(name, prepare_restore(self._folder / name, archive))

    def _replace(self, name: str, restored: Restored) -> CollectionInfo:
        with self._changing:
            old = self._collections.get(name)
            if old is not None:
                old.refuse_writes(True)
            try:
                restored.publish()
            except OSError as error:
                # unless the new content may be there after a restart: then nothing may be added
                if not restored.published:
                    restored.abandon()
                    if old is not None:
                        old.refuse_writes(False)
                raise refused(error, "an archive") from error
            new = self._opened(self._folder / name)
            self._collections[name] = new
            self.damaged.pop(name, None)
            if old is not None:
                # queries that began with it may still read its records
                self._retired.append(old)
                timer = threading.Timer(_RETIRED_S, self._close_retired_later, (name, old))
                timer.daemon = True
                timer.start()
            self.on_change(name)
            return new.describe()

    def _close_retired_later(self, name: str, old: Collection) -> None:
        with self._changing:
            if old in self._retired:
                self._close_retired(name)
                if name in self._collections:
                    spaces.collect(self._folder / name)

    def _close_retired(self, name: str | None = None) -> None:
        """Close the collections (of a name) whose place another has taken."""
        for collection in [old for old in self._retired if name in {None, old.name}]:
            self._retired.remove(collection)
            collection.close()

    def close(self) -> None:
        """Finish waiting writes, close every collection and give the folder back."""
        with self._changing:
            for collection in self._collections.values():
                collection.close()
            self._collections.clear()
            self._close_retired()
            os.close(self._lock)

    def _open_all(self) -> None:
        for folder in sorted(self._folder.iterdir()):
            if folder.name.startswith(_UNFINISHED):
                shutil.rmtree(folder)
            elif _NAME.fullmatch(folder.name) and folder.is_dir():
                try:
                    spaces.collect(folder)
                    self._collections[folder.name] = self._opened(folder)
                except DamagedStore as error:
                    _log.error("collection damaged", collection=folder.name, error=str(error))
                    self.damaged[folder.name] = str(error)

    def _opened(self, folder: Path) -> Collection:
        return Collection(folder, serving=self.encoder, results_bytes=self._results_bytes)

    def _create(self, name: str, settings: CollectionSettings) -> Collection:
        building = self._folder / f"{_UNFINISHED}new-{secrets.token_hex(8)}"
        building.mkdir()
        Collection.create(building, settings, self.encoder)
        publish(building, self._folder / name)
        collection = self._opened(self._folder / name)
        self._collections[name] = collection
        return collection


def check_name(name: str) -> None:
    """Raise Invalid unless a collection can have this name."""
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"{name[:128]!r} cannot be the name of a collection.",
            code="invalid_name",
            field="collection",
            accepted="1 to 64 of a-z, 0-9, _ and -, beginning with a letter or digit",
        )


def own(data: Path) -> int:
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
