"""Drawings to search among, and what a person does on the page."""

from __future__ import annotations

import csv
import io
import os
import random
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw
from serving import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page, Request

PICTURES = os.environ.get("VITRINE_PICTURES")
COLLECTION = "designs"
SHEETS = 90
HOSTILE = '<img src=x onerror="window.stolen=1">'

OpenPage = Callable[..., "Page"]


def _real_sheets(folder: Path) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    with (folder / "patents.csv").open() as file:
        patents = {row["patent"]: row for row in csv.DictReader(file)}
    for path in sorted(folder.glob("*/*.png"))[:SHEETS]:
        patent = patents[path.parent.name]
        metadata = {key: patent[key] for key in ("title", "locarno", "filed", "granted")}
        yield path.stem, path.read_bytes(), metadata | {"group": path.parent.name}


def drawn_sheets(seed: int = 0) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    """Outlines with a few strokes, three to a design, where there are no real ones."""
    for number in range(SHEETS):
        rng = random.Random(1000 * seed + number // 3)
        image = Image.new("L", (300, 300), 255)
        pen = ImageDraw.Draw(image)
        for _ in range(5):
            corners = [rng.randint(20, 280) + number % 3 * 4 for _ in range(6)]
            pen.polygon(corners, outline=0, width=2)
        file = io.BytesIO()
        image.save(file, "PNG")
        metadata = {"group": f"design-{number // 3}", "title": f"outline {number // 3}"}
        dates = {"filed": f"20{10 + number % 10}-05-01", "granted": "2021-01-01"}
        locarno = f"0{1 + number // 3 % 4}-01"
        yield f"sheet-{number}", file.getvalue(), metadata | dates | {"locarno": locarno}


def all_sheets(real_images: Path | None) -> list[tuple[str, bytes, dict[str, Any]]]:
    folder = real_images / "us_designs" if real_images else None
    return list(_real_sheets(folder) if folder and folder.is_dir() else drawn_sheets())


def search(page: Page, *images: bytes) -> None:
    files = [{"name": "q.png", "mimeType": "image/png", "buffer": image} for image in images]
    page.set_input_files("#files", files)  # type: ignore[arg-type]  # TypedDict of the library
    page.wait_for_selector(".card")


def shown_ids(page: Page) -> list[str]:
    found: list[str] = page.eval_on_selector_all(
        ".card .title strong", "cards => cards.map(card => card.title)"
    )
    return found


def next_search(page: Page, act: Callable[[], object]) -> Request:
    with page.expect_request(re.compile("/search")) as asked:
        act()
    answer = asked.value.response()
    assert answer is not None
    assert answer.ok
    page.wait_for_function("() => !document.querySelector('#summary').textContent.includes('…')")
    return asked.value


def save(page: Page, name: str) -> None:
    """A picture for docs/, small enough to be in git."""
    if PICTURES is None:
        return
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)
    picture = Image.open(io.BytesIO(page.screenshot()))
    path = REPOSITORY / PICTURES / f"{name}.webp"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=80, method=6)
    assert path.stat().st_size < 150_000
