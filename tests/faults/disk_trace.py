"""Rebuilds a disk as it was at any moment of a recorded run, also as a power cut may leave it."""

from __future__ import annotations

import shutil
import struct
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

_HEAD = struct.Struct("=ciqqI")
SECTOR = 512


def compiled_shim(folder: Path) -> Path | None:
    """disk_shim.c as a library; None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = folder / "disk_shim.so"
    source = Path(__file__).with_name("disk_shim.c")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


@dataclass(frozen=True)
class Operation:
    """kind: see disk_shim.c. end: length of the trace after it. Paths are within the folder."""

    end: int
    kind: str
    fd: int
    number: int
    path: str
    data: bytes


def read_trace(trace: Path, root: Path) -> list[Operation]:
    content = trace.read_bytes()
    prefix = len(str(root)) + 1
    operations = []
    at = 0
    while at < len(content):
        kind, fd, number, _, length = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        path = content[at : at + length].decode()[prefix:]
        at += length
        (size,) = struct.unpack_from("=I", content, at)
        data = content[at + 4 : at + 4 + size]
        at += 4 + size
        if kind == b"R":
            data = data[prefix:]
        operations.append(Operation(at, kind.decode(), fd, number, path, data))
    return operations


@dataclass
class _File:
    """Content as the process sees it, as it is surely on disk, and the writes in between."""

    now: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)


@dataclass
class _Folder:
    """Entries likewise. A pending change is (name, what it names, or None when it is gone)."""

    now: dict[str, _File | _Folder] = field(default_factory=dict)
    synced: dict[str, _File | _Folder] = field(default_factory=dict)
    pending: list[list[tuple[str, _File | _Folder | None]]] = field(default_factory=list)

    def change(self, *entries: tuple[str, _File | _Folder | None]) -> None:
        _apply(self.now, list(entries))
        self.pending.append(list(entries))


def _apply(
    names: dict[str, _File | _Folder], entries: list[tuple[str, _File | _Folder | None]]
) -> None:
    for name, target in entries:
        if target is None:
            names.pop(name, None)
        else:
            names[name] = target


class Disk:
    """The recorded folder, operation by operation."""

    def __init__(self) -> None:
        self.root = _Folder()
        self._open: dict[int, _File | _Folder] = {}

    def apply(self, operation: Operation) -> None:
        kind, fd, number = operation.kind, operation.fd, operation.number
        if kind == "O":
            folder, name = self._parent(operation.path)
            if number and name not in folder.now:
                folder.change((name, _File()))
            self._open[fd] = folder.now[name] if name else folder
        elif kind == "C":
            del self._open[fd]
        elif kind in "WT":
            file = self._open[fd]
            assert isinstance(file, _File)
            data = operation.data if kind == "W" else None
            _write(file.now, number, data)
            file.pending.append((number, data))
        elif kind == "S":
            target = self._open[fd]
            target.pending.clear()
            if isinstance(target, _File):
                target.synced = bytes(target.now)
            else:
                target.synced = dict(target.now)
        elif kind == "M":
            folder, name = self._parent(operation.path)
            folder.change((name, _Folder()))
        elif kind in "UD":
            folder, name = self._parent(operation.path)
            folder.change((name, None))
        else:
            old_folder, old = self._parent(operation.path)
            new_folder, new = self._parent(operation.data.decode())
            assert old_folder is new_folder, "every rename of ours stays in its folder"
            old_folder.change((old, None), (new, old_folder.now[old]))

    def _parent(self, path: str) -> tuple[_Folder, str]:
        folder = self.root
        *parents, name = path.split("/")
        for part in parents:
            inner = folder.now[part]
            assert isinstance(inner, _Folder)
            folder = inner
        return folder, name

    def after_kill(self, target: Path, within: Operation, share: float) -> None:
        """What the next process finds when this one dies within an operation.

        share: the part of its data that a write had written by then, up to a whole sector (the
        kernel ends a write for a signal between pages only).
        """

        def content(file: _File) -> bytes:
            kept = bytearray(file.now)
            if within.kind == "W" and self._open[within.fd] is file:
                end = within.number + int(len(within.data) * share)
                size = max(0, end // SECTOR * SECTOR - within.number)
                _write(kept, within.number, within.data[:size])
            return bytes(kept)

        _store(self.root, target, content, lambda folder: folder.now)

    def after_power_cut(self, target: Path, chance: random.Random | None = None) -> None:
        """What may be left: everything synced, and by chance some of what was not.

        Without `chance` nothing else. With it each sector that was not synced is there or not;
        changes of names are there up to some moment, as a journal keeps their order.
        """

        def content(file: _File) -> bytes:
            kept = bytearray(file.synced)
            if chance is not None:
                for offset, data in file.pending:
                    for start, part in _sectors(offset, data):
                        if chance.random() < 0.5:
                            _write(kept, start, part)
            return bytes(kept)

        def entries(folder: _Folder) -> dict[str, _File | _Folder]:
            names = dict(folder.synced)
            until = 0 if chance is None else chance.randint(0, len(folder.pending))
            for change in folder.pending[:until]:
                _apply(names, change)
            return names

        _store(self.root, target, content, entries)


def _write(content: bytearray, offset: int, data: bytes | None) -> None:
    """Write data at an offset; None cuts or fills the file to that length."""
    if data is None:
        del content[offset:]
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    if data is not None:
        content[offset : offset + len(data)] = data


def _sectors(offset: int, data: bytes | None) -> Iterator[tuple[int, bytes | None]]:
    if data is None:
        yield offset, None
        return
    at = 0
    while at < len(data):
        size = min(SECTOR - (offset + at) % SECTOR, len(data) - at)
        yield offset + at, data[at : at + size]
        at += size


def _store(folder, target, content, entries) -> None:  # type: ignore[no-untyped-def]
    target.mkdir()
    for name, inner in entries(folder).items():
        if isinstance(inner, _Folder):
            _store(inner, target / name, content, entries)
        elif not name.endswith("-shm"):  # shared memory: gone with the machine, rebuilt by SQLite
            (target / name).write_bytes(content(inner))
