"""The generator is held against a server whose behaviour is known."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import uvloop

from harness.openloop import HttpChannel, OpenLoop, Prepared, plan
from harness.recording import Recording
from harness.saturate import saturate
from harness.wire import Pool, Target, fetch

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    StallServer = Callable[..., AbstractContextManager[str]]


def run(
    url: str, *, rate: float, seconds: float, timeout_s: float = 10.0, **more: Any
) -> Recording:
    target = Target.of(url)
    request = target.encode("GET", "/", headers={})
    times = plan(rate, seconds, arrivals=more.pop("arrivals", "constant"), seed=1)
    prepared = Prepared(request, **more)

    async def go() -> Recording:
        channel = HttpChannel(target)
        loop = OpenLoop(channel, lambda _: prepared, times, timeout_s=timeout_s)
        recording = await loop.run(names=("get",), warmup_s=0.5, connections=16)
        await channel.close()
        return recording

    return uvloop.run(go())


def test_a_stall_is_measured_as_its_users_would_meet_it(stall_server: StallServer) -> None:
    with stall_server(service_ms=5, stall_at=1, stall_s=0.5) as url:
        recording = run(url, rate=200, seconds=2.5)
    latencies = np.sort(recording.latencies_s)
    # 100 of 400 requests arrive in the stall and wait for what is left of it. A busy machine adds
    # waits and never takes one away, so these are bounds; check_generator.py measures the error.
    assert latencies[-1] >= 0.45
    assert (latencies > 0.05).sum() >= 81
    assert (latencies > 0.25).sum() >= 45
    assert recording.stage_means_ms() == {"search": pytest.approx(1.5)}


def test_a_closed_loop_hides_the_same_stall(stall_server: StallServer) -> None:
    """The reason why this generator exists: a closed connection meets the stall once."""
    with stall_server(service_ms=5, stall_at=1, stall_s=0.5) as url:
        target = Target.of(url)
        latencies: list[float] = []

        async def go() -> None:
            pool = Pool(target)
            request = target.encode("GET", "/", headers={})
            end = perf_counter() + 2.5
            while perf_counter() < end:
                started = perf_counter()
                await fetch(pool, request, timeout_s=5)
                latencies.append(perf_counter() - started)
            pool.close()

        uvloop.run(go())
    assert sum(latency >= 0.4 for latency in latencies) == 1


def test_requests_leave_on_time(stall_server: StallServer) -> None:
    with stall_server(service_ms=20) as url:
        recording = run(url, rate=200, seconds=2)
    assert len(recording.lag_s) == 300
    assert recording.offered_per_s == pytest.approx(200, rel=0.01)
    # counted from the intended moment: what the generator is late by is in the latency
    assert (recording.latencies_s >= recording.lag_s + 19e-3).all()


def test_an_answer_that_does_not_come_is_counted(stall_server: StallServer) -> None:
    with stall_server(service_ms=1, stall_at=1, stall_s=60) as url:
        recording = run(url, rate=50, seconds=2, timeout_s=0.3)
    statuses = recording.statuses()
    assert statuses["timed out"] == pytest.approx(50, abs=3)
    assert recording.error_share == pytest.approx(50 / 75, abs=0.05)
    assert recording.achieved_per_s < 25


def test_a_wrong_answer_is_no_good_answer(stall_server: StallServer) -> None:
    def is_right(body: bytes) -> bool:
        return b"chair" in body

    with stall_server(service_ms=1) as url:
        recording = run(url, rate=50, seconds=1, is_right=is_right)
    assert recording.statuses() == {"wrong answer": 25}
    assert recording.achieved_per_s == 0
    assert np.isnan(recording.percentiles_ms()["p50"])


def test_a_generator_that_cannot_keep_up_says_so(stall_server: StallServer) -> None:
    def is_right(_: bytes) -> bool:
        return sum(range(400_000)) > 0  # some milliseconds of the generator's own core

    with stall_server(service_ms=1) as url:
        recording = run(url, rate=400, seconds=1.5, is_right=is_right)
    assert any("late" in doubt for doubt in recording.doubts())
    busy = replace(recording, sent=recording.intended, cpu_cores=0.9)
    assert [doubt for doubt in busy.doubts() if "core" in doubt] == busy.doubts() != []
    unsent = replace(busy, sent=np.full_like(busy.sent, np.nan), cpu_cores=0.1)
    assert unsent.doubts() == ["the generator sent only 0.0% of its requests"]


def test_no_server_is_no_measurement() -> None:
    with pytest.raises(Exception, match="no connection"):
        run("http://127.0.0.1:9", rate=10, seconds=1)


@pytest.mark.parametrize("arrivals", ["constant", "poisson"])
def test_plans_hold_their_rate(arrivals: Any) -> None:
    times = plan(100, 50, arrivals=arrivals, seed=3)
    assert len(times) == pytest.approx(5000, rel=0.05)
    assert (np.diff(times) >= 0).all()
    assert times[-1] < 50
    gaps = np.diff(times)
    spread = 1.0 if arrivals == "poisson" else 0.0
    assert gaps.std() / gaps.mean() == pytest.approx(spread, abs=0.05)
    assert (plan(100, 50, arrivals=arrivals, seed=3) == times).all()


def test_a_recording_survives_its_file(stall_server: StallServer, tmp_path: Path) -> None:
    with stall_server(service_ms=1) as url:
        recording = run(url, rate=50, seconds=1)
    recording.save(tmp_path / "run.npz")
    again = Recording.load(tmp_path / "run.npz")
    assert again.percentiles_ms() == recording.percentiles_ms()
    assert (again.names, again.connections) == (recording.names, recording.connections)


def test_saturation_counts_what_is_answered(stall_server: StallServer) -> None:
    with stall_server(service_ms=20) as url:
        target = Target.of(url)
        request = target.encode("POST", "/", headers={}, body=b"x" * 100_000)
        result = uvloop.run(
            saturate(target, lambda _: request, connections=4, seconds=1.0, warmup_s=0.2)
        )
    # four connections, each answered after 20 ms; a busy machine makes it fewer, never more
    assert 4 / 0.020 / 4 < result.per_s < 4 / 0.020 * 1.02
    assert result.errors == 0
    assert result.answered > result.per_s
