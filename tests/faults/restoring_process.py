"""A process that writes to a collection, backs it up and restores it until it is killed.

Run as `python restoring_process.py DATA`. Every transaction writes one version to all items, so a
mixture of two states shows. Lines of JSON on standard output, each in one write call:

    ["state", [versions], names in the folder]   at the start
    ["intend", version] ["done", version]        around a write
    ["restoring", version] ["restored"]          around a restore: the version in the archive
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
from vitrine_server.errors import Unavailable

ITEMS, DIMENSION = 20, 8
ALL = SearchQuery(np.ones(DIMENSION, np.float32), k=1000)


def say(*words: Any) -> None:
    os.write(1, (json.dumps(words) + "\n").encode())


def versions(collection: Collection) -> list[int]:
    hits = collection.search([ALL])[0].hits
    held = [int(str((hit.metadata or {})["version"])) for hit in hits]
    assert len(held) in {0, ITEMS}, held
    return sorted(set(held))


def write(catalogue: Catalogue, version: int) -> None:
    vector = np.arange(1, DIMENSION + 1, dtype=np.float32)
    while True:
        version += 1
        say("intend", version)
        items = [NewItem(f"i{n}", vector + n, {"version": version}) for n in range(ITEMS)]
        try:
            catalogue.get("default").upsert(items).result()
        except Unavailable:  # while it is being replaced
            continue
        say("done", version)


def main() -> None:
    data = Path(sys.argv[1])
    catalogue = Catalogue(data, encoder=EncoderIdentity("test", "c" * 64, DIMENSION))
    assert catalogue.damaged == {}, catalogue.damaged
    found = versions(catalogue.get("default"))
    home = data / "collections" / "default"
    say("state", found, sorted(path.name for path in home.iterdir()))
    first = max(found, default=0)
    threading.Thread(target=write, args=(catalogue, first), daemon=True).start()
    archive = data / "b.tar"
    while True:
        archive.unlink(missing_ok=True)
        catalogue.backup("default", archive)
        catalogue.restore("inside", archive, replace="inside" in catalogue._collections)
        inside = versions(catalogue.get("inside"))
        assert len(inside) <= 1, inside
        say("restoring", inside[0] if inside else None)
        catalogue.restore("default", archive, replace=True)
        say("restored")


if __name__ == "__main__":
    main()
