"""The compose file and the image: what they name is there, and nothing is open by accident."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from vitrine_server.api_keys import Keys
from vitrine_server.config import Settings

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.cpu.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_services_are_locked_down(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    # the image of Vitrine names its own user
    assert service.get("user", "10001").split(":")[0] not in ("0", "root")
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")
    assert not re.search(r":latest$|^[^:]+$", service["image"])


@pytest.mark.parametrize("name", SERVICES)
def test_mounted_files_are_there(name: str) -> None:
    for volume in SERVICES[name]["volumes"]:
        source, target = volume.split(":")[:2]
        if source.startswith("."):
            assert (DEPLOY / source).is_dir(), source
            assert volume.endswith(":ro")
        assert target.startswith("/")


@pytest.mark.parametrize("name", ["triton", "vitrine"])
def test_variables_are_settings(name: str) -> None:
    for variable, value in SERVICES[name]["environment"].items():
        Settings.model_validate({variable.removeprefix("VITRINE_").lower(): value})
    assert "healthcheck" in SERVICES[name]


@pytest.mark.parametrize("file", ["compose.cpu.yaml", "compose.gpu.yaml"])
def test_the_server_asks_for_a_key(file: str) -> None:
    compose = yaml.safe_load((DEPLOY / file).read_text())
    server = compose["services"]["vitrine"]
    (secret,) = server["secrets"]
    assert server["environment"]["VITRINE_API_KEYS"] == f"/run/secrets/{secret}"
    assert "VITRINE_ALLOW_ANONYMOUS" not in server["environment"]
    fields = Settings.model_fields
    ports = (fields["http_port"].default, fields["grpc_port"].default)
    assert server["ports"] == [f"127.0.0.1:{port}:{port}" for port in ports]


def test_the_keys_that_compose_asks_for(tmp_path: Path) -> None:
    command = [str(DEPLOY / "keys.sh"), str(tmp_path / "secrets")]
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    files = {secret["file"].removeprefix("./") for secret in COMPOSE["secrets"].values()}
    assert files == {f"secrets/{file.name}" for file in (tmp_path / "secrets").iterdir()}
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    keys = Keys(tmp_path / "secrets" / "api_keys")
    shown = re.findall(r"vtr_\S+", done.stderr)
    given = [*shown, (tmp_path / "secrets" / "prometheus_key").read_text()]
    callers = [keys.authenticate(f"Bearer {key}".encode()) for key in given]
    assert [(who.name, who.scope) for who in callers] == [
        ("admin", "admin"),
        ("prometheus", "read"),
    ]
    before = (tmp_path / "secrets" / "api_keys").read_bytes()
    assert subprocess.run(command, env=environment, capture_output=True).returncode == 1
    assert (tmp_path / "secrets" / "api_keys").read_bytes() == before


def test_triton_is_reached_by_the_server_alone() -> None:
    assert "ports" not in SERVICES["triton"]
    assert SERVICES["triton"]["networks"] == ["inside"]
    assert SERVICES["vitrine"]["environment"]["VITRINE_TRITON_HOST"] in SERVICES


def test_prometheus_asks_the_services() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    fields = Settings.model_fields
    ports = {
        "vitrine": fields["http_port"].default,
        "triton": fields["triton_metrics_port"].default,
    }
    found = {
        job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]
    }
    assert found == {name: [f"{name}:{port}"] for name, port in ports.items()}
    keys = {job["job_name"]: job.get("authorization") for job in config["scrape_configs"]}
    (secret,) = SERVICES["prometheus"]["secrets"]
    assert keys == {"vitrine": {"credentials_file": f"/run/secrets/{secret}"}, "triton": None}
    assert all((DEPLOY / "prometheus" / file).is_file() for file in config["rule_files"])


def test_the_image_copies_files_of_the_repository() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    allowed = [
        line[1:]
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    for line in lines:
        if line.startswith("COPY") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert any(f"{file}/".startswith(f"{source}/") for file in tracked), source
                assert any(f"{source}/".startswith(f"{entry}/") for entry in allowed), source


def test_the_image_runs_without_root() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    last_user = re.findall(r"^USER (.*)$", text, re.MULTILINE)[-1]
    assert last_user == "10001:10001"
    for variable, value in re.findall(r"(VITRINE_[A-Z_]+)=(\S+)", text):
        Settings.model_validate({variable.removeprefix("VITRINE_").lower(): value})
