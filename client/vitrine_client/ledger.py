"""What a server has acknowledged, on this machine's disk: how an ingest that was killed goes on.

One file for each server, collection and folder: a line a stored image, appended when the server
has answered. A line that a kill has torn is dropped. The server's own list would do as well, but
asking for each id costs a request, and it does not know a file's size and time of change.

    [id, sequence, bytes, mtime_ns, content, metadata]    the server has it
    [id, sequence]    about to be sent; the collection's last write was this one
    [id, null]        what was about to be sent was refused
    [id]              removed
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from vitrine_client.folder import Source


@dataclass(frozen=True)
class Entry:
    """An acknowledged image. `content` is the digest of its bytes, `metadata` that of its row."""

    id: str
    sequence: int
    bytes: int
    mtime_ns: int
    content: str
    metadata: str

    def is_unread(self, source: Source) -> bool:
        """Whether the file looks untouched, without reading it."""
        return (self.bytes, self.mtime_ns) == (source.bytes, source.mtime_ns)


class Ledger:
    """Entries by id. Used from one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[str, Entry] = {}
        self.announced: dict[str, int] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = path.open("a+b")
        self._load()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, entry: Entry) -> None:
        self._write(
            [entry.id, entry.sequence, entry.bytes, entry.mtime_ns, entry.content, entry.metadata]
        )

    def announce(self, item_id: str, *, after: int) -> None:
        """Say that an item is about to be sent, when the collection's last write was `after`.

        An earlier announcement that was never answered still holds.
        """
        if item_id not in self.announced:
            self._write([item_id, after])

    def withdraw(self, item_id: str) -> None:
        """The server has refused what was announced."""
        if item_id in self.announced:
            self._write([item_id, None])

    def remove(self, item_id: str) -> None:
        """The server has the item no longer."""
        self._write([item_id])

    def forget(self) -> None:
        self.entries.clear()
        self.announced.clear()
        self._file.truncate(0)

    def sample(self, count: int) -> list[Entry]:
        """Entries spread evenly over the ledger."""
        entries = list(self.entries.values())
        step = max(1, len(entries) // count)
        return entries[::-step][:count]

    def _load(self) -> None:
        self._file.seek(0)
        good = 0
        for line in self._file:
            row = _row(line)
            if row is None:
                break
            self._apply(row)
            good += len(line)
        self._file.truncate(good)

    def _write(self, row: list[Any]) -> None:
        self._apply(row)
        self._file.write(json.dumps(row).encode() + b"\n")
        # handed to the system: the line outlives this process, and only a power cut sends it again
        self._file.flush()

    def _apply(self, row: list[Any]) -> None:
        item_id = row[0]
        if len(row) == 2 and row[1] is not None:
            self.announced[item_id] = row[1]
            return
        self.announced.pop(item_id, None)
        if len(row) == 1:
            self.entries.pop(item_id, None)
        elif len(row) > 2:
            self.entries[item_id] = Entry(*row)


def ledger_path(*, url: str, collection: str, folder: Path, kind: str = "ingest") -> Path:
    """Where the ledger of a server, collection and folder lies: under $XDG_STATE_HOME."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    name = "\n".join([url.rstrip("/"), collection, str(folder.resolve())])
    return Path(state) / "vitrine" / kind / f"{digest(os.fsencode(name))}.jsonl"


def digest(data: bytes) -> str:
    """Half a SHA-256, in hexadecimal: enough to tell contents apart."""
    return hashlib.sha256(data).hexdigest()[:32]


def metadata_digest(metadata: dict[str, Any]) -> str:
    return digest(json.dumps(metadata, sort_keys=True).encode())


def _row(line: bytes) -> list[Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, list) and len(row) in (1, 2, 6) else None
