"""Keep a collection equal to a folder: send what is new or changed, remove what is gone.

Only what this ledger says was sent is ever removed, and only while the server still holds the
version that was sent. The ledger also holds what may have arrived without an answer, so that a
sync that was killed leaves nothing behind.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from vitrine_client.errors import ItemNotFound

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from vitrine_client.client import Client
    from vitrine_client.folder import Folder
    from vitrine_client.ledger import Ledger

_AT_ONCE = 256  # removals whose outcomes are written down together


class TooMuchGone(Exception):
    """More files are gone than may be removed without being told to; one sentence."""


@dataclass
class Removed:
    """What became of items whose files are gone. kept: ids that somebody else has written since."""

    removed: int = 0
    kept: list[str] = field(default_factory=list)


def gone(ledger: Ledger, found: Folder) -> list[str]:
    """Ids that were sent and have no file any more. A file that is there but unreadable has one."""
    here = {source.id for source in found.sources}
    for name, _ in found.unusable:
        here |= {name, PurePosixPath(name).stem}
    return sorted((ledger.entries.keys() | ledger.announced.keys()) - here)


def check(
    ledger: Ledger, found: Folder, ids: Sequence[str], *, max_removed: float, allow_empty: bool
) -> None:
    """Raise TooMuchGone when removing these ids looks like a mistake, such as a missing disk.

    max_removed: share of the items that were sent. A file that was renamed is no loss: its content
    is still here, under another id.
    """
    if not ids:
        return
    if not found.sources and not allow_empty:
        raise TooMuchGone(
            f"The folder holds no image, and {len(ids):,} items were stored from it. Nothing was "
            "removed. If it is meant to be empty, and not a disk that is missing: --allow-empty."
        )
    going = set(ids)
    contents = {entry.content for item_id, entry in ledger.entries.items() if item_id not in going}
    lost = [
        item_id
        for item_id in ids
        if item_id not in ledger.entries or ledger.entries[item_id].content not in contents
    ]
    sent = len(ledger.entries.keys() | ledger.announced.keys())
    if found.sources and len(lost) > max_removed * sent:
        raise TooMuchGone(
            f"The files of {len(lost):,} of {sent:,} items are gone. Nothing was removed: "
            f"--max-removed {max_removed:g} allows {int(max_removed * sent):,}."
        )


def remove(
    client: Client,
    ledger: Ledger,
    ids: Sequence[str],
    *,
    collection: str,
    workers: int,
    stop: threading.Event,
) -> Removed:
    """Remove items, each only in the version that was sent.

    Raises what the client raises; what was removed until then is written down.
    """
    outcome = Removed()
    one = partial(_remove_one, client, ledger, collection=collection)
    with ThreadPoolExecutor(workers, thread_name_prefix="vitrine-sync") as pool:
        for start in range(0, len(ids), _AT_ONCE):
            if stop.is_set():
                break
            part = ids[start : start + _AT_ONCE]
            for item_id, was_ours in zip(part, pool.map(one, part), strict=True):
                ledger.remove(item_id)
                if was_ours:
                    outcome.removed += 1
                else:
                    outcome.kept.append(item_id)
    return outcome


def _remove_one(client: Client, ledger: Ledger, item_id: str, *, collection: str) -> bool:
    """Whether the item is gone now; False when the server holds somebody else's version."""
    try:
        record = client.get_item(item_id, collection=collection)
        entry, after = ledger.entries.get(item_id), ledger.announced.get(item_id)
        acknowledged = entry is not None and record.sequence == entry.sequence
        # sent without an answer: a write after the announcement is taken for ours
        unanswered = after is not None and record.sequence > after
        if not (acknowledged or unanswered):
            return False
        client.delete_item(item_id, collection=collection)
    except ItemNotFound:
        pass
    return True
