"""`bottega studio`: the page in the browser."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from bottega.catalog import Catalog
from bottega.cli.arguments import parse
from bottega.errors import BottegaError, RequestError


@dataclass(frozen=True, kw_only=True, slots=True)
class StudioOptions:
    """Opens the studio in your browser. It listens on this machine only, unless you name another address.

    Args:
        host: The address to listen on; another one than this machine's demands a token, which is made and shown.
        port: The port, 0 to 65535; the first free one from 7420 when it is not given.
        folder: Where results and uploads are kept; your data folder when it is not given.
        token: What visitors must know, at least 12 letters and digits.
        open: Open the page in the browser.
    """

    host: Annotated[str, arg(metavar="ADDRESS")] = "127.0.0.1"
    port: Annotated[int | None, arg(metavar="INT")] = None
    folder: Annotated[Path | None, arg(metavar="FOLDER")] = None
    token: Annotated[str | None, arg(metavar="TEXT")] = None
    open: bool = True

    def __post_init__(self) -> None:
        if self.port is not None and not 0 <= self.port <= 65535:
            raise RequestError.of("port", self.port, "from 0 to 65535")


def main(arguments: list[str], rooms: Catalog) -> int:
    """Serves until Ctrl-C."""
    options = parse(StudioOptions, arguments, "bottega studio")
    try:
        from bottega.studio import serve
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("bottega"):
            raise
        raise BottegaError(f"the studio needs {error.name}; install it with: pip install 'bottega[studio]'") from error
    serve(
        rooms,
        folder=options.folder,
        host=options.host,
        port=options.port,
        token=options.token,
        open_browser=options.open,
    )
    return 0
