"""Collections as the pipeline uses them: of this process, or of the one that owns them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence
    from concurrent.futures import Future

    import numpy as np
    from numpy.typing import NDArray

    from vitrine_server.records import (
        CollectionSettings,
        EncoderIdentity,
        HashMatch,
        NewItem,
    )
    from vitrine_server.search_batches import InThread, Searches


class Gallery(Protocol):
    """A collection, as the pipeline uses it: in this process, or in the one that owns it.

    What is not explained here is as in `Collection`; all but `searches` and `upsert` block.
    """

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> CollectionSettings: ...

    @property
    def encoder(self) -> EncoderIdentity: ...

    def searches(self, in_thread: InThread) -> Searches:
        """Its searches, gathered into batches: the same each time. in_thread: of the first call,
        runs what may take long."""

    def upsert(self, items: Sequence[NewItem]) -> Future[list[int]] | asyncio.Future[list[int]]: ...

    def vector(self, item_id: str) -> NDArray[np.float32]: ...

    def near_hashes(
        self, hashes: Sequence[int], *, max_distance: int, limit: int
    ) -> list[HashMatch]: ...

    def keep_original(self, image: bytes) -> str: ...


class Galleries(Protocol):
    def get(self, name: str) -> Gallery:
        """Raises CollectionNotFound, Unavailable."""
