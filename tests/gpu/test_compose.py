"""deploy/compose.gpu.yaml: pinned, without root, closed to other machines, the right folders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "deploy" / "compose.gpu.yaml"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"]
    return found


def test_triton_is_pinned_to_a_release_with_its_security_fixes(services: dict[str, Any]) -> None:
    image = services["triton"]["image"]
    match = re.fullmatch(r"nvcr\.io/nvidia/tritonserver:(\d+)\.(\d+)-py3", image)
    assert match is not None
    assert (int(match[1]), int(match[2])) >= (26, 7)


def test_nobody_is_root_and_nothing_is_writable(services: dict[str, Any]) -> None:
    assert services["triton"]["user"].split(":")[0] not in ("0", "root")
    assert re.search(r"^USER 1\d+", (ROOT / "deploy" / "Dockerfile").read_text(), re.MULTILINE)
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_only_the_api_is_reachable_and_only_from_this_machine(services: dict[str, Any]) -> None:
    assert "ports" not in services["triton"]
    assert services["triton"]["networks"] == ["inside"]
    assert all(port.startswith("127.0.0.1:") for port in services["vitrine"]["ports"])


def test_both_read_the_native_models(services: dict[str, Any]) -> None:
    for service in services.values():
        assert "../model_repository/gpu:/models:ro" in service["volumes"]
    devices = services["triton"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices[0]["driver"] == "nvidia"
