"""Which encoders are known by name: the entries of catalogue.toml."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from vitrine_export.errors import ExportError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One encoder. `source`: folder in this repository; `resize`: see catalogue.toml."""

    name: str
    family: str
    source: str
    licence: str
    resize: Literal["letterbox", "crop"]


@cache
def entries() -> dict[str, Entry]:
    """All entries by name, in the order of the file."""
    text = resources.files("vitrine_export").joinpath("catalogue.toml").read_text(encoding="utf-8")
    return {name: Entry(name=name, **fields) for name, fields in tomllib.loads(text).items()}


def find(name: str) -> Entry:
    """The entry called `name`. Raises ExportError that lists the names there are."""
    try:
        return entries()[name]
    except KeyError:
        raise ExportError(
            f"{name!r} is neither a folder nor an encoder of the catalogue "
            f"({', '.join(entries())})."
        ) from None
