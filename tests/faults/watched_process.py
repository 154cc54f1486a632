"""A process that stores items while a follower makes alerts of them, until it is killed.

Run as `python watched_process.py DATA FIRST LAST`. It says on standard output, a line a message:

    ["done", number]        after item `number` was answered
    ["end", [item, …]]      everything is stored and followed: the item of each alert, in order
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vitrine_server import watches
from vitrine_server.catalogue import Catalogue
from vitrine_server.journal import Journals
from vitrine_server.records import EncoderIdentity, NewItem

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIMENSION = 16
BATCH = 8
MIN_SCORE = 0.0  # every second direction
WATCHED: NDArray[np.float32] = np.eye(DIMENSION, dtype=np.float32)[0]


def vector(number: int) -> NDArray[np.float32]:
    return np.random.default_rng(number).standard_normal(DIMENSION).astype(np.float32)


def matches(number: int) -> bool:
    return bool(vector(number)[0] > MIN_SCORE)


def say(*words: Any) -> None:
    os.write(1, (json.dumps(words) + "\n").encode())


def main() -> None:
    first, last = int(sys.argv[2]), int(sys.argv[3])
    identity = EncoderIdentity("test", "c" * 64, DIMENSION)
    catalogue = Catalogue(Path(sys.argv[1]), encoder=identity)
    collection = catalogue.get("default")
    journal = Journals(Path(sys.argv[1]), catalogue).of("default")
    if not watches.listed(journal):
        watches.add(
            journal,
            collection,
            watch_id="w",
            vector=WATCHED,
            min_score=MIN_SCORE,
            filter=None,
            webhook=None,
            query={},
        )
    stored = threading.Event()

    def follow() -> None:
        while not stored.is_set():
            watches.follow(journal, collection)

    follower = threading.Thread(target=follow)
    follower.start()
    for start in range(first, last, BATCH):
        numbers = range(start, min(start + BATCH, last))
        items = [NewItem(str(number), vector(number), {}) for number in numbers]
        collection.upsert(items).result()
        for number in numbers:
            say("done", number)
    stored.set()
    follower.join()
    watches.follow(journal, collection)
    say("end", [alert["item"] for alert in watches.alerts(journal, after=0, limit=10**6)])
    catalogue.close()


if __name__ == "__main__":
    main()
