"""Which encoders are known by name: the entries of catalogue.toml."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Literal

from vitrine_export.errors import ExportError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

Resize = Literal["letterbox", "crop"]
Triple = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One encoder; the head of catalogue.toml explains the fields.

    design-vit's own config.json says size, mean, std, pooling and dimension, so its entry does not.
    """

    name: str
    family: str
    source: str
    licence: str
    resize: Resize
    pooling: str = ""
    size: int = 0
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)
    dimension: int = 0
    text: bool = False
    config: dict[str, Any] = field(default_factory=dict)


@cache
def entries() -> dict[str, Entry]:
    """All entries by name, in the order of the file."""
    text = resources.files("vitrine_export").joinpath("catalogue.toml").read_text(encoding="utf-8")
    found = {}
    for name, fields in tomllib.loads(text).items():
        for key in ("mean", "std"):
            if key in fields:
                fields[key] = tuple(fields[key])
        found[name] = Entry(name=name, **fields)
    return found


def find(name: str) -> Entry:
    """The entry called `name`. Raises ExportError that lists the names there are."""
    try:
        return entries()[name]
    except KeyError:
        raise ExportError(
            f"{name!r} is neither a folder nor an encoder of the catalogue "
            f"({', '.join(entries())})."
        ) from None
