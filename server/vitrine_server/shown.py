"""What searches show of items, kept in memory: most hits need neither the disk nor the parser.

A label never changes its meaning (store.py), so nothing here can be out of date: an update of an
item has another label, and a label that has left the store is found by nobody but searches that
still hold the state it belongs to.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import orjson

from vitrine_server.records import Shown, group_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vitrine_server.writes import Row

# Objects and dictionary node around the text of one item.
_ENTRY_BYTES = 600


class ShownItems:
    """Two generations by label: what was not asked for since the younger one filled up leaves.

    May be used from any thread. max_bytes: of both together, about.
    """

    def __init__(self, max_bytes: int) -> None:
        self._half = max_bytes // 2
        self._young: dict[int, Shown] = {}
        self._old: dict[int, Shown] = {}
        self._young_bytes = 0
        self._changing = threading.Lock()

    def known(self, labels: Iterable[int]) -> dict[int, Shown]:
        """Those of the labels that are here."""
        young, old = self._young, self._old
        found, aged = {}, {}
        for label in labels:
            if (item := young.get(label)) is not None:
                found[label] = item
            elif (item := old.get(label)) is not None:
                found[label] = aged[label] = item
        if aged:
            self._keep(aged)
        return found

    def add(self, rows: Iterable[Row]) -> dict[int, Shown]:
        """Keep stored versions of items; the same by label."""
        made = {row.label: shown(row.id, group_of(row.metadata), row.metadata_json) for row in rows}
        self._keep(made)
        return made

    def _keep(self, items: dict[int, Shown]) -> None:
        with self._changing:
            for label, item in items.items():
                self._young[label] = item
                self._young_bytes += _ENTRY_BYTES + len(item.id) + len(item.metadata_json)
                if self._young_bytes > self._half:
                    # new dictionaries: a search may be reading the ones of before
                    self._old, self._young, self._young_bytes = self._young, {}, 0


def shown(item_id: str, group: str | None, metadata_json: bytes) -> Shown:
    """What hits show of an item with this id, this group and this metadata as stored."""
    return Shown(
        id=item_id,
        group=group,
        metadata_json=metadata_json,
        json_before_score=b'{"id":%b,"score":' % orjson.dumps(item_id),
        json_after_score=b',"group":%b' % orjson.dumps(group),
    )
