"""What every source of training data is: a length and a sample at an index."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar, runtime_checkable

import numpy as np

from bottega.data.pictures import CROP, Crop, Pad, fit_picture
from bottega.errors import FileError

Sample_co = TypeVar("Sample_co", covariant=True)

# Named in full in an error or a log line; the rest are counted.
_NAMED: Final = 10
_THREADS: Final = 4


@runtime_checkable
class Source(Protocol[Sample_co]):
    """A map-style source of samples: worlds, folders and archives all look like this.

    `sample(index)` is a pure function of the index in `range(len(source))`: it may be called in any order, from any
    thread or process, and gives the same sample each time.
    """

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Sample_co:
        """The sample at `index`, in `range(len(self))`."""
        ...


class Pictured(Protocol):
    """Whatever has a picture: a world's sample, or a file of the user's."""

    @property
    def picture(self) -> np.ndarray:
        """uint8 `(h, w, 3)`."""
        ...


class Captioned(Pictured, Protocol):
    """Whatever has a picture and words."""

    @property
    def caption(self) -> str:
        """Text, or a class's name."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionedPicture:
    """A picture and the words that belong to it.

    Args:
        picture: uint8 `(h, w, 3)`.
        caption: Text, or "" when nothing is known.
    """

    picture: np.ndarray
    caption: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Something in a folder or archive that could not be used.

    Args:
        name: The file, relative to what was opened.
        text: A sentence that names it and says what is wrong.
    """

    name: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """A source of pictures of any size, seen through squares of one size.

    Args:
        source: The source of pictures of any size.
        size: Side of the square in pixels.
        how: `Crop()` or `Pad(colour=...)`.
    """

    source: Source[CaptionedPicture]
    size: int
    how: Crop | Pad = CROP

    def __len__(self) -> int:
        return len(self.source)

    def sample(self, index: int) -> CaptionedPicture:
        """The sample at `index`, its picture resized."""
        whole = self.source.sample(index)
        return CaptionedPicture(picture=fit_picture(whole.picture, self.size, how=self.how), caption=whole.caption)


def summarise(problems: Sequence[Problem]) -> str:
    """The problems on one line each, at most ten of them, then a count of the rest."""
    lines = [f"  {problem.text}" for problem in problems[:_NAMED]]
    if len(problems) > _NAMED:
        lines.append(f"  and {len(problems) - _NAMED} more")
    return "\n".join(lines)


def readable(names: Sequence[str], read: Callable[[int], object]) -> tuple[list[int], list[Problem]]:
    """Tries every file once, in a few threads, without stopping at those that fail.

    Args:
        names: What to call each file.
        read: Reads the file at an index, or raises `FileError`.

    Returns:
        The indices that can be read, and a problem for each of the others.
    """

    def problem_of(index: int) -> Problem | None:
        try:
            read(index)
        except FileError as error:
            return Problem(name=names[index], text=str(error))
        return None

    with ThreadPoolExecutor(_THREADS) as threads:
        outcomes = list(threads.map(problem_of, range(len(names))))
    usable = [index for index, problem in enumerate(outcomes) if problem is None]
    return usable, [problem for problem in outcomes if problem is not None]


def finish_scan(where: str, usable: int, problems: Sequence[Problem]) -> None:
    """Ends a scan: an error when nothing can be used, otherwise one log line that names what was left out.

    Raises:
        FileError: `usable` is zero.
    """
    if usable == 0:
        found = f"none of its files can be used:\n{summarise(problems)}" if problems else "it holds no pictures"
        raise FileError(f"{where}: {found}\ngive a folder or .tar of pictures (JPEG, PNG, WebP ...) with captions")
    if problems:
        text = f"{where}: {usable} pictures can be used; {len(problems)} things cannot:\n{summarise(problems)}"
        logging.getLogger(__name__).warning(text)
