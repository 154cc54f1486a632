"""Where a collection's files are: an alias that is switched whole, from one folder to another.

    <collection>/store.db snapshots/      as it was created
    <collection>/originals/               images as they were sent; of every space
    <collection>/space-<name>/store.db …  what a restore or a re-embedding has made
    <collection>/active                   which of them is the collection; absent: the first

A store is never moved: SQLite removes its log by the path under which it was opened, which by then
could be another store's.
"""

from __future__ import annotations

import re
import secrets
import shutil
from typing import TYPE_CHECKING

from vitrine_server import durable, snapshot
from vitrine_server.store import FILE_NAME, DamagedStore

if TYPE_CHECKING:
    from pathlib import Path

_ALIAS = "active"
_PREFIX = "space-"
_KEPT_PREFIX = "space-for-"  # of a re-embedding that is not finished, or not switched to
_NAME = re.compile(r"space-[a-z0-9-]{1,64}")


def active(home: Path) -> Path:
    """The folder that holds a collection's store. Raises DamagedStore."""
    try:
        name = (home / _ALIAS).read_text()
    except FileNotFoundError:
        return home
    except (OSError, ValueError) as error:
        raise DamagedStore(f"{home / _ALIAS} cannot be read: {error}.") from error
    if not _NAME.fullmatch(name) or not (home / name / FILE_NAME).is_file():
        raise DamagedStore(f"{home / _ALIAS} names {name[:80]!r}, which is no space.")
    return home / name


def new(home: Path) -> Path:
    """An empty folder for a space that replaces the active one, or is removed at the next start."""
    space = home / f"{_PREFIX}{secrets.token_hex(8)}"
    space.mkdir()
    return space


def unfinished(home: Path, fingerprint: str) -> Path:
    """The folder of the re-embedding into a vector space; it outlives restarts."""
    space = home / f"{_KEPT_PREFIX}{fingerprint[:16]}"
    space.mkdir(exist_ok=True)
    return space


def switch(home: Path, space: Path) -> None:
    """Make a space the collection, durably; its files must be on disk and closed."""
    durable.sync_folder(space)
    durable.sync_folder(home)
    temporary = home / f".{_ALIAS}"
    temporary.unlink(missing_ok=True)
    durable.write_file(temporary, [space.name.encode()])
    temporary.rename(home / _ALIAS)
    durable.sync_folder(home)


def collect(home: Path, *, unfinished: bool = False) -> None:
    """Remove what is not active any more, and what was never finished; with `unfinished` also every
    re-embedding that has not become the collection. Nobody may have these files open.
    """
    current = active(home)
    for space in home.glob(f"{_PREFIX}*"):
        if space != current and (unfinished or not space.name.startswith(_KEPT_PREFIX)):
            shutil.rmtree(space)
    if current != home:
        for suffix in ("", "-wal", "-shm"):
            (home / f"{FILE_NAME}{suffix}").unlink(missing_ok=True)
        shutil.rmtree(home / snapshot.FOLDER, ignore_errors=True)
    (home / f".{_ALIAS}").unlink(missing_ok=True)
