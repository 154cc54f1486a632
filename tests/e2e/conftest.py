"""One published engine and one running server for all end-to-end tests."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from serving import REPOSITORY, TRITON_ENV, Server, copy_model_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What an engine is made of; when none of it has changed, the engine of the last run is used.
_INGREDIENTS = (
    "export/vitrine_export",
    "server/vitrine_server/images.py",
    "server/vitrine_server/manifest.py",
    "training/vitrine_training/model.py",
    "training/weights",
)
_INGREDIENT_TYPES = {".py", ".toml", ".safetensors"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A machine without Triton skips its tests, unless it is the one that must run them."""
    if (TRITON_ENV / "bin").is_dir() or "triton" in os.environ.get("VITRINE_REQUIRE", ""):
        return
    skip = pytest.mark.skip(reason=f"no Triton in {TRITON_ENV}: make test installs it")
    for item in items:
        if item.get_closest_marker("triton"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def real_images() -> Path | None:
    """Real photos and drawings, where this machine has them."""
    folders = [os.environ.get("VITRINE_TEST_DATA", ""), str(REPOSITORY.parent / "shared" / "data")]
    return next((Path(each) for each in folders if each and Path(each).is_dir()), None)


@pytest.fixture(scope="session")
def published(real_images: Path | None) -> Path:
    """Triton's model repository with a design-vit that the real export has published."""
    digest = hashlib.sha256(f"{real_images}".encode())
    for ingredient in _INGREDIENTS:
        root = REPOSITORY / ingredient
        for path in sorted([root] if root.is_file() else root.rglob("*")):
            if path.suffix in _INGREDIENT_TYPES:
                digest.update(path.name.encode() + path.read_bytes())
    repository = REPOSITORY / "build" / "test-engine" / digest.hexdigest()[:16]
    repository.mkdir(parents=True, exist_ok=True)
    with (repository / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run of the tests may be exporting
        copy_model_files(repository)
        if not (repository / "image_encoder" / "1" / "manifest.json").is_file():
            export(repository, real_images)
    return repository


def export(target: Path, images: Path | None) -> None:
    """Publish design-vit with the command that users run."""
    command: list[str | Path] = [Path(sys.executable).with_name("vitrine-export")]
    command += ["--output", target]
    if images:
        command += ["--images", images]
    subprocess.run(command, cwd=REPOSITORY, check=True)


@pytest.fixture(scope="session")
def new_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Server]]:
    """Makes servers (not yet started) that are stopped when the tests end."""
    servers: list[Server] = []

    def make(model_repository: Path, **settings: str) -> Server:
        folder = tmp_path_factory.mktemp("server")
        server = Server(model_repository, folder / "data", folder / "log", settings)
        servers.append(server)
        return server

    yield make
    for server in servers:
        if server.process is not None:
            server.stop()


@pytest.fixture(scope="session")
def server(published: Path, new_server: Callable[..., Server]) -> Server:
    """The running server of all tests that do not break it."""
    running = new_server(published)
    running.start()
    return running
