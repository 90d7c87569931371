"""Where the studio listens, what it asks for there, and which words leave it."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from bottega.errors import FileError, RequestError
from bottega.studio import serve
from bottega.studio.app import STATIC
from bottega.studio.tests.gradient_room import GradientCatalog
from bottega.studio.wording import public


def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RequestError, match=f"cannot listen on 127.0.0.1, port {port} .*--port"):
            serve(GradientCatalog(), folder=tmp_path, port=port, open_browser=False)


def test_a_folder_that_cannot_be_one_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="give another folder"):
        serve(GradientCatalog(), folder=tmp_path / "file", port=0, open_browser=False)


def test_a_guessable_token_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="at least 12"):
        serve(GradientCatalog(), folder=tmp_path, token="short", open_browser=False)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("/home/ada/secret/cat.png is damaged", "cat.png is damaged"),
        ("cannot open '/var/lib/x y/cat.png' now", "cannot open 'x y/cat.png' now"),
        ("C:\\Users\\ada\\cat.png is damaged", "cat.png is damaged"),
        ("red/blue is fine, 1/2 too", "red/blue is fine, 1/2 too"),
        ("<Tensor at 0x7fa3b2c1d0e0>", "<Tensor at an object>"),
    ],
)
def test_no_path_and_no_address_of_this_computer_is_told(said: str, told: str) -> None:
    assert public(said) == told


def test_known_copies_are_called_as_the_person_called_them() -> None:
    assert public("/data/uploads/0a1b.png is damaged", {"/data/uploads/0a1b.png": "my cat.png"}) == (
        "my cat.png is damaged"
    )


def test_the_committed_page_needs_nothing_from_elsewhere() -> None:
    pages = sorted(STATIC.glob("*.html"))
    assert len(pages) == 5
    for page in pages:
        named = re.findall(r'(?:src|href)="([^"#]+)"', page.read_text())
        assert any(name.endswith(".js") for name in named)
        for name in named:
            assert name == "./" or (STATIC / name).is_file(), name
    for file in STATIC.rglob("*.*"):
        assert not re.search(r"https?://(?!www\.w3\.org/)", file.read_text()), file
