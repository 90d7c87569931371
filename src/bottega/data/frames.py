"""Reading the frames of a film: a folder of pictures, an animation, or a video file."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageSequence, UnidentifiedImageError

from bottega.data.pictures import DAMAGE, read_picture
from bottega.errors import FileError

ANIMATIONS: Final = (".gif", ".webp", ".png", ".apng", ".tif", ".tiff")
PICTURES: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")


def read_frames(place: str | Path, *, most: int = 10_000) -> list[UInt8[np.ndarray, "h w 3"]]:
    """The frames of a film in order.

    A folder's pictures are its frames, by name; numbers in names count as numbers, so that 10 comes after 9. GIF, WebP
    and APNG are read by Pillow, everything else by PyAV where it is installed.

    Args:
        place: A folder, an animation or a video file.
        most: Frames at most; the rest is left unread.

    Returns:
        uint8 `(height, width, 3)` each.

    Raises:
        FileError: Nothing there can be read, or a video needs PyAV and it is not installed.
    """
    path = Path(place)
    if path.is_dir():
        files = sorted((file for file in path.iterdir() if file.suffix.lower() in PICTURES), key=_natural)
        if not files:
            raise FileError(f"{path} holds no pictures; a folder of frames has files such as 0001.png")
        return [read_picture(file) for file in files[:most]]
    if not path.is_file():
        raise FileError(f"{path} does not exist; give a folder of frames, an animation or a video file")
    frames = _animation(path, most) if path.suffix.lower() in ANIMATIONS else _video(path, most)
    if not frames:
        raise FileError(f"{path} holds no frames; give another file")
    return frames


def _natural(file: Path) -> list[tuple[int, int, str]]:
    """A key by which "9" comes before "10"."""
    parts, digits = [""], False
    for letter in file.name.lower():
        if letter.isascii() and letter.isdigit() != digits:
            digits = not digits
            parts.append("")
        parts[-1] += letter
    return [(1, int(part), "") if part.isascii() and part.isdigit() else (0, 0, part) for part in parts]


def _animation(path: Path, most: int) -> list[np.ndarray]:
    try:
        with Image.open(path) as image:
            return [read_picture(frame.copy()) for _, frame in zip(range(most), ImageSequence.Iterator(image))]  # noqa: B905
    except (UnidentifiedImageError, *DAMAGE) as error:
        raise FileError(f"{path} cannot be read as an animation ({error}); convert it to a folder of PNG") from error


def _video(path: Path, most: int) -> list[np.ndarray]:
    if importlib.util.find_spec("av") is None:
        raise FileError(f"{path} needs PyAV to be read; pip install 'bottega[video]', or give a folder of frames")
    return list(_decoded(path, most))


def _decoded(path: Path, most: int) -> Iterator[np.ndarray]:
    av = importlib.import_module("av")  # an extra

    try:
        with av.open(str(path)) as container:
            for _, frame in zip(range(most), container.decode(video=0)):  # noqa: B905
                yield frame.to_ndarray(format="rgb24")
    except (av.FFmpegError, IndexError) as error:
        raise FileError(f"{path} cannot be decoded ({error}); convert it to MP4 or to a folder of frames") from error
