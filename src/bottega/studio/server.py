"""Starting the studio: where it listens, who may come in, and where it keeps what it makes."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path
from typing import Final

import uvicorn

from bottega.errors import FileError
from bottega.serve.web import listen, own_hosts, page_address, token_for
from bottega.studio.app import create_app
from bottega.studio.workshop import Catalog

PORT: Final = 7420
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
    token = token_for(host, token)
    place = folder if folder is not None else user_folder()
    listening = listen(host, port, first=PORT, name="the studio")
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


def user_folder() -> Path:
    """The studio's folder among the user's data, by the custom of the operating system."""
    if sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home()))
    else:
        base = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share"))
    return base / "bottega" / "studio"
