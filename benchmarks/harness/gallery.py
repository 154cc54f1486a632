"""The collection that queries are aimed at, and what its right answers are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rich.progress import track

from vitrine_client import Client, Item

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from harness.pictures import Picture

RECALL_AT = 10
WRITES = "-writes"  # suffix of the collection that scenarios write into


@dataclass(frozen=True)
class Gallery:
    """Pictures that are stored under their names, and their vectors (N, D) float32 by the server's
    own encoder."""

    url: str
    collection: str
    pictures: tuple[Picture, ...]
    vectors: NDArray[np.float32]

    def neighbours(self, index: int, k: int = RECALL_AT) -> frozenset[str]:
        """Names of the k nearest to a picture, by exhaustive search in float32."""
        scores = self.vectors @ self.vectors[index]
        return frozenset(self.pictures[at].name for at in np.argsort(-scores)[:k])


def fill(url: str, pictures: Sequence[Picture], *, collection: str) -> Gallery:
    """Store the pictures in a collection, unless it has them already, and fetch their vectors.

    A second collection is made for scenarios that write. Raises SystemExit when the collection
    holds something else, or refuses a picture.
    """
    with Client(url, timeout_s=60) as client:
        held = client.put_collection(collection).count
        if held not in (0, len(pictures)):
            raise SystemExit(
                f"The collection {collection!r} holds {held} items, not these {len(pictures)} "
                "pictures: name another."
            )
        client.put_collection(f"{collection}{WRITES}")
        if held == 0:
            _store(client, pictures, collection)
        names = [picture.name for picture in pictures]
        vectors = [
            _vector(client, name, collection)
            for name in track(names, "fetching its vectors", transient=True)
        ]
    return Gallery(url, collection, tuple(pictures), np.stack(vectors))


def _store(client: Client, pictures: Sequence[Picture], collection: str) -> None:
    items = [Item(id=picture.name, image=picture.data) for picture in pictures]
    results = client.ingest(items, collection=collection, max_items=16, workers=2)
    for result in track(results, "storing the gallery", total=len(items), transient=True):
        if result.error is not None:
            raise SystemExit(f"{result.id} was refused: {result.error}")


def hits_of(body: bytes) -> Sequence[Mapping[str, object]]:
    hits: Sequence[Mapping[str, object]] = json.loads(body)["hits"]
    return hits


def _vector(client: Client, name: str, collection: str) -> NDArray[np.float32]:
    result = client.search(item_id=name, k=RECALL_AT, with_vector=True, collection=collection)
    hit = next((hit for hit in result.hits if hit.id == name), None)
    if hit is None or hit.vector is None:
        raise SystemExit(f"A search by item {name!r} does not find it: there is no right answer.")
    return np.asarray(hit.vector, np.float32)
