"""What a server has acknowledged, on this machine's disk: how an ingest that was killed goes on.

One file for each server, collection and folder: a line a stored image, appended when the server
has answered. A line that a kill has torn is dropped. The server's own list would do as well, but
asking for each id costs a request, and it does not know a file's size and time of change.
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
        self.entries[entry.id] = entry
        row = [entry.id, entry.sequence, entry.bytes, entry.mtime_ns, entry.content, entry.metadata]
        self._file.write(json.dumps(row).encode() + b"\n")
        # handed to the system: the line outlives this process, and only a power cut sends it again
        self._file.flush()

    def forget(self) -> None:
        self.entries.clear()
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
            entry = _entry(line)
            if entry is None:
                break
            self.entries[entry.id] = entry
            good += len(line)
        self._file.truncate(good)


def ledger_path(*, url: str, collection: str, folder: Path) -> Path:
    """Where the ledger of a server, collection and folder lies: under $XDG_STATE_HOME."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    name = "\n".join([url.rstrip("/"), collection, str(folder.resolve())])
    return Path(state) / "vitrine" / "ingest" / f"{digest(os.fsencode(name))}.jsonl"


def digest(data: bytes) -> str:
    """Half a SHA-256, in hexadecimal: enough to tell contents apart."""
    return hashlib.sha256(data).hexdigest()[:32]


def metadata_digest(metadata: dict[str, Any]) -> str:
    return digest(json.dumps(metadata, sort_keys=True).encode())


def _entry(line: bytes) -> Entry | None:
    if not line.endswith(b"\n"):
        return None
    try:
        item_id, sequence, size, mtime_ns, content, metadata = json.loads(line)
    except ValueError:
        return None
    return Entry(item_id, sequence, size, mtime_ns, content, metadata)
