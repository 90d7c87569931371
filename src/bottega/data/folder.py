"""A folder of pictures with captions, in the layouts people already have."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from bottega.data.captions import caption_from_json, caption_from_name, caption_from_text
from bottega.data.pictures import MAX_PIXELS, read_picture
from bottega.data.source import CaptionedPicture, Problem, finish_scan, readable
from bottega.errors import FileError

# .heic is here although Pillow cannot read it: a folder from a telephone must be told about, not passed over.
PICTURE_SUFFIXES: Final = frozenset(
    ".jpg .jpeg .jpe .jfif .png .apng .webp .gif .bmp .tif .tiff .avif .jp2 .ppm .pgm .pbm .pnm .tga .ico .qoi "
    ".psd .heic .heif".split()
)
LISTS: Final = ("captions.jsonl", "metadata.jsonl")


class PictureFolder:
    """The pictures under a folder, at any depth, in the order of their names.

    A caption comes from the first of: a sidecar with the picture's name and `.txt`; a line of `captions.jsonl` or
    `metadata.jsonl` (`file_name` relative to that file, and `text` or `caption`); the words of the picture's own name
    ("red_apple-03.jpg" is "red apple"); the name of its subfolder. Hidden files and folders are passed over.

    Args:
        path: The folder.
        verify: Decode each picture once while opening, so that a damaged one is known now and not hours into
            training. Without it only names are read.
        max_pixels: The largest picture that is accepted, in pixels.

    Raises:
        FileError: No such folder, or nothing in it can be used.
    """

    def __init__(self, path: str | Path, *, verify: bool = True, max_pixels: int = MAX_PIXELS) -> None:
        self.path = Path(path)
        self._max_pixels = max_pixels
        if not self.path.is_dir():
            raise FileError(f"{self.path} is not a folder; give the folder that holds the pictures")
        problems: list[Problem] = []
        files = sorted(_walk(self.path, problems))
        pictures = usable = [name for name in files if is_picture(name)]
        if verify:
            indices, unreadable = readable(pictures, lambda index: self._read(pictures[index]))
            usable = [pictures[index] for index in indices]
            problems += unreadable
        captions = self._listed_captions(files, pictures, problems)
        captions.update(self._sidecar_captions(files, usable, problems))
        finish_scan(str(self.path), len(usable), problems)
        self.names: tuple[str, ...] = tuple(usable)
        self.captions = tuple(captions.get(name, caption_from_name(PurePosixPath(name))) for name in usable)
        self.problems: tuple[Problem, ...] = tuple(problems)

    def __len__(self) -> int:
        return len(self.names)

    def sample(self, index: int) -> CaptionedPicture:
        """The picture at `index` in its own size, and its caption.

        Raises:
            FileError: The file changed since the folder was opened and cannot be read any more.
        """
        return CaptionedPicture(picture=self._read(self.names[index]), caption=self.captions[index])

    def _read(self, name: str) -> np.ndarray:
        return read_picture(self.path / name, max_pixels=self._max_pixels)

    def _listed_captions(
        self, files: Collection[str], pictures: Collection[str], problems: list[Problem]
    ) -> dict[str, str]:
        """Captions by picture from every `captions.jsonl` and `metadata.jsonl`; bad lines are added to `problems`."""
        captions: dict[str, str] = {}
        known = frozenset(pictures)
        for list_name in (name for name in files if PurePosixPath(name).name in LISTS):
            for number, line in enumerate(_bytes(self.path / list_name).splitlines(), start=1):
                if not line.strip():
                    continue
                try:
                    file_name, caption = caption_from_json(line)
                    captions[_listed_picture(list_name, file_name, known)] = caption
                except FileError as error:
                    problems.append(Problem(name=list_name, text=f"{list_name}, line {number}: {error}"))
        return captions

    def _sidecar_captions(
        self, files: Collection[str], pictures: Collection[str], problems: list[Problem]
    ) -> dict[str, str]:
        """Captions by picture from `.txt` files of the same name; files that are not text are added to `problems`."""
        captions: dict[str, str] = {}
        known = frozenset(files)
        for name in pictures:
            sidecar = str(PurePosixPath(name).with_suffix(".txt"))
            if sidecar not in known:
                continue
            try:
                captions[name] = caption_from_text(_bytes(self.path / sidecar))
            except FileError as error:
                problems.append(Problem(name=sidecar, text=f"{sidecar}: {error}"))
        return captions


def is_picture(name: str) -> bool:
    """Whether a file of this name claims to be a picture."""
    return PurePosixPath(name).suffix.lower() in PICTURE_SUFFIXES


def _walk(root: Path, problems: list[Problem]) -> Iterator[str]:
    """Every file below `root` as a relative path with forward slashes; hidden ones are left out."""

    def closed(error: OSError) -> None:
        problems.append(Problem(name=str(error.filename), text=f"{error.filename} cannot be opened: {error.strerror}"))

    for folder, subfolders, names in os.walk(root, onerror=closed):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                yield (Path(folder) / name).relative_to(root).as_posix()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FileError(f"{path} cannot be read ({error.strerror}); check its permissions") from error


def _listed_picture(list_name: str, file_name: str | None, known: Collection[str]) -> str:
    """The picture that a line of a list speaks of. Only pictures found by the scan can be named, so none outside."""
    if file_name is None:
        raise FileError("it has no file_name")
    name = posixpath.normpath(posixpath.join(posixpath.dirname(list_name), file_name))
    if name not in known:
        raise FileError(f"file_name is {file_name!r}, and there is no such picture in the folder")
    return name
