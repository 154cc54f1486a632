"""What happens around a call, as generators that both clients drive: retries, and batches.

A flow yields a call to send, and is given the response or the error that took its place; or it
yields seconds to wait. Its return value is the result. (httpx's `Auth.auth_flow` works this way.)
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from vitrine_client import protocol
from vitrine_client.errors import DeadlineExceeded, Overloaded, TooLarge, Unavailable, VitrineError
from vitrine_client.models import Item, ItemResult
from vitrine_client.retry import Attempts, RetryBudget

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
Flow: TypeAlias = Generator["protocol.Call[Any] | float", "httpx.Response | None", T]


def exchange(call: protocol.Call[T], budget: RetryBudget) -> Flow[T]:
    """Send a call until it is answered or its error is final."""
    attempts = Attempts(budget, repeatable=call.repeatable)
    while True:
        try:
            response = yield call
            assert response is not None
            return call.receive(response)
        except VitrineError as error:
            wait_s = attempts.wait_s(error)
            if wait_s is None:
                raise
        yield wait_s


def store(items: Sequence[Item], *, collection: str, budget: RetryBudget) -> Flow[list[ItemResult]]:
    """Store one batch; results in the order of the items.

    A batch that is too large for the server, or for its deadline, is sent in halves. Items that
    found the server busy are sent again, as a refused call would be.
    """
    try:
        results = yield from exchange(protocol.put_items(items, collection=collection), budget)
    except (TooLarge, DeadlineExceeded) as error:
        if len(items) > 1:
            half = len(items) // 2
            first = yield from store(items[:half], collection=collection, budget=budget)
            rest = yield from store(items[half:], collection=collection, budget=budget)
            return first + rest
        if isinstance(error, TooLarge):
            return [ItemResult(id=items[0].id, error=error)]
        raise
    attempts = Attempts(budget, repeatable=True)
    while busy := [at for at, result in enumerate(results) if _is_busy(result)]:
        error_of_first = results[busy[0]].error
        assert error_of_first is not None
        wait_s = attempts.wait_s(error_of_first)
        if wait_s is None:
            break
        yield wait_s
        call = protocol.put_items([items[at] for at in busy], collection=collection)
        again = yield from exchange(call, budget)
        for at, result in zip(busy, again, strict=True):
            results[at] = result
    return results


def batches(items: Iterable[Item], *, max_items: int, max_bytes: int) -> Iterator[list[Item]]:
    """Cut a stream into batches; one item over max_bytes is a batch of its own."""
    batch: list[Item] = []
    held = 0
    for item in items:
        size = _bytes_of(item)
        if batch and (len(batch) == max_items or held + size > max_bytes):
            yield batch
            batch, held = [], 0
        batch.append(item)
        held += size
    if batch:
        yield batch


def _is_busy(result: ItemResult) -> bool:
    return isinstance(result.error, Overloaded | Unavailable)


def _bytes_of(item: Item) -> int:
    if item.image is None:
        return 16 * len(item.vector if item.vector is not None else ())  # digits of a float in JSON
    return len(item.image) if isinstance(item.image, bytes) else Path(item.image).stat().st_size
