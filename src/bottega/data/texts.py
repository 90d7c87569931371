"""A folder of texts, for language models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bottega.data.source import Problem, summarise
from bottega.errors import FileError

PLAIN: Final = frozenset(".txt .md .rst .py .c .h .cpp .rs .go .js .ts .java .sql .csv .tex .html".split())
PIECE: Final = 2000  # bytes after which a piece of a text ends with its paragraph


@dataclass(frozen=True, kw_only=True, slots=True)
class TextPiece:
    """A piece of a text.

    Args:
        text: The piece.
        name: The file that it is from, relative to the folder.
    """

    text: str
    name: str


@dataclass(frozen=True, slots=True)
class _Place:
    name: str
    start: int
    stop: int


class TextFolder:
    """The texts under a folder, at any depth, in the order of their names, in pieces of whole paragraphs.

    Plain text and source code is read as it is (`PLAIN` lists the endings); of `.jsonl` every line is a text of its
    own, `{"text": ...}`. Hidden files and folders, and files of other kinds, are passed over. Texts stay on disk.

    Args:
        path: The folder, or one file.

    Raises:
        FileError: Nothing is there, or none of it can be used.
    """

    def __init__(self, path: str | Path) -> None:
        place = Path(path)
        if not place.exists():
            raise FileError(f"{place} does not exist; give a folder of texts (.txt, .md, .jsonl, source code)")
        self.path = place.parent if place.is_file() else place
        names = [place.name] if place.is_file() else sorted(_names(place))
        self._places: list[_Place] = []
        problems: list[Problem] = []
        for name in names:
            try:
                self._places += list(_pieces(self.path, name))
            except (FileError, OSError) as error:
                problems.append(Problem(name=name, text=f"{name}: {error}"))
        self.problems: tuple[Problem, ...] = tuple(problems)
        if not self._places:
            found = f"none of its files can be used:\n{summarise(problems)}" if problems else "it holds no texts"
            raise FileError(f"{place}: {found}\ngive a folder of texts (.txt, .md, .jsonl, source code)")

    def __len__(self) -> int:
        return len(self._places)

    def sample(self, index: int) -> TextPiece:
        """The piece at `index`.

        Raises:
            FileError: The file changed since the folder was opened and cannot be read any more.
        """
        place = self._places[index]
        try:
            with (self.path / place.name).open("rb") as file:
                file.seek(place.start)
                content = file.read(place.stop - place.start)
            text = _line_text(content) if place.name.endswith(".jsonl") else content.decode("utf-8")
        except (OSError, UnicodeDecodeError, FileError) as error:
            raise FileError(f"{self.path / place.name} has changed ({error}); start again") from error
        return TextPiece(text=text, name=place.name)


def _names(root: Path) -> Iterator[str]:
    for file in root.rglob("*"):
        relative = file.relative_to(root)
        hidden = any(part.startswith(".") for part in relative.parts)
        if not hidden and file.suffix.lower() in PLAIN | {".jsonl"} and file.is_file():
            yield relative.as_posix()


def _pieces(root: Path, name: str) -> Iterator[_Place]:
    content = (root / name).read_bytes()
    lines = content.splitlines(keepends=True)
    if name.endswith(".jsonl"):
        yield from _json_lines(name, lines)
        return
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileError(f"it is not UTF-8 at byte {error.start}; save it as UTF-8") from error
    start = stop = 0
    for line in lines:
        stop += len(line)
        held = stop - start
        if (held >= PIECE and not line.strip()) or held >= 2 * PIECE:
            yield _Place(name, start, stop)
            start = stop
    if content[start:].strip():
        yield _Place(name, start, stop)


def _json_lines(name: str, lines: list[bytes]) -> Iterator[_Place]:
    start = 0
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                _line_text(line)
            except FileError as error:
                raise FileError(f"line {number}: {error}") from error
            yield _Place(name, start, start + len(line))
        start += len(line)


def _line_text(line: bytes) -> str:
    try:
        text = json.loads(line)["text"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileError('it must be an object such as {"text": "..."}') from error
    if not isinstance(text, str):
        raise FileError('"text" must be a text')
    return text
