"""Searching on the page: images, filters, more of the same, likes, keys."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import httpx
from browsing import COLLECTION, HOSTILE, next_search, search, shown_ids

if TYPE_CHECKING:
    from browsing import OpenPage


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
    assert shown_ids(page)[0] == item_id
    assert page.text_content(".card .score") == "1.000"
    page.wait_for_function("() => document.querySelector('.card img').naturalWidth > 0")
    assert page.evaluate("document.querySelectorAll('#grid img[onerror]').length") == 0


def test_words_are_a_query(open_page: OpenPage) -> None:
    page = open_page()
    page.fill("#text", "chair with four legs")
    request = next_search(page, lambda: page.press("#text", "Enter"))
    assert request.post_data_json["queries"] == [{"text": "chair with four legs"}]
    page.wait_for_selector(".card")


def test_several_images_are_views_of_one_query(
    open_page: OpenPage, sheets: dict[str, bytes]
) -> None:
    page = open_page()
    one, two = list(sheets.values())[:2]
    request = next_search(page, lambda: search(page, one, two))
    assert len(request.post_data_json["queries"]) == 2
    assert page.locator("#views li").count() == 2
    request = next_search(page, lambda: page.click("#views li:first-child button"))
    assert request.headers["content-type"] == "image/png"
    assert page.locator("#views li").count() == 1


def test_filters_scrolling_and_metadata_as_text(
    open_page: OpenPage, sheets: dict[str, bytes]
) -> None:
    page = open_page(1280, 700)
    search(page, *list(sheets.values())[-1:])
    page.uncheck("#one-per-group")
    page.wait_for_function("() => document.querySelectorAll('.card').length === 48")
    assert HOSTILE in page.locator(".card .title strong").all_text_contents()
    while page.locator(".card").count() < len(sheets):
        page.mouse.wheel(0, 4000)
        page.wait_for_timeout(100)
    assert sorted(shown_ids(page)) == sorted(sheets)
    assert page.evaluate("window.stolen") is None
    box = page.locator("#facets input[type=checkbox]").first
    value = (box.get_attribute("data-facet") or "").partition("=")[2]
    request = next_search(page, box.check)
    assert f'"locarno":["{value}"]' in httpx.URL(request.url).params["filter"]
    page.fill('[data-facet="filed.gte"]', "1990-01-01")
    page.keyboard.press("Tab")
    page.wait_for_function("() => document.querySelector('#filter-count').textContent === '(2)'")
    page.wait_for_function(
        "value => [...document.querySelectorAll('.details')]"
        ".every(line => line.textContent.includes(value))",
        arg=value,
    )
    next_search(page, lambda: page.click("#filters-clear"))
    page.wait_for_function("() => document.querySelectorAll('.card').length === 48")


def test_more_like_this_and_judgements(open_page: OpenPage, sheets: dict[str, bytes]) -> None:
    page = open_page()
    search(page, next(iter(sheets.values())))
    second = page.locator(".card").nth(1)
    item_id = shown_ids(page)[1]
    body = next_search(page, second.locator("[aria-pressed]").nth(1).click).post_data_json
    assert body["queries"][1] == {"item_id": item_id, "weight": -0.3}
    assert item_id not in shown_ids(page)[:2]
    body = next_search(page, lambda: page.click(".card:nth-child(3) [aria-pressed]")).post_data_json
    assert [query.get("weight") for query in body["queries"]] == [None, 1, -0.3]
    next_search(page, lambda: page.click("#judged-clear"))
    wanted = shown_ids(page)[2]
    request = next_search(page, lambda: page.click(".card:nth-child(3) .actions button"))
    assert request.post_data_json["queries"] == [{"item_id": wanted}]
    assert page.url.endswith(f"#/like/{COLLECTION}/{wanted}")
    page.go_back()
    page.wait_for_selector("#welcome")


def test_a_key_goes_with_every_call(open_page: OpenPage, sheets: dict[str, bytes]) -> None:
    page = open_page()
    sent: list[tuple[str, str | None]] = []
    page.on("request", lambda one: sent.append((one.url, one.headers.get("authorization"))))
    page.click("#key-open")
    page.fill("#key", "vtr_secret")
    page.keyboard.press("Enter")
    page.wait_for_function("() => !document.querySelector('#key-panel').matches(':popover-open')")
    search(page, next(iter(sheets.values())))
    page.wait_for_function("() => document.querySelector('.card img').src.startsWith('blob:')")
    calls = [(url, key) for url, key in sent if "/v1/" in url and not url.startswith("blob:")]
    assert calls
    assert {key for _, key in calls} == {"Bearer vtr_secret"}
