"""The page itself: status, size, accessibility, languages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import COLLECTION, drawn_sheets, save, search
from serving import REPOSITORY

if TYPE_CHECKING:
    from browsing import OpenPage
    from playwright.sync_api import Request

MAX_TRANSFER = 200_000


def test_status_shows_the_running_server(open_page: OpenPage, sheets: dict[str, bytes]) -> None:
    page = open_page()
    page.click("#to-status")
    page.wait_for_selector("#readiness.good")
    with httpx.Client(base_url=page.url.partition("#")[0], timeout=60) as http:
        for _, image, _ in drawn_sheets(seed=1):  # new ones: what the cache holds is not encoded
            http.post(f"/v1/collections/{COLLECTION}/search", content=image).raise_for_status()
    page.wait_for_selector("#stages th >> text=encode")
    stages = page.locator("#stages tbody th").all_inner_texts()
    assert {"decode", "encode", "search"} <= set(stages)
    row = page.locator("#collections tr", has_text=COLLECTION).inner_text()
    assert str(len(sheets)) in row
    save(page, "web-status")


def test_the_page_is_small_and_asks_nobody_else(open_page: OpenPage) -> None:
    page = open_page()
    asked: list[Request] = []
    page.on("request", lambda one: asked.append(one))
    page.reload(wait_until="networkidle")
    origin = page.url.partition("#")[0]
    assert all(one.url.startswith((origin, "blob:", "data:")) for one in asked)
    sizes = {}
    for one in asked:
        answer = one.response()
        if answer is not None and "/v1/" not in one.url:
            sizes[one.url] = len(httpx.get(one.url).content)
    print(f"transfer: {sum(sizes.values())} bytes in {len(sizes)} files")
    assert sum(sizes.values()) <= MAX_TRANSFER
    policy = httpx.get(origin).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    ("width", "height", "dark", "lang"),
    [(360, 760, True, "zh"), (1280, 900, False, "en"), (3840, 2160, True, "en")],
)
def test_accessible_and_readable_at_every_size(
    open_page: OpenPage,
    sheets: dict[str, bytes],
    width: int,
    height: int,
    dark: bool,
    lang: str,
) -> None:
    page = open_page(width, height, dark=dark, lang=lang)

    def check(where: str) -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= width, where
        found = Axe().run(page).response["violations"]
        serious = [
            (one["id"], [node["html"][:120] for node in one["nodes"]])
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
        assert serious == [], where

    check("welcome")
    search(page, next(iter(sheets.values())))
    page.wait_for_load_state("networkidle")
    check("results")
    if lang == "zh":
        assert "结果" in page.inner_text("#summary")
        save(page, "web-phone")
    page.click(".card:nth-child(2) .picture")
    page.wait_for_selector("#viewer .heat")
    check("comparison")
    page.keyboard.press("Escape")
    page.click("#to-status")
    page.wait_for_selector("#readiness.good")
    check("status")


def test_both_languages_have_every_text() -> None:
    folder = REPOSITORY / "server" / "vitrine_server" / "web"
    text = (folder / "i18n.js").read_text()
    english, chinese = (
        set(re.findall(r"(\w+): \"", text.partition(f"const {name} = ")[2].partition("\n};")[0]))
        for name in ("EN", "ZH")
    )
    assert english == chinese
    page = (folder / "index.html").read_text()
    code = "".join(path.read_text() for path in folder.glob("*.js"))
    used = set(re.findall(r'data-i18n(?:-label|-placeholder)?="(\w+)"', page))
    used |= set(re.findall(r'\bt\("(\w+)"', code))
    assert used <= english
