"""The page "Touch" in a real browser, on small systems that really work."""

from __future__ import annotations

import io
import json
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageSequence
from playwright.sync_api import Browser, Page, expect

from bottega.ops import RunLengths
from bottega.studio.tests.running import RunningStudio, running_studio
from bottega.studio.tests.touch_rooms import Ball, TouchCatalog

WIDTH, HEIGHT = 240, 180
RED, BLUE = (20, 30, 100, 110), (140, 60, 210, 130)


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    with running_studio(tmp_path_factory.mktemp("studio"), catalog=TouchCatalog()) as studio:
        yield studio


@pytest.fixture(scope="module")
def nothing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    with running_studio(tmp_path_factory.mktemp("nothing"), catalog=TouchCatalog("none")) as studio:
        yield studio


@pytest.fixture
def page(studio: RunningStudio, open_page: Callable[[str], Page]) -> Page:
    return open_page(f"{studio.address}/touch.html")


def draw(path: Path, red: tuple[int, int, int, int] = RED, blue: tuple[int, int, int, int] = BLUE) -> Path:
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    ImageDraw.Draw(image).ellipse(red, fill="red")
    ImageDraw.Draw(image).ellipse(blue, fill="blue")
    image.save(path)
    return path


def give(page: Page, path: Path) -> None:
    page.locator("#file").set_input_files(str(path))
    expect(page.locator(f"#canvas[data-picture='{WIDTH}x{HEIGHT}']")).to_be_visible()


def place(page: Page, x: float, y: float, size: tuple[int, int] = (WIDTH, HEIGHT)) -> tuple[float, float]:
    """Where a pixel of the picture is on the page."""
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    scale = min((box["width"] - 20) / size[0], (box["height"] - 20) / size[1])
    left, top = (box["width"] - size[0] * scale) / 2, (box["height"] - size[1] * scale) / 2
    return box["x"] + left + x * scale, box["y"] + top + y * scale


def sweep(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=6)
    page.mouse.up()


def click(page: Page, x: float, y: float, **how: Any) -> None:
    page.mouse.click(*place(page, x, y), **how)


def candidates(page: Page, count: int) -> None:
    expect(page.locator(".candidate")).to_have_count(count)
    expect(page.locator("#canvas")).to_have_attribute("aria-busy", "false")


def taken(page: Page, name: str) -> bytes:
    with page.expect_download() as download:
        page.get_by_role("button", name=name, exact=True).locator("visible=true").click()
    return Path(download.value.path()).read_bytes()


def inside(box: tuple[int, int, int, int]) -> np.ndarray:
    image = Image.new("1", (WIDTH, HEIGHT))
    ImageDraw.Draw(image).ellipse(box, fill=1)
    return np.asarray(image)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return bool((one & other).sum() > 0.95 * (one | other).sum())


def test_clicks_mark_things_that_are_kept_and_taken_home(
    page: Page, tmp_path: Path, look: Callable[[str], None]
) -> None:
    expect(page.get_by_text("Drop a picture", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="Keep")).to_be_disabled()
    give(page, draw(tmp_path / "discs.png"))
    click(page, 60, 70)
    candidates(page, 3)
    expect(page.get_by_role("radio", name="93 %")).to_have_attribute("aria-checked", "true")
    page.keyboard.press("1")
    expect(page.get_by_role("radio", name="71 %")).to_have_attribute("aria-checked", "true")
    page.keyboard.press("2")
    look("touch-marked")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Name of thing 1")).to_have_value("thing 1")
    page.get_by_label("Name of thing 1").fill("ball")
    click(page, 175, 95)
    candidates(page, 3)
    page.get_by_role("button", name="Keep").click()
    expect(page.locator(".thing")).to_have_count(2)
    look("touch-kept")
    cut = np.asarray(Image.open(io.BytesIO(taken(page, "PNG"))))
    assert same(cut[..., 3] > 0, inside(RED) | inside(BLUE))
    coco = json.loads(taken(page, "COCO"))
    assert [each["name"] for each in coco["categories"]] == ["ball", "thing 2"]
    first = RunLengths.parse(coco["annotations"][0]["segmentation"]["counts"], HEIGHT, WIDTH).mask()
    assert same(first, inside(RED))
    arrays = np.load(io.BytesIO(taken(page, "npz")))
    assert same(arrays["masks"][1], inside(BLUE))
    assert arrays["low_res_logits"].shape == (2, 256, 256)
    assert np.isfinite(arrays["low_res_logits"]).all()
    page.get_by_label("Let ball go").click()
    expect(page.locator(".thing")).to_have_count(1)
    page.keyboard.press("Escape")
    page.locator("#canvas").focus()
    page.keyboard.press("z")
    expect(page.locator(".thing")).to_have_count(2)


def test_more_clicks_add_and_take_away_and_undo_goes_back(page: Page, tmp_path: Path) -> None:
    give(page, draw(tmp_path / "discs.png"))
    click(page, 60, 70)
    candidates(page, 3)
    click(page, 175, 95)
    candidates(page, 4)
    page.get_by_label("Trim cut-outs").check()
    both = Image.open(io.BytesIO(taken(page, "PNG")))
    assert both.width > 180
    click(page, 60, 70, button="right")
    expect(page.get_by_role("button", name="Undo")).to_be_enabled()
    candidates(page, 4)
    one = Image.open(io.BytesIO(taken(page, "PNG")))
    assert abs(one.width - 71) <= 2
    page.locator("#canvas").focus()
    page.keyboard.press("z")
    page.keyboard.press("z")
    candidates(page, 3)
    page.keyboard.press("z")
    candidates(page, 0)
    page.keyboard.press("Shift+Z")
    candidates(page, 3)
    page.keyboard.press("Escape")
    candidates(page, 0)
    page.get_by_label("Out", exact=True).check()
    click(page, 175, 95)  # the first click says what is meant, whatever the side
    candidates(page, 3)


def test_a_box_and_paint_mark_things(page: Page, tmp_path: Path, look: Callable[[str], None]) -> None:
    give(page, draw(tmp_path / "discs.png"))
    page.get_by_label("Box", exact=True).check()
    sweep(page, place(page, 10, 20), place(page, 110, 120))
    candidates(page, 4)
    look("touch-box")
    assert same(np.asarray(Image.open(io.BytesIO(taken(page, "PNG"))))[..., 3] > 0, inside(RED))
    page.locator("#canvas").focus()
    page.keyboard.press("Escape")
    page.keyboard.press("m")
    expect(page.get_by_label("Brush")).to_be_visible()
    sweep(page, place(page, 160, 90), place(page, 190, 100))
    candidates(page, 4)
    look("touch-paint")
    assert same(np.asarray(Image.open(io.BytesIO(taken(page, "PNG"))))[..., 3] > 0, inside(BLUE))
    page.get_by_role("button", name="Cut out").click()
    expect(page.get_by_role("button", name="Cut out")).to_have_attribute("aria-pressed", "true")
    look("touch-cut-out")


def test_a_pointer_that_rests_shows_what_a_click_would_mark(page: Page, tmp_path: Path) -> None:
    give(page, draw(tmp_path / "discs.png"))
    with page.expect_response(lambda answer: "touch/masks" in answer.url) as answer:
        page.mouse.move(*place(page, 60, 70))
    said = answer.value.json()
    assert said["answer"] == ""
    assert len(said["candidates"]) == 1
    expect(page.locator(".candidate")).to_have_count(0)


def test_the_keyboard_alone_marks_a_thing(page: Page, tmp_path: Path) -> None:
    give(page, draw(tmp_path / "discs.png", (80, 50, 160, 130), (0, 0, 20, 20)))
    page.locator("#canvas").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press(" ")
    candidates(page, 3)
    page.keyboard.press("Enter")
    expect(page.locator(".thing")).to_have_count(1)
    assert same(np.asarray(Image.open(io.BytesIO(taken(page, "PNG"))))[..., 3] > 0, inside((80, 50, 160, 130)))


def test_one_comes_nearer_to_small_things(page: Page, tmp_path: Path, look: Callable[[str], None]) -> None:
    give(page, draw(tmp_path / "discs.png", (205, 20, 215, 30)))
    page.mouse.move(*place(page, 210, 25))
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    expect(page.locator("#canvas[data-zoom='3.32']")).to_be_visible()
    page.mouse.click(*place(page, 210, 25))  # what lies under the pointer stays there
    candidates(page, 3)
    look("touch-near")
    assert same(np.asarray(Image.open(io.BytesIO(taken(page, "PNG"))))[..., 3] > 0, inside((205, 20, 215, 30)))
    page.locator("#canvas").focus()
    page.keyboard.press("0")
    expect(page.locator("#canvas[data-zoom='1.00']")).to_be_visible()


def test_what_is_no_picture_is_told_in_one_line(page: Page, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("not a picture")
    page.locator("#file").set_input_files(str(tmp_path / "notes.png"))
    expect(page.get_by_role("alert")).to_contain_text("notes.png is not a picture in a known format")
    give(page, draw(tmp_path / "discs.png"))
    expect(page.get_by_role("alert")).to_be_hidden()


def dark(page: Page, tmp_path: Path) -> tuple[int, int]:
    """Gets a ball under the hand, from a picture that is dark in the middle; returns where it is."""
    image = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(image).ellipse((26, 26, 38, 38), fill="black")
    image.save(tmp_path / "dark.png")
    page.get_by_label("Drag", exact=True).check()
    expect(page.get_by_text("This model reads no sentences")).to_be_visible()
    page.locator("#file").set_input_files(str(tmp_path / "dark.png"))
    expect(page.locator("#canvas[data-picture='64x64']")).to_be_visible()
    return 32, 32


def pull(page: Page, at: tuple[int, int], to: tuple[int, int]) -> None:
    expect(page.get_by_role("button", name="Drag Enter")).to_be_disabled()
    sweep(page, place(page, *at, (64, 64)), place(page, *to, (64, 64)))
    expect(page.get_by_role("button", name="Drag Enter")).to_be_enabled()


def test_a_drag_moves_and_is_taken_back(page: Page, tmp_path: Path, look: Callable[[str], None]) -> None:
    x, y = dark(page, tmp_path)
    pull(page, (x, y), (x + 10, y - 5))
    look("touch-arrow")
    page.keyboard.press("Enter")
    expect(page.locator("#drag-line")).to_contain_text(re.compile(r"^There\. \d+ steps"))
    assert float(page.locator("#drag-line").get_attribute("data-rate") or 0) > 0
    look("touch-dragged")
    film = Image.open(io.BytesIO(taken(page, "GIF")))
    frames = [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(film)]
    assert len(frames) > 4
    assert (frames[0] != frames[-1]).any()
    assert Image.open(io.BytesIO(taken(page, "PNG"))).size == (64, 64)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#drag-line")).to_have_text("Taken back.")
    expect(page.get_by_role("button", name="GIF", exact=True).locator("visible=true")).to_be_disabled()
    page.get_by_role("button", name="Mark things in this picture").click()
    expect(page.get_by_label("Mark", exact=True)).to_be_checked()
    expect(page.locator("#canvas[data-picture='64x64']")).to_be_visible()
    click_ball = page.locator("#canvas").bounding_box()
    assert click_ball is not None
    page.mouse.click(click_ball["x"] + click_ball["width"] / 2, click_ball["y"] + click_ball["height"] / 2)
    candidates(page, 3)


def test_a_drag_is_stopped(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = dark(page, tmp_path)
    view = Ball.view

    def slow(self: Ball, latent: Any) -> Any:
        time.sleep(0.1)
        return view(self, latent)

    monkeypatch.setattr(Ball, "view", slow)
    pull(page, (x, y), (x + 24, y + 20))
    page.get_by_label("May move").check()
    sweep(page, place(page, 5, 5, (64, 64)), place(page, 60, 60, (64, 64)))
    page.get_by_role("button", name="Drag Enter").click()
    expect(page.locator("#drag-line")).to_contain_text(re.compile(r"^Step \d+ · \d+\.\d pixels to go"))
    expect(page.get_by_role("button", name="Undo")).to_be_disabled()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#drag-line")).to_contain_text(re.compile(r"^Stopped\. \d+ steps"))
    expect(page.get_by_role("button", name="Undo")).to_be_enabled()


def test_a_picture_that_cannot_be_found_in_the_model_is_told(page: Page, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "white").save(tmp_path / "white.png")
    page.get_by_label("Drag", exact=True).check()
    page.locator("#file").set_input_files(str(tmp_path / "white.png"))
    expect(page.get_by_role("alert")).to_have_text("there is nothing dark in this picture; give another")
    page.get_by_role("button", name="New picture").first.click()
    expect(page.locator("#canvas[data-picture='64x64']")).to_be_visible()
    expect(page.get_by_role("alert")).to_be_hidden()


def test_the_same_thing_is_found_in_other_pictures(page: Page, tmp_path: Path, look: Callable[[str], None]) -> None:
    page.get_by_label("Everywhere", exact=True).check()
    expect(page.get_by_text("First mark a thing")).to_be_visible()
    page.get_by_role("button", name="Mark a thing").click()
    give(page, draw(tmp_path / "discs.png"))
    click(page, 60, 70)
    candidates(page, 3)
    page.get_by_role("button", name="Find the same thing").click()
    red = [(40 + 20 * number, 20, 110 + 20 * number, 90) for number in range(3)]
    files = [str(draw(tmp_path / f"other {number}.png", box)) for number, box in enumerate(red)]
    without = tmp_path / "without.png"
    Image.new("RGB", (WIDTH, HEIGHT), "green").save(without)
    page.locator("#files").set_input_files([*files, str(without)])
    expect(page.locator(".found-one")).to_have_count(4)
    page.get_by_role("button", name="Find everywhere").click()
    expect(page.locator("#search-line")).to_contain_text("Found in 3 of 4")
    expect(page.locator(".found-one").last).to_contain_text("not here")
    look("touch-everywhere")
    page.locator(".found-one").first.click()
    expect(page.locator(".found-one").first).to_contain_text("left out")
    with zipfile.ZipFile(io.BytesIO(taken(page, "PNG"))) as archive:
        assert archive.namelist() == ["01-other-1.png", "02-other-2.png"]
    coco = json.loads(taken(page, "COCO"))
    assert [each["file_name"] for each in coco["images"]] == ["other 1.png", "other 2.png"]
    found = RunLengths.parse(coco["annotations"][0]["segmentation"]["counts"], HEIGHT, WIDTH).mask()
    visible = inside(red[1]) & ~inside(BLUE)
    assert same(found, visible)


def test_one_click_goes_through_a_film(page: Page, tmp_path: Path) -> None:
    frames = [
        Image.open(draw(tmp_path / "frame.png", (20 + 8 * number, 30, 90 + 8 * number, 100))) for number in range(4)
    ]
    frames[0].save(tmp_path / "walk.gif", save_all=True, append_images=frames[1:], duration=80)
    page.locator("#film").set_input_files(str(tmp_path / "walk.gif"))
    expect(page.locator(f"#canvas[data-picture='{WIDTH}x{HEIGHT}']")).to_be_visible()
    click(page, 55, 65)
    candidates(page, 3)
    page.get_by_role("button", name="Find the same thing").click()
    expect(page.get_by_text("A film: 4 frames.")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator("#search-line")).to_contain_text("Found in 4 of 4")
    film = Image.open(io.BytesIO(taken(page, "GIF")))
    assert len(list(ImageSequence.Iterator(film))) == 4


def test_without_weights_the_page_says_what_to_do(
    nothing: RunningStudio, open_page: Callable[[str], Page], tmp_path: Path
) -> None:
    page = open_page(f"{nothing.address}/touch.html")
    give(page, draw(tmp_path / "discs.png"))
    expect(page.get_by_role("alert")).to_contain_text("bottega train sam")
    page.get_by_label("Drag", exact=True).check()
    expect(page.get_by_role("alert")).to_contain_text("bottega train draggan")
    page.get_by_label("Everywhere", exact=True).check()
    expect(page.locator("#hint")).to_contain_text("bottega train seggpt")


def test_a_phone_has_room_for_everything(studio: RunningStudio, browser: Browser, tmp_path: Path) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.goto(f"{studio.address}/touch.html")
    give(page, draw(tmp_path / "discs.png"))
    page.touchscreen.tap(*place(page, 60, 70))
    candidates(page, 3)
    page.touchscreen.tap(*place(page, 175, 95))
    candidates(page, 4)
    page.get_by_label("Out", exact=True).check()
    page.touchscreen.tap(*place(page, 60, 70))
    candidates(page, 4)
    page.get_by_role("button", name="Keep").tap()
    expect(page.locator(".thing")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()
