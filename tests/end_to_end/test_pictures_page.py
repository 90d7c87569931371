"""The page "Pictures" in a real browser, against a real server and a small system that really works.

Set BOTTEGA_SCREENSHOTS to a folder to look at what the browser saw.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from bottega.studio.tests.running import RunningStudio, running_studio

PATIENCE_MS = 30_000
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[RunningStudio]:
    with running_studio(tmp_path) as studio:
        yield studio


@pytest.fixture
def page(studio: RunningStudio, open_page: Callable[[str], Page]) -> Page:
    page = open_page(studio.address)
    expect(page.get_by_role("heading", name="Gallery")).to_be_visible()
    return page


def _set(page: Page, **values: float) -> None:
    if not page.locator("#further").evaluate("details => details.open"):
        page.locator("#further summary").click()
    for name, value in values.items():
        page.locator(f"input[name={name}]").fill(str(value))


def _make(page: Page, prompt: str, **values: float) -> None:
    _set(page, **values)
    page.get_by_label("Prompt").fill(prompt)
    page.get_by_role("button", name="Generate").click()


def test_prompts_become_pictures_with_a_live_preview(page: Page, look: Callable[[str], None]) -> None:
    expect(page.get_by_text("Nothing on the wall yet.")).to_be_visible()
    look("1-empty")
    _make(page, "red\n\nblue green\n", count=2, steps=40, pause=0.05)
    preview = page.locator(".work-picture img")
    expect(preview).to_be_visible()
    first = preview.get_attribute("src")
    assert first is not None
    expect(preview).not_to_have_attribute("src", first)
    expect(page.locator(".work-line")).to_contain_text(re.compile(r"denoise \d+ of 40"))
    look("2-working")
    expect(page.locator(".item")).to_have_count(1)
    expect(page.locator(".work")).to_have_count(0)
    pictures = page.locator(".item-pictures img")
    expect(pictures).to_have_count(4)
    for index in range(4):
        expect(pictures.nth(index)).to_have_js_property("naturalWidth", 64)
    expect(page.locator(".item-title")).to_have_text("red · blue green")
    look("3-made")


def test_cancel_stops_the_work_and_leaves_nothing(
    page: Page, studio: RunningStudio, look: Callable[[str], None]
) -> None:
    _make(page, "red", steps=900, pause=0.05)
    expect(page.locator(".work-line")).to_contain_text("of 900")
    page.get_by_role("button", name="Cancel Esc").click()
    expect(page.locator(".work")).to_have_count(0)
    expect(page.get_by_text("Nothing on the wall yet.")).to_be_visible()
    assert studio.parts.queue.unfinished() == 0
    _make(page, "red", steps=900, pause=0.05)
    expect(page.locator(".work-line")).to_contain_text("of 900")
    page.keyboard.press("Escape")
    expect(page.locator(".work")).to_have_count(0)


def test_replay_makes_the_same_bits(page: Page, look: Callable[[str], None]) -> None:
    _make(page, "green", steps=10, pause=0)
    page.locator(".item").get_by_role("button", name="Replay").click()
    expect(page.locator(".item-badge")).to_have_text("Made again: every bit the same")
    expect(page.locator(".item")).to_have_count(1)
    look("4-replayed")


def test_a_kept_seed_makes_the_same_picture_and_a_new_one_another(page: Page) -> None:
    _make(page, "green", steps=3, pause=0)
    expect(page.locator(".item")).to_have_count(1)
    seed = page.locator("input[name=seed]")
    first = seed.input_value()
    page.get_by_role("button", name="Keep this seed").click()
    page.get_by_role("button", name="Generate").click()
    expect(page.locator(".item")).to_have_count(2)
    assert seed.input_value() == first
    page.get_by_role("button", name="Keep this seed").click()
    page.get_by_role("button", name="Generate").click()
    expect(page.locator(".item")).to_have_count(3)
    assert seed.input_value() != first
    bits = page.evaluate(
        """async () => {
            const of = async (image) => [...new Uint8Array(await (await fetch(image.src)).arrayBuffer())].join();
            return Promise.all([...document.querySelectorAll(".item-pictures img")].map(of));
        }"""
    )
    assert bits[1] == bits[2]
    assert bits[0] != bits[1]


def test_a_dropped_picture_gets_words_and_variations(page: Page, look: Callable[[str], None], tmp_path: Path) -> None:
    _set(page, steps=4)
    picture = tmp_path / "my red wall.png"
    Image.fromarray(np.full((90, 160, 3), (230, 20, 20), np.uint8)).save(picture)
    _drop(page, picture)
    expect(page.get_by_role("img", name="my red wall.png")).to_be_visible()
    page.get_by_role("button", name="Words for it", exact=True).click()
    expect(page.locator(".item-words")).to_have_text("red")
    page.get_by_role("button", name="Variations of it", exact=True).click()
    expect(page.locator(".item")).to_have_count(2)
    expect(page.locator(".item").first.locator(".item-pictures img")).to_be_visible()
    look("5-dropped")
    page.get_by_role("button", name="Take away my red wall.png").click()
    page.locator("#file").set_input_files(picture)
    expect(page.get_by_role("img", name="my red wall.png").first).to_be_visible()


def test_what_is_no_picture_is_refused_in_words(page: Page, look: Callable[[str], None], tmp_path: Path) -> None:
    text = tmp_path / "notes.png"
    text.write_text("not a picture")
    _drop(page, text)
    expect(page.get_by_role("alert")).to_contain_text("notes.png is not a picture in a known format")
    _make(page, "red", guidance=99)
    expect(page.get_by_role("alert")).to_have_text("guidance is 99.0, but it must be from 0 to 30")
    expect(page.get_by_role("alert")).to_be_in_viewport(ratio=1)
    expect(page.get_by_role("button", name="Generate")).to_be_in_viewport(ratio=1)
    look("6-refused")


def test_a_reload_keeps_history_settings_and_running_work(page: Page) -> None:
    _make(page, "blue", steps=7, pause=0)
    expect(page.locator(".item")).to_have_count(1)
    page.locator("label.pill", has_text="Joint").click()
    page.get_by_role("button", name="Generate").click()
    expect(page.locator(".item")).to_have_count(2)
    page.locator("label.pill", has_text="Text to image").click()
    _make(page, "red\nblue", steps=300, pause=0.05)
    expect(page.locator(".work-line")).to_contain_text("of 300")
    page.reload()
    expect(page.locator(".work-line")).to_contain_text("of 300")
    expect(page.locator(".item")).to_have_count(2)
    expect(page.get_by_label("Prompt")).to_have_value("red\nblue")
    expect(page.locator("input[name=steps]")).to_have_value("300")
    page.keyboard.press("Escape")
    expect(page.locator(".work")).to_have_count(0)


def test_the_keyboard_is_enough(page: Page, look: Callable[[str], None]) -> None:
    _set(page, steps=3, count=3)
    page.get_by_label("Prompt").focus()
    page.keyboard.type("white black")
    page.keyboard.press("Control+Enter")
    frame = page.locator(".frame").first
    expect(frame).to_be_visible()
    frame.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    before = page.locator("#light-picture").get_attribute("src")
    page.keyboard.press("ArrowRight")
    assert page.locator("#light-picture").get_attribute("src") != before
    look("7-large")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_pictures_are_downloaded_with_their_recipe_and_deleted_after_a_second_thought(page: Page) -> None:
    _make(page, "blue", steps=3, pause=0)
    item = page.locator(".item")
    with page.expect_download() as download:
        item.get_by_role("link", name="Download").click()
    with Image.open(download.value.path()) as picture:
        picture.load()
        assert '"system": "gradient"' in picture.text["bottega"]
    item.get_by_role("button", name="Delete").click()
    expect(item).to_have_count(1)
    item.get_by_role("button", name="Really delete?").click()
    expect(item).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off_on_a_narrow_screen(page: Page, look: Callable[[str], None], scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 360, "height": 740})
    _make(page, "red\na very long prompt about a cat with a hat that sat on a mat", steps=3, count=4)
    expect(page.locator(".item")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    look(f"8-narrow-{scheme}-desk")
    page.locator(".item-title").scroll_into_view_if_needed()
    look(f"8-narrow-{scheme}-gallery")
    page.set_viewport_size({"width": 1360, "height": 900})
    look(f"9-wide-{scheme}")


def _drop(page: Page, file: Path) -> None:
    """Drops a file on the page as a hand would."""
    transfer = page.evaluate_handle(
        """([bytes, name]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], name, { type: "image/png" }));
            return transfer;
        }""",
        [list(file.read_bytes()), file.name],
    )
    page.dispatch_event("#drop", "dragover", {"dataTransfer": transfer})
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
