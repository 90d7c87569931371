"""WebDataset archives: `.tar` files in which a sample is the files that share a name up to the first dot."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from bottega.data.captions import caption_from_json, caption_from_name, caption_from_text
from bottega.data.folder import PICTURE_SUFFIXES
from bottega.data.pictures import MAX_PIXELS, read_picture
from bottega.data.source import CaptionedPicture, Problem, finish_scan, readable
from bottega.errors import FileError


@dataclass(frozen=True, kw_only=True, slots=True)
class _Span:
    """Where a file's bytes lie inside an archive."""

    archive: Path
    offset: int
    size: int

    def read(self) -> bytes:
        """The bytes. The archive is opened anew each time, so that threads and forks share no file position."""
        try:
            with self.archive.open("rb") as file:
                file.seek(self.offset)
                data = file.read(self.size)
        except OSError as error:
            raise FileError(f"{self.archive} cannot be read any more ({error.strerror})") from error
        if len(data) < self.size:
            raise FileError(f"{self.archive} is shorter than when it was opened; open it again")
        return data


@dataclass(kw_only=True, slots=True)
class _Parts:
    """The files of one sample, by extension without the dot."""

    key: str
    spans: dict[str, _Span] = field(default_factory=dict)

    def picture(self) -> _Span | None:
        """The first file whose extension is a picture's."""
        return next((span for extension, span in self.spans.items() if f".{extension}" in PICTURE_SUFFIXES), None)

    def caption(self, problems: list[Problem]) -> str:
        """The caption in `.txt`, else in `.json`, else in the sample's name; unusable ones are added to `problems`."""
        for extension in ("txt", "json"):
            if extension not in self.spans:
                continue
            try:
                data = self.spans[extension].read()
                return caption_from_text(data) if extension == "txt" else caption_from_json(data)[1]
            except FileError as error:
                problems.append(Problem(name=self.key, text=f"{self.key}.{extension}: {error}"))
        return caption_from_name(PurePosixPath(f"{self.key}.picture"))


class PictureArchives:
    """The pictures of WebDataset `.tar` files, in the order of the archives and of the files in them.

    Opening reads the headers and remembers where each file lies; `sample` reads those bytes alone. Nothing is
    extracted, and names inside the archive are never used as paths. Links and devices are ignored.

    Args:
        paths: One or more uncompressed `.tar` files.
        verify: Decode each picture once while opening, so that a damaged one is known now and not hours into training.
        max_pixels: The largest picture that is accepted, in pixels.

    Raises:
        FileError: An archive is missing, compressed or damaged, or nothing in them can be used.

    Source:
        The layout: https://github.com/webdataset/webdataset (README, "The WebDataset Format").
    """

    def __init__(self, *paths: str | Path, verify: bool = True, max_pixels: int = MAX_PIXELS) -> None:
        self._max_pixels = max_pixels
        self.paths = tuple(Path(path) for path in paths)
        samples = [sample for path in self.paths for sample in _samples(path)]
        problems = [Problem(name=s.key, text=f"{s.key} has no picture") for s in samples if s.picture() is None]
        pictures = [(sample, span) for sample in samples if (span := sample.picture()) is not None]
        names = [sample.key for sample, _ in pictures]
        usable = list(range(len(pictures)))
        if verify:
            usable, damaged = readable(names, lambda index: self._read(names[index], pictures[index][1]))
            problems += damaged
        self.names: tuple[str, ...] = tuple(names[index] for index in usable)
        self._spans = tuple(pictures[index][1] for index in usable)
        self.captions: tuple[str, ...] = tuple(pictures[index][0].caption(problems) for index in usable)
        self.problems: tuple[Problem, ...] = tuple(problems)
        finish_scan(", ".join(str(path) for path in self.paths), len(usable), problems)

    def __len__(self) -> int:
        return len(self.names)

    def sample(self, index: int) -> CaptionedPicture:
        """The picture at `index` in its own size, and its caption.

        Raises:
            FileError: The archive changed since it was opened.
        """
        picture = self._read(self.names[index], self._spans[index])
        return CaptionedPicture(picture=picture, caption=self.captions[index])

    def _read(self, name: str, span: _Span) -> np.ndarray:
        try:
            return read_picture(span.read(), max_pixels=self._max_pixels)
        except FileError as error:
            raise FileError(f"{span.archive}, {name}: {error}") from error


def _samples(path: Path) -> Iterable[_Parts]:
    """The samples of one archive, in order of first appearance."""
    samples: dict[str, _Parts] = {}
    for name, span in _files(path):
        folder, _, base = name.rpartition("/")
        stem, dot, extension = base.partition(".")
        if not stem or not dot:
            continue
        key = f"{folder}/{stem}" if folder else stem
        samples.setdefault(key, _Parts(key=key)).spans[extension.lower()] = span
    return samples.values()


def _files(path: Path) -> Iterator[tuple[str, _Span]]:
    """Name and place of every regular file in an archive, from its headers."""
    if not path.is_file():
        raise FileError(f"{path} does not exist or is not a file; give an uncompressed .tar")
    length = path.stat().st_size
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if not member.isreg() or member.issparse():
                    continue
                if member.offset_data + member.size > length:
                    raise FileError(f"{path} is cut short inside {member.name!r}; get the archive again")
                yield member.name, _Span(archive=path, offset=member.offset_data, size=member.size)
    except (tarfile.TarError, OSError) as error:
        raise FileError(
            f"{path} is not a complete, uncompressed .tar ({error}); decompress or fetch it again"
        ) from error
