"""Text → token ids: hashed words and character n-grams, for English and Chinese alike.

No vocabulary is stored: a token's id is a hash (CRC-32), so unseen words share the n-grams of known
ones. Training, export and serving all tokenise with this module.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MAX_TOKENS = 256
PADDING = 0

_WORD = re.compile(r"[a-z]+|[0-9]+|[\u3400-\u9fff]+")
_STOP = frozenset(
    ("a", "an", "the", "of", "for", "with", "and", "or", "to", "in", "on", "的", "和")
)


def pieces(text: str) -> list[str]:
    """Words and their character 3- to 5-grams; for Chinese, characters and pairs of them."""
    found: list[str] = []
    for match in _WORD.finditer(unicodedata.normalize("NFKC", text).lower()):
        word = match.group()
        if word in _STOP:
            continue
        if word[0] > "\u3000":
            found.extend(word)
            found.extend(word[i : i + 2] for i in range(len(word) - 1))
            continue
        found.append(f"<{word}>")
        framed = f"<{word}>"
        found.extend(
            framed[i : i + n]
            for n in (3, 4, 5)
            if n < len(framed)
            for i in range(len(framed) - n + 1)
        )
    return found


def tokenise(texts: Sequence[str], *, buckets: int) -> NDArray[np.int64]:
    """(len(texts), MAX_TOKENS) int64 ids in 1..buckets-1, padded with PADDING, cut when longer."""
    ids = np.full((len(texts), MAX_TOKENS), PADDING, np.int64)
    for row, text in enumerate(texts):
        hashed = [1 + zlib.crc32(p.encode()) % (buckets - 1) for p in pieces(text)[:MAX_TOKENS]]
        ids[row, : len(hashed)] = hashed
    return ids
