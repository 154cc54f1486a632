"""`vitrine-data` on a data folder, with and without a server that has it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from vitrine_server.catalogue import Catalogue
from vitrine_server.data_commands import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vitrine_server.collection import EncoderIdentity, NewItem

    Command = Callable[..., int]


@pytest.fixture
def data_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VITRINE_DATA", str(tmp_path / "data"))

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["vitrine-data", *arguments])
        return main()

    return run


def test_backup_beside_a_server_and_restore_without_one(
    data_command: Command,
    item: Callable[..., NewItem],
    encoder: EncoderIdentity,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    served = Catalogue(tmp_path / "data", encoder=encoder)
    collection = served.get("default")
    image = collection.keep_original(b"an image")
    collection.upsert([item("a", 1)._replace(image_sha256=image), item("b", 2)]).result()
    assert data_command("backup", "default", "first.tar") == 0
    assert "2 items and 1 images of 'default', up to write 2" in capsys.readouterr().out
    assert data_command("restore", "first.tar", "again") == 1
    assert "in use by another Vitrine server" in capsys.readouterr().err
    collection.delete(["a"]).result()
    served.close()

    assert data_command("backup", "default", "second.tar") == 0
    assert data_command("restore", "first.tar", "default") == 1
    assert "--replace" in capsys.readouterr().err
    assert data_command("restore", "first.tar", "default", "--replace") == 0
    assert data_command("restore", "second.tar", "again") == 0
    served = Catalogue(tmp_path / "data", encoder=encoder)
    assert served.damaged == {}
    assert served.get("default").original("a") == b"an image"
    assert served.get("default").describe().count == 2
    assert served.get("again").describe().count == 1
    served.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("backup", "never", "x.tar"), "no collection called 'never'"),
        (("backup", "../default", "x.tar"), "cannot be the name of a collection"),
        (("restore", "missing.tar", "new"), "No such file"),
        (("reembed", "default"), "No engine is published"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    data_command: Command,
    encoder: EncoderIdentity,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    Catalogue(tmp_path / "data", encoder=encoder).close()
    assert data_command(*arguments) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "x.tar").exists()
