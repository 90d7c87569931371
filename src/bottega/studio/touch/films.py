"""Films that people give: read frame by frame, and each frame kept as an uploaded picture."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Final

from PIL import Image

from bottega.data import read_frames
from bottega.errors import FileError
from bottega.studio import limits
from bottega.studio.messages import Upload
from bottega.studio.uploads import Uploads
from bottega.studio.wording import public

KINDS: Final = (".gif", ".webp", ".png", ".apng", ".mp4", ".webm", ".mov", ".mkv", ".avi")
FRAME_SIDE: Final = 768
"""Longest side of a kept frame in pixels."""


def accept_film(uploads: Uploads, data: bytes, name: str) -> list[Upload]:
    """Reads a film and keeps its frames, at most `limits.FILM_FRAMES` of them.

    Args:
        uploads: Where to keep them.
        data: The bytes of the file.
        name: What the person calls it; its ending says what it is.

    Raises:
        FileError: It is no film, is damaged, or is a video file and PyAV is not installed.
    """
    suffix = os.path.splitext(name)[1].lower()
    if suffix not in KINDS:
        raise FileError(f"{name[-60:]} is not a film in a known format; give one of {', '.join(KINDS)}")
    with tempfile.TemporaryDirectory(prefix="bottega-film-") as folder:
        path = Path(folder) / f"film{suffix}"
        path.write_bytes(data)
        try:
            frames = read_frames(path, most=limits.FILM_FRAMES)
        except FileError as error:
            raise FileError(public(str(error), {str(path): name[-60:]})) from error
    kept = []
    for number, frame in enumerate(frames, 1):
        if frame.shape[0] * frame.shape[1] > limits.UPLOAD_PIXELS:
            raise FileError(f"{name[-60:]} is too large; make it smaller first")
        picture = Image.fromarray(frame)
        picture.thumbnail((FRAME_SIDE, FRAME_SIDE), Image.Resampling.LANCZOS)
        kept.append(uploads.keep(picture, f"{Path(name).stem[-40:]} {number:03d}"))
    return kept
