"""Reads of a collection's store, with the errors that a client can understand."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import structlog

from vitrine_server.errors import CollectionNotFound, Unavailable
from vitrine_server.store import DamagedStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from vitrine_server.store import Store
    from vitrine_server.writer import Writer

_log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")


class Reading:
    """Call with what is to be read. May be called from any thread."""

    def __init__(self, name: str, store: Store, writer: Writer) -> None:
        """name: of the collection. writer: tells whether it is closing."""
        self._name = name
        self._store = store
        self._writer = writer

    def __call__(self, read: Callable[[Store], Answer]) -> Answer:
        """Raises CollectionNotFound once it is closed, Unavailable (`collection_damaged`)."""
        try:
            return read(self._store)
        except DamagedStore as error:
            if self._writer.closing:
                raise CollectionNotFound(self._name) from None
            _log.error("store damaged", collection=self._name, error=str(error))
            raise Unavailable(
                f"The files of collection {self._name!r} are damaged.", code="collection_damaged"
            ) from error
