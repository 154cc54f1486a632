"""Downloading: a pinned commit, without its pickles; a sentence when the hub is unreachable."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b'{"model_type": "vit"}',
    "model.safetensors": b"weights",
    "pytorch_model.bin": b"a pickle",
    "README.md": b"card",
}
SCRIPT = """
import sys
from vitrine_export import hub
from vitrine_export.errors import ExportError
try:
    folder = hub.fetch("someone/vit", sys.argv[1])
except ExportError as error:
    print(f"ERROR {error}")
else:
    print(*sorted(path.name for path in folder.iterdir()))
"""


class Hub(BaseHTTPRequestHandler):
    """The three calls of the hub's protocol that a download makes."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        prefix = f"/someone/vit/resolve/{COMMIT}/"
        path = self.path.partition("?")[0]
        if path == f"/api/models/someone/vit/revision/{COMMIT}":
            siblings = [{"rfilename": name} for name in FILES]
            document = {"id": "someone/vit", "sha": COMMIT, "siblings": siblings}
            self.reply(json.dumps(document).encode(), {"Content-Type": "application/json"})
        elif path == f"/api/models/someone/vit/tree/{COMMIT}":
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                for name, data in FILES.items()
            ]
            self.reply(json.dumps(tree).encode(), {"Content-Type": "application/json"})
        elif path.startswith(prefix) and path[len(prefix) :] in FILES:
            data = FILES[path[len(prefix) :]]
            tag = hashlib.sha1(data, usedforsecurity=False).hexdigest()
            self.reply(data, {"ETag": f'"{tag}"', "X-Repo-Commit": COMMIT})
        else:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def reply(self, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def fetch(endpoint: str, cache: Path, commit: str = COMMIT) -> str:
    """In a process of its own: the hub's library reads its settings when it is imported."""
    environment = {"HF_ENDPOINT": endpoint, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1"}
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, commit],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return result.stdout.strip()


def test_a_pinned_commit_is_downloaded_without_pickles_and_then_found_offline(
    hub: str, tmp_path: Path
) -> None:
    assert fetch(hub, tmp_path) == "config.json model.safetensors"
    assert fetch("http://127.0.0.1:9", tmp_path) == "config.json model.safetensors"


def test_an_unreachable_hub_is_one_sentence(tmp_path: Path) -> None:
    answer = fetch("http://127.0.0.1:9", tmp_path)
    assert answer.startswith("ERROR someone/vit cannot be downloaded")
    assert "\n" not in answer


def test_a_commit_that_does_not_exist_is_one_sentence(hub: str, tmp_path: Path) -> None:
    assert fetch(hub, tmp_path, "f" * 40).startswith("ERROR someone/vit cannot be downloaded")
