"""Starting the studio: where it listens, who may come in, and where it keeps what it makes."""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
import sys
import webbrowser
from pathlib import Path
from typing import Final
from urllib.parse import quote

import uvicorn

from bottega.errors import FileError, RequestError
from bottega.studio.app import create_app
from bottega.studio.workshop import Catalog

PORT: Final = 7420
PORTS_TRIED: Final = 20
SECONDS_TO_SAY_GOODBYE: Final = 2
SECONDS_KEPT_OPEN: Final = 60


def serve(
    catalog: Catalog,
    *,
    folder: Path | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    token: str | None = None,
    open_browser: bool = True,
) -> None:
    """Runs the studio until it is stopped with Ctrl-C.

    Args:
        catalog: Where systems come from: `bottega.catalog`.
        folder: Where results and uploads lie; None takes the user's data folder.
        host: The address to listen on. Anything but a loopback address demands a token.
        port: The port; None takes the first free one from 7420.
        token: What visitors must know; None makes one when the address demands it.
        open_browser: Whether to open the page.

    Raises:
        RequestError: The address or port cannot be used, or the token is too short.
        FileError: The folder cannot be written.
    """
    if token is not None and not (len(token) >= 12 and token.isascii() and token.isalnum()):
        raise RequestError("the token must be at least 12 letters and digits; leave it out and one is made")
    if token is None and not is_loopback(host):
        token = secrets.token_hex(16)
    place = folder if folder is not None else user_folder()
    listening = _listen(host, port)
    number = int(listening.getsockname()[1])
    try:
        app = create_app(place, catalog, hosts=own_hosts(host, number), token=token)
    except OSError as error:
        raise FileError(
            f"the studio cannot keep its results in {place} ({error.strerror}); give another folder"
        ) from error
    address = page_address(host, number, token)
    print(f"bottega studio: {address}\nResults are kept in {place}. Stop with Ctrl-C.", flush=True)
    if open_browser:
        webbrowser.open(address)
    config = uvicorn.Config(
        app,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=SECONDS_KEPT_OPEN,
        timeout_graceful_shutdown=SECONDS_TO_SAY_GOODBYE,
    )
    uvicorn.Server(config).run(sockets=[listening])


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


def user_folder() -> Path:
    """The studio's folder among the user's data, by the custom of the operating system."""
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home()))
    else:
        base = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share"))
    return base / "bottega" / "studio"


def _in_address(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _listen(host: str, port: int | None) -> socket.socket:
    """A listening socket: connections wait in it until the server runs, so the page can be opened at once."""
    tried = range(PORT, PORT + PORTS_TRIED) if port is None else (port,)
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
    ports = str(port) if port is not None else f"{PORT} to {PORT + PORTS_TRIED - 1}"
    raise RequestError(f"the studio cannot listen on {host}, port {ports} ({reason}); choose another with --port")
