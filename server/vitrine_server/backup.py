"""A collection as one file: written while it is used, checked whole, put back whole.

The file is a plain tar archive:

    manifest.json           what it is; its store's length and SHA-256
    store.db                records and vectors, one consistent state of them
    originals/<sha256>      images as they were sent, where the collection keeps them

Indexes are not in it: they are rebuilt. An archive may come from anywhere, so nothing of it is
believed: it is not compressed, holds plain files of these names only, and every byte is checked.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import secrets
import shutil
import sqlite3
import tarfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from vitrine_server import durable, spaces
from vitrine_server.collection import described_by
from vitrine_server.durable import Damaged
from vitrine_server.errors import Invalid
from vitrine_server.manifest import file_sha256
from vitrine_server.originals import FOLDER, Originals
from vitrine_server.records import iso_time
from vitrine_server.store import FILE_NAME, DamagedStore, Store, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

_MANIFEST = "manifest.json"
_MAX_MANIFEST_BYTES = 1 << 20
_MAX_ORIGINAL_BYTES = 1 << 28
_BLOCK = 1 << 20
_HEADER_BYTES = tarfile.BLOCKSIZE
_ORIGINAL = re.compile(rf"{FOLDER}/([0-9a-f]{{64}})")


class BackupManifest(BaseModel):
    """What an archive says about itself. sequence: the last write that it holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["vitrine-backup-1"] = "vitrine-backup-1"
    collection: str
    created: str
    encoder: str
    fingerprint: str
    count: int = Field(ge=0)
    sequence: int = Field(ge=0)
    store_bytes: int = Field(ge=0)
    store_sha256: str
    originals: int = Field(ge=0)


def write_archive(home: Path, archive: Path) -> BackupManifest:
    """Write an archive of the collection in a folder, which may be in use by this or any process.

    The archive appears under its name when it is complete, on disk and checked. Raises
    DamagedStore, or StorageFailed when the disk refuses.
    """
    # names of its own: a backup that was killed may have left some, another may be under way
    scratch = f".{archive.name}.{secrets.token_hex(4)}"
    copy, unfinished = archive.with_name(f"{scratch}.db"), archive.with_name(f"{scratch}.tar")
    try:
        _copy_store(spaces.active(home) / FILE_NAME, copy)
        images, manifest = _described(home, copy)
        with unfinished.open("xb") as file:
            with tarfile.open(fileobj=file, mode="w:", format=tarfile.GNU_FORMAT) as tar:
                content = orjson.dumps(manifest.model_dump(), option=orjson.OPT_INDENT_2)
                _add(tar, _MANIFEST, io.BytesIO(content), len(content))
                with copy.open("rb") as store:
                    _add(tar, FILE_NAME, store, manifest.store_bytes)
                for name, image in images:
                    _add(tar, f"{FOLDER}/{name}", io.BytesIO(image), len(image))
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(archive)
        durable.sync_folder(archive.absolute().parent)
    except OSError as error:
        raise durable.refused(error, "an archive") from error
    except (sqlite3.Error, Damaged) as error:
        raise DamagedStore(f"{home} cannot be copied: {error}.") from error
    except KeyError:
        raise DamagedStore(f"{home}: an image was deleted during the backup; repeat it.") from None
    finally:
        for path in (unfinished, *(Path(f"{copy}{suffix}") for suffix in ("", "-wal", "-shm"))):
            path.unlink(missing_ok=True)
    return manifest


@dataclass(frozen=True)
class Restored:
    """An archive that was checked and put on disk beside what it will be."""

    manifest: BackupManifest
    home: Path
    folder: Path

    def publish(self) -> None:
        """Let it become the collection in the folder `home`, durably and whole.

        Nobody may have its files open; the space that it replaces may be open.
        """
        if self.folder.parent == self.home:
            spaces.switch(self.home, self.folder)
        else:
            durable.publish(self.folder, self.home)

    @property
    def published(self) -> bool:
        """Whether `publish` has come so far that a restart may find it done."""
        return not self.folder.exists() or spaces.active(self.home) == self.folder

    def abandon(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def prepare_restore(home: Path, archive: Path) -> Restored:
    """Put an archive on disk, for the collection in a folder or for a new one there.

    Raises what `unpack` raises, after removing what it wrote.
    """
    if home.exists():
        folder = spaces.new(home)
    else:
        folder = home.with_name(f".new-{secrets.token_hex(8)}")
        folder.mkdir()
    images = home if folder.parent == home else folder
    try:
        return Restored(unpack(archive, folder, Originals(images / FOLDER)), home, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def unpack(archive: Path, folder: Path, originals: Originals) -> BackupManifest:
    """Check an archive while its store goes into an empty folder and its images to the originals.

    Everything is on disk and closed afterwards. Raises Invalid (`invalid_archive`), after which the
    folder may hold anything, or StorageFailed.
    """
    try:
        with archive.open("rb") as file:
            manifest = _read_manifest(file)
            _unpack_store(file, manifest, folder / FILE_NAME)
            for _ in range(manifest.originals):
                _unpack_original(file, originals)
            if any(file.read(_HEADER_BYTES)):
                raise ValueError("it holds more than its manifest names")
        count, sequence = _check(folder / FILE_NAME, manifest.fingerprint)
        if (count, sequence) != (manifest.count, manifest.sequence):
            raise ValueError("its store is not the one that its manifest describes")
    except (tarfile.TarError, DamagedStore, ValueError) as error:
        raise Invalid(
            f"The archive is refused: {str(error).splitlines()[0]}.",
            code="invalid_archive",
            field="archive",
            accepted="a file that `vitrine-backup` or the backup of a collection has written",
        ) from error
    except OSError as error:
        raise durable.refused(error, "an archive") from error
    return manifest


def _copy_store(source: Path, target: Path) -> None:
    """One state of a store, however busy it is: a reader of SQLite sees one, and nobody waits."""
    with closing(connect(source)) as reading, closing(sqlite3.connect(target)) as writing:
        reading.backup(writing)


def _described(home: Path, copy: Path) -> tuple[Iterator[tuple[str, bytes]], BackupManifest]:
    """The originals, one by one, and the manifest of a copy whose every record is checked."""
    count, sequence = _check(copy)
    with closing(sqlite3.connect(copy)) as connection:
        _, encoder = described_by(dict(connection.execute("SELECT * FROM meta")))
        query = "SELECT DISTINCT image_sha256 FROM items WHERE image_sha256 IS NOT NULL"
        images = [image for (image,) in connection.execute(query)]
    originals = Originals(home / FOLDER)
    names = sorted(image for image in images if image in originals)
    manifest = BackupManifest(
        collection=home.name,
        created=iso_time(time.time_ns() // 1000),
        encoder=encoder.name,
        fingerprint=encoder.fingerprint,
        count=count,
        sequence=sequence,
        store_bytes=copy.stat().st_size,
        store_sha256=file_sha256(copy),
        originals=len(names),
    )
    return ((name, originals.read(name)) for name in names), manifest


def _check(path: Path, fingerprint: str | None = None) -> tuple[int, int]:
    """Number of records and last write of a store of which every record is checked.

    Raises DamagedStore.
    """
    store = Store(path)
    try:
        _, encoder = described_by(store.all_meta())
        if fingerprint not in {None, encoder.fingerprint}:
            raise DamagedStore("it holds vectors of another encoder than it says")
        store.check()
        count = 0
        for _, _, vector in store.contents():
            if len(vector) != encoder.dimension:
                raise DamagedStore("a vector has a wrong dimension")
            count += 1
        if count != store.fingerprint()[0]:
            raise DamagedStore("a record has no vector")
        for _ in store.hashes():
            pass
        return count, store.sequence
    finally:
        store.close()


def _add(tar: tarfile.TarFile, name: str, content: BinaryIO, size: int) -> None:
    info = tarfile.TarInfo(name)
    info.size = size
    tar.addfile(info, content)


def _next(file: BinaryIO) -> tuple[str, int]:
    """Name and size of the next member, whose content follows. Raises ValueError.

    Headers are read one at a time and never interpreted further: links, devices, sparse files and
    the extensions that can hide another name or size are all refused by their type.
    """
    header = tarfile.TarInfo.frombuf(file.read(_HEADER_BYTES), "utf-8", "strict")
    if header.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or header.size < 0:
        raise ValueError(f"{header.name[:80]!r} is not a plain file")
    return header.name, header.size


def _blocks(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The content of a member, past which the file is then. Raises ValueError when it is cut."""
    rest = size
    while rest:
        block = file.read(min(rest, _BLOCK))
        if not block:
            raise ValueError("it is cut short")
        rest -= len(block)
        yield block
    file.read(-size % _HEADER_BYTES)


def _read_manifest(file: BinaryIO) -> BackupManifest:
    name, size = _next(file)
    if name != _MANIFEST or size > _MAX_MANIFEST_BYTES:
        raise ValueError(f"it begins with {name[:80]!r} instead of {_MANIFEST}")
    return BackupManifest.model_validate_json(b"".join(_blocks(file, size)))


def _unpack_store(file: BinaryIO, manifest: BackupManifest, path: Path) -> None:
    name, size = _next(file)
    if name != FILE_NAME or size != manifest.store_bytes:
        raise ValueError(f"{name[:80]!r} is not the store that the manifest names")
    digest = hashlib.sha256()

    def content() -> Iterator[bytes]:
        for block in _blocks(file, size):
            digest.update(block)
            yield block

    durable.write_file(path, content())
    if digest.hexdigest() != manifest.store_sha256:
        raise ValueError("its store is damaged")


def _unpack_original(file: BinaryIO, originals: Originals) -> None:
    name, size = _next(file)
    found = _ORIGINAL.fullmatch(name)
    if found is None or size > _MAX_ORIGINAL_BYTES:
        raise ValueError(f"{name[:80]!r} is not an image that a collection keeps")
    image = b"".join(_blocks(file, size))
    if hashlib.sha256(image).hexdigest() != found[1]:
        raise ValueError(f"{name} is damaged")
    originals.keep(image)
