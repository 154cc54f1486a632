"""Stores of earlier schema versions are brought up to date when they are opened."""

from __future__ import annotations

import sqlite3
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from vitrine_server.migrations import SCHEMA_VERSION
from vitrine_server.store import DamagedStore, Store
from vitrine_server.writes import Delete, Row

if TYPE_CHECKING:
    from pathlib import Path

FIRST_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE items (
    label INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, metadata BLOB NOT NULL,
    created INTEGER NOT NULL, updated INTEGER NOT NULL, image_sha256 TEXT
);
CREATE TABLE vectors (label INTEGER PRIMARY KEY, vector BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE thumbnails (label INTEGER PRIMARY KEY, image BLOB NOT NULL);
CREATE TABLE removed (sequence INTEGER PRIMARY KEY, label INTEGER NOT NULL);
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
"""


@pytest.fixture
def first_version(tmp_path: Path) -> Path:
    """A store of schema version 1 with the items `a` (label 3) and `b` (label 7)."""
    path = tmp_path / "store.db"
    connection = sqlite3.connect(path)
    connection.executescript(FIRST_SCHEMA)
    vector = np.ones(4, np.float32).tobytes()
    connection.execute("INSERT INTO meta VALUES ('sequence', '9')")
    for label, name in ((3, "a"), (7, "b")):
        row = (label, name, b'{"rank":1}', 1_700_000_000_000_000, 1_700_000_000_000_001, None)
        connection.execute("INSERT INTO items VALUES (?, ?, ?, ?, ?, ?)", row)
        connection.execute(
            "INSERT INTO vectors VALUES (?, ?, ?)", (label, vector, zlib.crc32(vector))
        )
    connection.commit()
    connection.close()
    return path


def test_the_first_schema_is_read_and_written(first_version: Path) -> None:
    for _ in range(2):
        store = Store(first_version)
        assert store._writer.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
        assert store.sequence == 9
        assert store.fingerprint() == (2, 10)
        found = store.find("b")
        assert found is not None
        assert (found.label, found.metadata) == (7, {"rank": 1})
        assert len(store.meta("identity")) == 32
        store.check()
        store.close()
    store = Store(first_version)
    store.write([Delete("a")])
    store.commit()
    assert store.removals(9) == [3]
    store.close()


def test_a_store_of_a_later_version_is_refused(first_version: Path) -> None:
    connection = sqlite3.connect(first_version)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(DamagedStore, match=f"schema version {SCHEMA_VERSION + 1}"):
        Store(first_version)


@pytest.mark.parametrize("column", ["label", "created", "updated"])
def test_the_checksum_of_a_row_covers_every_bit_of_its_numbers(column: str) -> None:
    row = Row(5, "b", b"{}", 1_700_000_000_000_000, 1_700_000_000_000_001, None)
    for bit in range(63):
        changed = row._replace(**{column: getattr(row, column) ^ 1 << bit})
        assert changed.crc() != row.crc()
