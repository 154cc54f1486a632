"""How soon the page shows its first result, what it weighs, and what axe finds.

FIRST RESULT  from choosing an image to the paint of the first hit's picture (Element Timing), less
              the search call from its first byte sent to its last received. A new image each time.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
from contextlib import ExitStack
from pathlib import Path

import httpx
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page, sync_playwright
from rich.console import Console

from harness.own_server import own_server

# Runs before the page's own code. The time of paint is the Element Timing API's.
_WATCH = """
addEventListener("change", event => { window.asked = event.timeStamp; }, true);
new PerformanceObserver(list => { window.painted = list.getEntries().at(-1).renderTime; })
    .observe({ type: "element", buffered: true });
"""
_MEASURE = """() => {
    const call = performance.getEntriesByType("resource").filter(
        one => one.name.includes("/search")).at(-1);
    return [window.painted - window.asked, call.responseEnd - call.requestStart];
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of PNG or JPEG files")
    parser.add_argument("--url", help="of a running server; default: one of its own")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    found = sorted(path for path in options.images.rglob("*") if path.suffix in {".png", ".jpg"})
    with ExitStack() as stack:
        url = options.url or stack.enter_context(own_server()).url
        with httpx.Client(base_url=url, timeout=120) as http:
            for path in found[: 3 * options.rounds]:
                item = f"/v1/collections/default/items/{path.stem}"
                http.put(item, content=path.read_bytes()).raise_for_status()
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = browser.new_page()
        page.add_init_script(_WATCH)
        _weigh(page, url)
        _first_results(page, url, found[: options.rounds])
        findings = [
            f"{one['impact']}: {one['id']}" for one in Axe().run(page).response["violations"]
        ]
        Console().print(f"AXE           {len(findings)} findings {findings or ''}")
        browser.close()


def _weigh(page: Page, url: str) -> None:
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url))
    page.goto(url, wait_until="networkidle")
    sizes = [len(httpx.get(one).content) for one in asked if "/v1/" not in one]
    Console().print(f"TRANSFER      {sum(sizes) / 1000:.0f} kB in {len(sizes)} files, uncompressed")


def _first_results(page: Page, url: str, images: list[Path]) -> None:
    over, calls = [], []
    for path in images:
        page.goto(url, wait_until="networkidle")
        page.set_input_files("#files", path)
        page.wait_for_function("() => window.painted")
        total, call = page.evaluate(_MEASURE)
        over.append(total - call)
        calls.append(call)
    median, call = statistics.median(over), statistics.median(calls)
    Console().print(
        f"FIRST RESULT  {median:.0f} ms over the call's {call:.0f} ms (medians of {len(over)}), "
        f"at worst {max(over):.0f} ms over"
    )


if __name__ == "__main__":
    main()
