"""The page "Words" in a real browser, on small language systems that really write."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from bottega.catalog import ROOMS
from bottega.processes.decoding import write
from bottega.serve.language.tests.tiny_language import Watched, tiny_language
from bottega.studio.tests.running import RunningStudio, running_studio
from bottega.studio.tests.words_rooms import WordsCatalog


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    with running_studio(tmp_path_factory.mktemp("studio"), capacity=8, catalog=WordsCatalog()) as studio:
        yield studio


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStudio]:
    with running_studio(tmp_path_factory.mktemp("package"), capacity=8, catalog=ROOMS) as studio:
        yield studio


@pytest.fixture
def page(studio: RunningStudio, open_page: Callable[[str], Page]) -> Page:
    return open_page(f"{studio.address}/words.html")


def greedy(prompt: str, most: int) -> str:
    language = tiny_language(context=160)
    steps = write(language.model, [language.tokens.ids(prompt, start=True)], most=most, end=language.tokens.end)
    return language.tokens.text(list(steps)[-1][0].tokens)


def test_a_conversation_is_answered_and_goes_on(page: Page, look: Callable[[str], None]) -> None:
    expect(page.get_by_text("Nothing has been said yet.")).to_be_visible()
    page.get_by_label("New tokens").fill("12")
    page.get_by_label("Your message").fill("one two three")
    page.keyboard.press("Enter")
    answers = page.locator(".said-one[data-speaker=assistant]")
    expect(answers.locator(".said-facts")).to_have_text(re.compile(r"^12 tokens · \d+\.\d s · \d+ tokens a second"))
    first = answers.locator(".said-words").text_content() or ""
    assert first == greedy("one two three\n", 12)
    page.get_by_label("Your message").fill("four")
    page.get_by_role("button", name="Send").click()
    expect(answers.locator(".said-facts")).to_have_count(2)
    second = answers.locator(".said-words").last.text_content() or ""
    whole = greedy(f"Guest: one two three\nHost: {first}\nGuest: four\nHost:\n", 12)
    assert whole.startswith(second)  # it may have been stopped at the guest's next line
    look("words-talk")
    page.get_by_role("button", name="New conversation").click()
    expect(answers).to_have_count(0)
    expect(page.get_by_text("Nothing has been said yet.")).to_be_visible()


def test_an_answer_can_be_stopped(page: Page, studio: RunningStudio, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = studio.parts.words.engine("llama")
    gated = Watched(tiny_language(context=160).model, gated=True)
    assert gated.permits is not None
    monkeypatch.setattr(engine, "language", dataclasses.replace(engine.language, model=gated))
    gated.permits.release(6)
    page.get_by_label("Your message").fill("one two three")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".said-one[data-state=running] .said-words")).not_to_be_empty()
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".said-facts")).to_have_text("stopped")
    expect(page.get_by_role("button", name="Stop")).to_be_disabled()
    gated.permits.release(1000)
    page.get_by_label("Your message").fill("four")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".said-facts")).to_have_count(2)
    written = greedy("one two three\n", 40)
    stopped = page.locator(".said-one[data-speaker=assistant] .said-words").first.text_content() or ""
    assert written.startswith(stopped)
    assert 0 < len(stopped) < len(written)


def test_what_is_too_long_is_said_and_can_be_mended(page: Page) -> None:
    long = "one two three four five six " * 40
    page.get_by_label("Your message").fill(long)
    page.get_by_role("button", name="Send").click()
    expect(page.get_by_role("alert")).to_contain_text("begin a new one")
    expect(page.get_by_label("Your message")).to_have_value(long.strip())
    expect(page.locator(".said-one")).to_have_count(0)


@pytest.mark.parametrize(
    ("view", "says", "fates"),
    [
        ("Drafts", "drafted tokens accepted", ["own", "free", "wrong"]),
        ("Jacobi", "fast-forwarded", ["own", "guess"]),
    ],
)
def test_a_text_is_seen_coming_about_pass_by_pass(
    page: Page, look: Callable[[str], None], view: str, says: str, fates: list[str]
) -> None:
    page.get_by_label(view, exact=True).check()
    page.get_by_label("Question").fill("one two three")
    page.get_by_role("button", name="Answer").click()
    expect(page.locator(".trace-figures")).to_contain_text(says)
    passes = page.locator(".pass")
    count = passes.count()
    assert count > 2
    for fate in fates:
        assert page.locator(f".passes .token[data-fate={fate}]").count() > 0, fate
    passes.last.get_by_role("button").click()
    expect(page.locator(".player output")).to_have_text(f"pass {count} of {count}")
    final = page.locator(".trace-paper p:last-child .token:is([data-fate=own], [data-fate=free])")
    told = "".join(final.all_text_contents()).replace("↵\n", "\n").removesuffix("end")
    assert told == greedy("one two three\n", 24)
    page.get_by_role("button", name="One pass back").click()
    expect(page.locator(".player output")).to_have_text(f"pass {count - 1} of {count}")
    look(f"words-{view.lower()}")


def test_a_question_is_needed(page: Page) -> None:
    page.get_by_label("Drafts", exact=True).check()
    page.get_by_label("Question").fill(" ")
    page.get_by_role("button", name="Answer").click()
    expect(page.get_by_role("alert")).to_have_text("Write a question first.")


def test_the_systems_that_come_with_the_package(package: RunningStudio, open_page: Callable[[str], Page]) -> None:
    page = open_page(f"{package.address}/words.html")
    page.get_by_label("Model").select_option("llama")
    page.get_by_label("New tokens").fill("16")
    page.get_by_role("button", name="Work out (41 + 33) - 14.").click()
    expect(page.locator(".said-facts")).to_contain_text("tokens a second", timeout=90_000)
    at_hand = [name for name in ("speculative", "cllm") if ROOMS.get(name).at_hand() is not None]
    views = page.locator("input[name=view]")
    assert [view.get_attribute("value") for view in views.all()] == ["talk", *at_hand]
    for name in at_hand:
        page.locator(f"input[name=view][value={name}]").check()
        page.get_by_label("Max new tokens").fill("16")
        page.get_by_role("button", name="Answer").click()
        expect(page.locator(".trace-figures")).to_contain_text("tokens a pass", timeout=90_000)
