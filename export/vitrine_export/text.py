"""A checkpoint's text tower and its tokeniser."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from tokenizers import Tokenizer

from vitrine_export.errors import ExportError
from vitrine_server.tokens import tokenise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class TextTower:
    """module: (B, length) int64 → (B, D) float32, not yet L2-normalised.

    kind, buckets: see `vitrine_server.manifest.Tokeniser`. definition: the tokenizers library's
    JSON, which pads and cuts to `length` by itself; empty for the hashed kind.
    """

    module: nn.Module
    kind: Literal["hashed", "huggingface"]
    length: int
    buckets: int = 0
    definition: str = ""

    def encode(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """(len(texts), length) token ids, as the server makes them."""
        if self.kind == "hashed":
            return tokenise(texts, buckets=self.buckets)
        tokenizer: Any = Tokenizer.from_str(self.definition)
        ids = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
        return np.array(ids, np.int64)


def fit_tokenizer(definition: dict[str, Any], *, length: int, pad: str) -> str:
    """A tokenizer's JSON with padding and truncation to `length` written into it.

    Raises ExportError when the padding token is not in its vocabulary.
    """
    tokenizer: Any = Tokenizer.from_str(json.dumps(definition))
    pad_id = tokenizer.token_to_id(pad) if pad else None
    if pad_id is None:
        raise ExportError(f"The tokeniser has no padding token {pad!r}.")
    tokenizer.enable_padding(length=length, pad_id=pad_id, pad_token=pad)
    tokenizer.enable_truncation(length)
    text: str = tokenizer.to_str()
    return text
