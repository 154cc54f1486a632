"""The page in a real Chromium, before the real server.

VITRINE_PICTURES=docs/pictures writes the pictures of docs/ as well.
"""

from __future__ import annotations

import base64
import json
import shutil
from typing import TYPE_CHECKING

import httpx
import pytest
from browsing import COLLECTION, HOSTILE, OpenPage, all_sheets
from playwright.sync_api import Browser, Page, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from serving import Server

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt install chromium")
    for item in items:
        if item.path.parent.name == "web":
            item.add_marker(pytest.mark.triton)
            item.add_marker(pytest.mark.slow)
            item.add_marker(here)


@pytest.fixture(scope="session")
def sheets(real_images: Path | None) -> dict[str, bytes]:
    return {item_id: image for item_id, image, _ in all_sheets(real_images)}


@pytest.fixture(scope="session")
def designs(server: Server, real_images: Path | None) -> Server:
    """The running server with a collection of drawings; the last one's title is an attack."""
    fields = {"locarno": "keyword", "filed": "date", "granted": "date"}
    found = all_sheets(real_images)
    lines = []
    for number, (item_id, image, metadata) in enumerate(found):
        known = {key: value for key, value in metadata.items() if value}
        if number == len(found) - 1:
            known["title"] = HOSTILE
        text = base64.b64encode(image).decode()
        lines.append(json.dumps({"id": item_id, "image": text, "metadata": known}))
    with httpx.Client(base_url=server.base_url, timeout=120) as http:
        path = f"/v1/collections/{COLLECTION}"
        http.put(path, json={"fields": fields}).raise_for_status()
        for start in range(0, len(lines), 15):
            answer = http.post(
                f"{path}/items:batch",
                content="\n".join(lines[start : start + 15]),
                headers={"content-type": "application/x-ndjson"},
            )
            assert answer.json()["failed"] == 0, answer.text
    return server


# Playwright keeps an event loop running for as long as it lives: not beside other modules' tests.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def open_page(designs: Server, browser: Browser) -> Iterator[OpenPage]:
    """Opens the page on the collection of drawings. Fails on an error in the page's own code.

    The server is asked for first, so that the browser is closed before it stops.
    """
    contexts = []
    errors: list[str] = []

    def make(width: int = 1280, height: int = 900, *, dark: bool = False, lang: str = "en") -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            locale={"en": "en-GB", "zh": "zh-CN"}[lang],
            reduced_motion="reduce",
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(designs.base_url)
        page.wait_for_selector("#collection option", state="attached")
        page.select_option("#collection", COLLECTION)
        return page

    yield make
    for context in contexts:
        context.close()
    assert errors == []
