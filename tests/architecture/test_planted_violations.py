"""Each contract and each rule is seen failing once, on a violation planted in a small package of the same shape."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from architecture_rules import RULES, heavy_imports, library

ROOT = Path(__file__).parents[2]
PACKAGES = "cli catalog systems results training metrics worlds data networks processes layers ops weights".split()
ROOMS = ("systems/diffusion/one", "systems/diffusion/two")


def plant(package: Path, path: str, text: str) -> None:
    file = package / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture
def package(tmp_path) -> Path:
    """A package with the library's folders and two rooms, and nothing in them."""
    root = tmp_path / "src" / "bottega"
    for folder in (".", *PACKAGES, "systems/diffusion", *ROOMS):
        plant(root, f"{folder}/__init__.py", "")
    for room in ROOMS:
        for file in ("config", "model", "system"):
            plant(root, f"{room}/{file}.py", "")
    for file in ("room", "errors"):
        plant(root, f"{file}.py", "")
    return root


# ----------------------------------------------------------------------------------------- contracts on imports
CONTRACTS = {
    "Imports go one way": ("layers/attention.py", "import bottega.networks"),
    "Rooms never import rooms": ("systems/diffusion/one/model.py", "import bottega.systems.diffusion.two.model"),
    "Rooms are reached through the catalog": ("cli/run.py", "import bottega.systems.diffusion.two.system"),
    "Peers stay in tests, and what bottega does without stays out": ("data/folder.py", "import transformers"),
    "A room reads top to bottom": ("systems/diffusion/one/config.py", "import bottega.systems.diffusion.one.model"),
}


@pytest.fixture
def lint(package):
    """The names of the broken contracts; the contracts are the library's own."""
    text = (ROOT / "pyproject.toml").read_text()
    (package.parents[1] / "pyproject.toml").write_text(text)

    def broken() -> set[str]:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "from importlinter.cli import lint_imports_command; lint_imports_command()",
                "--no-cache",
            ],
            cwd=package.parents[1],
            env={**os.environ, "PYTHONPATH": str(package.parent), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
        )
        rows = [line.strip() for line in done.stdout.splitlines()]
        assert "Contracts:" in done.stdout, done.stdout + done.stderr
        names = {row.removesuffix(" BROKEN") for row in rows if row.endswith(" BROKEN")}
        assert bool(names) == bool(done.returncode)
        return names

    return broken


def test_empty_package_keeps_every_contract(lint):
    assert lint() == set()


def test_every_contract_has_a_planted_violation():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert {contract["name"] for contract in settings["contracts"]} == set(CONTRACTS)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_contract_breaks(contract, package, lint):
    plant(package, *CONTRACTS[contract])
    assert lint() == {contract}


def test_undeclared_package_breaks_the_direction(package, lint):
    plant(package, "gadgets/__init__.py", "")
    assert lint() == {"Imports go one way"}


def test_undeclared_file_of_a_room_breaks_its_reading_order(package, lint):
    plant(package, f"{ROOMS[0]}/gadgets.py", "")
    assert lint() == {"A room reads top to bottom"}


def test_peer_inside_a_tests_folder_breaks_nothing(package, lint):
    plant(package, "data/tests/test_folder.py", "import transformers")
    assert lint() == set()


# ---------------------------------------------------------------------------------------------- rules on source
LONG_FUNCTION = "def long(x):\n" + "".join(f"    x = x + {i}\n" for i in range(60)) + "    return x\n"
EIGHT_LINES = "".join(f"    x = x * {i} + y\n" for i in range(8))
ONE = f'def one(x: int, y: int) -> int:\n    """Doc."""\n{EIGHT_LINES}    return x\n'
TWO = f"def two(x, y):\n    y = 3\n{EIGHT_LINES}    return y\n"
MODULE = "from torch import nn\nclass Block(nn.Module):\n    def forward(self, x):\n        return x\n"

RULE_VIOLATIONS = {
    "short_files": [{"ops/a.py": "x = 1\n" * 501}],
    "short_functions": [{"ops/a.py": LONG_FUNCTION}],
    "few_arguments": [{"ops/a.py": "def f(a, b, c, d, e, *, f, g, h, i):\n    return a\n"}],
    "no_clones": [
        {"ops/a.py": ONE, "layers/b.py": TWO},
        {"ops/a.py": ONE + TWO},
        {"ops/a.py": f"def f(x, y):\n    for x in y:\n{EIGHT_LINES.replace('    ', '        ')}", "ops/b.py": ONE},
    ],
    "flat_inheritance": [
        {"ops/a.py": MODULE + "class Special(Block):\n    pass\n"},
        {"ops/a.py": MODULE, "ops/b.py": "from bottega.ops import a\nclass Special(a.Block):\n    pass\n"},
        {"ops/a.py": "from torch import nn\nclass Scaled(nn.Linear):\n    pass\n"},
    ],
    "plain_names": [{"ops/a.py": "class ModelManager:\n    x = 1\n"}, {"ops/utils.py": "x = 1\n"}],
    "no_swallowed_errors": [
        {"ops/a.py": "try:\n    x = 1\nexcept:\n    raise\n"},
        {"ops/a.py": "try:\n    x = 1\nexcept ValueError:\n    pass\n"},
    ],
    "no_pickle": [
        {"ops/a.py": "import pickle\n"},
        {"ops/a.py": "from pickle import loads\n"},
        {"ops/a.py": "import torch\nx = torch.load('x.pt', weights_only=True)\n"},
        {"ops/a.py": "from torch import load\n"},
        {"ops/a.py": "import numpy as np\nx = np.load('x.npy', allow_pickle=True)\n"},
    ],
    "one_attend": [
        {"layers/a.py": "import torch.nn.functional as F\nf = F.scaled_dot_product_attention\n"},
        {"layers/a.py": "from torch.nn.functional import scaled_dot_product_attention as attend\n"},
    ],
    "no_guessing": [
        {"ops/a.py": "def f(x):\n    return hasattr(x, 'y')\n"},
        {"ops/a.py": "def f(x):\n    return eval(x)\n"},
    ],
    "typed_kwargs": [
        {"ops/a.py": "def f(**kwargs):\n    return kwargs\n"},
        {"ops/a.py": "from typing import Any\ndef f(**kwargs: Any):\n    return kwargs\n"},
    ],
    "no_machine_paths": [{"ops/a.py": "CACHE = '/home/someone/cache'\n"}],
    "public_imports": [{"networks/a.py": "from bottega.layers.attention import attend\n", "layers/attention.py": ""}],
}
ALLOWED = {
    "no_clones": {"ops/a.py": "import a\nimport b\n" * 8, "ops/b.py": "import a\nimport b\n" * 8},
    "flat_inheritance": {
        "ops/a.py": "import abc\nfrom torch import nn\n"
        "class Base(nn.Module, abc.ABC):\n    pass\nclass Leaf(Base):\n    pass\n"
        "class E(ValueError):\n    pass\nclass F(E):\n    pass\n"
    },
    "no_pickle": {"weights/a.py": "import torch\nx = torch.load('x.pt', weights_only=True)\n"},
    "one_attend": {"layers/attention.py": "import torch.nn.functional as F\nattend = F.scaled_dot_product_attention\n"},
    "no_guessing": {"ops/a.py": "def f(model):\n    return model.eval()\n"},
    "typed_kwargs": {"ops/a.py": "def f(**shape: int):\n    return shape\n"},
    "public_imports": {"networks/a.py": "from bottega.layers import attend\nfrom bottega.errors import BottegaError\n"},
}


def test_every_rule_has_a_planted_violation():
    assert {rule.__name__ for rule in RULES} == set(RULE_VIOLATIONS)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_rule_reports_each_violation(rule, package, tmp_path):
    assert rule(library(package)) == [], "an empty package keeps every rule"
    for i, files in enumerate(RULE_VIOLATIONS[rule.__name__]):
        root = tmp_path / str(i)
        for path, text in files.items():
            plant(root, path, text)
        for folder in PACKAGES:
            plant(root, f"{folder}/__init__.py", "")
        assert len(rule(library(root))) == 1, files


@pytest.mark.parametrize("name", ALLOWED)
def test_rule_lets_pass_what_is_allowed(name, package):
    for path, text in ALLOWED[name].items():
        plant(package, path, text)
    (rule,) = (rule for rule in RULES if rule.__name__ == name)
    assert rule(library(package)) == []


def test_tests_are_no_part_of_the_library(package):
    plant(package, "data/tests/test_folder.py", "import pickle\n")
    assert len(library(package)) == len(list(package.rglob("*.py"))) - 1


def test_heavy_import_is_seen(package):
    plant(package, "cli/__init__.py", "import json, torch\n")
    assert heavy_imports("bottega.cli", package.parent) == ["torch"]
    assert heavy_imports("bottega.errors", package.parent) == []
