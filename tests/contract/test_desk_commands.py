"""The commands around the search against the real application, over a real socket."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import uvicorn
from standing import DIMENSION
from standins import scene

from vitrine_client import Client, desk, errors
from vitrine_server import transformations
from vitrine_server.records import NewItem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fastapi import FastAPI


@pytest.fixture
async def url(app: FastAPI) -> AsyncIterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="error", lifespan="off", http="httptools")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        with suppress(asyncio.CancelledError):
            await serving


async def run(url: str, state: Path, *words: str | Path) -> str:
    """Standard output of `vitrine …`, which must succeed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "vitrine_client",
        *map(str, words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "VITRINE_URL": url, "XDG_STATE_HOME": str(state)},
    )
    output, problems = await process.communicate()
    assert process.returncode == 0, problems.decode()
    return output.decode()


@pytest.mark.slow
async def test_commands_from_ingest_to_feedback(url: str, tmp_path: Path) -> None:
    state, folder = tmp_path / "state", tmp_path / "photos"
    folder.mkdir()
    for seed in range(4):
        (folder / f"{seed}.jpg").write_bytes(transformations.encode(scene(seed)))
    (folder / "2-again.jpg").write_bytes(transformations.encode(scene(2), 60))
    query = folder / "1.jpg"
    await run(url, state, "watch", "add", query, "--min-score", "0.999", "--name", "w")
    await run(url, state, "ingest", folder)
    told = await run(url, state, "copies", query, "--json")
    assert [copy["id"] for copy in json.loads(told)["copies"]] == ["1.jpg"]
    assert "1.jpg" in await run(url, state, "copies", query)
    lines = (await run(url, state, "duplicates", "--json")).splitlines()
    group, end = map(json.loads, lines)
    assert {item["id"] for item in group["items"]} == {"2.jpg", "2-again.jpg"}
    assert (end["groups"], end["catalogue"]) == (1, 5)
    assert "1 groups of 2 items among 5" in await run(url, state, "duplicates")
    alerts: list[dict[str, Any]] = []
    for _ in range(100):
        told = await run(url, state, "watch", "alerts", "--json")
        alerts = [json.loads(line) for line in told.splitlines()]
        if alerts:
            break
    assert [(alert["watch"], alert["item"]) for alert in alerts] == [("w", "1.jpg")]
    assert "0.999" in await run(url, state, "watch", "list")
    await run(url, state, "watch", "delete", "w")
    assert json.loads(await run(url, state, "watch", "list", "--json")) == []
    await run(url, state, "feedback", "add", "0.jpg", "1.jpg", "wrong", "--rank", "2")
    await run(url, state, "feedback", "add", query, "1.jpg", "right", "--rank", "1")
    exported = await run(url, state, "feedback", "export")
    assert exported == "query,item,verdict\n0.jpg,1.jpg,wrong\n"
    assert "0.500" in await run(url, state, "feedback", "quality")
    assert "sha256:" in await run(url, state, "feedback", "list")
    written = tmp_path / "finding.json"
    await run(url, state, "report", written, query, "-k", "2")
    assert [hit["id"] for hit in json.loads(written.read_text())["hits"]][:1] == ["1.jpg"]
    await run(url, state, "report", written, query, "--compare", "2.jpg")
    compared = json.loads(written.read_text())
    assert (compared["kind"], compared["b"]["item_id"]) == ("comparison", "2.jpg")


async def test_backup_and_restore(url: str, app: FastAPI, tmp_path: Path) -> None:
    vector = np.arange(DIMENSION, dtype=np.float32)
    items = [NewItem(name, vector, {}) for name in "ab"]
    app.state.services.catalogue.get("default").upsert(items).result()
    told = await run(url, tmp_path, "backup", "one.tar")
    assert told == "2 items and 0 images, up to write 2\n"
    told = await run(url, tmp_path, "restore", "one.tar", "--collection", "other")
    assert told == "2 items of encoder averages\n"
    await run(url, tmp_path, "restore", "one.tar", "--replace")


async def test_a_stream_that_is_refused_raises(url: str) -> None:
    def ask() -> None:
        with Client(url) as client:
            list(client.lines(desk.duplicates(collection="none")))

    with pytest.raises(errors.CollectionNotFound):
        await asyncio.to_thread(ask)
