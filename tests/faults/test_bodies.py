"""Bodies that are made to cost: many parts, many chunks, deep JSON, compressed, all at once."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
from pathlib import Path
from types import FrameType

from separate import separate
from standing import SEARCH, exchange, picture, post, serving

import vitrine_server

SERVER = str(Path(vitrine_server.__file__).parent)
BATCH = "/v1/collections/default/items:batch"


def parts(count: int, *, name: str = "image", size: int = 0) -> bytes:
    """A multipart body with that many parts, its boundary is `b`."""
    one = f'--b\r\ncontent-disposition: form-data; name="{name}"; filename="'
    rows = [f'{one}{at}"\r\n\r\n{"x" * size}\r\n' for at in range(count)]
    return ("".join(rows) + "--b--\r\n").encode()


def chunks(count: int) -> bytes:
    head = f"POST {SEARCH} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
    return head.encode() + b"1\r\na\r\n" * count + b"0\r\n\r\n"


MULTIPART = "multipart/form-data; boundary=b"
JSON = "application/json"
COSTLY = {
    "10k parts in a search": (post(SEARCH, parts(10_000), Content_Type=MULTIPART), 413),
    "10k parts in a batch": (post(BATCH, parts(10_000), Content_Type=MULTIPART), 413),
    "a part without an end": (post(SEARCH, parts(1)[:-5], Content_Type=MULTIPART), 400),
    "a header of a part without an end": (
        post(SEARCH, b"--b\r\ncontent-disposition: " + b"a" * 1_000_000, Content_Type=MULTIPART),
        400,
    ),
    "no boundary": (post(SEARCH, parts(1), Content_Type="multipart/form-data"), 400),
    "JSON a million deep": (post(SEARCH, b"[" * 1_000_000, Content_Type=JSON), 400),
    "a filter 200k deep": (
        post(SEARCH, b'{"filter":' + b'{"not":' * 200_000, Content_Type=JSON),
        413,
    ),
    "a million numbers": (
        post(SEARCH, json.dumps({"vector": [1] * 1_000_000}).encode(), Content_Type=JSON),
        413,
    ),
    "a million words for numbers": (
        post(SEARCH, json.dumps({"vector": ["a"] * 1_000_000}).encode(), Content_Type=JSON),
        413,
    ),
    "a quarter of a million of them": (
        post(SEARCH, json.dumps({"vector": ["a"] * 250_000}).encode(), Content_Type=JSON),
        422,
    ),
    "a line of 10 million": (post(BATCH, b'{"vector": [' + b"1," * 10_000_000), 200),
    "a filter of 10 million": (
        post(SEARCH, b'{"filter": {"a": [' + b"1," * 10_000_000, Content_Type=JSON),
        413,
    ),
    "a million fields": (
        post(SEARCH, json.dumps({str(n): 1 for n in range(1_000_000)}).encode(), Content_Type=JSON),
        413,
    ),
    "a gzip bomb": (
        post(SEARCH, gzip.compress(bytes(10_000_000)), Content_Encoding="gzip"),
        422,
    ),
    "200k lines": (post(BATCH, b"{}\n" * 200_000), 413),
    "300k chunks": (chunks(300_000), 400),
    "chunks of lies": (
        f"POST {SEARCH} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n".encode(),
        400,
    ),
    "20 MB that are no picture": (post(SEARCH, b"<svg/>" + bytes(19_900_000)), 415),
    "two lengths": (post(SEARCH, b"ab", Content_Length="1"), 400),
}


async def test_costly_bodies_are_refused_early(tmp_path: Path) -> None:
    with separate(tmp_path) as server:
        for request, _ in COSTLY.values():
            await exchange(server.port, request)  # what is allocated once, is
        before = server.rss_mb
        server.forget_peak()
        slowest = ("", 0.0)
        rounds = 8
        for _ in range(rounds):
            for name, (request, status) in COSTLY.items():
                answer = await exchange(server.port, request)
                assert answer.status == status, f"{name}: {answer.text[:300]!r}"
                assert status == 200 or b"application/problem+json" in answer.text
                slowest = max(slowest, (name, answer.seconds), key=lambda pair: pair[1])
        grown, peak = server.rss_mb - before, server.peak_rss_mb - before
        print(
            f"{rounds * len(COSTLY)} costly bodies: slowest {slowest[1] * 1e3:.0f} ms "
            f"({slowest[0]}), RSS grew {100 * grown / rounds / len(COSTLY):.1f} MB per 100, "
            f"peak {peak:.0f} MB above the start"
        )
        assert grown < 20
        assert peak < 400


REFUSED = {
    "no picture": post(SEARCH, b"<svg/>"),
    "half a picture": post(SEARCH, picture(1)[:300]),
    "too late": post(SEARCH, picture(2), X_Request_Timeout="0.0001"),
    "too short a vector": post(SEARCH, b'{"vector": [1, 2]}', Content_Type=JSON),
    "no field": post(SEARCH, b'{"item_id": "a", "filter": {"a": 1}}', Content_Type=JSON),
    "no vector": post(SEARCH, b'{"vector": "a"}', Content_Type=JSON),
    "half a part": post(SEARCH, parts(1)[:-5], Content_Type=MULTIPART),
    "lines": post(BATCH, b"{}\n" * 300),
    "a bad line": post(BATCH, b'{"id": "a", "vector": [1]}\n{"id": "b", "image": "aaaa"}'),
    "tiny chunks": chunks(10_000),
}


async def test_what_is_refused_is_let_go(tmp_path: Path) -> None:
    """Errors hold the frames that held the bodies; in a cycle, they do so until it is collected."""
    async with serving(tmp_path) as running:
        for request in REFUSED.values():
            assert (await exchange(running.port, request)).status != 500
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for name, request in REFUSED.items():
                await exchange(running.port, request)
                await asyncio.sleep(0.02)
                gc.collect()
                frames = [one for one in gc.garbage if isinstance(one, FrameType)]
                kept = {one.f_code.co_name for one in frames if SERVER in one.f_code.co_filename}
                assert not kept, name
        finally:
            gc.set_debug(0)
            gc.enable()
            gc.garbage.clear()


async def test_all_bodies_together_are_bounded(tmp_path: Path) -> None:
    async with serving(tmp_path, max_buffered_mb=5, client_timeout_s=3) as running:
        budget = running.app.state.services.budget
        half = post(SEARCH, bytes(2_000_000))[:-10]  # three of them do not fit
        answers = await asyncio.gather(*(exchange(running.port, half) for _ in range(6)))
        statuses = sorted(answer.status for answer in answers)
        assert statuses.count(429) >= 3, statuses
        assert set(statuses) <= {408, 429}
        await asyncio.sleep(0.2)
        assert budget.held == 0
        assert (await exchange(running.port, post(SEARCH, picture(1)))).status == 200
