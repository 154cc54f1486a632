"""What is asked of the server, and how its answers are checked.

A scenario makes requests by number, the same from the same seed. Locust and the open-loop generator
send the same ones.
"""

from __future__ import annotations

import base64
import json
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import httpx
import numpy as np

from harness.gallery import RECALL_AT, WRITES, hits_of
from harness.pictures import content_type, salted, zipf
from harness.wire import authorization

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from harness.gallery import Gallery

JSON = {"content-type": "application/json"}
DRAWS = 100_000
MIN_OWN_SCORE = 0.99
TEXTS = ("a chair with four legs", "a lamp", "a bottle with a cap", "shoes", "椅子", "瓶子")


@dataclass(frozen=True, slots=True)
class Request:
    """is_right: whether the body of a 200 is a right answer."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    is_right: Callable[[bytes], bool] | None = None


class Scenario(Protocol):
    name: str

    def request(self, number: int) -> Request: ...


@dataclass
class ImageSearch:
    """A photo is asked for; it must come back. exponent: of the Zipf law of repetition. fresh: the
    same pixels under new bytes, so that no cache knows them."""

    gallery: Gallery
    exponent: float = 0.8
    fresh: bool = True
    seed: int = 0
    name: str = "image search"
    recalls: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._order = _order(self.gallery, self.exponent, self.seed)
        self._neighbours: dict[int, frozenset[str]] = {}

    def request(self, number: int) -> Request:
        index = int(self._order[number % DRAWS])
        picture = self.gallery.pictures[index]
        data = salted(picture.data, self.seed << 40 | number) if self.fresh else picture.data
        return Request(
            "POST",
            f"/v1/collections/{self.gallery.collection}/search?k={RECALL_AT}",
            {"content-type": content_type(data)},
            data,
            lambda body: self._check(index, body),
        )

    def _check(self, index: int, body: bytes) -> bool:
        hits = hits_of(body)
        if index not in self._neighbours:
            self._neighbours[index] = self.gallery.neighbours(index)
        found = {hit["id"] for hit in hits}
        self.recalls.append(len(found & self._neighbours[index]) / len(self._neighbours[index]))
        return _finds(self.gallery.pictures[index].name, hits)


@dataclass
class VectorSearch:
    """The vector of a stored photo is asked for."""

    gallery: Gallery
    exponent: float = 0.8
    seed: int = 0
    name: str = "vector search"

    def __post_init__(self) -> None:
        self._order = _order(self.gallery, self.exponent, self.seed)

    def request(self, number: int) -> Request:
        index = int(self._order[number % DRAWS])
        wanted = self.gallery.pictures[index].name
        body = {"vector": self.gallery.vectors[index].tolist(), "k": RECALL_AT}
        return _search(self.gallery, body, lambda answer: _finds(wanted, hits_of(answer)))


@dataclass
class TextSearch:
    """Words are asked for; the answer must always be the first one, best hit first."""

    gallery: Gallery
    name: str = "text search"

    def __post_init__(self) -> None:
        self._first: dict[str, str] = {}

    def request(self, number: int) -> Request:
        text = TEXTS[number % len(TEXTS)]
        return _search(
            self.gallery, {"text": text, "k": RECALL_AT}, lambda body: self._check(text, body)
        )

    def _check(self, text: str, body: bytes) -> bool:
        hits = hits_of(body)
        scores = [float(str(hit["score"])) for hit in hits]
        best = str(hits[0]["id"]) if hits else ""
        return bool(best) and scores == sorted(scores)[::-1] and self._is_first(text, best)

    def _is_first(self, text: str, best: str) -> bool:
        return self._first.setdefault(text, best) == best


@dataclass
class ReadYourWrites:
    """A vector is stored in a collection beside the gallery, then searched by its id: whatever was
    acknowledged must be found. A tenth of the requests are writes."""

    gallery: Gallery
    seed: int = 0
    ids: int = 10_000
    write_every: int = 10
    name: str = "read and write"

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._acknowledged: deque[str] = deque(maxlen=1000)

    @property
    def collection(self) -> str:
        return f"{self.gallery.collection}{WRITES}"

    def request(self, number: int) -> Request:
        if number % self.write_every == 0 or not self._acknowledged:
            return self._write(f"w{number // self.write_every % self.ids:06}")
        wanted = self._acknowledged[int(self._rng.integers(len(self._acknowledged)))]
        body = json.dumps({"item_id": wanted, "k": RECALL_AT}).encode()
        path = f"/v1/collections/{self.collection}/search"
        return Request("POST", path, JSON, body, lambda answer: _finds(wanted, hits_of(answer)))

    def _write(self, item_id: str) -> Request:
        vector = self._rng.standard_normal((self.gallery.vectors.shape[1],), np.float32)
        body = json.dumps({"vector": vector.tolist(), "metadata": {"n": 1}}).encode()

        def is_right(answer: bytes) -> bool:
            right: bool = json.loads(answer)["id"] == item_id
            if right:
                self._acknowledged.append(item_id)
            return right

        path = f"/v1/collections/{self.collection}/items/{item_id}"
        return Request("PUT", path, JSON, body, is_right)


@dataclass
class BatchIngest:
    """Photos are stored in batches, over a bounded number of ids."""

    gallery: Gallery
    size: int = 16
    ids: int = 4096
    name: str = "batch ingest"

    @property
    def collection(self) -> str:
        return f"{self.gallery.collection}{WRITES}"

    def request(self, number: int) -> Request:
        pictures = self.gallery.pictures
        first = number * self.size
        lines = [
            json.dumps(
                {
                    "id": f"b{at % self.ids:06}",
                    "image": base64.b64encode(pictures[at % len(pictures)].data).decode(),
                }
            )
            for at in range(first, first + self.size)
        ]
        return Request(
            "POST",
            f"/v1/collections/{self.collection}/items:batch",
            {"content-type": "application/x-ndjson"},
            "\n".join(lines).encode(),
            lambda answer: json.loads(answer)["stored"] == self.size,
        )


class Mix:
    """Scenarios by weight, drawn anew for each request from a seed."""

    def __init__(self, weighted: Sequence[tuple[Scenario, float]], *, seed: int = 0) -> None:
        self.scenarios = tuple(scenario for scenario, _ in weighted)
        weights = np.array([weight for _, weight in weighted], np.float64)
        self._draws: NDArray[np.int64] = np.random.default_rng(seed).choice(
            len(weights), DRAWS, p=weights / weights.sum()
        )
        self._counts = [0] * len(weights)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(scenario.name for scenario in self.scenarios)

    def request(self, number: int) -> tuple[int, Request]:
        """Index of the scenario, and its next request."""
        chosen = int(self._draws[number % DRAWS])
        count = self._counts[chosen]
        self._counts[chosen] += 1
        return chosen, self.scenarios[chosen].request(count)

    def recall(self) -> float | None:
        """Mean recall@10 of the image searches, or None when there were none."""
        recalls = [
            recall
            for scenario in self.scenarios
            if isinstance(scenario, ImageSearch)
            for recall in scenario.recalls
        ]
        return float(np.mean(recalls)) if recalls else None


def make(name: str, gallery: Gallery, *, exponent: float, fresh: bool, seed: int) -> Scenario:
    """A scenario by its name on the command line."""
    makers: dict[str, Callable[[], Scenario]] = {
        "image": lambda: ImageSearch(gallery, exponent=exponent, fresh=fresh, seed=seed),
        "vector": lambda: VectorSearch(gallery, exponent=exponent, seed=seed),
        "text": lambda: TextSearch(gallery),
        "mixed": lambda: ReadYourWrites(gallery, seed=seed),
        "ingest": lambda: BatchIngest(gallery),
    }
    if name not in makers:
        raise SystemExit(f"There is no scenario {name!r}; there are {', '.join(makers)}.")
    return makers[name]()


def open_mix(text: str, gallery: Gallery, *, exponent: float, fresh: bool, seed: int) -> Mix:
    """The scenarios of "image:8,vector:2" against a gallery.

    Text search is left out, with a line that says why, where the encoder has no text tower. Raises
    SystemExit when nothing is left.
    """
    weighted: list[tuple[Scenario, float]] = []
    for name, weight in parse_mix(text):
        scenario = make(name, gallery, exponent=exponent, fresh=fresh, seed=seed)
        if isinstance(scenario, TextSearch) and (reason := _refused(scenario)):
            print(f"text search is left out: {reason}")
        else:
            weighted.append((scenario, weight))
    if not weighted:
        raise SystemExit(f"Nothing of the mix {text!r} can be asked of this server.")
    return Mix(weighted, seed=seed)


def parse_mix(text: str) -> list[tuple[str, float]]:
    """ "image:8,vector:2" → [("image", 8.0), ("vector", 2.0)]; a weight left out is 1."""
    pairs = []
    for part in text.split(","):
        name, _, weight = part.strip().partition(":")
        pairs.append((name, float(weight or 1)))
    return pairs


def _order(gallery: Gallery, exponent: float, seed: int) -> NDArray[np.int64]:
    return zipf(len(gallery.pictures), DRAWS, exponent=exponent, seed=seed)


def _refused(scenario: TextSearch) -> str | None:
    """Why the server takes no text, in its own words."""
    asked = scenario.request(0)
    answer = httpx.post(
        scenario.gallery.url + asked.path,
        content=asked.body,
        headers={**asked.headers, **authorization()},
        timeout=60,
    )
    if answer.status_code == 200:
        return None
    problem = answer.json()
    if problem["code"] != "text_not_supported":
        raise SystemExit(f"The server refuses a search by text: {problem}")
    return str(problem["detail"])


def _search(
    gallery: Gallery, body: Mapping[str, Any], is_right: Callable[[bytes], bool] | None
) -> Request:
    path = f"/v1/collections/{quote(gallery.collection)}/search"
    return Request("POST", path, JSON, json.dumps(body).encode(), is_right)


def _finds(wanted: str, hits: Sequence[Mapping[str, Any]]) -> bool:
    return any(hit["id"] == wanted and hit["score"] >= MIN_OWN_SCORE for hit in hits)
