"""A picture as the bytes of a file, with its recipe inside, and back."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from bottega.errors import FileError
from bottega.results.origin import Origin

CHUNK = "bottega"  # the keyword of PNG's iTXt chunk, and the prefix of EXIF's description
IMAGE_DESCRIPTION = 0x010E  # EXIF 2.32, table 4
EXIF_LIMIT_BYTES = 60_000  # a JPEG segment holds 65,533 bytes
PICTURE_SUFFIXES = (".png", ".webp", ".jpg", ".jpeg")


def picture_bytes(picture: np.ndarray, suffix: str, origin: Origin | None) -> bytes:
    """A picture as a file's bytes; equal inputs give equal bytes.

    Args:
        picture: uint8 `(height, width, 3)`, or `(height, width, 4)` with opacity, which JPEG lays over white.
        suffix: ".png" and ".webp" (both lossless), ".jpg" or ".jpeg" (quality 95).
        origin: The recipe to keep inside: an iTXt chunk in PNG, EXIF's ImageDescription in the others.
    """
    image, buffer = Image.fromarray(picture), io.BytesIO()
    if suffix == ".png":
        info = PngInfo()
        if origin is not None:
            info.add_itxt(CHUNK, origin.to_json())
        image.save(buffer, "PNG", pnginfo=info)
        return buffer.getvalue()
    exif = Image.Exif()
    if origin is not None:
        text = f"{CHUNK}:{origin.to_json()}"
        if len(text) > EXIF_LIMIT_BYTES:
            raise FileError(f"the recipe ({len(text)} bytes) does not fit into a {suffix} file; write a .png")
        exif[IMAGE_DESCRIPTION] = text
    if suffix == ".webp":
        image.save(buffer, "WEBP", lossless=True, exif=exif)
    else:
        opaque = image if image.mode == "RGB" else Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        opaque.convert("RGB").save(buffer, "JPEG", quality=95, exif=exif)
    return buffer.getvalue()


def picture_origin(path: Path) -> str | None:
    """The recipe's JSON inside a picture file, or None when there is none.

    Raises:
        FileError: The file is not a picture that can be read.
    """
    try:
        with Image.open(path) as image:
            if image.format == "PNG":
                image.load()  # text may follow the pixels
                text = getattr(image, "text", {}).get(CHUNK)
                return None if text is None else str(text)
            description = str(image.getexif().get(IMAGE_DESCRIPTION, ""))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise FileError(f"{path} cannot be read as a picture ({error})") from error
    return description.removeprefix(f"{CHUNK}:") if description.startswith(f"{CHUNK}:") else None


def decode_picture(data: bytes) -> np.ndarray:
    """The pixels of a file's bytes, uint8 `(height, width, 3)`."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))
