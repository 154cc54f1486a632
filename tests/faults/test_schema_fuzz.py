"""Schemathesis against the running server: no server error, and answers as the document says."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from separate import FULL, separate
from standing import picture

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


@schemathesis.serializer("application/x-ndjson")
def as_lines(_: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode() + b"\n"


MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


@pytest.mark.timeout(7200 if FULL else 300)
def test_every_operation(tmp_path: Path) -> None:
    sent = 0
    with separate(tmp_path) as server:
        for number in range(3):
            path = f"{server.url}/v1/collections/default/items/{number}"
            assert httpx.put(path, content=picture(number)).status_code == 200
        document = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
        operations = [found.ok() for found in document.get_all_operations()]
        for operation in operations:
            for mode in MODES:

                @given(case=operation.as_strategy(generation_mode=mode))
                @settings(
                    max_examples=200 if FULL else 8,
                    deadline=None,
                    derandomize=True,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                )
                def answers_as_documented(case: Any) -> None:
                    nonlocal sent
                    sent += 1
                    case.call_and_validate(checks=CHECKS)

                with suppress(Unsatisfiable):  # nothing can be wrong about some operations
                    answers_as_documented()
    print(f"{sent} requests to {len(operations)} operations: 0 server errors")
