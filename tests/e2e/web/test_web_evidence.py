"""What a hit rests on: comparison, copies, judgements, watches, reports."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING

import httpx
from browsing import COLLECTION, save, search, shown_ids

if TYPE_CHECKING:
    from pathlib import Path

    from browsing import OpenPage
    from playwright.sync_api import Page


def test_comparison_by_keyboard(open_page: OpenPage, sheets: dict[str, bytes]) -> None:
    page = open_page()
    search(page, next(iter(sheets.values())))
    save(page, "web-search")
    page.focus(".card .picture")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector("#viewer .heat")
    assert page.locator("#viewer .heat").count() == 2
    assert re.search(r"lowers the score of 0\.\d\d by 0\.\d\d", page.inner_text(".evidence"))
    save(page, "compare-heat")
    page.focus("#mode-heat")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".match line", state="attached")
    assert page.locator(".match").count() >= 1
    save(page, "compare-matches")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#viewer .difference img")
    save(page, "compare-difference")
    title = page.inner_text("#viewer-title")
    page.focus("#viewer-close")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "title => document.querySelector('#viewer-title').innerText !== title", arg=title
    )
    page.keyboard.press("Escape")
    page.wait_for_selector("#viewer", state="hidden")


def test_a_search_is_watched_and_a_hit_is_judged(
    open_page: OpenPage, sheets: dict[str, bytes]
) -> None:
    page = open_page()
    origin = page.url.partition("#")[0]
    path = f"{origin}v1/collections/{COLLECTION}"
    item_id, image = next(iter(sheets.items()))
    search(page, image)
    page.click(".card .picture")
    page.click(".judge button >> nth=0")
    page.wait_for_function("() => document.querySelector('.judge span').innerText === 'Stored.'")
    page.wait_for_selector("#viewer .heat")
    save(page, "feedback")
    (judged,) = httpx.get(f"{path}/feedback").json()["feedback"]
    digest = hashlib.sha256(image).hexdigest()
    assert (judged["query"], judged["verdict"]) == (f"sha256:{digest}", "right")
    assert (judged["item"], judged["rank"]) == (item_id, 1)
    page.keyboard.press("Escape")
    page.fill("#watch-score", "0.99")
    page.click("#watch button")
    page.wait_for_function("() => document.querySelector('#summary').innerText.startsWith('Watch')")
    httpx.put(f"{path}/items/arrived", content=image).raise_for_status()
    page.click("#to-status")
    page.wait_for_selector("#watches >> text=arrived")
    page.locator("#watches").scroll_into_view_if_needed()
    save(page, "watch")
    page.click("#watches button")
    page.wait_for_selector("#watches >> text=None")
    assert httpx.get(f"{path}/watches").json() == {"watches": []}
    httpx.delete(f"{path}/items/arrived").raise_for_status()


def test_copies_of_the_query(open_page: OpenPage, sheets: dict[str, bytes]) -> None:
    page = open_page()
    item_id, image = next(iter(sheets.items()))
    search(page, image)
    page.click("#copies")
    page.wait_for_selector(".details >> text=aligned points")
    assert re.match(r"Copies: \d+\. A copy scores 0\.\d\d", page.inner_text("#summary"))
    assert shown_ids(page)[0] == item_id
    first = page.inner_text(".card .details")
    assert first.startswith("Copy · hash: 0 of 64 bits differ, upright · embedding: 1.000")
    assert "No copy" in (page.locator(".details").last.text_content() or "")
    save(page, "copies")
    page.click(".card .picture")
    page.wait_for_selector("#viewer .heat")


def test_reports_are_saved(open_page: OpenPage, sheets: dict[str, bytes], tmp_path: Path) -> None:
    page = open_page()
    image = next(iter(sheets.values()))
    search(page, image)
    found = json.loads(_saved(page, "#report", "JSON", tmp_path))
    assert found["kind"] == "search"
    assert found["query"][0]["image_sha256"] == hashlib.sha256(image).hexdigest()
    assert [hit["id"] for hit in found["hits"]] == shown_ids(page)[: len(found["hits"])]
    page.click(".card:nth-child(2) .picture")
    page.wait_for_selector("#viewer .heat")
    assert _saved(page, "#viewer .report", "PDF", tmp_path).startswith(b"%PDF-")
    page.locator("#viewer .report").scroll_into_view_if_needed()
    save(page, "report")
    rows = _saved(page, "#viewer .report", "CSV", tmp_path).decode().splitlines()
    assert len(rows) == 2


def _saved(page: Page, where: str, format: str, folder: Path) -> bytes:
    with page.expect_download() as download:
        page.click(f"{where} button >> text={format}")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path.read_bytes()
