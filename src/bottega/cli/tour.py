"""`bottega tour`: every system's bundled weights on one page."""

from __future__ import annotations

import dataclasses
import os
import sys
import tempfile
import time
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from bottega.catalog import Case, Catalog, Ready, cases, check_device, load_in
from bottega.cli.arguments import parse
from bottega.cli.page import Shown, page
from bottega.cli.run import check_output
from bottega.cli.screen import note, reporting
from bottega.cli.wording import time_text
from bottega.errors import FileError, RequestError

PROMPTS = ("red apple", "cat face with tears of joy", "woman firefighter")
PICTURE = "hot dog"


@dataclass(frozen=True, kw_only=True, slots=True)
class TourOptions:
    """Runs every system's bundled weights on your words and picture, and writes one page that needs no other file.

    Args:
        prompts: Words to start from.
        picture: A picture of any size and format; one of the emoji world's when it is not given.
        output: The page.
        device: "cpu", "cuda", "cuda:1" or "mps".
        open: Open the page in the browser (where there is a screen).
    """

    prompts: Positional[Annotated[tuple[str, ...], arg(metavar="PROMPT")]] = PROMPTS
    picture: Annotated[Path | None, arg(metavar="FILE")] = None
    output: Annotated[Path, arg(aliases=["-o"], metavar="FILE")] = Path("tour.html")
    device: Annotated[str, arg(metavar="DEVICE")] = "cpu"
    open: bool = True

    def __post_init__(self) -> None:
        if self.output.suffix.lower() not in (".html", ".htm"):
            raise RequestError.of("output", str(self.output), "a file that ends in .html")
        if self.picture is not None and not self.picture.is_file():
            raise FileError(f"{self.picture} is not a file; give a picture")


def main(arguments: list[str], rooms: Catalog) -> int:
    """Runs, writes and opens."""
    from bottega.weights import write_text

    options = parse(TourOptions, arguments, "bottega tour")
    check_output(options.output.with_suffix(""))
    check_device(options.device)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        picture = options.picture or _bundled_picture(Path(folder))
        shown = [
            each
            for system_id in rooms.systems()
            if rooms.get(system_id).at_hand() is not None
            for each in _visit(
                load_in(rooms, system_id, device=options.device), options.prompts or PROMPTS, picture, rooms
            )
        ]
        if not shown:
            raise RequestError("no system has bundled weights, so there is nothing to show; train one first")
        write_text(options.output, page(shown, seconds=time.perf_counter() - start))
    print(options.output)
    if options.open and _has_screen():
        webbrowser.open(options.output.absolute().as_uri())
    return 0


def _visit(ready: Ready, prompts: tuple[str, ...], picture: Path, rooms: Catalog) -> list[Shown]:
    """Runs each case of a system."""
    shown = (_show(ready, case, picture, rooms) for case in cases(ready.system, prompts, picture))
    return [each for each in shown if each is not None]


def _show(ready: Ready, case: Case, picture: Path, rooms: Catalog) -> Shown | None:
    start = time.perf_counter()
    with reporting(quiet=False) as report:
        try:
            result = ready(case.request, report)
        except RequestError:
            try:  # words that it knows
                own = dataclasses.replace(case.request, inputs=ready.system.tiny_request.inputs)
                case = dataclasses.replace(case, request=own, reads="words" if own.inputs else "nothing")
                result = ready(case.request, report)
            except RequestError as error:
                note(f"{ready.id}, {case.title}: left out, {error}")
                return None
    seconds = time.perf_counter() - start
    note(f"{ready.id}, {case.title}: {time_text(seconds)}")
    return Shown(
        system=ready.id,
        card=rooms.card(ready.id),
        ready=ready,
        case=case,
        result=result,
        seconds=seconds,
        picture=picture if case.reads == "picture" else None,
    )


def _bundled_picture(folder: Path) -> Path:
    """A picture of the emoji world, as a file."""
    from PIL import Image

    from bottega.worlds.emoji import reference_pictures

    pictures, names = reference_pictures("all", 64)
    path = folder / f"{PICTURE.replace(' ', '-')}.png"
    Image.fromarray(pictures[names.index(PICTURE)]).resize((256, 256), Image.Resampling.LANCZOS).save(path)
    return path


def _has_screen() -> bool:
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
