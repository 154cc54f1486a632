"""Work that nobody waits for any more leaves the queue unexecuted."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from standing import SEARCH, StandIn, exchange, picture, post, serving, until

from vitrine_server import images

if TYPE_CHECKING:
    from pathlib import Path

REQUESTS = 120


async def test_expired_work_is_not_executed(tmp_path: Path) -> None:
    encoder = StandIn(hold=asyncio.Event())  # a call takes longer than the clients wait
    async with serving(tmp_path, encoder=encoder, max_wait_s=60) as running:
        first = asyncio.create_task(exchange(running.port, post(SEARCH, picture(0))))
        await until(lambda: encoder.executed == 1)
        hasty = [
            post(SEARCH, picture(seed), X_Request_Timeout="0.05") for seed in range(1, 1 + REQUESTS)
        ]
        started = time.perf_counter()
        answers = await asyncio.gather(*(exchange(running.port, each) for each in hasty))
        waited = time.perf_counter() - started
        encoder.hold.set()
        assert (await first).status == 200
        await asyncio.sleep(0.3)
        late = [answer for answer in answers if answer.status == 504]
        refused = [answer for answer in answers if answer.status == 429]
        print(f"{len(late)} expired, {len(refused)} refused, in {waited:.2f} s")
        assert len(late) + len(refused) == REQUESTS
        assert late
        # all but what was running when they came
        assert encoder.executed == 1, f"{encoder.executed - 1} expired images were executed"


async def test_expired_work_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []
    decode = images.decode

    def counted(data: bytes, *arguments: Any, **options: Any) -> Any:
        decoded.append(data)
        return decode(data, *arguments, **options)

    monkeypatch.setattr(images, "decode", counted)
    release = threading.Event()
    async with serving(tmp_path, decode_threads=1, request_timeout_s=1) as running:
        running.app.state.services.pipeline._decoders.submit(release.wait, 5)
        hasty = [post(SEARCH, picture(seed), X_Request_Timeout="0.05") for seed in range(5)]
        # a request of many pictures has no more than its time either
        head = b'--b\r\ncontent-disposition: form-data; name="image"\r\n\r\n'
        parts = [head + picture(seed) + b"\r\n" for seed in range(5, 15)]
        kind = "multipart/form-data; boundary=b"
        many = post(SEARCH, b"".join([*parts, b"--b--"]), Content_Type=kind)
        answers = await asyncio.gather(*(exchange(running.port, each) for each in [*hasty, many]))
        release.set()
        assert [answer.status for answer in answers] == [504] * 6, answers[-1].text
        assert max(answer.seconds for answer in answers) < 4
        assert (await exchange(running.port, post(SEARCH, picture(15)))).status == 200
    assert decoded == [picture(15)]


async def test_work_of_lost_connections_is_not_executed(tmp_path: Path) -> None:
    encoder = StandIn(hold=asyncio.Event())
    async with serving(tmp_path, encoder=encoder, max_wait_s=60) as running:
        first = asyncio.create_task(exchange(running.port, post(SEARCH, picture(0))))
        await until(lambda: encoder.executed == 1)
        admission = running.app.state.services.admission
        writers = []
        requests = [post(SEARCH, picture(seed)) for seed in range(1, 16)]
        for request in requests:
            _, writer = await asyncio.open_connection("127.0.0.1", running.port)
            writer.write(request)
            writers.append(writer)
        await until(lambda: admission.inside == 16)
        for writer in writers:
            writer.transport.abort()
        await until(lambda: admission.inside == 1)
        encoder.hold.set()
        assert (await first).status == 200
        await asyncio.sleep(0.3)
        assert admission.inside == 0
        assert encoder.executed == 1, f"{encoder.executed - 1} images nobody waits for"
        text = (await exchange(running.port, b"GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n")).text
        assert b'status="499"' in text


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "soon", ""])
async def test_a_timeout_that_is_none(tmp_path: Path, value: str) -> None:
    async with serving(tmp_path) as running:
        request = post(SEARCH, picture(0), X_Request_Timeout=value)
        answer = await exchange(running.port, request)
    assert answer.status == 422
    assert b'"field":"X-Request-Timeout"' in answer.text
