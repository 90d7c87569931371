"""The library keeps the rules of the house; `test_planted_violations.py` shows that each rule can fail."""

from __future__ import annotations

from pathlib import Path

import grimp
import pytest
from architecture_rules import RULES, heavy_imports, library

PACKAGE = Path(__file__).parents[2] / "src" / "bottega"


@pytest.fixture(scope="module")
def sources():
    return library(PACKAGE)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_library_keeps_the_rule(rule, sources):
    assert len(sources) > 10, "the library was not found"
    violations = rule(sources)
    assert not violations, "\n" + "\n".join(violations)


@pytest.mark.parametrize("module", ["bottega", "bottega.errors", "bottega.room", "bottega.catalog", "bottega.cli"])
def test_import_leaves_torch_alone(module):
    assert heavy_imports(module, PACKAGE.parent) == []


def test_import_linter_sees_every_file(sources):
    """A folder without `__init__.py` would escape the contracts on imports."""
    seen = grimp.build_graph("bottega", cache_dir=None).modules
    files = {".".join(("bottega", *s.path.with_suffix("").parts)).removesuffix(".__init__") for s in sources}
    unseen = sorted(files - seen)
    assert not unseen, f"folders without __init__.py: {unseen}"
