"""`vitrine-serve`: what it refuses, how it starts, what it survives and what it leaves behind."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
import pytest
from serving import TRITON_ENV, Server, eventually, still_running

from vitrine_server.manifest import (
    EncoderInfo,
    EngineFile,
    Gate,
    GateRow,
    Manifest,
    Preprocessing,
    file_sha256,
    fingerprint,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    NewServer = Callable[..., Server]

needs_triton = pytest.mark.triton
RECOVERY_LIMIT_S = 60


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """A repository whose manifest is in order; its engine is only good for checks of files."""
    folder = tmp_path / "models" / "image_encoder" / "1"
    folder.mkdir(parents=True)
    (folder / "engine.onnx").write_bytes(b"an engine")
    preprocessing = Preprocessing(
        size=224, resize="letterbox", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
    )
    row = GateRow(
        precision="fp32",
        cosine_mean=1,
        cosine_min=1,
        recall_at_10=1,
        finite=True,
        latency_ms_batch_1=1,
        images_per_s=1,
        best_batch=1,
        passed=True,
        reason="a test",
    )
    manifest = Manifest(
        encoder=EncoderInfo(
            name="tiny",
            family="tiny",
            source="a test",
            licence="Apache-2.0",
            trained=False,
            weights_sha256="0" * 64,
            pooling="mean",
            dimension=4,
            preprocessing=preprocessing,
            fingerprint=fingerprint(
                weights_sha256="0" * 64,
                preprocessing=preprocessing,
                pooling="mean",
                normalisation="l2",
            ),
        ),
        precision="fp32",
        runtime="openvino",
        engine=EngineFile(file="engine.onnx", sha256=file_sha256(folder / "engine.onnx"), bytes=9),
        gate=Gate(images=200, image_source="a test", rows=(row,)),
        probe_embedding=(1.0, 0.0, 0.0, 0.0),
        created="2026-01-01T00:00:00Z",
        tools={},
        device={},
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return tmp_path / "models"


def refusal(server: Server) -> str:
    """The one sentence with which a server refuses to start."""
    server.launch()
    assert server.wait() == 1
    lines = server.output.splitlines()
    assert len(lines) == 1, server.output
    assert lines[0].startswith("vitrine-serve: ")
    return lines[0].removeprefix("vitrine-serve: ")


def test_a_setting_that_cannot_be_used(engine: Path, new_server: NewServer) -> None:
    assert "VITRINE_MAX_K" in refusal(new_server(engine, max_k="none"))


def test_no_engine_is_published(tmp_path: Path, new_server: NewServer) -> None:
    assert "run `make export`" in refusal(new_server(tmp_path))


def test_an_engine_that_did_not_pass_the_gate(engine: Path, new_server: NewServer) -> None:
    (engine / "image_encoder" / "1" / "engine.onnx").write_bytes(b"another engine")
    sentence = refusal(new_server(engine))
    assert "engine.onnx" in sentence
    assert "make export" in sentence


def test_a_manifest_of_another_version(engine: Path, new_server: NewServer) -> None:
    path = engine / "image_encoder" / "1" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    assert "format 99" in refusal(new_server(engine))


def test_no_triton(engine: Path, tmp_path: Path, new_server: NewServer) -> None:
    sentence = refusal(new_server(engine, triton_env=str(tmp_path / "nowhere")))
    assert str(tmp_path / "nowhere") in sentence
    assert "VITRINE_TRITON_ENV" in sentence


def test_no_stub_for_this_python(engine: Path, tmp_path: Path, new_server: NewServer) -> None:
    home = tmp_path / "env" / "lib" / "python3.99" / "site-packages" / "pytriton" / "tritonserver"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "tritonserver").touch()
    for version in ("3.10", "3.9"):
        (home / "python_backend_stubs" / version).mkdir(parents=True)
    sentence = refusal(new_server(engine, triton_env=str(tmp_path / "env")))
    assert "Python 3.99" in sentence
    assert "3.9, 3.10" in sentence


@needs_triton
def test_the_stub_lacks_libpython(engine: Path, tmp_path: Path, new_server: NewServer) -> None:
    real = next(TRITON_ENV.glob("lib/python3.*/site-packages/pytriton/tritonserver"))
    stub, library = next(
        (stub, found[1])
        for stub in sorted((real / "python_backend_stubs").glob("3.*/*"))
        if (found := re.search(r"(libpython\S+) => not found", ldd(stub)))
    )
    env = tmp_path / "env"
    home = env / "lib" / f"python{stub.parent.name}" / "site-packages" / "pytriton" / "tritonserver"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "tritonserver").touch()
    (home / "backends" / "python").mkdir(parents=True)
    (home / "python_backend_stubs").mkdir()
    (home / "python_backend_stubs" / stub.parent.name).symlink_to(stub.parent)
    (env / "bin").mkdir()
    (env / "bin" / "python").symlink_to(TRITON_ENV / "bin" / "python")
    sentence = refusal(new_server(engine, triton_env=str(env)))
    assert library in sentence
    assert "apt install" in sentence


def ldd(path: Path) -> str:
    return subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout


@needs_triton
@pytest.mark.parametrize(
    "setting",
    ["http_port", "grpc_port", "triton_http_port", "triton_grpc_port", "triton_metrics_port"],
)
def test_a_port_in_use(setting: str, engine: Path, new_server: NewServer) -> None:
    server = new_server(engine)
    with socket.socket() as other:
        other.bind(("127.0.0.1", server.ports[setting]))
        other.listen()
        sentence = refusal(server)
    assert f"Port {server.ports[setting]} on 127.0.0.1 is in use" in sentence
    assert f"VITRINE_{setting.upper()}" in sentence


@needs_triton
def test_one_port_for_two(engine: Path, new_server: NewServer) -> None:
    server = new_server(engine)
    server.ports["triton_grpc_port"] = server.ports["http_port"]
    sentence = refusal(server)
    assert "VITRINE_HTTP_PORT and VITRINE_TRITON_GRPC_PORT" in sentence


@needs_triton
def test_an_address_of_another_machine(engine: Path, new_server: NewServer) -> None:
    assert "VITRINE_HOST=192.0.2.1" in refusal(
        new_server(engine, host="192.0.2.1", allow_anonymous="true")
    )
    assert "VITRINE_API_KEYS" in refusal(new_server(engine, host="0.0.0.0"))


@needs_triton
def test_an_engine_that_triton_cannot_load(
    published: Path, tmp_path: Path, new_server: NewServer
) -> None:
    """In order for every check before the start, and yet no model."""
    models = copy_engine(published, tmp_path)
    (models / "image_encoder" / "1" / "model.py").write_text("raise RuntimeError('on purpose')\n")
    server = new_server(models)
    server.launch()
    assert server.wait() == 1
    assert "on purpose" in server.output
    assert server.output.splitlines()[-1].startswith("vitrine-serve: triton ended with exit code")
    assert_nothing_left(server, [])


@needs_triton
def test_ready_means_that_all_answer(server: Server) -> None:
    assert httpx.get(f"{server.base_url}/healthz").status_code == 200
    assert httpx.get(f"{server.triton_url}/v2/models/image_encoder/ready").status_code == 200
    for port in ("http_port", "grpc_port", "triton_grpc_port", "triton_metrics_port"):
        assert str(server.ports[port]) in server.output
    assert "Vitrine is ready after" in server.output


@needs_triton
def test_triton_listens_on_loopback_alone(server: Server) -> None:
    triton = server.child("bin/tritonserver")
    listening = [c.laddr.ip for c in triton.net_connections() if c.status == psutil.CONN_LISTEN]
    assert {address.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
    assert len(listening) >= 3


@needs_triton
def test_two_servers_side_by_side(server: Server, published: Path, new_server: NewServer) -> None:
    second = new_server(published)
    second.start()
    assert server.ready
    before = second.regions()
    assert before
    assert not set(before) & set(server.regions())
    assert second.stop() == 0
    assert_nothing_left(second, before)
    assert server.ready


@needs_triton
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_both(
    number: signal.Signals, published: Path, new_server: NewServer
) -> None:
    server = new_server(published)
    server.start()
    family, regions = server.family(), server.regions()
    server.send(number)
    assert server.wait() == 0
    assert not still_running(family)
    assert_nothing_left(server, regions)


@needs_triton
def test_the_echo_of_a_signal_does_not_force(published: Path, new_server: NewServer) -> None:
    """`timeout make serve` delivers SIGTERM twice."""
    server = new_server(published)
    server.start()
    server.send(signal.SIGTERM)
    server.send(signal.SIGTERM)
    assert server.wait() == 0


@needs_triton
def test_a_second_signal_forces(published: Path, new_server: NewServer) -> None:
    server = new_server(published)
    server.start()
    family, regions = server.family(), server.regions()
    # A part that does not stop by itself: the case that the second signal is for.
    server.child("vitrine_server.main").suspend()
    server.send(signal.SIGINT)
    eventually(lambda: "once more" in server.output, limit_s=10, what="the first is heard")
    time.sleep(1.1)  # sooner it is taken for an echo of the first
    server.send(signal.SIGINT)
    assert server.wait() == 130
    assert not still_running(family)
    assert_nothing_left(server, regions)


@needs_triton
@pytest.mark.parametrize(
    "victim", ["bin/tritonserver", "triton_python_backend_stub", "vitrine_server.main"]
)
def test_a_killed_part_comes_back(victim: str, published: Path, new_server: NewServer) -> None:
    server = new_server(published)
    server.start()
    process, regions = server.child(victim), server.regions()
    process.kill()
    eventually(
        lambda: "is ready again" in server.output, limit_s=RECOVERY_LIMIT_S, what="a restart"
    )
    eventually(lambda: server.ready, limit_s=RECOVERY_LIMIT_S, what="ready after a restart")
    assert server.child(victim).pid != process.pid
    assert len(server.regions()) == len(regions)
    assert httpx.get(f"{server.triton_url}/v2/models/image_encoder/ready").status_code == 200
    assert server.stop() == 0


@needs_triton
@pytest.mark.slow
def test_a_hung_triton_is_replaced(published: Path, new_server: NewServer) -> None:
    server = new_server(published)
    server.start()
    process = server.child("bin/tritonserver")
    process.suspend()
    eventually(lambda: not process.is_running(), limit_s=90, what="the hung process is ended")
    eventually(lambda: server.ready, limit_s=RECOVERY_LIMIT_S, what="ready after a restart")
    assert "missed" in server.output


@needs_triton
def test_kill_9_of_the_supervisor_leaves_nothing(published: Path, new_server: NewServer) -> None:
    server = new_server(published)
    server.start()
    regions = server.regions()
    assert len(regions) >= 2  # the lock and the stub's region
    server.kill()
    eventually(
        lambda: not any(each.exists() for each in regions), limit_s=10, what="memory is freed"
    )
    server.start()
    assert server.stop() == 0


@needs_triton
def test_kill_9_while_it_starts(published: Path, new_server: NewServer) -> None:
    server = new_server(published)
    server.launch()
    eventually(lambda: len(server.family()) >= 3, limit_s=30, what="the parts are started")
    server.kill()
    server.start()
    assert server.stop() == 0


@needs_triton
def test_kill_9_of_supervisor_and_guardian(published: Path, new_server: NewServer) -> None:
    """Nobody is left to clean up: the next start does."""
    server = new_server(published)
    server.start()
    family, regions = server.family(), server.regions()
    server.child("guardian.py").kill()
    server.send(signal.SIGKILL)
    server.wait()
    assert still_running(family)
    server.start()
    assert not still_running(family)
    assert not [path for path in regions if path.exists()]
    assert server.stop() == 0


def copy_engine(published: Path, folder: Path) -> Path:
    return Path(shutil.copytree(published, folder / "models"))


def assert_nothing_left(server: Server, regions: list[Path]) -> None:
    assert "never retrieved" not in server.output
    assert not [path for path in regions if path.exists()]
    for port in server.ports.values():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
