"""Python SDK and command line of the Vitrine image-search server.

    from vitrine_client import Client

    with Client("http://127.0.0.1:8080") as vitrine:
        vitrine.put_item("chair-1", image="chair.jpg", metadata={"class": "chair"})
        for hit in vitrine.search(image="query.jpg", k=5).hits:
            print(hit.score, hit.id)

`AsyncClient` has the same methods, awaited. Errors are in `vitrine_client.errors`.
"""

from vitrine_client import errors
from vitrine_client.async_client import AsyncClient
from vitrine_client.client import Client
from vitrine_client.errors import ApiError, VitrineError
from vitrine_client.models import (
    Collection,
    Embeddings,
    Encoder,
    Hit,
    Item,
    ItemResult,
    Query,
    Readiness,
    Record,
    SearchResult,
    Stored,
)
from vitrine_client.retry import Retry

__all__ = [
    "ApiError",
    "AsyncClient",
    "Client",
    "Collection",
    "Embeddings",
    "Encoder",
    "Hit",
    "Item",
    "ItemResult",
    "Query",
    "Readiness",
    "Record",
    "Retry",
    "SearchResult",
    "Stored",
    "VitrineError",
    "errors",
]
