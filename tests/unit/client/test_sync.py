"""`vitrine sync` against the fake: the collection becomes the folder, and nothing else goes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from fake_server import FakeVitrine, serve

from vitrine_client import cli

if TYPE_CHECKING:
    from pathlib import Path

Draw: TypeAlias = Callable[[int], bytes]
Sync: TypeAlias = Callable[..., int]


@pytest.fixture
def folder(tmp_path: Path, draw: Draw) -> Path:
    root = tmp_path / "photos"
    (root / "chairs").mkdir(parents=True)
    for at in range(6):
        (root / "chairs" / f"{at}.png").write_bytes(draw(at))
    return root


@pytest.fixture
def sync(url: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sync:
    """Runs `vitrine sync` on the folder in this process and gives its exit code."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def run(*options: object) -> int:
        command = ["vitrine", "sync", folder, "--url", url, *options]
        monkeypatch.setattr(sys, "argv", list(map(str, command)))
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return int(caught.value.code or 0)

    return run


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*")}


def stored(fake: FakeVitrine) -> dict[str, bytes]:
    return {item_id: item["_image"] for item_id, item in fake.items["default"].items()}


def test_new_changed_renamed_and_removed(
    sync: Sync, fake: FakeVitrine, folder: Path, draw: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sync() == 0
    assert stored(fake) == files(folder)
    fake.stored_ids.clear()
    assert sync() == 0
    assert fake.stored_ids == []
    chairs = folder / "chairs"
    (chairs / "0.png").write_bytes(draw(100))
    os.utime(chairs / "1.png", ns=(1, 1))  # touched, not changed
    (chairs / "2.png").rename(folder / "sofa.png")
    (chairs / "3.png").unlink()
    (folder / "new.png").write_bytes(draw(7))
    capsys.readouterr()
    assert sync() == 0
    assert sorted(fake.stored_ids) == ["chairs/0.png", "new.png", "sofa.png"]
    assert stored(fake) == files(folder)
    assert "2 items removed." in capsys.readouterr().out


def test_what_others_stored_or_wrote_since_stays(
    sync: Sync, fake: FakeVitrine, folder: Path, draw: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.store("default", "of somebody else", draw(50), None, {})
    assert sync() == 0
    fake.store("default", "chairs/1.png", draw(51), None, {})
    del fake.items["default"]["chairs/2.png"]
    for at in (0, 1, 2):
        (folder / "chairs" / f"{at}.png").unlink()
    assert sync() == 0
    assert set(stored(fake)) - set(files(folder)) == {"of somebody else", "chairs/1.png"}
    out = capsys.readouterr().out
    assert "2 items removed." in out
    assert "chairs/1.png: left as it is" in out
    assert sync() == 0
    assert "left as it is" not in capsys.readouterr().out


def test_a_missing_or_empty_folder_removes_nothing(
    sync: Sync, fake: FakeVitrine, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sync() == 0
    before = stored(fake)
    aside = folder.with_name("aside")
    folder.rename(aside)
    assert sync() == 2
    folder.mkdir()  # a mount point without its disk
    assert sync() == 1
    assert "--allow-empty" in capsys.readouterr().err
    assert stored(fake) == before
    assert sync("--allow-empty") == 0
    assert stored(fake) == {}
    folder.rmdir()
    aside.rename(folder)
    assert sync() == 0
    assert stored(fake) == before


def test_more_than_the_stated_share_is_not_removed(
    sync: Sync, fake: FakeVitrine, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sync() == 0
    for at in range(4):
        (folder / "chairs" / f"{at}.png").unlink()
    assert sync() == 1
    assert "The files of 4 of 6 items are gone" in capsys.readouterr().err
    assert len(stored(fake)) == 6
    assert sync("--max-removed", 0.7) == 0
    assert stored(fake) == files(folder)


def test_renaming_every_file_is_no_loss(sync: Sync, fake: FakeVitrine, folder: Path) -> None:
    assert sync() == 0
    (folder / "chairs").rename(folder / "seats")
    assert sync() == 0
    assert stored(fake) == files(folder)


def test_an_image_that_cannot_be_sent_keeps_its_item(
    sync: Sync, fake: FakeVitrine, folder: Path, draw: Draw
) -> None:
    assert sync() == 0
    broken = folder / "chairs" / "1.png"
    broken.write_bytes(b"half of a pic")
    assert sync() == 0
    assert stored(fake)["chairs/1.png"] == draw(1)
    broken.unlink()
    broken.symlink_to(folder / "nowhere")
    assert sync() == 0
    assert stored(fake)["chairs/1.png"] == draw(1)
    broken.unlink()
    assert sync() == 0
    assert "chairs/1.png" not in stored(fake)


def test_restart_sends_everything_and_still_knows_its_own(
    sync: Sync, fake: FakeVitrine, folder: Path
) -> None:
    assert sync() == 0
    fake.stored_ids.clear()
    (folder / "chairs" / "5.png").unlink()
    assert sync("--restart") == 0
    assert len(fake.stored_ids) == 5
    assert stored(fake) == files(folder)


@pytest.mark.parametrize("every", ["0s", "1", "1w", "-1h"])
def test_an_interval_that_cannot_be_meant(
    sync: Sync, every: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sync(f"--every={every}") == 2
    assert "--every" in capsys.readouterr().err


class Silent(FakeVitrine):
    """Stores a batch and never says so, so that a kill meets it between the two."""

    silent = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.silenced = threading.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def say(message: Any) -> None:
            if self.silent and scope["path"].endswith("items:batch"):
                self.silenced.set()
                return
            await send(message)

        await super().__call__(scope, receive, say)


@contextlib.contextmanager
def running(url: str, folder: Path, state: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "vitrine_client", "sync", str(folder), "--url", url, *options],
        env={**os.environ, "XDG_STATE_HOME": str(state)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_what_a_killed_sync_has_stored_is_known(folder: Path, tmp_path: Path, draw: Draw) -> None:
    fake, state = Silent(), tmp_path / "state"
    fake.store("default", "of somebody else", draw(50), None, {})
    with serve(fake) as url:
        with running(url, folder, state) as process:
            assert fake.silenced.wait(30)
            process.kill()
            process.communicate()
        assert len(stored(fake)) == 7
        fake.silent = False
        (folder / "chairs" / "0.png").rename(folder / "renamed.png")
        (folder / "chairs" / "1.png").unlink()
        (folder / "chairs" / "2.png").write_bytes(draw(60))
        with running(url, folder, state) as process:
            out, problems = process.communicate(timeout=60)
            assert process.returncode == 0, problems
        assert "2 items removed." in out
        left = stored(fake)
        assert left.pop("of somebody else") == draw(50)
        assert left == files(folder)


def test_again_and_again_until_it_is_told_to_stop(
    fake: FakeVitrine, url: str, folder: Path, tmp_path: Path, draw: Draw
) -> None:
    def until(done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not done():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    aside = folder.with_name("aside")
    with running(url, folder, tmp_path / "state", "--every", "1s") as process:
        until(lambda: stored(fake) == files(folder))
        folder.rename(aside)
        time.sleep(1.2)  # a round without the folder
        assert len(stored(fake)) == 6
        aside.rename(folder)
        (folder / "new.png").write_bytes(draw(7))
        until(lambda: "new.png" in stored(fake))
        process.send_signal(signal.SIGINT)
        out, problems = process.communicate(timeout=30)
        assert process.returncode == 130
    assert "is not a folder" in problems
    assert "1 images stored in default" in out
