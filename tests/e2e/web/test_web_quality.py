"""Scans that were flagged when they were stored, on the page."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import httpx
from browsing import next_search, save, search, shown_ids
from PIL import Image, ImageFilter

if TYPE_CHECKING:
    from browsing import OpenPage
    from serving import Server

SCANS = "scans"


def scanned(sheet: bytes) -> dict[str, bytes]:
    """A sheet as scanners give it: askew on grey paper, out of focus, twice, and its blank back."""
    page = Image.open(io.BytesIO(sheet)).convert("L")
    grey = page.point([90 + level * 120 // 255 for level in range(256)])
    made = {
        "askew": grey.rotate(3, Image.Resampling.BICUBIC, fillcolor=210),
        "blurred": page.filter(ImageFilter.GaussianBlur(max(page.size) * 0.02)),
        "again": page,
        "back": Image.new("L", page.size, 210),
    }
    found = {}
    for name, image in made.items():
        file = io.BytesIO()
        image.save(file, "PNG")
        found[name] = file.getvalue()
    return found


def test_flagged_scans_are_told_apart(
    designs: Server, open_page: OpenPage, sheets: dict[str, bytes]
) -> None:
    path = f"{designs.base_url}/v1/collections/{SCANS}"
    settings = {"quality": "keep", "cleanup": ["deskew", "despeckle", "crop", "contrast"]}
    first = next(iter(sheets.values()))
    items = dict(list(sheets.items())[::18]) | scanned(first)
    with httpx.Client(timeout=60) as http:
        http.put(path, json=settings | {"fields": {"quality": "keyword"}}).raise_for_status()
        for name, image in items.items():
            http.put(f"{path}/items/{name}", content=image).raise_for_status()
    page = open_page()
    page.select_option("#collection", SCANS)
    search(page, first)
    blurred = '[data-facet="quality=blurred"]'
    page.wait_for_selector(blurred)  # drawn after the last card
    assert set(shown_ids(page)) == set(items)
    save(page, "quality")
    next_search(page, lambda: page.check(blurred))
    assert shown_ids(page) == ["blurred"]
    httpx.delete(path).raise_for_status()
