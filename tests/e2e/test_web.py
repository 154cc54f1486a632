"""The web page in a real Chromium, before the real server.

VITRINE_PICTURES=docs/pictures writes the pictures of docs/ as well.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, Request, sync_playwright
from serving import REPOSITORY, Server

if TYPE_CHECKING:
    from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PICTURES = os.environ.get("VITRINE_PICTURES")
COLLECTION = "designs"
SHEETS = 90
MAX_TRANSFER = 200_000
HOSTILE = '<img src=x onerror="window.stolen=1">'

pytestmark = [
    pytest.mark.triton,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt install chromium"),
]

OpenPage = Callable[..., Page]


def _real_sheets(folder: Path) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
    with (folder / "patents.csv").open() as file:
        patents = {row["patent"]: row for row in csv.DictReader(file)}
    for path in sorted(folder.glob("*/*.png"))[:SHEETS]:
        patent = patents[path.parent.name]
        metadata = {key: patent[key] for key in ("title", "locarno", "filed", "granted")}
        yield path.stem, path.read_bytes(), metadata | {"group": path.parent.name}


def _drawn_sheets(seed: int = 0) -> Iterator[tuple[str, bytes, dict[str, Any]]]:
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


@pytest.fixture(scope="module")
def sheets(real_images: Path | None) -> dict[str, bytes]:
    return {item_id: image for item_id, image, _ in _sheets(real_images)}


def _sheets(real_images: Path | None) -> list[tuple[str, bytes, dict[str, Any]]]:
    folder = real_images / "us_designs" if real_images else None
    return list(_real_sheets(folder) if folder and folder.is_dir() else _drawn_sheets())


@pytest.fixture(scope="module")
def designs(server: Server, real_images: Path | None) -> Server:
    """The running server with a collection of drawings; the last one's title is an attack."""
    fields = {"locarno": "keyword", "filed": "date", "granted": "date"}
    found = _sheets(real_images)
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def open_page(browser: Browser, designs: Server) -> Iterator[OpenPage]:
    """Opens the page on the collection of drawings. Fails on an error in the page's own code."""
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


def _search(page: Page, *images: bytes) -> None:
    files = [{"name": "q.png", "mimeType": "image/png", "buffer": image} for image in images]
    page.set_input_files("#files", files)  # type: ignore[arg-type]  # TypedDict of the library
    page.wait_for_selector(".card")


def _ids(page: Page) -> list[str]:
    found: list[str] = page.eval_on_selector_all(
        ".card .title strong", "cards => cards.map(card => card.title)"
    )
    return found


def _next_search(page: Page, act: Callable[[], object]) -> Request:
    with page.expect_request(re.compile("/search")) as asked:
        act()
    answer = asked.value.response()
    assert answer is not None
    assert answer.ok
    page.wait_for_function("() => !document.querySelector('#summary').textContent.includes('…')")
    return asked.value


def _save(page: Page, name: str) -> None:
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


def test_an_image_that_is_dropped_finds_itself(
    open_page: OpenPage, sheets: dict[str, bytes]
) -> None:
    page = open_page()
    item_id, image = next(iter(sheets.items()))
    page.evaluate(
        """encoded => {
            const bytes = Uint8Array.from(atob(encoded), letter => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "q.png", { type: "image/png" }));
            const options = { dataTransfer: transfer, bubbles: true };
            document.querySelector("#drop").dispatchEvent(new DragEvent("drop", options));
        }""",
        base64.b64encode(image).decode(),
    )
    page.wait_for_selector(".card")
    assert _ids(page)[0] == item_id
    assert page.text_content(".card .score") == "1.000"
    page.wait_for_function("() => document.querySelector('.card img').naturalWidth > 0")
    assert page.evaluate("document.querySelectorAll('#grid img[onerror]').length") == 0


def test_several_images_are_views_of_one_query(
    open_page: OpenPage, sheets: dict[str, bytes]
) -> None:
    page = open_page()
    one, two = list(sheets.values())[:2]
    request = _next_search(page, lambda: _search(page, one, two))
    assert len(request.post_data_json["queries"]) == 2
    assert page.locator("#views li").count() == 2
    request = _next_search(page, lambda: page.click("#views li:first-child button"))
    assert request.headers["content-type"] == "image/png"
    assert page.locator("#views li").count() == 1


def test_filters_scrolling_and_metadata_as_text(
    open_page: OpenPage, sheets: dict[str, bytes]
) -> None:
    page = open_page(1280, 700)
    _search(page, *list(sheets.values())[-1:])
    page.uncheck("#one-per-group")
    page.wait_for_function("() => document.querySelectorAll('.card').length === 48")
    assert HOSTILE in page.locator(".card .title strong").all_text_contents()
    while page.locator(".card").count() < len(sheets):
        page.mouse.wheel(0, 4000)
        page.wait_for_timeout(100)
    assert sorted(_ids(page)) == sorted(sheets)
    assert page.evaluate("window.stolen") is None
    box = page.locator("#facets input[type=checkbox]").first
    value = (box.get_attribute("data-facet") or "").partition("=")[2]
    request = _next_search(page, box.check)
    assert f'"locarno":["{value}"]' in httpx.URL(request.url).params["filter"]
    page.fill('[data-facet="filed.gte"]', "1990-01-01")
    page.keyboard.press("Tab")
    page.wait_for_function("() => document.querySelector('#filter-count').textContent === '(2)'")
    page.wait_for_function(
        "value => [...document.querySelectorAll('.details')]"
        ".every(line => line.textContent.includes(value))",
        arg=value,
    )
    _next_search(page, lambda: page.click("#filters-clear"))
    page.wait_for_function("() => document.querySelectorAll('.card').length === 48")


def test_more_like_this_and_judgements(open_page: OpenPage, sheets: dict[str, bytes]) -> None:
    page = open_page()
    _search(page, next(iter(sheets.values())))
    second = page.locator(".card").nth(1)
    item_id = _ids(page)[1]
    body = _next_search(page, second.locator("[aria-pressed]").nth(1).click).post_data_json
    assert body["queries"][1] == {"item_id": item_id, "weight": -0.3}
    assert item_id not in _ids(page)[:2]
    body = _next_search(
        page, lambda: page.click(".card:nth-child(3) [aria-pressed]")
    ).post_data_json
    assert [query.get("weight") for query in body["queries"]] == [None, 1, -0.3]
    _next_search(page, lambda: page.click("#judged-clear"))
    wanted = _ids(page)[2]
    request = _next_search(page, lambda: page.click(".card:nth-child(3) .actions button"))
    assert request.post_data_json["queries"] == [{"item_id": wanted}]
    assert page.url.endswith(f"#/like/{COLLECTION}/{wanted}")
    page.go_back()
    page.wait_for_selector("#welcome")


def test_comparison_by_keyboard(open_page: OpenPage, sheets: dict[str, bytes]) -> None:
    page = open_page()
    _search(page, next(iter(sheets.values())))
    _save(page, "web-search")
    page.focus(".card .picture")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector("#viewer .heat")
    assert page.locator("#viewer .heat").count() == 2
    assert re.search(r"lowers the score of 0\.\d\d by 0\.\d\d", page.inner_text(".evidence"))
    _save(page, "compare-heat")
    page.focus("#mode-heat")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".match line", state="attached")
    assert page.locator(".match").count() >= 1
    _save(page, "compare-matches")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#viewer .difference img")
    _save(page, "compare-difference")
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
    _search(page, image)
    page.click(".card .picture")
    page.click(".judge button >> nth=0")
    page.wait_for_function("() => document.querySelector('.judge span').innerText === 'Stored.'")
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
    page.click("#watches button")
    page.wait_for_selector("#watches >> text=None")
    assert httpx.get(f"{path}/watches").json() == {"watches": []}
    httpx.delete(f"{path}/items/arrived").raise_for_status()


def test_a_key_goes_with_every_call(open_page: OpenPage, sheets: dict[str, bytes]) -> None:
    page = open_page()
    sent: list[tuple[str, str | None]] = []
    page.on("request", lambda one: sent.append((one.url, one.headers.get("authorization"))))
    page.click("#key-open")
    page.fill("#key", "vtr_secret")
    page.keyboard.press("Enter")
    page.wait_for_function("() => !document.querySelector('#key-panel').matches(':popover-open')")
    _search(page, next(iter(sheets.values())))
    page.wait_for_function("() => document.querySelector('.card img').src.startsWith('blob:')")
    calls = [(url, key) for url, key in sent if "/v1/" in url and not url.startswith("blob:")]
    assert calls
    assert {key for _, key in calls} == {"Bearer vtr_secret"}


def test_status_shows_the_running_server(open_page: OpenPage, sheets: dict[str, bytes]) -> None:
    page = open_page()
    page.click("#to-status")
    page.wait_for_selector("#readiness.good")
    with httpx.Client(base_url=page.url.partition("#")[0], timeout=60) as http:
        for _, image, _ in _drawn_sheets(seed=1):  # new ones: what the cache holds is not encoded
            http.post(f"/v1/collections/{COLLECTION}/search", content=image).raise_for_status()
    page.wait_for_selector("#stages th >> text=encode")
    stages = page.locator("#stages tbody th").all_inner_texts()
    assert {"decode", "encode", "search"} <= set(stages)
    row = page.locator("#collections tr", has_text=COLLECTION).inner_text()
    assert str(len(sheets)) in row
    _save(page, "web-status")


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
    _search(page, next(iter(sheets.values())))
    page.wait_for_load_state("networkidle")
    check("results")
    if lang == "zh":
        assert "结果" in page.inner_text("#summary")
        _save(page, "web-phone")
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
