"""Procedural designs drawn as patent sheets: a corpus to train on that contains no real drawing.

`draw` draws one sheet; `generate` writes a corpus; `Corpus.open` reads one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import designs, sheet
from .build import generate
from .store import Corpus, CorpusError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Corpus", "CorpusError", "draw", "generate"]


def draw(
    seed: int,
    *,
    view: int = 0,
    style: str | None = None,
    size: int = 512,
    subclass: str | None = None,
) -> NDArray[np.uint8]:
    """Draw sheet number `view` of design `seed`: (size, size) uint8, black lines on white.

    style: one of `style.STYLES`, the sheet's own when None. subclass: one of `designs.NAMES`, the
    seed's own when None. Raises KeyError for a subclass that does not exist.
    """
    design = designs.build(seed, subclass or designs.subclass_of(seed))
    return sheet.compose(design.model, seed, view=view, size=size, style=style).pixels
