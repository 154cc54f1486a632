"""What deploy/ holds, against the running server: the containers' processes, the queries of the
dashboard and of the alerts, and a real Prometheus where there is one."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import promql_parser
import pytest
import yaml
from PIL import Image
from serving import REPOSITORY, TRITON_ENV, eventually, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from serving import Server

pytestmark = pytest.mark.triton
DEPLOY = REPOSITORY / "deploy"
PNG = {"content-type": "image/png"}
# Exist from the first time on that they have a value.
ONLY_WHEN_IT_HAPPENS = {"507"}


def expressions() -> dict[str, str]:
    """PromQL by the panel, rule or alert that it belongs to."""
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "vitrine.json").read_text())
    found = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    }
    for group in yaml.safe_load((DEPLOY / "prometheus" / "rules.yml").read_text())["groups"]:
        for rule in group["rules"]:
            found[rule.get("record") or rule["alert"]] = rule["expr"]
    return found


def picture(seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


def ask(address: str, seed: int) -> list[dict[str, Any]]:
    """The hits of a search for a picture."""
    hits: list[dict[str, Any]] = httpx.post(
        f"{address}/v1/collections/deploy/search", content=picture(seed), headers=PNG, timeout=60
    ).json()["hits"]
    return hits


@pytest.fixture(scope="module")
def busy(server: Server) -> Iterator[Server]:
    """The server after one request of each kind."""
    with httpx.Client(base_url=server.base_url, timeout=60) as client:
        assert client.put("/v1/collections/deploy", json={}).status_code == 200
        put = client.put("/v1/collections/deploy/items/a", content=picture(0), headers=PNG)
        assert put.status_code == 200, put.text
        assert ask(server.base_url, 0)[0]["id"] == "a"
        assert client.get("/v1/collections/missing").status_code == 404
        yield server
        client.delete("/v1/collections/deploy")


@pytest.fixture(scope="module")
def samples(busy: Server) -> dict[str, list[dict[str, str]]]:
    """Labels of every sample of the server and of Triton, by name; and what the rules record."""
    triton = f"http://127.0.0.1:{busy.ports['triton_metrics_port']}"
    found: dict[str, list[dict[str, str]]] = {"up": [{"job": "vitrine"}, {"job": "triton"}]}
    for address in (busy.base_url, triton):
        for line in httpx.get(f"{address}/metrics").text.splitlines():
            if match := re.fullmatch(r"([a-z_:A-Z0-9]+)(?:\{(.*)\})? \S+", line):
                labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
                found.setdefault(match[1], []).append(labels)
    for name, expression in expressions().items():
        if ":" in name and " " not in name:
            labels = {"route": "/v1/collections/{collection}/search"}
            found[name] = [labels if "route" in expression else {}]
    return found


@pytest.mark.parametrize("name", expressions())
def test_a_query_asks_for_what_is_exported(
    name: str, samples: dict[str, list[dict[str, str]]]
) -> None:
    selectors: list[Any] = []

    def collect(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            selectors.append(node)
        return True

    promql_parser.walk(promql_parser.parse(expressions()[name]), collect)
    assert selectors
    for selector in selectors:
        assert selector.name in samples, f"nobody exports {selector.name}"
        for matcher in selector.matchers.matchers:
            values = {labels.get(matcher.name) for labels in samples[selector.name]}
            assert values != {None}, f"{selector.name} has no label {matcher.name}"
            if matcher.op == promql_parser.MatchOp.Equal:
                assert matcher.value in values | ONLY_WHEN_IT_HAPPENS


def test_the_containers_processes(published: Path, tmp_path: Path) -> None:
    """Triton by deploy/triton.py and the server by itself, as the two containers run them,
    with the keys that deploy/keys.sh makes."""
    http, grpc, triton_http, triton_grpc, triton_metrics = free_ports(5)
    subprocess.run(
        [DEPLOY / "keys.sh", tmp_path / "secrets"],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        check=True,
    )
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("VITRINE_")}
    common = inherited | {
        "VITRINE_HTTP_PORT": str(http),
        "VITRINE_GRPC_PORT": str(grpc),
        "VITRINE_API_KEYS": str(tmp_path / "secrets" / "api_keys"),
        "VITRINE_TRITON_HTTP_PORT": str(triton_http),
        "VITRINE_TRITON_GRPC_PORT": str(triton_grpc),
        "VITRINE_TRITON_METRICS_PORT": str(triton_metrics),
        "VITRINE_MODEL_REPOSITORY": str(published),
        "VITRINE_TRITON_ENV": str(TRITON_ENV),
        "VITRINE_DATA": str(tmp_path / "data"),
    }
    manifest = (DEPLOY / "kubernetes" / "triton.yaml").read_text()
    (container,) = next(yaml.safe_load_all(manifest))["spec"]["template"]["spec"]["containers"]
    more = container["command"][2:]
    commands = ([str(DEPLOY / "triton.py"), *more], ["-m", "vitrine_server.main"])
    with (tmp_path / "log").open("w") as log:
        processes = [
            subprocess.Popen(
                [sys.executable, *command], env=common, cwd=tmp_path, stdout=log, stderr=log
            )
            for command in commands
        ]
    try:
        address = f"http://127.0.0.1:{http}"

        def ready() -> bool:
            with suppress(httpx.TransportError):
                return httpx.get(f"{address}/readyz", timeout=10).status_code == 200
            return False

        eventually(ready, limit_s=180, what="the server is ready")
        key = (tmp_path / "secrets" / "prometheus_key").read_text()
        metrics = httpx.get(f"{address}/metrics", headers={"authorization": f"Bearer {key}"})
        assert metrics.status_code == 200
        assert httpx.get(f"{address}/metrics").status_code == 401
    finally:
        for process in reversed(processes):
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(60) for process in processes]
    assert codes == [0, 0], (tmp_path / "log").read_text()
    assert "Triton is ready" in (tmp_path / "log").read_text()


@pytest.fixture
def prometheus(busy: Server, tmp_path: Path) -> Iterator[str]:
    """A Prometheus with the rules and the configuration of deploy/, pointed at the test's ports."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("no prometheus in PATH: apt install prometheus")
    shutil.copy(DEPLOY / "prometheus" / "rules.yml", tmp_path)
    text = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    text = text.replace("vitrine:8080", f"127.0.0.1:{busy.ports['http_port']}")
    text = text.replace("triton:8002", f"127.0.0.1:{busy.ports['triton_metrics_port']}")
    (tmp_path / "key").write_text("none is asked for")
    text = text.replace("/run/secrets/prometheus_key", f"{tmp_path}/key")
    (tmp_path / "prometheus.yml").write_text(re.sub(r"(_interval): 5s", r"\1: 1s", text))
    (port,) = free_ports(1)
    options = [f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/tsdb"]
    with subprocess.Popen(
        [binary, *options, f"--web.listen-address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        yield f"http://127.0.0.1:{port}"
        process.terminate()


@pytest.mark.slow
def test_prometheus_answers_every_panel(prometheus: str, busy: Server) -> None:
    def query(expression: str) -> list[Any]:
        with suppress(httpx.TransportError):
            answer = httpx.get(f"{prometheus}/api/v1/query", params={"query": expression}).json()
            assert answer["status"] == "success", answer
            result: list[Any] = answer["data"]["result"]
            return result
        return []

    wanted = {
        name: expression
        for name, expression in expressions().items()
        if " " in name or ":" in name  # an alert's query is empty while all is well
    }
    deadline = time.monotonic() + 60
    while missing := [name for name, expression in wanted.items() if not query(expression)]:
        assert time.monotonic() < deadline, f"no data: {missing}"
        ask(busy.base_url, 1)
        time.sleep(1)
    assert [alert["metric"] for alert in query('ALERTS{alertstate="firing"}')] == []
