"""The `vitrine` command against the fake: what it stores, prints and exits with."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

import pytest
from fake_server import serve

from vitrine_client import cli, folder_commands

if TYPE_CHECKING:
    from pathlib import Path

    from fake_server import FakeVitrine

Draw: TypeAlias = Callable[[int], bytes]
Vitrine: TypeAlias = Callable[..., int]


@pytest.fixture
def vitrine(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vitrine:
    """Runs a command in this process and gives its exit code."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("VITRINE_URL", url)

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["vitrine", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        code = caught.value.code
        assert isinstance(code, int | None)
        return code or 0

    return run


@pytest.fixture
def folder(tmp_path: Path, draw: Draw) -> Path:
    """Three designs of two images, a broken image, and files that are none."""
    root = tmp_path / "photos"
    for at in range(6):
        file = root / f"design {at // 2}" / f"{at}.PNG"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(draw(at))
    (root / "broken.jpg").write_bytes(b"not an image")
    (root / "notes.txt").write_text("not an image either")
    (root / ".hidden.png").write_bytes(draw(9))
    (root / ".cache").mkdir()
    (root / ".cache" / "x.png").write_bytes(draw(9))
    return root


def test_ingest_stores_every_image_and_lists_what_it_could_not(
    vitrine: Vitrine, fake: FakeVitrine, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "gone.png").symlink_to(folder / "nowhere")
    assert vitrine("ingest", folder) == 0
    assert sorted(fake.items["default"]) == [f"design {at // 2}/{at}.PNG" for at in range(6)]
    out = capsys.readouterr().out
    assert "6 images stored in default" in out
    assert "2 not stored" in out
    assert "1 other files left out" in out
    rows = {line.split("  ")[1].strip(): line for line in out.splitlines() if ".jpg" in line}
    assert "image: The bytes are not an image. (accepted: a JPEG)" in rows["broken.jpg"]
    assert "No such file or directory" in out


def test_a_second_ingest_sends_what_is_new_or_changed(
    vitrine: Vitrine,
    fake: FakeVitrine,
    folder: Path,
    draw: Draw,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / "broken.jpg").unlink()
    assert vitrine("ingest", folder) == 0
    fake.stored_ids.clear()
    assert vitrine("ingest", folder) == 0
    assert fake.stored_ids == []
    assert "6 were there already" in capsys.readouterr().out
    (folder / "design 0" / "0.PNG").write_bytes(draw(100))
    os.utime(folder / "design 1" / "2.PNG", ns=(1, 1))  # touched, not changed
    (folder / "new.png").write_bytes(draw(7))
    assert vitrine("ingest", folder) == 0
    assert sorted(fake.stored_ids) == ["design 0/0.PNG", "new.png"]
    fake.stored_ids.clear()
    assert vitrine("ingest", folder, "--restart") == 0
    assert len(fake.stored_ids) == 7


def test_changed_metadata_is_sent_again(
    vitrine: Vitrine, fake: FakeVitrine, folder: Path, tmp_path: Path
) -> None:
    assert vitrine("ingest", folder) == 0
    fake.stored_ids.clear()
    table = tmp_path / "m.csv"
    table.write_text("path,colour\ndesign 0/0.PNG,red\n")
    assert vitrine("ingest", folder, "--metadata", table) == 0
    assert fake.stored_ids == ["design 0/0.PNG"]
    assert fake.items["default"]["design 0/0.PNG"]["metadata"] == {"colour": "red"}


def test_a_server_that_lost_its_data_gets_everything_again(
    vitrine: Vitrine, fake: FakeVitrine, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vitrine("ingest", folder) == 0
    fake.items["default"].clear()
    fake.sequence = 0
    fake.stored_ids.clear()
    assert vitrine("ingest", folder) == 0
    assert "sending everything" in capsys.readouterr().out
    assert len(fake.items["default"]) == 6


def test_one_deleted_item_stays_deleted(vitrine: Vitrine, fake: FakeVitrine, folder: Path) -> None:
    assert vitrine("ingest", folder) == 0
    assert vitrine("delete", "design 0/0.PNG") == 0
    assert vitrine("ingest", folder) == 0
    assert "design 0/0.PNG" not in fake.items["default"]


def test_metadata_groups_and_a_collection_of_its_own(
    vitrine: Vitrine, fake: FakeVitrine, folder: Path, tmp_path: Path, draw: Draw
) -> None:
    (folder / "top.png").write_bytes(draw(8))
    table = tmp_path / "m.csv"
    table.write_text(
        "\ufeffpath,price,locarno,sold,title,group\n"
        'design 0/0.PNG,5,06-01,true,"a, b",\n'
        "design 0/1.PNG,7.5,07,false,,elsewhere\n"
        "unknown.png,1,1,true,x,\n",
        encoding="utf-8",
    )
    code = vitrine(
        "ingest", folder, "--collection", "chairs", "--metadata", table, "--group-from", "folder"
    )
    assert code == 0
    items = fake.items["chairs"]
    assert items["design 0/0.PNG"]["metadata"] == {
        "group": "design 0",
        "price": 5,
        "locarno": "06-01",
        "sold": True,
        "title": "a, b",
    }
    assert items["design 0/1.PNG"]["metadata"] == {
        "group": "elsewhere",
        "price": 7.5,
        "locarno": "07",
        "sold": False,
    }
    assert items["design 1/2.PNG"]["metadata"] == {"group": "design 1"}
    assert items["top.png"]["metadata"] == {}


def test_a_declared_type_wins_over_the_look_of_the_cells(
    vitrine: Vitrine, fake: FakeVitrine, folder: Path, tmp_path: Path
) -> None:
    fake.collections["default"]["fields"] = {"number": "keyword"}
    table = tmp_path / "m.csv"
    table.write_text("id,number\n0,123\n1,456\n")
    assert vitrine("ingest", folder, "--id-from", "stem", "--metadata", table) == 0
    assert fake.items["default"]["0"]["metadata"] == {"number": "123"}
    fake.collections["default"]["fields"] = {"number": "number"}
    table.write_text("id,number\n0,twelve\n")
    assert vitrine("ingest", folder, "--id-from", "stem", "--metadata", table) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("name,price\na,1\n", "no column `path` or `id`; it has name, price"),
        ("path,a,a\nx,1,2\n", "has the column 'a' twice"),
        ("path,a\nx,1,2\n", "row 2: 3 cells under 2 column names"),
        ("path,a\nx,1\nx,2\n", "row 3: path 'x' is there twice"),
        ('path,a\n"x,1\n', "is not CSV"),
        ("path,a\n/photos/design 0/0.PNG,1\n", "no path names an image"),
    ],
)
def test_a_table_that_cannot_be_meant(
    vitrine: Vitrine,
    fake: FakeVitrine,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    message: str,
) -> None:
    table = tmp_path / "m.csv"
    table.write_text(text)
    assert vitrine("ingest", folder, "--metadata", table) == 2
    assert message in capsys.readouterr().err
    assert fake.stored_ids == []


def test_a_table_in_another_encoding(
    vitrine: Vitrine, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "m.csv"
    table.write_bytes("path,titre\na.png,chaise évasée\n".encode("latin-1"))
    assert vitrine("ingest", folder, "--metadata", table) == 2
    assert "not UTF-8" in capsys.readouterr().err


def test_ids_that_would_collide_are_refused_before_anything_is_sent(
    vitrine: Vitrine,
    fake: FakeVitrine,
    folder: Path,
    draw: Draw,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / "0.png").write_bytes(draw(1))
    assert vitrine("ingest", folder, "--id-from", "stem") == 2
    assert "would both get the id '0'" in capsys.readouterr().err
    decomposed, composed = "cafe\u0301.png", "caf\u00e9.png"
    (folder / decomposed).write_bytes(draw(1))
    assert vitrine("ingest", folder) == 0
    assert composed in fake.items["default"]
    (folder / composed).write_bytes(draw(1))
    assert vitrine("ingest", folder) == 2


def test_a_name_that_is_not_utf8_is_listed(
    vitrine: Vitrine, folder: Path, draw: Draw, capsys: pytest.CaptureFixture[str]
) -> None:
    name = os.fsencode(folder) + b"/caf\xe9.png"
    with contextlib.suppress(OSError):  # some file systems refuse it themselves
        with open(name, "wb") as file:
            file.write(draw(1))
        assert vitrine("ingest", folder) == 0
        assert "its name is not UTF-8" in capsys.readouterr().out


def test_a_folder_without_a_usable_image(
    vitrine: Vitrine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "empty"
    root.mkdir()
    assert vitrine("ingest", root) == 1
    (root / "a.png").write_bytes(b"no")
    assert vitrine("ingest", root) == 1
    assert "Nothing was stored" in capsys.readouterr().err
    assert vitrine("ingest", root / "a.png") == 2


def test_a_server_that_fails_in_the_middle(
    vitrine: Vitrine,
    fake: FakeVitrine,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / "broken.jpg").unlink()
    monkeypatch.setattr(folder_commands, "PATIENT", folder_commands.PROMPT)
    fake.busy_items = 3
    arguments = ("ingest", folder, "--workers", 1, "--batch", 2)
    assert vitrine(*arguments) == 0
    assert len(fake.items["default"]) == 6
    fake.items["default"].clear()
    fake.busy_items = 10**6
    assert vitrine(*arguments, "--restart") == 4
    captured = capsys.readouterr()
    assert "The encoder does not answer." in captured.err
    assert "not stored" not in captured.out
    fake.busy_items = 0
    assert vitrine(*arguments) == 0
    assert len(fake.items["default"]) == 6


def test_search_in_a_table_and_as_json(
    vitrine: Vitrine, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vitrine("ingest", folder, "--group-from", "folder") == 0
    capsys.readouterr()
    image = folder / "design 1" / "3.PNG"
    assert vitrine("search", image, "-k", 2) == 0
    lines = capsys.readouterr().out.splitlines()
    first = next(line for line in lines if line.split()[:1] == ["1"])
    assert "1.0000" in first
    assert "design 1/3.PNG" in first
    assert vitrine("search", image, "--json", "--group-by", "group", "--k", 99) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["hits"][0]["group"] == "design 1"
    assert len(answer["hits"]) == 3
    assert vitrine("search", image, "--json", "--filter", '{"group": "design 2"}') == 0
    assert {hit["group"] for hit in json.loads(capsys.readouterr().out)["hits"]} == {"design 2"}
    assert vitrine("search", image, "--rerank") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "re-ranked" in lines[0] or "re-ranked" in lines[1]
    assert "0.5000" in next(line for line in lines if line.split()[:1] == ["1"])
    assert vitrine("search", image, "--min-score", 1.1) == 0
    assert "No hits." in capsys.readouterr().out
    assert vitrine("search", image, "--filter", "{") == 2
    assert "--filter" in capsys.readouterr().err
    assert vitrine("search", folder / "none.png") == 2
    assert "No such file" in capsys.readouterr().err
    assert vitrine("search", folder / "broken.jpg") == 4
    assert capsys.readouterr().err.startswith("image: The bytes are not an image.")


def test_get_delete_collections_and_status(
    vitrine: Vitrine, fake: FakeVitrine, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vitrine("ingest", folder)
    capsys.readouterr()
    assert vitrine("get", "design 0/1.PNG") == 0
    assert json.loads(capsys.readouterr().out)["id"] == "design 0/1.PNG"
    assert vitrine("delete", "design 0/1.PNG", "design 0/0.PNG") == 0
    assert "deleted design 0/1.PNG" in capsys.readouterr().out
    assert vitrine("get", "design 0/1.PNG") == 4
    assert "No item" in capsys.readouterr().err
    assert vitrine("collections") == 0
    assert "default" in capsys.readouterr().out
    assert vitrine("collections", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["count"] == 4
    assert vitrine("status") == 0
    assert "is ready." in capsys.readouterr().out
    fake.ready = False
    assert vitrine("status", "--json") == 1
    assert json.loads(capsys.readouterr().out)["ready"] is False


def test_nothing_that_the_server_holds_can_drive_the_terminal(
    vitrine: Vitrine,
    fake: FakeVitrine,
    draw: Draw,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(draw(1))
    fake.store("default", "\x1b[2J[red]x[/nope]", draw(1), None, {"a\x07": "[bold]"})
    assert vitrine("search", file) == 0
    out = capsys.readouterr().out
    assert "\\x1b[2J[red]x[/nope]" in out
    assert "a\\x07: [bold]" in out


def test_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["vitrine", "status", "--url", "http://127.0.0.1:9"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 3
    err = capsys.readouterr().err
    assert "http://127.0.0.1:9" in err
    assert "make serve" in err
    assert err.count("\n") == 1
    monkeypatch.setattr(sys, "argv", ["vitrine", "status", "--url", "nonsense"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2


class SlowFake:
    """The fake with a pause, so that a signal meets an ingest on its way."""

    def __init__(self, fake: FakeVitrine) -> None:
        self.fake = fake

    async def __call__(self, scope: object, receive: object, send: object) -> None:
        await asyncio.sleep(0.02)
        await self.fake(scope, receive, send)  # type: ignore[arg-type]


@pytest.fixture
def running(
    fake: FakeVitrine, tmp_path: Path, draw: Draw
) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    root = tmp_path / "many"
    root.mkdir()
    for at in range(300):
        (root / f"{at:03}.png").write_bytes(draw(at))
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(serve(SlowFake(fake)))

        def start() -> subprocess.Popen[str]:
            command = [sys.executable, "-m", "vitrine_client", "ingest", str(root)]
            return subprocess.Popen(
                [*command, "--batch", "4", "--workers", "2", "--url", address],
                env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

        yield start


def _wait_for(fake: FakeVitrine, stored: int) -> None:
    deadline = time.monotonic() + 30
    while len(fake.stored_ids) < stored:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_killed_ingest_goes_on_where_it_stopped(
    running: Callable[[], subprocess.Popen[str]], fake: FakeVitrine
) -> None:
    for stop_at in (40, 120, 200):
        process = running()
        _wait_for(fake, stop_at)
        process.kill()
        process.communicate()
    process = running()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert len(fake.items["default"]) == 300
    # a kill can lose the acknowledgements of the batches on their way: 2 workers of 4, and the one
    # whose answer was being read
    assert len(fake.stored_ids) <= 300 + 3 * 3 * 4
    assert "there already" in out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_ingest_finishes_what_is_on_its_way(
    running: Callable[[], subprocess.Popen[str]], fake: FakeVitrine, number: int, code: int
) -> None:
    process = running()
    _wait_for(fake, 40)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (code, "")
    assert "Run the same command again" in out
    sent = len(fake.stored_ids)
    assert sent < 300
    process = running()
    process.communicate(timeout=60)
    assert process.returncode == 0
    # every acknowledgement was written down: nothing was sent twice
    assert len(fake.stored_ids) == len(set(fake.stored_ids)) == 300
