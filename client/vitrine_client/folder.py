"""Which files of a folder become items, and under which ids."""

from __future__ import annotations

import os
import stat
import unicodedata
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath

# by name alone: the server decides by content what it accepts
IMAGE_SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".gif",
        ".bmp",
        ".tif",
        ".tiff",
        ".avif",
        ".heic",
        ".jp2",
    ]
)


class IdFrom(str, Enum):
    path = "path"
    stem = "stem"


class GroupFrom(str, Enum):
    folder = "folder"
    none = "none"


class FolderError(Exception):
    """The folder cannot be ingested as asked; the message is one sentence."""


@dataclass(frozen=True)
class Source:
    """A file to store. `name` is its path inside the folder, with "/" on every system."""

    id: str
    name: str
    path: Path
    bytes: int
    mtime_ns: int

    @property
    def folder(self) -> str:
        """Path of its folder inside the folder that is ingested; "" at the top."""
        parent = str(PurePosixPath(self.name).parent)
        return "" if parent == "." else parent


@dataclass(frozen=True)
class Folder:
    """What a scan found. unusable: (name, reason) of images that cannot be sent."""

    sources: tuple[Source, ...]
    unusable: tuple[tuple[str, str], ...]
    other_files: int


def scan(root: Path, *, id_from: IdFrom) -> Folder:
    """Find the images below a folder, in the order of their names.

    Hidden files and folders are left out, and folders behind symbolic links are not entered. Names
    are put into Unicode's composed form (NFC), so that a folder copied from macOS gives the ids
    that it has elsewhere. Raises FolderError when two files would get one id.
    """
    sources: list[Source] = []
    unusable: list[tuple[str, str]] = []
    other_files = 0
    for folder, subfolders, files in os.walk(root, onerror=_refuse):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for file in sorted(name for name in files if not name.startswith(".")):
            path = Path(folder, file)
            if path.suffix.lower() not in IMAGE_SUFFIXES:
                other_files += 1
                continue
            name = unicodedata.normalize("NFC", path.relative_to(root).as_posix())
            try:
                name.encode()
                facts = path.stat()
            except UnicodeEncodeError:
                shown = name.encode("utf-8", "backslashreplace").decode()
                unusable.append((shown, "its name is not UTF-8"))
                continue
            except OSError as error:
                unusable.append((name, error.strerror or str(error)))
                continue
            if not stat.S_ISREG(facts.st_mode):
                unusable.append((name, "not a regular file"))
                continue
            item_id = name if id_from is IdFrom.path else PurePosixPath(name).stem
            sources.append(Source(item_id, name, path, facts.st_size, facts.st_mtime_ns))
    _refuse_shared_ids(sources)
    return Folder(tuple(sources), tuple(unusable), other_files)


def _refuse(error: OSError) -> None:
    raise FolderError(f"{error.filename}: {error.strerror}.")


def _refuse_shared_ids(sources: list[Source]) -> None:
    owners: dict[str, Source] = {}
    for source in sources:
        other = owners.setdefault(source.id, source)
        if other is not source:
            raise FolderError(
                f"{other.path} and {source.path} would both get the id {source.id!r}: "
                "use --id-from path, or rename one."
            )
