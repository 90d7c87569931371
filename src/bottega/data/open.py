"""Opening what a user points at."""

from __future__ import annotations

from pathlib import Path

from bottega.data.archive import PictureArchives
from bottega.data.folder import PictureFolder, is_picture
from bottega.data.source import CaptionedPicture, Source
from bottega.errors import FileError


def open_source(path: str | Path, *, verify: bool = True) -> Source[CaptionedPicture]:
    """Opens a folder of pictures, a `.tar` of pictures, or a folder of such `.tar` files.

    Args:
        path: The folder or file. Worlds are opened by `bottega.worlds`, not here.
        verify: Decode each picture once while opening.

    Raises:
        FileError: Nothing is there, it is of another kind, or no picture in it can be used.
    """
    place = Path(path)
    if place.is_file():
        if place.suffix.lower() != ".tar":
            raise FileError(f"{place} is not a .tar; give a folder of pictures or an uncompressed .tar of them")
        return PictureArchives(place, verify=verify)
    if not place.is_dir():
        raise FileError(f"{place} does not exist; give a folder of pictures or a .tar of them")
    archives = sorted(file for file in place.iterdir() if file.suffix.lower() == ".tar")
    if not archives:
        return PictureFolder(place, verify=verify)
    if any(is_picture(file.name) for file in place.iterdir()):
        raise FileError(f"{place} holds pictures and {archives[0].name}; give one or the other a folder of its own")
    return PictureArchives(*archives, verify=verify)
