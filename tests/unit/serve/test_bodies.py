"""Base64 in requests: what binascii accepts, to the byte."""

from __future__ import annotations

import base64
import binascii
import random
from typing import TYPE_CHECKING

import pytest

from vitrine_server import bodies
from vitrine_server.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable


def _reference(text: str) -> bytes | None:
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        return None


def _decoded(text: str) -> bytes | None:
    try:
        return bodies.decode_base64(text, field="image")
    except Invalid:
        return None


def test_base64_is_decoded_as_by_binascii() -> None:
    rng = random.Random(0)
    accepted = 0
    for _ in range(20_000):
        text = "".join(rng.choices("AZaz09+/-_==\né", [8] * 10 + [2] * 4, k=rng.randrange(13)))
        expected = _reference(text)
        accepted += expected is not None
        assert _decoded(text) == expected, text
    assert 1000 < accepted < 19_000


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_every_length_and_byte_comes_back(encode: Callable[[bytes], bytes]) -> None:
    for size in range(300):
        data = bytes((size + at) % 256 for at in range(size))
        text = encode(data).decode()
        assert _decoded(text) == data
        assert _decoded(f"data:image/png;base64,{text}") == data


@pytest.mark.parametrize("text", ["QQ", "QQ=", "QQ===", "QR==QQ==", "\ud800AAA", "data:,QQ=="])
def test_what_is_no_base64_is_refused(text: str) -> None:
    assert _decoded(text) is None
