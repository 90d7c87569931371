"""Pictures that people give: checked by bytes, format and pixels before decoding, and kept as clean copies."""

from __future__ import annotations

import io
import re
import secrets
from collections import OrderedDict
from pathlib import Path

from PIL import Image

from bottega.data import read_picture
from bottega.errors import FileError
from bottega.studio import limits
from bottega.studio.messages import Upload


class Uploads:
    """The folder of uploaded pictures. It holds at most `limits.KEPT_UPLOADS`; none outlives the studio that took it.

    Args:
        folder: Where the copies lie; emptied when the studio starts.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: OrderedDict[str, Upload] = OrderedDict()
        folder.mkdir(parents=True, exist_ok=True)
        for left_over in folder.glob("*.png"):
            left_over.unlink()

    def accept(self, data: bytes, name: str) -> Upload:
        """Checks and keeps a picture. What is kept is a new PNG of the pixels, without anything else the file held.

        Args:
            data: The bytes of the file.
            name: What the person calls it.

        Raises:
            FileError: Not a picture of a common format, damaged, or too large.
        """
        name = _clean(name)
        _check_header(data, name)
        try:
            picture = Image.fromarray(read_picture(data, max_pixels=limits.UPLOAD_PIXELS))
        except FileError as error:
            raise FileError(str(error).replace(f"the picture of {len(data)} bytes", name)) from error
        picture.thumbnail((limits.KEPT_SIDE, limits.KEPT_SIDE), Image.Resampling.LANCZOS)
        return self.keep(picture, name)

    def keep(self, picture: Image.Image, name: str) -> Upload:
        """Keeps a picture that is sound already."""
        upload = Upload(id=secrets.token_hex(8), name=name, width=picture.width, height=picture.height)
        picture.save(self._path(upload.id), "PNG", compress_level=3)
        self._kept[upload.id] = upload
        while len(self._kept) > limits.KEPT_UPLOADS:
            oldest, _ = self._kept.popitem(last=False)
            self._path(oldest).unlink(missing_ok=True)
        return upload

    def find(self, upload_id: str) -> tuple[Upload, Path] | None:
        """An upload and the file of its copy, or None when there is no such upload (any more)."""
        upload = self._kept.get(upload_id)
        return None if upload is None else (upload, self._path(upload.id))

    def _path(self, upload_id: str) -> Path:
        return self._folder / f"{upload_id}.png"


def _clean(name: str) -> str:
    """A file name as a label: its last part, one line, at most 80 characters."""
    last = re.split(r"[\\/]", name)[-1]
    return " ".join("".join(letter for letter in last if letter.isprintable()).split())[:80] or "picture"


def _check_header(data: bytes, name: str) -> None:
    """Reads the header with the common formats' parsers only, and refuses too many pixels before any is decoded."""
    if not data:
        raise FileError(f"{name} is empty; choose a picture")
    try:
        with Image.open(io.BytesIO(data), formats=limits.UPLOAD_FORMATS) as image:
            width, height = image.size
    except Image.UnidentifiedImageError as error:
        known = ", ".join(limits.UPLOAD_FORMATS)
        raise FileError(f"{name} is not a picture in a known format; give one of {known}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise FileError(_too_many(name, "too many")) from error
    except (OSError, SyntaxError, ValueError, EOFError, TypeError, KeyError, IndexError, ArithmeticError) as error:
        raise FileError(f"{name} is damaged; get the file again") from error
    if width * height > limits.UPLOAD_PIXELS:
        raise FileError(_too_many(name, f"{width} x {height}"))


def _too_many(name: str, size: str) -> str:
    return f"{name} has {size} pixels, but at most {limits.UPLOAD_PIXELS:,} are taken; make it smaller first"
