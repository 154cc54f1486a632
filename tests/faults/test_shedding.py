"""While there is no room for an image query, the connection refuses it as the application would."""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from standing import SEARCH, StandIn, exchange, picture, post, serving, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from typing import Any

    from standing import Running

PHOTO = {"Content_Type": "image/png"}
PIPELINED = 250


@asynccontextmanager
async def full(folder: Path, **settings: Any) -> AsyncIterator[Running]:
    """A server with one query inside, which is all that it takes."""
    encoder = StandIn(hold=asyncio.Event())
    async with serving(folder, encoder=encoder, max_images_in_flight=1, **settings) as running:
        headers = {"Authorization": "Bearer first"}
        request = post(SEARCH, picture(0), **PHOTO, **headers)
        first = asyncio.create_task(exchange(running.port, request))
        await until(lambda: encoder.executed == 1)
        yield running
        encoder.hold.set()
        assert (await first).status == 200


def head_and_problem(answer: bytes) -> tuple[dict[str, str], dict[str, Any]]:
    head, body = answer.split(b"\r\n\r\n", 1)
    lines = (line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    return dict(lines), json.loads(body)


async def test_a_refusal_is_the_application_s(tmp_path: Path) -> None:
    async with full(tmp_path) as running:
        asked = post(SEARCH, picture(1), **PHOTO, X_Request_ID="mine")
        early = await exchange(running.port, asked)
        # a web page's request goes through the application
        asked = post(SEARCH, picture(1), **PHOTO, X_Request_ID="mine", Origin="http://a")
        late = await exchange(running.port, asked)
        text = (await exchange(running.port, b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n")).text
    assert early.status == late.status == 429
    for answer in (early, late):
        head, problem = head_and_problem(answer.text)
        assert head.pop("date")
        assert head == {
            "content-type": "application/problem+json",
            "content-length": str(len(json.dumps(problem, separators=(",", ":")))),
            "retry-after": "1",
            "x-request-id": "mine",
        }
        assert problem["code"] == "overloaded"
        assert problem["accepted"] == "at most 1 images at once; try again later"
    route = 'route="/v1/collections/{collection}/search",status="429"'
    assert f'vitrine_requests_total{{method="POST",{route}}} 2.0'.encode() in text


async def test_all_but_image_queries_go_on(tmp_path: Path) -> None:
    async with full(tmp_path) as running:
        vector = json.dumps({"vector": [1.0] * 192}).encode()
        found = await exchange(running.port, post(SEARCH, vector, Content_Type="application/json"))
        nowhere = SEARCH.replace("default", "none")
        missing = await exchange(running.port, post(nowhere, picture(1), **PHOTO))
    assert (found.status, missing.status) == (200, 404)


async def test_keys_come_first(tmp_path: Path) -> None:
    names = ("first read", "slow read")
    lines = [f"{name} {hashlib.sha256(name.split()[0].encode()).hexdigest()}" for name in names]
    lines[1] += " 0.001"
    (tmp_path / "keys").write_text("\n".join(lines))
    async with full(tmp_path, api_keys=tmp_path / "keys") as running:

        async def ask(key: str) -> tuple[int, str]:
            request = post(SEARCH, picture(1), **PHOTO, Authorization=f"Bearer {key}")
            answer = await exchange(running.port, request)
            return answer.status, head_and_problem(answer.text)[1]["code"]

        assert await ask("unknown") == (401, "unauthorised")
        assert await ask("first") == (429, "overloaded")
        # a refusal is a call: the second of this key is one too many
        assert [await ask("slow") for _ in range(2)] == [
            (429, "overloaded"),
            (429, "rate_limited"),
        ]


async def test_a_connection_goes_on_after_its_refusals(tmp_path: Path) -> None:
    async with full(tmp_path) as running:
        running.server.config.timeout_keep_alive = 1
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        # queries that were sent ahead are answered in their order
        writer.write(
            b"".join(
                post(SEARCH, b"", **PHOTO, X_Request_ID=str(number)) for number in range(PIPELINED)
            )
        )
        for number in range(PIPELINED):
            head = await reader.readuntil(b"\r\n\r\n")
            assert f"x-request-id: {number}\r\n".encode() in head
            length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
            assert b'"overloaded"' in await reader.readexactly(length)
        # a body that comes after its answer is dropped, and the next request is understood
        body = bytes(300_000)
        request = post(SEARCH, body, **PHOTO)
        writer.write(request[:-200_000])
        assert b"429" in await reader.readuntil(b"}")
        writer.write(request[-200_000:] + b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")
        assert b"HTTP/1.1 200" in await reader.readuntil(b"}")
        writer.write(request[:-200_000])
        assert b"429" in await reader.readuntil(b"}")
        writer.write(request[-200_000:])
        # what is idle after that is closed, as after any answer
        await asyncio.wait_for(reader.read(), 5)
        writer.close()
