"""Which addresses need a token, and how they are printed."""

from __future__ import annotations

import pytest

from bottega.errors import RequestError
from bottega.serve.web import Guard, House, is_loopback, own_hosts, page_address, token_for

HOUSE = House(name="the house", command="bottega", largest=lambda path: 100)


@pytest.mark.parametrize(
    ("host", "here"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True)]
    + [
        ("0.0.0.0", False),
        ("192.168.0.7", False),
        ("::", False),
        ("example.org", False),
        ("127.0.0.1.evil.org", False),
    ],
)
def test_only_loopback_addresses_need_no_token(host: str, here: bool) -> None:
    assert is_loopback(host) is here
    assert (own_hosts(host, 80) is None) is not here


def test_a_guard_of_any_host_needs_a_token() -> None:
    with pytest.raises(ValueError, match="hosts must be named"):
        Guard(_nothing, HOUSE, None, None)


async def _nothing(scope: object, receive: object, send: object) -> None:
    raise AssertionError


def test_the_printed_address_can_be_opened() -> None:
    assert page_address("127.0.0.1", 7420, None) == "http://127.0.0.1:7420/"
    assert page_address("0.0.0.0", 7420, "abc") == "http://127.0.0.1:7420/?token=abc"
    assert page_address("::1", 7420, None) == "http://[::1]:7420/"


def test_a_token_is_made_where_others_can_come() -> None:
    assert token_for("127.0.0.1", None) is None
    assert token_for("127.0.0.1", "abcdef123456") == "abcdef123456"
    made = token_for("0.0.0.0", None)
    assert made is not None
    assert len(made) == 32
    with pytest.raises(RequestError, match="at least 12"):
        token_for("0.0.0.0", "short")
