"""Pictures that a search can make little of: blank, uniform, tiny, blurred, or stored already.

All is measured on the luminance of the thumbnail, which is about what the encoder sees; the
thresholds and how often they are wrong are in docs/quality.md.

    tiny      the longer side is under 64 pixels
    blank     hardly a pixel differs from the ground
    uniform   what differs does so by little: a grey veil
    blurred   no edge is sharp (Crete et al., "The blur effect", SPIE 6492, 2007)
    duplicate the catalogue, or its batch before it, has it under another id
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from vitrine_server import hashes
from vitrine_server.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from vitrine_server.errors import VitrineError
    from vitrine_server.galleries import Gallery
    from vitrine_server.records import Metadata, NewItem

Action = Literal["off", "keep", "skip", "refuse"]
Flag = Literal["tiny", "blank", "uniform", "blurred", "duplicate"]

# of the metadata: flags, and the item that an image duplicates
FIELD, ORIGINAL_FIELD = "quality", "duplicate_of"

MIN_SIDE = 64
# of 255, from the ground; and the share of pixels that must be further away
_BLANK_LEVELS, _UNIFORM_LEVELS = 8, 24
_MIN_CONTENT = 0.002
_MAX_BLUR = 0.5
_BLUR_WIDTH = 9
DUPLICATE_BITS = 2
DUPLICATE_COSINE = 0.995


@dataclass(frozen=True, slots=True)
class Checked:
    """An item to store, or None: it is skipped."""

    item: NewItem | None
    flags: tuple[Flag, ...] = ()


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of an item. sequence: of its write; None: it was skipped."""

    sequence: int | None
    flags: tuple[Flag, ...] = ()


_REASONS: dict[Flag, tuple[str, str]] = {
    "tiny": ("The image is tiny.", f"an image with a side of {MIN_SIDE} pixels or more"),
    "blank": ("The image is blank.", "an image that shows something"),
    "uniform": ("The image has hardly any contrast.", "an image with more contrast"),
    "blurred": ("The image is blurred.", "a sharp image"),
    "duplicate": ("The image is stored already.", "an image that the collection lacks"),
}


def flags(luminance: NDArray[np.uint8]) -> tuple[Flag, ...]:
    """What is wrong with a thumbnail (H, W) uint8: at most one of the first three, or `blurred`."""
    if max(luminance.shape) < MIN_SIDE:
        return ("tiny",)
    smooth = cv2.blur(luminance, (3, 3)).astype(np.int16)  # a scanner's noise is no content
    distance = np.abs(smooth - np.int16(np.median(smooth)))
    if float((distance > _BLANK_LEVELS).mean()) < _MIN_CONTENT:
        return ("blank",)
    if float((distance > _UNIFORM_LEVELS).mean()) < _MIN_CONTENT:
        return ("uniform",)
    return ("blurred",) if blur(luminance) > _MAX_BLUR else ()


def blur(luminance: NDArray[np.uint8]) -> float:
    """0 (sharp) to 1: how little blurring once more takes from the changes between neighbours."""
    found = []
    grey = luminance.astype(np.float32)
    for axis, kernel in ((0, (1, _BLUR_WIDTH)), (1, (_BLUR_WIDTH, 1))):
        changes = np.abs(np.diff(grey, axis=axis))
        left = np.abs(np.diff(cv2.blur(grey, kernel), axis=axis))
        lost = float(np.maximum(0, changes - left).sum())
        found.append(1 - lost / max(1e-6, float(changes.sum())))
    return max(found)


def duplicate_of(collection: Gallery, item: NewItem) -> str | None:
    """The id of a stored item with the same picture. Blocking."""
    if not item.hashes:
        return None
    near = collection.near_hashes(item.hashes, max_distance=DUPLICATE_BITS, limit=8)
    others = [match.id for match in near if match.id != item.id]
    return next((id for id in others if _alike(collection.vector(id), item.vector)), None)


def _alike(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    return float(a @ b) >= DUPLICATE_COSINE * float(np.linalg.norm(a)) * float(np.linalg.norm(b))


def checked(collection: Gallery, item: NewItem, flags: tuple[Flag, ...]) -> Checked:
    """The item as the collection's setting has it: flagged, left out, or refused. Blocking.

    Raises Invalid (`image_duplicate`).
    """
    original = duplicate_of(collection, item)
    if original is not None:
        return _duplicate(collection.settings.quality, item, flags, of=original)
    return Checked(_noted(item, flags), flags)


def among(action: Action, batch: Sequence[Checked | VitrineError]) -> list[Checked | VitrineError]:
    """The items of one batch, each as one that came after those before it."""
    stored: list[NewItem] = []
    return [_after(stored, action, each) for each in batch]


def _after(
    stored: list[NewItem], action: Action, each: Checked | VitrineError
) -> Checked | VitrineError:
    """One item of a batch; it joins `stored` unless it is left out."""
    if isinstance(each, Checked) and (item := each.item) is not None and item.hashes:
        same = (other.id for other in stored if other.id != item.id and _same(other, item))
        if "duplicate" not in each.flags and (original := next(same, None)) is not None:
            try:
                each = _duplicate(action, item, each.flags, of=original)
            except Invalid as refused:
                return refused
        if each.item is not None:
            stored.append(item)
    return each


def _same(a: NewItem, b: NewItem) -> bool:
    near = hashes.distance(a.hashes[0], b.hashes[0]) <= DUPLICATE_BITS
    return near and _alike(a.vector, b.vector)


def _duplicate(action: Action, item: NewItem, flags: tuple[Flag, ...], *, of: str) -> Checked:
    flags = (*flags, "duplicate")
    if action != "keep":
        return left_out(action, flags, of=of)
    return Checked(_noted(item, flags, {ORIGINAL_FIELD: of}), flags)


def _noted(item: NewItem, flags: tuple[Flag, ...], more: Metadata | None = None) -> NewItem:
    """The item with its flags in its metadata."""
    if not flags:
        return item
    return item._replace(metadata=item.metadata | {FIELD: list(flags)} | (more or {}))


def left_out(action: Action, flags: tuple[Flag, ...], *, of: str | None = None) -> Checked:
    """An item that is skipped. Raises Invalid where images are refused."""
    if action == "refuse":
        raise refusal(flags[-1], of=of)
    return Checked(None, flags)


def refusal(flag: Flag, *, of: str | None = None) -> Invalid:
    """The error for an image that is refused; of: the item that it duplicates."""
    detail, accepted = _REASONS[flag]
    if of is not None:
        detail = f"The image is stored already, as {of[:128]!r}."
    return Invalid(detail, code=f"image_{flag}", field="image", accepted=accepted)
