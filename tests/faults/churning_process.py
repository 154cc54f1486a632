"""A process that changes a collection from several threads until it is killed.

Run as `python churning_process.py DATA SEED`. It writes lines of JSON to standard output, each in
one write call, so that what the killed process said is known exactly:

    ["state", {id: version}, {id: version}]     at the start: records, and what a search finds
    ["intend", id, version]                     before a write; version null is a delete
    ["done", id, version]                       after it was answered
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from vitrine_server.catalogue import Catalogue
from vitrine_server.collection import Collection, EncoderIdentity, NewItem, SearchQuery
from vitrine_server.errors import ItemNotFound

DIMENSION = 16
THREADS = 4
IDS_PER_THREAD = 40


def vector(item_id: str, version: int) -> np.ndarray[Any, Any]:
    """A direction that no other version shares."""
    seed = [int(part) for part in item_id.split("-")]
    return np.random.default_rng([*seed, version]).standard_normal(DIMENSION).astype(np.float32)


def say(*words: Any) -> None:
    os.write(1, (json.dumps(words) + "\n").encode())


def everything(collection: Collection) -> tuple[dict[str, int], dict[str, int]]:
    """Versions by the records, and by a search for each record's own vector."""
    count = collection.describe().count
    asked = SearchQuery(vector=np.ones(DIMENSION, np.float32), k=count + 100)
    hits = collection.search([asked])[0].hits
    found = {hit.id: int(str((hit.metadata or {})["version"])) for hit in hits}
    records = {}
    for thread in range(THREADS):
        for number in range(IDS_PER_THREAD):
            item_id = f"{thread}-{number}"
            try:
                version = int(str(collection.get(item_id).metadata["version"]))
            except ItemNotFound:
                continue
            records[item_id] = version
            own = SearchQuery(vector=vector(item_id, version), k=1)
            hit = collection.search([own])[0].hits[0]
            if hit.id != item_id or hit.score < 0.9999:
                found[item_id] = -1
    return records, found


def churn(collection: Collection, thread: int, seed: int, first_version: int) -> None:
    rng = np.random.default_rng([seed, thread])
    version = first_version
    while True:
        version += 1
        names = [
            f"{thread}-{number}"
            for number in rng.choice(IDS_PER_THREAD, rng.integers(1, 5), replace=False)
        ]
        if rng.random() < 0.3:
            for name in names:
                say("intend", name, None)
            collection.delete(names).result()
            for name in names:
                say("done", name, None)
        else:
            for name in names:
                say("intend", name, version)
            items = [NewItem(name, vector(name, version), {"version": version}) for name in names]
            collection.upsert(items).result()
            for name in names:
                say("done", name, version)


def main() -> None:
    seed = int(sys.argv[2])
    identity = EncoderIdentity("test", "c" * 64, DIMENSION)
    catalogue = Catalogue(Path(sys.argv[1]), encoder=identity)
    collection = catalogue.get("default")
    records, found = everything(collection)
    say("state", records, found)
    threads = [
        threading.Thread(target=churn, args=(collection, thread, seed, seed * 1_000_000))
        for thread in range(THREADS)
    ]
    for thread in threads:
        thread.start()


if __name__ == "__main__":
    main()
