"""The store's tables, and how an older file is brought up to them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from vitrine_server.writes import Row

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

SCHEMA_VERSION = 4

_HASHES = """
CREATE TABLE hashes (               -- perceptual hashes of the image
    label INTEGER PRIMARY KEY,
    hashes BLOB NOT NULL,           -- 8 bytes each, little-endian
    crc INTEGER NOT NULL            -- CRC-32 of the blob
);
CREATE INDEX items_image ON items (image_sha256) WHERE image_sha256 IS NOT NULL;
"""
SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE items (
    label INTEGER PRIMARY KEY,      -- sequence number of the write that made this version
    id TEXT NOT NULL UNIQUE,
    metadata BLOB NOT NULL,         -- JSON
    created INTEGER NOT NULL,       -- microseconds since 1970 UTC
    updated INTEGER NOT NULL,
    image_sha256 TEXT,              -- of the image as it was sent
    crc INTEGER NOT NULL            -- see Row.crc: SQLite has no checksums of its own
);
CREATE TABLE vectors (
    label INTEGER PRIMARY KEY,
    vector BLOB NOT NULL,           -- float32, little-endian, as compared (length 1 for cosine)
    crc INTEGER NOT NULL            -- CRC-32 of the blob
);
CREATE TABLE thumbnails (label INTEGER PRIMARY KEY, image BLOB NOT NULL);
CREATE TABLE removed (              -- which label a delete or update took away, for replay
    sequence INTEGER PRIMARY KEY,
    label INTEGER NOT NULL
);
{_HASHES}
"""


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring a file of an earlier schema version up to date, in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    for migration in _MIGRATIONS[version - 1 :]:
        migration(connection)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


def _add_identity(connection: sqlite3.Connection) -> None:
    connection.executemany(
        "INSERT INTO meta VALUES (?, ?)",
        [("identity", secrets.token_hex(16)), ("removals_since", "0")],
    )


def _add_checks(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE items ADD COLUMN crc INTEGER NOT NULL DEFAULT 0")
    connection.execute(
        "INSERT INTO meta SELECT 'count', count(*) FROM items"
        " UNION SELECT 'label_sum', coalesce(sum(label), 0) FROM items"
    )


def _add_hashes(connection: sqlite3.Connection) -> None:
    """And checksums of every bit: version 3 left out the upper half of each number."""

    def crc(*values: object) -> int:
        return Row(*values).crc()  # type: ignore[arg-type]  # as the table holds them

    for statement in _HASHES.split(";\n"):
        connection.execute(statement)
    connection.create_function("row_crc", 6, crc, deterministic=True)
    columns = ", ".join(("label", "id", "metadata", "created", "updated", "image_sha256"))
    connection.execute(f"UPDATE items SET crc = row_crc({columns})")


# from schema version 1 to 2, from 2 to 3, …
_MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    _add_identity,
    _add_checks,
    _add_hashes,
)
