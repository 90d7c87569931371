"""The pages "Solvers" and "Restore" in a real browser, on the systems that come with the package."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from bottega.catalog import ROOMS
from bottega.studio.tests.running import RunningStudio, running_studio

SOLVERS = [
    choice.value
    for field in ROOMS.get("fast_sampling").request.__dataclass_fields__.values()
    if field.name == "solver"
    for choice in type(field.default)
]


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    with running_studio(tmp_path_factory.mktemp("studio"), capacity=8, catalog=ROOMS) as studio:
        yield studio


@pytest.fixture
def page(request: pytest.FixtureRequest, studio: RunningStudio, open_page: Callable[[str], Page]) -> Page:
    return open_page(f"{studio.address}/{request.param}.html")


@pytest.mark.parametrize("page", ["solvers"], indirect=True)
def test_one_prompt_is_drawn_by_every_solver(page: Page, look: Callable[[str], None]) -> None:
    expect(page.locator(".solver")).to_have_count(len(SOLVERS))
    page.get_by_label("Model").select_option("uvit")
    page.get_by_label("Prompt").fill("heart")
    page.locator("#steps").fill("3")
    page.get_by_role("button", name="Draw with every solver").click()
    for solver in SOLVERS:
        card = page.locator(f".solver[data-solver='{solver}']")
        expect(card.locator(".solver-line")).to_have_text(re.compile(r"\d+\.\d\d s"), timeout=90_000)
        expect(card.locator("img")).to_have_js_property("naturalWidth", 32)
    look("solvers")


@pytest.mark.parametrize("page", ["solvers"], indirect=True)
def test_a_prompt_that_the_model_does_not_know_is_told_on_the_card(page: Page) -> None:
    page.get_by_label("Model").select_option("uvit")
    page.get_by_label("Prompt").fill("castle in the clouds")
    page.get_by_role("button", name="Draw with every solver").click()
    expect(page.locator(".solver-line").first).to_contain_text("castle in the clouds")


@pytest.mark.parametrize("page", ["restore"], indirect=True)
def test_a_painted_hole_is_drawn_anew(page: Page, look: Callable[[str], None]) -> None:
    expect(page.get_by_text("Paint over what should be drawn anew.")).to_be_visible()
    page.get_by_role("button", name="Restore", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("Choose a picture first.")
    page.get_by_role("button", name="An emoji").click()
    expect(page.get_by_role("alert")).to_be_hidden()
    page.get_by_role("button", name="Restore", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Paint over")
    _stroke(page)
    page.locator("input[name=steps]").fill("4")
    look("restore-painted")
    page.get_by_role("button", name="Restore", exact=True).click()
    expect(page.locator(".restored img")).to_have_count(3)  # the picture, what was known of it, and what may have been
    look("restore")


@pytest.mark.parametrize("page", ["restore"], indirect=True)
def test_a_painting_becomes_a_picture_and_a_scan_needs_none(page: Page, look: Callable[[str], None]) -> None:
    page.get_by_label("Stroke", exact=True).check()
    _stroke(page)
    page.locator("input[name=steps]").fill("4")
    page.get_by_role("button", name="Restore", exact=True).click()
    expect(page.locator(".restored")).to_have_count(1)
    page.get_by_label("Ct", exact=True).check()
    expect(page.locator("#canvas")).to_be_hidden()
    page.get_by_role("button", name="Restore", exact=True).click()
    expect(page.locator(".restored")).to_have_count(2)
    look("restore-scan")


def _stroke(page: Page) -> None:
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.4 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.6 * box["height"], steps=5)
    page.mouse.up()
