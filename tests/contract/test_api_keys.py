"""Every route × {no key, unknown, read, write, admin}; the file of keys; the rate of a key."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from vitrine_client import AsyncClient, errors
from vitrine_server import api_keys
from vitrine_server.api_keys import Keys, KeysUnusable
from vitrine_server.app import create_app
from vitrine_server.config import ConfigError, Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from fastapi import FastAPI

    from vitrine_server.encoder import Encoder

SECRETS = {"read": "vtr_r", "write": "vtr_w", "admin": "vtr_a"}
OPEN = {"/healthz", "/readyz", "/", "/web/page.js"}
# What these calls need, whatever their declaration says; every other call needs what it declares.
NEEDED = {
    ("GET", "/v1/collections"): "read",
    ("GET", "/v1/collections/{collection}"): "read",
    ("PUT", "/v1/collections/{collection}"): "admin",
    ("DELETE", "/v1/collections/{collection}"): "admin",
    ("POST", "/v1/collections/{collection}/items:batch"): "write",
    ("PUT", "/v1/collections/{collection}/items/{item_id}"): "write",
    ("DELETE", "/v1/collections/{collection}/items/{item_id}"): "write",
    ("GET", "/v1/collections/{collection}/items/{item_id}"): "read",
    ("GET", "/v1/collections/{collection}/items/{item_id}/image"): "read",
    ("GET", "/v1/collections/{collection}/items/{item_id}/original"): "read",
    ("PUT", "/v1/collections/{collection}/items/{item_id}/metadata"): "write",
    ("POST", "/v1/collections/{collection}/search"): "read",
    ("POST", "/v1/embeddings"): "read",
    ("POST", "/v1/compare"): "read",
    ("GET", "/metrics"): "read",
}


def line(name: str, scope: str, secret: str, rate: str = "") -> str:
    return f"{name} {scope} {hashlib.sha256(secret.encode()).hexdigest()} {rate}\n"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "keys"
    file.write_text("# ours\n" + "".join(line(f"the-{s}", s, key) for s, key in SECRETS.items()))
    return file


@pytest.fixture
async def app(tmp_path: Path, keys: Path, encoder: Encoder) -> AsyncIterator[FastAPI]:
    settings = Settings(data=tmp_path / "data", api_keys=keys)
    application = create_app(settings, encoder=encoder)
    async with application.router.lifespan_context(application):
        yield application


def routes(app: FastAPI) -> dict[tuple[str, str], str | None]:
    """Scope by (method, path) of every route that the document names, and of the pages beside."""
    paths = app.openapi()["paths"]
    pages = [
        "/",
        "/web/page.js",
        "/docs",
        "/openapi.json",
        "/static-offline-docs/swagger-ui.css",
        "/nothing",
    ]
    return {("GET", page): None if page in OPEN else "read" for page in pages} | {
        (method.upper(), path): None if path in OPEN else declared["x-scope"]
        for path, calls in paths.items()
        for method, declared in calls.items()
    }


async def call(app: FastAPI, method: str, path: str, key: str | None) -> tuple[int, dict[str, Any]]:
    """The status and problem of a call whose body fails the test when it is asked for."""
    headers = [(b"host", b"test"), (b"content-length", b"1000000")]
    if key is not None:
        headers.append((b"authorization", f"Bearer {key}".encode()))
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
        "state": {},
    }
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError(f"{method} {path} reads its body")

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    problem = json.loads(body) if body.startswith(b"{") else {}
    return sent[0]["status"], problem


async def test_every_route_with_every_key(app: FastAPI) -> None:
    checked = bypassed = 0
    known = routes(app)
    ranks = [None, "read", "write", "admin"]
    assert known.keys() >= NEEDED.keys()
    for (method, path), needed in known.items():
        concrete = path.replace("{collection}", "default").replace("{item_id}", "a")
        assert needed == NEEDED.get((method, path), needed)
        for key in (None, "vtr_unknown", "", *SECRETS.values()):
            rank = next((ranks.index(s) for s, secret in SECRETS.items() if secret == key), 0)
            if needed is not None and rank >= ranks.index(needed):
                continue  # allowed: test_what_a_key_may_do_it_can
            if needed is None and method == "GET":
                assert (await call(app, method, concrete, key))[0] == 200
                continue
            status, problem = await call(app, method, concrete, key)
            checked += 1
            expected = (403, "forbidden") if rank else (401, "unauthorised")
            bypassed += (status, problem.get("code")) != expected
            assert (status, problem.get("code")) == expected, f"{method} {path} with {key}"
    print(f"{len(known)} routes, {checked} refusals, {bypassed} bypasses")
    assert checked >= 4 * len(NEEDED)


async def test_what_a_key_may_do_it_can(
    app: FastAPI, picture: Callable[..., bytes], tmp_path: Path
) -> None:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://vitrine") as http:

        async def status(method: str, path: str, scope: str, **options: Any) -> int:
            headers = {"Authorization": f"bearer {SECRETS[scope]}"}
            return (await http.request(method, path, headers=headers, **options)).status_code

        items = "/v1/collections/default/items"
        assert await status("PUT", f"{items}/a", "write", content=picture()) == 200
        assert await status("POST", items[:-6] + "/search", "read", content=picture()) == 200
        assert await status("GET", f"{items}/a", "read") == 200
        assert await status("PUT", "/v1/collections/mine", "admin") == 200
        assert await status("DELETE", "/v1/collections/mine", "admin") == 200
        for page in ("/metrics", "/docs", "/openapi.json"):
            assert await status("GET", page, "read") == 200
        assert await status("DELETE", f"{items}/a", "admin") == 200
        # refused calls leave nothing behind
        before = [(f, f.stat().st_size) for f in sorted((tmp_path / "data").rglob("*"))]
        assert await status("PUT", f"{items}/b", "read", content=picture()) == 403
        assert await status("PUT", "/v1/collections/theirs", "write") == 403
        assert [(f, f.stat().st_size) for f in sorted((tmp_path / "data").rglob("*"))] == before


def test_a_key_that_is_removed_stops_working(
    keys: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(api_keys, "_CHECK_INTERVAL_S", 0.0)
    known = Keys(keys)
    assert known.authenticate(b"Bearer vtr_r").name == "the-read"
    keys.write_text("read is broken")
    assert known.authenticate(b"Bearer vtr_r").name == "the-read"  # a slip locks nobody out
    keys.write_text(line("other", "read", "vtr_other"))
    with pytest.raises(api_keys.Unauthorised):
        known.authenticate(b"Bearer vtr_r")
    assert known.authenticate(b"Bearer vtr_other").scope == "read"
    assert "vtr_" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "holds no key"),
        ("shop read 1234", "line 1"),
        ("\nshop root " + "0" * 64, "line 2"),
        ("shop read " + "0" * 64 + " 0", "line 1"),
        ("a read " + "0" * 64 + "\nb admin " + "0" * 64, "a key twice"),
    ],
)
def test_a_file_of_keys_that_cannot_be_used(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "keys"
    with pytest.raises(KeysUnusable, match="No such file"):
        Keys(file)
    file.write_text(text)
    with pytest.raises(KeysUnusable, match=reason):
        Keys(file)


def test_the_rate_of_a_key(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(line("slow", "read", "k", "5"))
    caller = Keys(file).authenticate(b"Bearer k")
    for _ in range(10):  # two seconds' worth at once
        caller.charge(1)
    with pytest.raises(api_keys.Overloaded) as refused:
        caller.charge(1)
    assert refused.value.code == "rate_limited"
    assert 0 < (refused.value.retry_after_s or 0) <= 0.2


def test_a_made_key_opens(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vitrine_server.api_keys", "shop", "write", "2.5"]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    file = tmp_path / "keys"
    file.write_text(made.stdout)
    secret = made.stderr.split()[-1]
    assert len(secret) > 40
    assert secret not in made.stdout
    caller = Keys(file).authenticate(f"Bearer {secret}".encode())
    assert (caller.name, caller.scope, caller.rate_per_s) == ("shop", "write", 2.5)


def test_other_addresses_than_loopback_need_keys(
    monkeypatch: pytest.MonkeyPatch, keys: Path
) -> None:
    monkeypatch.setenv("VITRINE_HOST", "0.0.0.0")
    with pytest.raises(ConfigError, match="VITRINE_API_KEYS"):
        load_settings()
    monkeypatch.setenv("VITRINE_API_KEYS", str(keys))
    assert load_settings().api_keys == keys


async def test_web_origins_are_refused_unless_named(tmp_path: Path, encoder: Encoder) -> None:
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    for origins, allowed in (((), None), (("https://shop.example",), "https://shop.example")):
        settings = Settings(data=tmp_path / str(len(origins)), cors_origins=origins)
        app = create_app(settings, encoder=encoder)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://vitrine") as http:
                answer = await http.options("/v1/collections/default/search", headers=asked)
                assert answer.headers.get("Access-Control-Allow-Origin") == allowed


async def test_the_client_sends_its_key(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    async def listed(vitrine: AsyncClient) -> int:
        vitrine._http._transport = httpx.ASGITransport(app)
        async with vitrine:
            return len(await vitrine.list_collections())

    monkeypatch.delenv("VITRINE_API_KEY", raising=False)
    with pytest.raises(errors.Unauthorised):
        await listed(AsyncClient("http://vitrine"))
    assert await listed(AsyncClient("http://vitrine", api_key="vtr_r")) == 1
    monkeypatch.setenv("VITRINE_API_KEY", "vtr_w")
    assert await listed(AsyncClient("http://vitrine")) == 1
    writer = AsyncClient("http://vitrine")
    writer._http._transport = httpx.ASGITransport(app)
    with pytest.raises(errors.Forbidden):
        await writer.put_collection("mine")
    with pytest.raises(ValueError, match="api_key"):
        AsyncClient("http://vitrine", api_key="vtr\n")
