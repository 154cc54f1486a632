"""Obeys commands on standard input, one a line, while a test makes its disk fail.

Run as `python failing_process.py DATA` with disk_shim.c loaded. Answers one line of JSON each:
    write N      upserts N new items in one call: the error's code, or null
    search       number of items found by a search
    merge        waits until no merge runs: number of snapshots
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import traced_process

from vitrine_server import snapshot
from vitrine_server.catalogue import Catalogue
from vitrine_server.collection import CollectionSettings, NewItem, SearchQuery
from vitrine_server.errors import VitrineError


def main() -> None:
    traced_process.make_steps_small()
    catalogue = Catalogue(Path(sys.argv[1]), encoder=traced_process.ENCODER)
    collection = catalogue.create("c", CollectionSettings(index="hnsw", target_recall=0.5))
    written = collection.describe().count
    answer: object
    for line in sys.stdin:
        command, *words = line.split()
        if command == "write":
            names = [f"i{written + n}" for n in range(int(words[0]))]
            items = [NewItem(name, traced_process.vector(name, 0), {}) for name in names]
            try:
                collection.upsert(items).result()
                answer = None
                written += len(names)
            except VitrineError as error:
                answer = [error.status, error.code]
        elif command == "search":
            query = SearchQuery(vector=np.ones(traced_process.DIMENSION, np.float32), k=10_000)
            answer = len(collection.search([query])[0].hits)
        else:
            while collection._maintenance._merging:
                time.sleep(0.01)
            answer = len(snapshot.newest_first(collection._snapshots))
        sys.stdout.write(f"answer {json.dumps(answer)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
