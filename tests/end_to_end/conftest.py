"""A real browser for the studio's pages.

Set BOTTEGA_SCREENSHOTS to a folder to look at what the browser saw.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def browser(require_program: Callable[[str], Path]) -> Iterator[Browser]:
    chromium = require_program("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(chromium), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[[str], Page]]:
    """Opens an address. Any fault in the page's console, or request to another place, fails the test."""
    context = browser.new_context(viewport={"width": 1360, "height": 900}, accept_downloads=True)
    faults: list[str] = []

    def opened(address: str) -> Page:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        page.on("request", lambda asked: faults.append(asked.url) if _elsewhere(asked.url, address) else None)
        page.goto(address)
        return page

    yield opened
    context.close()
    assert [fault for fault in faults if "status of 4" not in fault] == []


@pytest.fixture
def look(page: Page, tmp_path: Path) -> Callable[[str], None]:
    folder = Path(os.environ.get("BOTTEGA_SCREENSHOTS", tmp_path))

    def save(name: str) -> None:
        page.screenshot(path=folder / f"{name}.png")

    return save


def _elsewhere(url: str, address: str) -> bool:
    place = address.split("/", 3)
    return not url.startswith(("/".join(place[:3]), "data:", "blob:"))
