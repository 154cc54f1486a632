"""What is sent again, what is not, and what the errors say."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest
from fake_server import Answer, FakeVitrine

from vitrine_client import AsyncClient, Client, Item, Retry, errors
from vitrine_client.retry import Attempts, RetryBudget

if TYPE_CHECKING:
    from collections.abc import Iterator

QUICK = Retry(patience_s=5, backoff_s=0.001, max_backoff_s=0.01)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@contextlib.contextmanager
def raw_server(answers: list[bytes | None]) -> Iterator[tuple[str, list[bytes]]]:
    """Answers one connection after the other with given bytes; None closes without a word."""
    listener = socket.create_server(("127.0.0.1", 0))
    seen: list[bytes] = []

    def run() -> None:
        for answer in answers:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    seen.append(connection.recv(65536).split(b"\r\n")[0])
                    if answer is not None:
                        connection.sendall(answer)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(timeout=5)


@pytest.fixture
def closed_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("status", [429, 503])
def test_a_refusal_at_the_door_is_tried_again(url: str, fake: FakeVitrine, status: int) -> None:
    fake.fail_next(3, status)
    with Client(url, retry=QUICK) as client:
        client.put_item("a", vector=[1, 0])
    assert fake.stored_ids == ["a"]
    assert len(fake.requests) == 4


@pytest.mark.parametrize("status", [400, 404, 409, 413, 415, 422, 500, 502, 504, 507])
def test_other_refusals_are_not(url: str, fake: FakeVitrine, status: int) -> None:
    fake.fail_next(1, status)
    with Client(url, retry=QUICK) as client, pytest.raises(errors.ApiError) as caught:
        client.put_item("a", vector=[1, 0])
    assert caught.value.status == status
    assert len(fake.requests) == 1


def test_retry_after_is_the_least_that_is_waited(url: str, fake: FakeVitrine) -> None:
    fake.faults.append(Answer(503, b"{}", {"retry-after": "0.3"}))
    with Client(url, retry=QUICK) as client:
        started = time.monotonic()
        client.health()
        assert time.monotonic() - started >= 0.3


def test_patience_ends(url: str, fake: FakeVitrine) -> None:
    fake.fail_next(1, 503, **{"retry-after": "60"})
    with Client(url, retry=QUICK) as client, pytest.raises(errors.Unavailable) as caught:
        client.health()
    assert caught.value.retry_after_s == 60
    fake.fail_next(1, 503)
    with Client(url, retry=Retry(patience_s=0)) as client, pytest.raises(errors.Unavailable):
        client.health()
    assert len(fake.requests) == 2


def test_many_failing_calls_do_not_multiply(url: str, fake: FakeVitrine) -> None:
    fake.fail_next(1000, 429)
    retry = Retry(patience_s=5, backoff_s=0.001, max_backoff_s=0.002, share=0.2, burst=10)
    with Client(url, retry=retry) as client:
        for _ in range(100):
            with pytest.raises(errors.Overloaded):
                client.health()
    # 100 calls, 10 in a burst, and a fifth of 100
    assert 100 < len(fake.requests) <= 130


def test_a_connection_that_never_was(closed_url: str) -> None:
    retry = Retry(patience_s=0.2, backoff_s=0.01)
    with Client(closed_url, retry=retry) as client:
        started = time.monotonic()
        with pytest.raises(errors.ServerUnreachable) as caught:
            client.delete_item("a")
    assert caught.value.url == closed_url
    assert closed_url in str(caught.value)
    assert 0.05 < time.monotonic() - started < 2


def test_a_lost_answer_is_asked_for_again_when_that_is_safe() -> None:
    with raw_server([None, OK]) as (url, seen), Client(url, retry=QUICK) as client:
        client.health()
    assert seen == [b"GET /healthz HTTP/1.1"] * 2


def test_a_delete_whose_answer_is_lost_is_not_sent_again() -> None:
    with (
        raw_server([None, OK]) as (url, seen),
        Client(url, retry=QUICK) as client,
        pytest.raises(errors.ConnectionLost),
    ):
        client.delete_item("a")
    assert seen == [b"DELETE /v1/collections/default/items/a HTTP/1.1"]


def test_a_server_that_says_nothing_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with Client(url, timeout_s=0.1) as client, pytest.raises(errors.TimedOut, match="in time"):
            client.health()


async def test_the_asynchronous_client_retries_alike(url: str, fake: FakeVitrine) -> None:
    fake.fail_next(2, 503)
    async with AsyncClient(url, retry=QUICK) as client:
        await client.put_item("a", vector=[1, 0])
    with raw_server([None, OK]) as (raw_url, seen):
        async with AsyncClient(raw_url, retry=QUICK) as client:
            await client.health()
    assert len(fake.requests) == 3
    assert len(seen) == 2


def test_busy_items_of_a_batch_are_sent_again_alone(url: str, fake: FakeVitrine) -> None:
    fake.busy_items = 3
    with Client(url, retry=QUICK) as client:
        results = client.put_items([Item(id=str(at), vector=[1, at]) for at in range(5)])
    assert [result.id for result in results] == ["0", "1", "2", "3", "4"]
    assert all(result.sequence is not None for result in results)
    assert fake.stored_ids == ["3", "4", "0", "1", "2"]


def test_busy_items_that_stay_busy_keep_their_error(url: str, fake: FakeVitrine) -> None:
    fake.busy_items = 100
    with Client(url, retry=Retry(patience_s=0.05, backoff_s=0.01)) as client:
        (result,) = client.put_items([Item(id="a", vector=[1])])
    assert isinstance(result.error, errors.EncoderUnavailable)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(200, b"<html>"), "did not answer as a Vitrine server does"),
        (Answer(200, b'{"ready": true}'), "did not answer as a Vitrine server does"),
        (Answer(200, b"[]"), "did not answer as a Vitrine server does"),
        (Answer(302, b"", {"location": "http://elsewhere/"}), "answered 302"),
    ],
)
def test_another_server_is_recognised(
    client: Client, fake: FakeVitrine, answer: Answer, message: str
) -> None:
    fake.faults.append(answer)
    with pytest.raises(errors.UnexpectedAnswer, match=message):
        client.ready()


@pytest.mark.parametrize(
    ("status", "problem", "kind", "text"),
    [
        (422, {"code": "invalid_vector"}, errors.InvalidVector, "422 Unprocessable"),
        (422, {"code": "brand_new", "detail": "No."}, errors.Invalid, "No."),
        (409, {"code": "encoder_mismatch", "title": "T"}, errors.EncoderMismatch, "T"),
        (418, {"detail": 7}, errors.ApiError, "418 I'm a"),
        (599, {}, errors.ApiError, "599 error"),
        (
            422,
            {"detail": "Too big.", "field": "k", "accepted": "1 to 1000"},
            errors.Invalid,
            "k: Too big. (accepted: 1 to 1000)",
        ),
    ],
)
def test_a_problem_becomes_its_class(
    status: int, problem: dict[str, Any], kind: type, text: str
) -> None:
    error = errors.from_answer(status, {}, json.dumps(problem).encode())
    assert type(error) is kind
    assert text in str(error)
    assert error.code == problem.get("code", f"http_{status}")


def test_retry_after_in_its_two_forms_and_in_none() -> None:
    soon = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=30), usegmt=True)
    assert errors.retry_after_s("2.5") == 2.5
    assert 25 < (errors.retry_after_s(soon) or 0) <= 30
    past = format_datetime(datetime.now(timezone.utc) - timedelta(days=1), usegmt=True)
    assert errors.retry_after_s(past) == 0
    assert [errors.retry_after_s(text) for text in ("soon", "nan", "", None)] == [None] * 4
    assert errors.retry_after_s("inf") == 3600


def test_waits_grow_to_their_ceiling() -> None:
    budget = RetryBudget(Retry(patience_s=1e9, backoff_s=1, max_backoff_s=8, burst=1e6))
    busy = errors.Overloaded("Full.", status=429, code="overloaded")
    longest = [0.0] * 6
    for _ in range(300):
        attempts = Attempts(budget, repeatable=True)
        for at in range(6):
            longest[at] = max(longest[at], attempts.wait_s(busy) or 0)
    for at, ceiling in enumerate([1, 2, 4, 8, 8, 8]):
        assert 0.8 * ceiling < longest[at] <= ceiling


@pytest.mark.parametrize("url", ["localhost:8080", "", "ftp://x", "http://", "http://[::1"])
def test_an_address_that_is_none_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match=r"^url: "):
        Client(url)


def test_a_proxy_of_the_environment_is_not_asked_for_loopback(
    url: str, monkeypatch: pytest.MonkeyPatch, closed_url: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", closed_url)
    with Client(url) as client:
        client.health()
    with (
        Client("http://vitrine.invalid:8080", retry=Retry(patience_s=0)) as client,
        pytest.raises(errors.ServerUnreachable),
    ):
        client.health()
