"""The subclasses of designs: name, class, synonyms and the function that builds one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .chance import Draw
    from .forms import Say
    from .mesh import Model

    Builder = Callable[[Draw, Say], Model]


@dataclass(frozen=True)
class Subclass:
    """One kind of design. `names` are (English, Chinese) synonyms, the usual one first."""

    name: str
    locarno: str
    names: tuple[tuple[str, str], ...]
    build: Builder
    unseen: bool


SUBCLASSES: dict[str, Subclass] = {}


def subclass(
    name: str, locarno: str, *names: tuple[str, str], unseen: bool = False
) -> Callable[[Builder], Builder]:
    """Register a builder; `unseen` subclasses are held out of training as a whole."""

    def register(build: Builder) -> Builder:
        SUBCLASSES[name] = Subclass(name, locarno, names, build, unseen)
        return build

    return register
