"""Where a server of ours listens, and what it asks for there."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from typing import Final
from urllib.parse import quote

from bottega.errors import RequestError

PORTS_TRIED: Final = 20


def token_for(host: str, token: str | None) -> str | None:
    """The token that visitors of an address must know: the given one, or one made here where the address demands it.

    Raises:
        RequestError: It is too short to be hard to guess.
    """
    if token is not None and not (len(token) >= 12 and token.isascii() and token.isalnum()):
        raise RequestError("the token must be at least 12 letters and digits; leave it out and one is made")
    return secrets.token_hex(16) if token is None and not is_loopback(host) else token


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def own_hosts(host: str, port: int) -> frozenset[str] | None:
    """The `Host` headers of our own page; None (any) for addresses that other machines reach, where a token guards."""
    if not is_loopback(host):
        return None
    names = ("127.0.0.1", "localhost", "[::1]", _in_address(host))
    return frozenset(f"{name}:{port}" for name in names)


def page_address(host: str, port: int, token: str | None) -> str:
    """What to open in a browser."""
    name = "127.0.0.1" if host in ("0.0.0.0", "::") else _in_address(host)  # noqa: S104 - compared, not bound
    return f"http://{name}:{port}/" + (f"?token={quote(token)}" if token else "")


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def listen(host: str, port: int | None, *, first: int, name: str) -> socket.socket:
    """A listening socket: connections wait in it until the server runs, so its address can be used at once.

    Args:
        host: The address.
        port: The port; None takes the first free one from `first`.
        first: See `port`.
        name: Who listens, for the error.

    Raises:
        RequestError: The address or port cannot be used.
    """
    tried = range(first, first + PORTS_TRIED) if port is None else (port,)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reason = ""
    for number in tried:
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, number))
            listening.listen(128)
            return listening
        except (OSError, OverflowError) as error:
            listening.close()
            reason = str(getattr(error, "strerror", None) or error)
    ports = str(port) if port is not None else f"{first} to {first + PORTS_TRIED - 1}"
    raise RequestError(f"{name} cannot listen on {host}, port {ports} ({reason}); choose another with --port")
