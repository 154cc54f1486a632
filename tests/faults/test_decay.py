"""Flipped bits and cut files: found by checksums, or of no effect; never loaded silently."""

from __future__ import annotations

import os
import random
import shutil
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import traced_process

from vitrine_server import maintenance, snapshot
from vitrine_server.collection import Collection, CollectionSettings, NewItem, SearchQuery
from vitrine_server.durable import Damaged
from vitrine_server.errors import Unavailable
from vitrine_server.store import DamagedStore, Store
from vitrine_server.writes import Put

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

# `make faults` sets this for the full length
FULL = os.environ.get("VITRINE_FAULTS") == "full"
SNAPSHOT_ROUNDS = 5000 if FULL else 300
LOG_ROUNDS = 1000 if FULL else 100


def damaged(content: bytes, chance: random.Random) -> bytes:
    """One flipped bit, a cut, or a block of zeros."""
    changed = bytearray(content)
    at = chance.randrange(len(content))
    kind = chance.random()
    if kind < 0.8:
        changed[at] ^= 1 << chance.randrange(8)
    elif kind < 0.9:
        del changed[at:]
    else:
        changed[at : at + 512] = bytes(len(changed[at : at + 512]))
    return bytes(changed)


def test_snapshots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "MERGE_ROWS", 1000)
    folder = tmp_path / "c"
    folder.mkdir()
    settings = CollectionSettings(index="ivf_pq", fields={"rank": "number", "name": "keyword"})
    Collection.create(folder, settings, traced_process.ENCODER)
    collection = Collection(folder, serving=traced_process.ENCODER)
    items = [
        NewItem(f"i{n}", traced_process.vector(f"i{n}", 0), {"rank": n, "name": f"n{n % 7}"})
        for n in range(1500)
    ]
    collection.upsert(items).result()
    while not snapshot.newest_first(folder / snapshot.FOLDER) or collection._maintenance._merging:
        time.sleep(0.01)
    collection.close()
    [good] = snapshot.newest_first(folder / snapshot.FOLDER)
    reference = contents(good)
    chance = random.Random(3)
    files = sorted(good.iterdir())
    sizes = [path.stat().st_size for path in files]
    found = same = rounds = 0
    while rounds < SNAPSHOT_ROUNDS:
        # half of the time in proportion to size, so that the small files are met as well
        weights = sizes if chance.random() < 0.5 else [1] * len(files)
        [path] = chance.choices(files, weights)
        original = path.read_bytes()
        changed = damaged(original, chance)
        if changed == original:
            continue  # zeros over zeros
        rounds += 1
        path.write_bytes(changed)
        try:
            # white space of the manifest may change without a change of what it says
            same += contents(good) == reference
            assert path.name == "manifest.json"
        except Damaged:
            found += 1
        path.write_bytes(original)
    assert contents(good) == reference
    print(f"{rounds} damaged snapshots: {found} found, {same} read the same, 0 loaded")
    assert found + same == rounds
    assert same < rounds / 20


def contents(folder: Path) -> list[Any]:
    """Everything that a snapshot says, comparable. Raises Damaged."""
    manifest, generation = snapshot.load(folder)
    count = len(generation.labels)
    probe = np.ones((1, traced_process.DIMENSION), np.float32)
    return [
        manifest,
        generation.labels.view(count).tobytes(),
        generation.vectors.head.tobytes(),
        [(name, column.dump(count)[0].tobytes()) for name, column in generation.columns.items()],
        [column.dump(count)[1] for column in generation.columns.values()],
        [ann.propose(probe, 50).tobytes() for ann in generation.segments],
    ]


def test_the_write_ahead_log(tmp_path: Path) -> None:
    """Damage may cost the last transaction, as it cannot be told from one that was never synced."""
    store = Store.create(
        tmp_path / "live.db",
        {"settings": "{}", "encoder": "{}"},
    )
    store._writer.execute("PRAGMA wal_autocheckpoint = 0")
    vector = np.ones(64, np.float32)
    commits = 30
    for number in range(commits):
        store.write([Put(f"i{number}-{n}", vector.tobytes(), b"{}", None, None) for n in range(5)])
        store.commit()
    database = (tmp_path / "live.db").read_bytes()
    log = (tmp_path / "live.db-wal").read_bytes()
    store.close()
    chance = random.Random(8)
    refused = whole = last = torn = 0
    for _ in range(LOG_ROUNDS):
        changed = damaged(log, chance)
        folder = tmp_path / "copy"
        folder.mkdir()
        (folder / "store.db").write_bytes(database)
        (folder / "store.db-wal").write_bytes(changed)
        try:
            opened = Store(folder / "store.db")
        except DamagedStore:
            refused += 1
        else:
            items, _ = opened.fingerprint()
            opened.close()
            assert items % 5 == 0, "half a transaction"
            if len(changed) < len(log):
                torn += 1  # a cut log is what a crash leaves: a prefix is right
            elif items == 5 * commits:
                whole += 1
            else:
                assert items == 5 * (commits - 1), "committed writes were lost silently"
                last += 1
        shutil.rmtree(folder)
    print(f"{LOG_ROUNDS} damaged logs: {refused} refused, {whole} whole, {torn} cut, {last} -1")
    assert refused > LOG_ROUNDS / 2


def test_a_damaged_collection_is_found_when_it_is_read(tmp_path: Path) -> None:
    """Flips in the database file: an error, or the right answer; never another one."""
    folder = tmp_path / "c"
    folder.mkdir()
    Collection.create(folder, CollectionSettings(), traced_process.ENCODER)
    collection = Collection(folder, serving=traced_process.ENCODER)
    items = {
        f"i{n}": NewItem(f"i{n}", traced_process.vector(f"i{n}", 0), {"rank": n})
        for n in range(200)
    }
    collection.upsert(list(items.values())).result()
    collection.close()
    path = folder / "store.db"
    original = path.read_bytes()
    chance = random.Random(9)
    refused = right = 0
    for _ in range(LOG_ROUNDS):
        changed = bytearray(original)
        changed[chance.randrange(len(original))] ^= 1 << chance.randrange(8)
        path.write_bytes(bytes(changed))
        for extra in ("-wal", "-shm"):
            path.with_name(path.name + extra).unlink(missing_ok=True)
        try:
            answers = everything_said(folder, list(items))
        except (DamagedStore, Unavailable):
            refused += 1
        else:
            metadata = {name: item.metadata for name, item in items.items()}
            assert answers == [metadata, metadata]
            right += 1
    print(f"{LOG_ROUNDS} flips of the database: {refused} refused, {right} without effect")


def everything_said(folder: Path, names: list[str]) -> list[Any]:
    """Metadata by id, from the records and from a search. Raises DamagedStore or Unavailable."""
    opened = Collection(folder, serving=traced_process.ENCODER)
    everything = SearchQuery(vector=np.ones(traced_process.DIMENSION, np.float32), k=1000)
    try:
        hits = opened.search([everything])[0].hits
        return [
            {name: opened.get(name).metadata for name in names},
            {hit.id: hit.metadata for hit in hits},
        ]
    finally:
        opened.close()
