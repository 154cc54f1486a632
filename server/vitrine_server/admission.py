"""The door: how many images may be inside at once. Above that a request is answered 429 at once."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from vitrine_server.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Iterator


class Admission:
    """Permits counted in images. Used on one event loop, so a plain counter is enough."""

    def __init__(self, *, max_images: int) -> None:
        self._max_images = max_images
        self._inside = 0

    @property
    def inside(self) -> int:
        """Images admitted and not yet answered."""
        return self._inside

    @contextmanager
    def admit(self, images: int) -> Iterator[None]:
        """Hold `images` permits. Raises Overloaded when they are not free."""
        if self._inside + images > self._max_images:
            raise Overloaded(
                f"{self._inside} images are being processed.",
                accepted=f"at most {self._max_images} images at once; try again later",
                retry_after_s=1,
            )
        self._inside += images
        try:
            yield
        finally:
            self._inside -= images
