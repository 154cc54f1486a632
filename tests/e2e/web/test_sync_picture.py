"""`vitrine sync` against the real server; its output is the picture of docs/sync.md."""

from __future__ import annotations

import os
import subprocess
import sys
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from browsing import save

if TYPE_CHECKING:
    from browsing import OpenPage
    from serving import Server

TERMINAL = """<!doctype html><style>
body { margin: 0; padding: 1.6rem 2rem; background: #16202b; color: #dce4ec; }
pre { margin: 0; font: 15px/1.6 "DejaVu Sans Mono", monospace; white-space: pre-wrap; }
b { color: #7cc4ff; font-weight: 400; }
</style><pre>"""


def test_a_folder_is_followed(
    designs: Server, open_page: OpenPage, sheets: dict[str, bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    images = list(sheets.items())[:24]
    for name, image in images[:20]:
        (folder / f"{name}.png").write_bytes(image)
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "COLUMNS": "96"}
    environment |= {"VITRINE_URL": designs.base_url}
    shown = []

    def sync() -> None:
        done = subprocess.run(
            [Path(sys.executable).with_name("vitrine"), "sync", "photos", "--collection", "shop"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        shown.append(f"<b>$ vitrine sync photos --collection shop</b>\n{escape(done.stdout)}")

    sync()
    for name, image in images[20:]:
        (folder / f"{name}.png").write_bytes(image)
    gone = [folder / f"{name}.png" for name, _ in images[:2]]
    changed = folder / f"{images[2][0]}.png"
    shown.append(
        f"<b>$ rm photos/{gone[0].name} photos/{gone[1].name}\n"
        f"$ cp new/*.png photos        # four, and another version of {changed.name}</b>\n"
    )
    for file in gone:
        file.unlink()
    changed.write_bytes(images[3][1])
    sync()
    sync()
    url = f"{designs.base_url}/v1/collections/shop"
    assert httpx.get(url).json()["count"] == 22
    assert httpx.get(f"{url}/items/{gone[0].name}").status_code == 404
    assert "5 images stored" in shown[2]
    assert "2 items removed." in shown[2]
    assert "22 were there already" in shown[3]
    page = open_page(960, 380)
    page.goto("about:blank")  # the server's own policy allows no inline style
    page.set_content(TERMINAL + "\n".join(shown))
    save(page, "sync")
    httpx.delete(url).raise_for_status()
