"""The published text encoder: its manifest, and texts as its `tokens` tensor."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Tokenizer

from vitrine_server import manifest
from vitrine_server.errors import Invalid
from vitrine_server.manifest import ManifestError
from vitrine_server.tokens import tokenise

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

MAX_CHARACTERS = 4096


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """What `text_encoder` on Triton is, and what turns a text into its input."""

    manifest: manifest.Manifest
    tokeniser: TextTokeniser


def load(folder: Path, images: manifest.EncoderInfo) -> TextEncoder | None:
    """The text encoder published in `folder` for the space of `images`; None when there is none.

    Raises ManifestError for one that must not be served beside that image encoder.
    """
    if not (folder / manifest.FILE_NAME).is_file():
        return None
    published = manifest.load(folder)
    if published.tokeniser is None or published.encoder.fingerprint != images.fingerprint:
        raise ManifestError(
            f"The text encoder in {folder} does not belong to image encoder {images.name!r}: "
            "run `make export` again."
        )
    return TextEncoder(published, TextTokeniser(published.tokeniser, folder))


class TextTokeniser:
    """Raises ManifestError when the tokeniser's file is not the one that passed the gate."""

    def __init__(self, described: manifest.Tokeniser, folder: Path) -> None:
        self._ids = _hashed(described) if described.file is None else _library(described, folder)

    def __call__(self, text: str, *, field: str) -> NDArray[np.int64]:
        """(length,) int64. Raises Invalid for a text that is too long or holds nothing to find."""
        if len(text) > MAX_CHARACTERS:
            raise Invalid(
                f"The text has {len(text)} characters.",
                field=field,
                accepted=f"1 to {MAX_CHARACTERS} characters",
            )
        ids = self._ids(text) if text.strip() else None
        if ids is None or not ids.any():
            raise Invalid(
                "The text holds no word that the encoder reads.",
                field=field,
                accepted="a description, such as 'a chair with four legs'",
            )
        return ids


def _hashed(described: manifest.Tokeniser) -> Callable[[str], NDArray[np.int64]]:
    return lambda text: tokenise([text], buckets=described.buckets)[0]


def _library(described: manifest.Tokeniser, folder: Path) -> Callable[[str], NDArray[np.int64]]:
    assert described.file is not None
    path = folder / described.file.file
    try:
        definition = path.read_bytes()
    except OSError:
        raise ManifestError(f"The tokeniser {path} is missing: run `make export` again.") from None
    if hashlib.sha256(definition).hexdigest() != described.file.sha256:
        raise ManifestError(
            f"The tokeniser {path} is not the published one (its SHA-256 differs): "
            "run `make export` again."
        )
    tokenizer: Any = Tokenizer.from_str(definition.decode())
    return lambda text: np.array(tokenizer.encode(text).ids, np.int64)
