"""A run with every kind of change to the disk, recorded by disk_shim.c.

Run as `python traced_process.py DATA WRITES`. Writes one line of JSON a change to standard output:
    ["asked", position in the trace, {id: version}]       before: the content once it is done
    ["answered", position in the trace]                    when it was answered
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from vitrine_server import logs, maintenance
from vitrine_server.catalogue import Catalogue
from vitrine_server.collection import CollectionSettings, EncoderIdentity, NewItem
from vitrine_server.index import ann, choice

DIMENSION = 16
ENCODER = EncoderIdentity("test", "e" * 64, DIMENSION)
NAMES = 60


def make_steps_small() -> None:
    maintenance.MERGE_ROWS = 30
    maintenance.ABSORB_ROWS = 20
    ann.MIN_ROWS = 40
    choice.EXACT_VALUES = 0


def main() -> None:
    data, writes = Path(sys.argv[1]), int(sys.argv[2])
    trace = Path(os.environ["SHIM_TRACE"])
    logs.configure(log_format="text")  # not into the lines below
    make_steps_small()
    rng = np.random.default_rng(4)
    catalogue = Catalogue(data, encoder=ENCODER)
    collection = catalogue.create("c", CollectionSettings(index="hnsw", target_recall=0.5))
    collection._store._writer.execute("PRAGMA wal_autocheckpoint = 12")
    content: dict[str, int] = {}

    def say(word: str, *rest: object) -> None:
        print(json.dumps([word, trace.stat().st_size, *rest]), flush=True)

    say("asked", content)
    say("answered")
    for version in range(writes):
        names = [f"i{n}" for n in rng.choice(NAMES, rng.integers(1, 6), replace=False)]
        if rng.random() < 0.3:
            for name in names:
                content.pop(name, None)
            say("asked", content)
            collection.delete(names).result()
        else:
            content.update(dict.fromkeys(names, version))
            say("asked", content)
            collection.upsert(
                [NewItem(name, vector(name, version), {"version": version}) for name in names]
            ).result()
        say("answered")
        if version % 10 == 9:
            while collection._maintenance._merging or collection._maintenance._absorbing:
                time.sleep(0.005)
    archive = data / "c.tar"
    catalogue.backup("c", archive)
    saved = dict(content)
    content.clear()
    say("asked", content)
    collection.delete(list(saved)).result()
    say("answered")
    say("asked", saved)
    catalogue.restore("c", archive, replace=True)
    say("answered")
    catalogue.create("other", CollectionSettings())
    catalogue.drop("other")
    catalogue.close()


def vector(name: str, version: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    rng = np.random.default_rng([int(name[1:]), version])
    return rng.standard_normal(DIMENSION).astype(np.float32)


if __name__ == "__main__":
    main()
