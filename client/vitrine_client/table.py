"""Metadata from a CSV file: a row an image, a column a field."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vitrine_client.folder import FolderError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from vitrine_client.folder import Source

KEY_COLUMNS = ("path", "id")
# the numbers of JSON: "007" and "1e5x" stay text, and so does a Locarno class such as 06-01
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class Table:
    """rows: by path or id, as `key` says. types: by column, "keyword", "number" or "bool"."""

    key: str
    rows: Mapping[str, Mapping[str, Any]]
    types: Mapping[str, str]

    def metadata(self, source: Source) -> dict[str, Any] | None:
        """The row of a file, or None when there is none."""
        row = self.rows.get(source.name if self.key == "path" else source.id)
        return None if row is None else dict(row)


def read_table(file: Path, *, declared: Mapping[str, str]) -> Table:
    """Read a CSV with a column `path` (inside the folder, with "/") or `id`.

    A column has one type: the one that the collection declares; otherwise it holds numbers, or
    true and false, when all of its cells do, and text when not. Empty cells are left out. Raises
    FolderError with one sentence that names the line.
    """
    lines = _read(file)
    header = next(lines, None)
    if header is None:
        raise FolderError(f"{file} is empty: a header line with a column `path` is expected.")
    names = [name.strip() for name in header]
    key = next((name for name in KEY_COLUMNS if name in names), None)
    if key is None:
        raise FolderError(f"{file} has no column `path` or `id`; it has {', '.join(names)}.")
    if twice := {name for name in names if names.count(name) > 1}:
        raise FolderError(f"{file} has the column {min(twice)!r} twice.")
    cells: dict[str, dict[str, str]] = {}
    for number, line in enumerate(lines, start=2):
        if not line:
            continue
        if len(line) != len(names):
            raise FolderError(
                f"{file}, row {number}: {len(line)} cells under {len(names)} column names."
            )
        row = dict(zip(names, line, strict=True))
        name = row.pop(key)
        if name in cells:
            raise FolderError(f"{file}, row {number}: {key} {name!r} is there twice.")
        cells[name] = row
    columns = [name for name in names if name != key]
    types = {
        name: declared.get(name) or _type(row[name] for row in cells.values()) for name in columns
    }
    rows = {
        name: {
            column: _value(file, column, cell, types[column])
            for column, cell in row.items()
            if cell != ""
        }
        for name, row in cells.items()
    }
    return Table(key=key, rows=rows, types=types)


def _read(file: Path) -> Iterator[list[str]]:
    try:
        # spreadsheets put a byte order mark first
        with file.open(encoding="utf-8-sig", newline="") as text:
            yield from csv.reader(text, strict=True)
    except UnicodeDecodeError:
        raise FolderError(f"{file} is not UTF-8: save it as CSV UTF-8.") from None
    except csv.Error as error:
        raise FolderError(f"{file} is not CSV: {error}.") from None


def _type(cells: Iterable[str]) -> str:
    filled = [cell for cell in cells if cell != ""]
    if filled and all(_NUMBER.fullmatch(cell) for cell in filled):
        return "number"
    if filled and all(cell in ("true", "false") for cell in filled):
        return "bool"
    return "keyword"


def _value(file: Path, column: str, cell: str, kind: str) -> Any:
    readers: dict[str, Callable[[str], Any]] = {"number": _number, "bool": _bool}
    try:
        return readers.get(kind, str)(cell)
    except ValueError:
        raise FolderError(
            f"{file}: {cell!r} in column {column!r} is not a {kind}, "
            "which the collection declares it to be."
        ) from None


def _number(cell: str) -> float | int:
    if not _NUMBER.fullmatch(cell):
        raise ValueError(cell)
    value: float | int = json.loads(cell)
    return value


def _bool(cell: str) -> bool:
    if cell not in ("true", "false"):
        raise ValueError(cell)
    return cell == "true"
