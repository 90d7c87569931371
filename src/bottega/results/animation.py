"""Frames as the bytes of a film, with its recipe inside, and the recipe back: GIF by Pillow, WebM by PyAV."""

from __future__ import annotations

import importlib
import importlib.util
import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, UnidentifiedImageError

from bottega.errors import FileError, RequestError
from bottega.results.origin import Origin
from bottega.results.pictures import CHUNK

ANIMATION_SUFFIXES: Final = (".gif", ".webm")
REST_MILLISECONDS: Final = 2000
"""How long the last frame stays."""


def animation_bytes(
    frames: Sequence[np.ndarray], suffix: str, origin: Origin | None, *, milliseconds: int = 60
) -> bytes:
    """A film as a file's bytes; equal inputs give equal bytes. Its last frame stays for two seconds.

    Args:
        frames: uint8 `(height, width, 3)` each, at least one, all of one shape.
        suffix: ".gif" (256 colours, everywhere) or ".webm" (VP9; it needs the extra `video`).
        origin: The recipe to keep inside, as a comment.
        milliseconds: How long a frame is shown, 20 to 1000; browsers show a GIF no faster than that.

    Raises:
        RequestError: PyAV is not installed.
    """
    film = np.stack(frames)
    if film.dtype != np.uint8 or film.ndim != 4 or film.shape[3] != 3:
        raise ValueError(f"frames are {film.dtype} {film.shape}, not uint8 (n, h, w, 3)")
    if not 20 <= milliseconds <= REST_MILLISECONDS // 2:
        raise ValueError(f"milliseconds is {milliseconds}, but it must be between 20 and {REST_MILLISECONDS // 2}")
    comment = "" if origin is None else f"{CHUNK}:{origin.to_json()}"
    return (_gif if suffix == ".gif" else _webm)(film, milliseconds, comment)


def animation_origin(path: Path) -> str | None:
    """The recipe's JSON inside a film, or None when there is none.

    Raises:
        FileError: The file cannot be read as a film.
        RequestError: It is a video, and PyAV is not installed.
    """
    comment, mark = _gif_comment(path) if path.suffix.lower() == ".gif" else _webm_comment(path), f"{CHUNK}:"
    return comment.removeprefix(mark) if comment.startswith(mark) else None


def _gif(film: np.ndarray, milliseconds: int, comment: str) -> bytes:
    """One palette for all frames, so that nothing flickers that does not move."""
    sample = film[:: max(1, len(film) // 16)].reshape(-1, film.shape[2], 3)
    palette = Image.fromarray(sample).quantize(256, method=Image.Quantize.MEDIANCUT)
    pictures = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in film]
    buffer, times = io.BytesIO(), [milliseconds] * (len(film) - 1) + [REST_MILLISECONDS]
    pictures[0].save(
        buffer, "GIF", save_all=True, append_images=pictures[1:], duration=times, loop=0, optimize=False,
        disposal=1, comment=comment.encode(),
    )  # fmt: skip
    return buffer.getvalue()


def _gif_comment(path: Path) -> str:
    try:
        with Image.open(path, formats=("GIF",)) as image:
            comment = image.info.get("comment", b"")
            return comment.decode() if isinstance(comment, bytes) else str(comment)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise FileError(f"{path} cannot be read as a GIF ({error})") from error


def _av() -> Any:
    """PyAV, an extra."""
    if importlib.util.find_spec("av") is None:
        raise RequestError("WebM needs PyAV; pip install 'bottega[video]', or write a .gif")
    return importlib.import_module("av")


def _webm(film: np.ndarray, milliseconds: int, comment: str) -> bytes:
    """VP9 in WebM, nearly lossless; one thread and no time of day, so that equal frames give equal bytes."""
    av, buffer = _av(), io.BytesIO()
    even = np.pad(film, ((0, 0), (0, film.shape[1] % 2), (0, film.shape[2] % 2), (0, 0)), mode="edge")
    rest = np.repeat(even[-1:], REST_MILLISECONDS // milliseconds - 1, axis=0)
    with av.open(buffer, "w", format="webm", options={"fflags": "+bitexact"}) as container:
        if comment:
            container.metadata["comment"] = comment
        stream = container.add_stream("libvpx-vp9", rate=Fraction(1000, milliseconds))
        stream.height, stream.width, stream.pix_fmt = even.shape[1], even.shape[2], "yuv420p"
        stream.options = {"crf": "15", "b": "0", "threads": "1"}
        for frame in (*even, *rest):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def _webm_comment(path: Path) -> str:
    av = _av()
    try:
        with av.open(str(path)) as container:
            return next((value for name, value in container.metadata.items() if name.lower() == "comment"), "")
    except (av.FFmpegError, OSError) as error:
        raise FileError(f"{path} cannot be read as a video ({error})") from error
