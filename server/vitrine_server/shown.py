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
    from collections.abc import Iterable, Sequence

    from vitrine_server.records import Hit
    from vitrine_server.writes import Row

# Objects and dictionary node around the texts of one item.
_ENTRY_BYTES = 320
_METADATA = b',"metadata":'


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
                self._young_bytes += item.memory
                if self._young_bytes > self._half:
                    # new dictionaries: a search may be reading the ones of before
                    self._old, self._young, self._young_bytes = self._young, {}, 0


def shown(item_id: str, group: str | None, metadata_json: bytes) -> Shown:
    """What hits show of an item with this id, this group and this metadata as stored."""
    before_score = b'{"id":%b,"score":' % orjson.dumps(item_id)
    to_metadata = b',"group":%b' % orjson.dumps(group) + _METADATA
    after_score = b"%b%b}" % (to_metadata, metadata_json)
    # its id and its group are there once more, by themselves
    texts = 2 * len(before_score) + len(to_metadata) + len(after_score)
    return Shown(
        id=item_id,
        group=group,
        before_score=before_score,
        after_score=after_score,
        metadata_from=len(to_metadata),
        memory=_ENTRY_BYTES + texts,
    )


def hits_json(hits: Sequence[Hit], *, with_metadata: bool, with_vector: bool) -> bytes:
    """Hits as a JSON list."""
    # much faster than one by one
    scores = orjson.dumps([hit.score for hit in hits])[1:-1].split(b",")
    pieces: list[bytes] = []
    for (item, _, vector, rerank_score), score in zip(hits, scores, strict=False):
        end = item.after_score
        if not with_metadata:
            end = end[: item.metadata_from - len(_METADATA)] + b"}"
        if with_vector:
            numbers = orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY)
            end = b'%b,"vector":%b}' % (end[:-1], numbers)
        if rerank_score is not None:
            end = b'%b,"rerank_score":%b}' % (end[:-1], orjson.dumps(rerank_score))
        pieces += item.before_score, score, end, b","
    return b"[%b]" % b"".join(pieces[:-1])
