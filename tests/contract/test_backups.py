"""A collection backed up and restored through the API, while it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from standing import DIMENSION

from vitrine_client import desk

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

BASE = "/v1/collections/default"
FILE = {"file": "first.tar"}


async def put(http: httpx.AsyncClient, *ids: str) -> None:
    for item_id in ids:
        vector = np.roll(np.arange(DIMENSION), len(item_id)).tolist()
        answer = await http.put(f"{BASE}/items/{item_id}", json={"vector": vector})
        assert answer.status_code == 200


async def ids(http: httpx.AsyncClient, collection: str = "default") -> set[str]:
    body = {"vector": [1.0] * DIMENSION}
    found = (await http.post(f"/v1/collections/{collection}/search", json=body)).json()
    return {hit["id"] for hit in found["hits"]}


async def test_a_collection_comes_back_as_it_was(http: httpx.AsyncClient, tmp_path: Path) -> None:
    await put(http, "a", "bb")
    made = (await http.post(f"{BASE}/backup", json=FILE)).json()
    assert (made["collection"], made["count"], made["sequence"]) == ("default", 2, 2)
    assert [path.name for path in (tmp_path / "backups").iterdir()] == ["first.tar"]
    await put(http, "ccc")
    again = await http.post(f"{BASE}/restore", json={**FILE, "replace": True})
    assert again.status_code == 200
    assert again.json()["count"] == 2
    assert await ids(http) == {"a", "bb"}
    other = await http.post("/v1/collections/other/restore", json=FILE)
    assert other.json()["name"] == "other"
    assert await ids(http, "other") == {"a", "bb"}
    await put(http, "later")  # what was restored takes writes
    assert await ids(http) == {"a", "bb", "later"}


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "field"),
    [
        (f"{BASE}/backup", FILE, 409, "backup_exists", "file"),
        (f"{BASE}/restore", FILE, 409, "collection_exists", "collection"),
        (f"{BASE}/restore", {"file": "none.tar"}, 404, "backup_not_found", "file"),
        ("/v1/collections/none/backup", {"file": "b"}, 404, "collection_not_found", "collection"),
        ("/v1/collections/..%2Fx/restore", FILE, 422, "invalid_name", "collection"),
        (
            f"{BASE}/restore",
            {"file": "bad.tar", "replace": True},
            422,
            "invalid_archive",
            "archive",
        ),
        (f"{BASE}/backup", {"file": "../escaped"}, 422, "invalid_parameter", "file"),
        (f"{BASE}/backup", {"file": ".hidden"}, 422, "invalid_parameter", "file"),
        (f"{BASE}/restore", {"file": "/etc/passwd"}, 422, "invalid_parameter", "file"),
        (f"{BASE}/backup", {}, 422, "invalid_parameter", "file"),
    ],
)
async def test_what_cannot_be_done_is_said_and_changes_nothing(
    http: httpx.AsyncClient,
    tmp_path: Path,
    path: str,
    body: dict[str, Any],
    status: int,
    code: str,
    field: str,
) -> None:
    await put(http, "a")
    assert (await http.post(f"{BASE}/backup", json=FILE)).status_code == 200
    (tmp_path / "backups" / "bad.tar").write_bytes(b"no archive" * 1000)
    answer = await http.post(path, json=body)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["field"]) == (status, code, field)
    assert problem["accepted"]
    assert sorted(file.name for file in (tmp_path / "backups").iterdir()) == [
        "bad.tar",
        "first.tar",
    ]
    names = [each["name"] for each in (await http.get("/v1/collections")).json()["collections"]]
    assert names == ["default"]
    assert await ids(http) == {"a"}


def test_the_calls_of_the_client() -> None:
    made = desk.backup("b.tar", collection="a b")
    assert (made.method, made.path) == ("POST", "/v1/collections/a%20b/backup")
    assert made.content == b'{"file": "b.tar"}'
    assert not made.repeatable
    put_back = desk.restore("b.tar", replace_it=True)
    assert put_back.path == "/v1/collections/default/restore"
    assert put_back.content == b'{"file": "b.tar", "replace": true}'
