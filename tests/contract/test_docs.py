"""The docs say what the code says: generated texts are up to date, links lead somewhere, commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import make_docs
import pytest

from bottega import catalog
from bottega.cli.main import VERBS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def test_catalogue_has_systems():
    assert catalog.systems()


def test_generated_texts_are_up_to_date():
    pages = make_docs.pages()
    stale = [
        str(path.relative_to(ROOT))
        for path, text in pages.items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    assert not stale, "run `make docs`"


def test_no_page_is_left_of_a_system_that_is_gone():
    assert {path.stem for path in (ROOT / "docs" / "systems").glob("*.md")} == set(catalog.systems())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_commands_of_the_readme_exist():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {"demo", "test"} <= set(re.findall(r"^ *make ([a-z]+)", readme, re.MULTILINE)) <= targets
    asked = set(re.findall(r"\bbottega ([a-z]+)\b", "\n".join(re.findall(r"^    .*$|`[^`]+`", readme, re.MULTILINE))))
    assert asked, "the README shows no command"
    assert asked <= set(VERBS)
