"""The door: how many images may be inside at once. Above that a request is answered 429 at once.

A query is let in while the wait that it can expect is short. By Little's law the wait is the number
of images inside over the rate at which they leave; the rate is measured while there is work, so the
limit follows the machine, the engine and the hit rate of the cache. Under overload this keeps the
queue, and so the latency of what is accepted, near `max_wait_s`, while the engine never idles: at
least `_FLOOR` images are let in whatever their wait.

Images to store wait longer (a client that ingests wants throughput), but have a place of their own,
so that they cannot fill the queries'.

Where there are several callers none may hold more than its share: a flood of one is refused at the
door while the others find room.
"""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vitrine_server import api_keys, deadlines
from vitrine_server.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Iterator

_FLOOR = 16
_WINDOW_S = 0.5
# A fall may be a moment's disturbance; a rise is proof of what can be done.
_SMOOTH_FALL = 0.3
_SMOOTH_RISE = 0.7
_ACTIVE_S = 5.0


class Gate:
    """Permits for one kind of work. Used on one event loop, so plain counters are enough.

    max_wait_s: inf admits up to max_images. processes: as many gates, of which each has a share;
    but for the least that fills its calls of the engine.
    """

    def __init__(self, *, max_images: int, max_wait_s: float, processes: int = 1) -> None:
        self._max_images = max_images
        self._share = math.ceil(max_images / processes)
        self._max_wait_s = max_wait_s
        self.inside = 0
        self._by_caller: dict[str, int] = {}
        self._seen: dict[str, float] = {}
        self._rate_per_s = 0.0
        self._finished = 0
        self._window_from: float | None = None

    @property
    def limit(self) -> int:
        """Images that may be inside now."""
        if self._max_wait_s == math.inf:
            return self._share
        wanted = int(self._rate_per_s * self._max_wait_s)
        return min(self._share, max(_FLOOR, wanted))

    @contextmanager
    def admit(self, images: int) -> Iterator[None]:
        """Hold `images` permits of the caller. Raises Overloaded when they are not free."""
        who = api_keys.caller()
        self.check(images)
        who.charge(images - 1)  # one was charged at the door of the server
        if self._window_from is None:
            self._window_from, self._finished = time.monotonic(), 0
        self.inside += images
        self._by_caller[who.name] = self._by_caller.get(who.name, 0) + images
        try:
            yield
        finally:
            self._leave(who.name, images)

    @property
    def has_room(self) -> bool:
        """Whether another image is let in, whoever sends it; for callers without a deadline."""
        return self.inside < self.limit // max(1, len(self._seen))

    def check(self, images: int = 1) -> None:
        """Raises Overloaded when `images` permits are not free for the caller now."""
        error = self.refusal(api_keys.caller().name, images, deadline=deadlines.within(math.inf))
        if error is not None:
            raise error

    def refusal(
        self, name: str, images: int = 1, *, deadline: float = math.inf
    ) -> Overloaded | None:
        """Why the caller of this name gets no `images` permits now. deadline: time.monotonic."""
        now = time.monotonic()
        self._seen[name] = now
        limit = self.limit
        # a batch that is larger than the limit gets in alone
        full = self.inside > 0 and self.inside + images > limit
        if not full and len(self._seen) > 1:
            self._seen = {one: at for one, at in self._seen.items() if now - at < _ACTIVE_S}
            share = max(1, limit // len(self._seen))
            held = self._by_caller.get(name, 0)
            full = held > 0 and held + images > share
        wait_s = self.inside / self._rate_per_s if self._rate_per_s else 0.0
        if images <= self._max_images and not full and now + wait_s <= deadline:
            return None
        limit = self._max_images if images > self._max_images else limit
        return Overloaded(
            f"{self.inside} images are being processed, a wait of {wait_s:.1f} s.",
            accepted=f"at most {limit} images at once; try again later",
            retry_after_s=max(1.0, wait_s),
        )

    def _leave(self, name: str, images: int) -> None:
        self.inside -= images
        held = self._by_caller[name] - images
        if held:
            self._by_caller[name] = held
        else:
            del self._by_caller[name]
        self._finished += images
        if self._window_from is None:
            return
        elapsed = time.monotonic() - self._window_from
        if elapsed >= _WINDOW_S:
            rate = self._finished / elapsed
            known = self._rate_per_s
            smooth = _SMOOTH_RISE if rate > known else _SMOOTH_FALL
            self._rate_per_s = known + smooth * (rate - known) if known else rate
            self._window_from, self._finished = time.monotonic(), 0
        if self.inside == 0:
            self._window_from = None  # an idle moment: what follows says nothing about the rate


class Admission:
    """The gates of a server: image queries, queries without an image, and images to store."""

    def __init__(self, *, max_images: int, max_wait_s: float, processes: int = 1) -> None:
        def gate(wait_s: float) -> Gate:
            return Gate(max_images=max_images, max_wait_s=wait_s, processes=processes)

        self.queries = gate(max_wait_s)
        self.lookups = gate(math.inf)
        self.writes = gate(math.inf)

    @property
    def inside(self) -> int:
        """Images admitted and not yet answered."""
        return self.queries.inside + self.writes.inside
