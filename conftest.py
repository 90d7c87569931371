"""What holds for every test, in `src/` and in `tests/`.

Fixed seeds, one thread, nothing unpickled, and system programs found or else skipped by name.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from bottega.weights import forbid_unpickling

ROOT = Path(__file__).parent
APT_LIST = ROOT / ".ci" / "apt.txt"

# Child processes of tests import this tree too, and use one thread; this process has read its own number by now.
os.environ["PYTHONPATH"] = str(ROOT / "src")
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)

# torch.compile keeps its graphs on disk as pickles: without that cache not one class is looked up by a pickle.
os.environ["TORCHINDUCTOR_FX_GRAPH_CACHE"] = os.environ["TORCHINDUCTOR_AUTOGRAD_CACHE"] = "0"
WATCH = forbid_unpickling()


def _packages() -> dict[str, str]:
    """Debian package by the program or file that it brings, from the list that `.ci/run` installs."""
    rows = [line.split() for line in APT_LIST.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return {what: package for package, what in rows}


@pytest.fixture(scope="session")
def require_program() -> Callable[[str], Path]:
    """A function of the name of a program (or the path of a file) in `.ci/apt.txt` that returns where it is.

    Where it is missing the test is skipped with one line that says what to install; under CI it fails instead.
    """
    packages = _packages()

    def find(what: str) -> Path:
        if what not in packages:
            raise KeyError(f"{what} is not in {APT_LIST.name}; add it there, so that CI installs it")
        found = shutil.which(what)
        if found or Path(what).is_file():
            return Path(found or what)
        message = f"{what} is not here: apt install {packages[what]}"
        if os.environ.get("CI") == "true":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)

    return find


@pytest.fixture(autouse=True)
def _fixed_seeds() -> None:
    """Every test starts from the same global random state, in whatever order and process it runs."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  peers draw from the global generator
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _imports_unpickle_nothing() -> None:
    """Collecting the tests, which imports bottega and its peers, looks up no class for a pickle."""
    assert not WATCH.events()


@pytest.fixture(autouse=True)
def _nothing_is_unpickled(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test makes any code, ours or a peer's, look up a class for a pickle; `unpickles` marks those that try it."""
    before = len(WATCH.events())
    yield
    events = WATCH.events()[before:]
    if request.node.get_closest_marker("unpickles") is None:
        assert not events, f"unpickled: {events}"
    else:
        assert events, "marked as unpickling, but nothing was: drop the mark"
