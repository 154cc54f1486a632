"""A small honest Vitrine: the HTTP API over dictionaries, with numpy for the neighbours.

It stores, forgets and ranks for real, so the client is tested by what comes back and not by what
was sent. Its encoder is an 8 × 8 grey thumbnail. `fail_next` answers requests with faults.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import socket
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np
import uvicorn
from PIL import Image, UnidentifiedImageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from numpy.typing import NDArray

ENCODER = {"name": "thumbnail", "fingerprint": "f" * 64}
SETTINGS: dict[str, Any] = {
    "index": "auto",
    "metric": "cosine",
    "fields": {},
    "target_recall": 0.99,
}


class Problem(Exception):
    def __init__(self, status: int, code: str, detail: str, **more: str) -> None:
        super().__init__(detail)
        self.status = status
        self.body = {"type": "about:blank", "status": status, "code": code, "detail": detail}
        self.body.update(more)


@dataclass
class Answer:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    method: str
    segments: list[str]
    params: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class FakeVitrine:
    """The state of one server. `requests` are "METHOD path" of all that arrived."""

    max_body: int = 1_000_000
    max_items: int = 64
    collections: dict[str, dict[str, Any]] = field(default_factory=dict)
    items: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    stored_ids: list[str] = field(default_factory=list)
    faults: deque[Answer] = field(default_factory=deque)
    busy_items: int = 0
    sequence: int = 0
    ready: bool = True

    def __post_init__(self) -> None:
        self.collections["default"] = dict(SETTINGS)
        self.items["default"] = {}

    def fail_next(self, times: int, status: int, **headers: str) -> None:
        body = json.dumps({"status": status, "code": "overloaded", "detail": "Full."}).encode()
        self.faults.extend([Answer(status, body, headers)] * times)

    async def __call__(
        self,
        scope: Mapping[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        raw_path = scope["raw_path"].decode()
        self.requests.append(f"{scope['method']} {raw_path}")
        request = Request(
            method=scope["method"],
            segments=[unquote(part) for part in raw_path.strip("/").split("/")],
            params=_params(scope["query_string"].decode()),
            headers={name.decode(): value.decode() for name, value in scope["headers"]},
            body=body,
        )
        answer = self.faults.popleft() if self.faults else self.answer(request)
        length = str(len(answer.body))
        headers = {"content-type": "application/json", "content-length": length, **answer.headers}
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": [(key.encode(), value.encode()) for key, value in headers.items()],
            }
        )
        await send({"type": "http.response.body", "body": answer.body})

    def answer(self, request: Request) -> Answer:
        try:
            if len(request.body) > self.max_body:
                raise Problem(413, "too_large", "The body is too large.", field="body")
            result = self.route(request)
        except Problem as problem:
            headers = {"content-type": "application/problem+json"}
            return Answer(problem.status, json.dumps(problem.body).encode(), headers)
        if isinstance(result, bytes):
            return Answer(200, result, {"content-type": "image/jpeg"})
        if isinstance(result, Answer):
            return result
        return Answer(200, json.dumps(result).encode())

    def route(self, request: Request) -> dict[str, Any] | bytes | Answer:
        match request.method, request.segments:
            case "GET", ["healthz"]:
                return {"status": "ok"}
            case "GET", ["readyz"]:
                body = {"ready": self.ready, "checks": {"encoder": {"ok": self.ready}}}
                return Answer(200 if self.ready else 503, json.dumps(body).encode())
            case "GET", ["v1", "collections"]:
                return {"collections": [self.describe(name) for name in self.collections]}
            case "PUT", ["v1", "collections", name]:
                self.collections.setdefault(name, {**SETTINGS, **json.loads(request.body)})
                self.items.setdefault(name, {})
                return self.describe(name)
            case "POST", ["v1", "embeddings"]:
                return self.embed(json.loads(request.body))
            case method, ["v1", "collections", name, *rest]:
                if name not in self.collections:
                    raise Problem(404, "collection_not_found", f"No collection {name!r}.")
                return self.in_collection(request, method, name, rest)
        raise Problem(404, "not_found", "There is nothing at this address.")

    def in_collection(
        self, request: Request, method: str, name: str, rest: list[str]
    ) -> dict[str, Any] | bytes | Answer:
        items = self.items[name]
        match method, rest:
            case "GET", []:
                return self.describe(name)
            case "DELETE", []:
                del self.collections[name], self.items[name]
                return {"name": name, "deleted": True}
            case "POST", ["items:batch"]:
                lines = [json.loads(line) for line in request.body.splitlines()]
                if len(lines) > self.max_items:
                    raise Problem(413, "too_large", "Too many items.", field="items")
                results = [self.store_line(name, line) for line in lines]
                failed = sum("error" in result for result in results)
                return {"items": results, "stored": len(results) - failed, "failed": failed}
            case "POST", ["search"]:
                body = json.dumps(self.search(name, request)).encode()
                return Answer(200, body, {"server-timing": "decode;dur=1.000, search;dur=0.500"})
            case "PUT", ["items", item_id]:
                image, vector, metadata = _content(request)
                return self.store(name, item_id, image, vector, metadata)
            case (("GET" | "DELETE"), ["items", item_id, *_]):
                if item_id not in items:
                    raise Problem(404, "item_not_found", f"No item {item_id!r}.", field="id")
        match method, rest:
            case "GET", ["items", item_id]:
                return {key: items[item_id][key] for key in items[item_id] if key[0] != "_"}
            case "GET", ["items", item_id, "image"]:
                return bytes(items[item_id]["_image"])
            case "DELETE", ["items", item_id]:
                del items[item_id]
                self.sequence += 1
                return {"id": item_id, "sequence": self.sequence}
        raise Problem(404, "not_found", "There is nothing at this address.")

    def describe(self, name: str) -> dict[str, Any]:
        settings = self.collections[name]
        return {
            **settings,
            "name": name,
            "index": {"setting": settings["index"], "family": "exact"},
            "count": len(self.items[name]),
            "sequence": self.sequence,
            "encoder": ENCODER,
            "dimension": 64,
        }

    def store(
        self, name: str, item_id: str, image: bytes, vector: list[float] | None, metadata: Any
    ) -> dict[str, Any]:
        row = encode(image) if vector is None else np.asarray(vector, np.float32)
        self.sequence += 1
        now = "2026-11-21T00:00:00.000000Z"
        created = self.items[name].get(item_id, {"created": now})["created"]
        self.items[name][item_id] = {
            "id": item_id,
            "metadata": metadata,
            "group": metadata.get("group"),
            "created": created,
            "updated": now,
            "sequence": self.sequence,
            "_vector": row / np.linalg.norm(row),
            "_image": image,
        }
        self.stored_ids.append(item_id)
        return {"id": item_id, "sequence": self.sequence}

    def store_line(self, name: str, line: dict[str, Any]) -> dict[str, Any]:
        try:
            if self.busy_items > 0:
                self.busy_items -= 1
                raise Problem(503, "encoder_unavailable", "The encoder does not answer.")
            image = base64.b64decode(line.get("image", ""))
            metadata = line.get("metadata", {})
            return self.store(name, line["id"], image, line.get("vector"), metadata)
        except Problem as problem:
            return {"id": line["id"], "error": problem.body}

    def search(self, name: str, request: Request) -> dict[str, Any]:
        if request.headers["content-type"] == "application/json":
            query = json.loads(request.body)
        else:
            query = {
                key: value if key in ("group_by", "rerank") else json.loads(value)
                for key, value in request.params.items()
            }
            query["image"] = base64.b64encode(request.body).decode()
        vector = sum(
            part.get("weight", 1.0) * self.query_vector(name, part)
            for part in query.get("queries", [query])
        )
        vector = vector / np.linalg.norm(vector)
        hits, groups = [], set()
        for item in sorted(self.items[name].values(), key=lambda item: -(item["_vector"] @ vector)):
            score = float(item["_vector"] @ vector)
            metadata = item["metadata"]
            if any(metadata.get(key) != value for key, value in query.get("filter", {}).items()):
                continue
            if score < query.get("min_score", -1):
                continue
            group = metadata.get(query["group_by"]) if "group_by" in query else item["id"]
            if group not in groups:
                groups.add(group)
                hit = {"id": item["id"], "score": score, "group": item["group"]}
                hit["metadata"] = metadata if query.get("with_metadata", True) else None
                if query.get("with_vector"):
                    hit["vector"] = item["_vector"].tolist()
                if query.get("rerank") == "k_reciprocal":
                    hit["rerank_score"] = score / 2
                hits.append(hit)
        offset = query.get("offset", 0)
        return {
            "hits": hits[offset : offset + query["k"]],
            "encoder": ENCODER,
            "snapshot": f"exact-{self.sequence}",
            "timings_ms": {"decode": 1.0, "search": 0.5},
            "from_a_newer_server": True,
        }

    def query_vector(self, name: str, part: Mapping[str, Any]) -> NDArray[np.float32]:
        if "item_id" in part:
            if part["item_id"] not in self.items[name]:
                raise Problem(404, "item_not_found", "No such item.", field="item_id")
            return np.asarray(self.items[name][part["item_id"]]["_vector"], np.float32)
        if "vector" in part:
            return np.asarray(part["vector"], np.float32)
        return encode(base64.b64decode(part["image"]))

    def embed(self, body: Mapping[str, Any]) -> dict[str, Any]:
        rows = [encode(base64.b64decode(uri.split(",", 1)[1])) for uri in body["input"]]
        data = [
            {
                "object": "embedding",
                "index": at,
                "embedding": base64.b64encode(row.tobytes()).decode(),
            }
            for at, row in enumerate(rows)
        ]
        # out of order on purpose: OpenAI's shape promises an index, not an order
        return {"object": "list", "model": body.get("model", "thumbnail"), "data": data[::-1]}


def encode(image: bytes) -> NDArray[np.float32]:
    try:
        grey = Image.open(io.BytesIO(image)).convert("L").resize((8, 8))
    except (UnidentifiedImageError, OSError):
        detail = "The bytes are not an image."
        raise Problem(422, "invalid_image", detail, field="image", accepted="a JPEG") from None
    return np.asarray(grey, np.float32).ravel() + 1


def _params(query: str) -> dict[str, str]:
    pairs = (part.split("=", 1) for part in query.split("&") if part)
    return {key: unquote(value.replace("+", " ")) for key, value in pairs}


def _content(request: Request) -> tuple[bytes, list[float] | None, dict[str, Any]]:
    kind = request.headers["content-type"]
    if kind == "application/json":
        body = json.loads(request.body)
        return b"", body["vector"], body["metadata"]
    if not kind.startswith("multipart/form-data"):
        return request.body, None, {}
    boundary = b"--" + kind.split("boundary=")[1].encode()
    parts = {}
    for part in request.body.split(boundary)[1:-1]:
        head, content = part.split(b"\r\n\r\n", 1)
        name = head.split(b'name="')[1].split(b'"')[0].decode()
        parts[name] = content[:-2]
    return parts["image"], None, json.loads(parts["metadata"])


@contextlib.contextmanager
def serve(app: Any) -> Iterator[str]:
    """Serve an ASGI app on a free loopback port, from a thread; yields its URL."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="error", ws="none", lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=10)
