"""Reading a person's picture, whatever it is, as uint8 RGB; fitting it to the square that a model wants."""

from __future__ import annotations

import struct
import zlib
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import ExifTags, Image
from torch import Tensor

from bottega.errors import FileError, RequestError

PictureSource = str | Path | bytes | Image.Image | np.ndarray

MAX_PIXELS: Final = 64_000_000
WHITE: Final = (255, 255, 255)

# What Pillow's decoders let through on damaged bytes, as a fuzzing test found: they parse with struct and indexing.
DAMAGE: Final = (
    OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error,
    TypeError, KeyError, IndexError, AttributeError, AssertionError, ArithmeticError, RuntimeError, MemoryError,
)  # fmt: skip
_BOMB: Final = (Image.DecompressionBombError, Image.DecompressionBombWarning)

# EXIF orientation to the operation that puts the picture upright (Exif 2.32, tag 0x0112).
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_picture(source: PictureSource, *, max_pixels: int = MAX_PIXELS) -> UInt8[np.ndarray, "h w 3"]:
    """Reads a picture in any format and mode that Pillow knows, as a person would see it.

    EXIF orientation is applied, transparency is composed on white, 16-bit samples are scaled (not cut), palettes,
    greyscale and CMYK become RGB, and an animation gives its first frame. The number of pixels is checked in the
    header, before anything is decoded. Colour profiles are not applied: samples are taken as sRGB.

    Args:
        source: A path, the bytes of a file, a Pillow image, or an array `(h, w)`, `(h, w, 1)`, `(h, w, 3)` or
            `(h, w, 4)` of bool, uint8, uint16, or floats in [0, 1].
        max_pixels: The largest width x height that is accepted.

    Returns:
        A new uint8 array `(height, width, 3)`.

    Raises:
        FileError: The file is missing, not a picture, damaged or truncated, or has more than `max_pixels` pixels.
    """
    name = _name(source)
    with ExitStack() as opened:
        image = _open(source, name, opened, max_pixels)
        width, height = image.size
        if width * height > max_pixels:
            raise _too_large(name, f"{width} x {height} pixels", max_pixels)
        if image.format == "EPS":
            raise FileError(f"{name} is PostScript, which is a program and is not run; export it as PNG first")
        try:
            image.load()
            return np.array(_flatten(_upright(image)))
        except _BOMB as error:
            raise _too_large(name, "too many pixels", max_pixels) from error
        except DAMAGE as error:
            raise FileError(f"{name} is damaged or cut short ({_reason(error)}); get the file again") from error


def _open(source: PictureSource, name: str, opened: ExitStack, max_pixels: int) -> Image.Image:
    """Opens the source up to its header: no pixels are decoded yet."""
    if isinstance(source, Image.Image):
        return source
    if isinstance(source, np.ndarray):
        return _image_of_array(source, name)
    try:
        file = BytesIO(source) if isinstance(source, bytes) else _regular_file(Path(source), name)
        return opened.enter_context(Image.open(file))
    except _BOMB as error:
        raise _too_large(name, "too many pixels", max_pixels) from error
    except Image.UnidentifiedImageError as error:
        raise FileError(f"{name} is not a picture in a known format; convert it to PNG or JPEG") from error
    except DAMAGE as error:
        raise FileError(f"{name} cannot be opened ({_reason(error)}); check the file and its permissions") from error


def _regular_file(path: Path, name: str) -> Path:
    """The path of an existing regular file: a folder, a pipe or a device is refused before it is opened."""
    if path.is_dir():
        raise FileError(f"{name} is a folder; give one picture file")
    if not path.is_file():
        raise FileError(f"{name} does not exist or is not a regular file; check the path")
    return path


def _image_of_array(array: np.ndarray, name: str) -> Image.Image:
    """An array of samples as a Pillow image."""
    shape_fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    if not shape_fits or 0 in array.shape:
        raise FileError(f"{name} must have the shape (h, w), (h, w, 1), (h, w, 3) or (h, w, 4) with h, w >= 1")
    if array.dtype == bool:
        samples = array.astype(np.uint8) * np.uint8(255)
    elif array.dtype == np.uint8:
        samples = array
    elif array.dtype == np.uint16:
        samples = _eight_bits(array / 65535, name)
    elif array.dtype.kind == "f":
        samples = _eight_bits(array, name)
    else:
        raise FileError(f"{name} has the type {array.dtype}; give bool, uint8, uint16, or floats in [0, 1]")
    return Image.fromarray(np.ascontiguousarray(samples.squeeze(2) if samples.shape[2:] == (1,) else samples))


def _upright(image: Image.Image) -> Image.Image:
    """Applies the EXIF orientation. A damaged EXIF block says nothing about orientation and costs nothing else."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except DAMAGE:
        orientation = 1
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _flatten(image: Image.Image) -> Image.Image:
    """Any mode as RGB, transparency composed on white."""
    if image.mode.startswith("I") or image.mode == "F":
        return _flatten_deep(image)
    if image.has_transparency_data:
        pixels = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", pixels.size, (*WHITE, 255)), pixels).convert("RGB")
    return image.convert("RGB")


def _flatten_deep(image: Image.Image) -> Image.Image:
    """A greyscale picture of 16-bit or floating-point samples as RGB. Pillow's own conversion would clip at 255."""
    samples = np.asarray(image)
    intensity = samples.astype(np.float64) / (1 if image.mode == "F" else 65535)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        intensity = np.where(samples == transparent, 1.0, intensity)
    return Image.fromarray(_eight_bits(intensity, "its samples")).convert("RGB")


def _eight_bits(intensity: np.ndarray, name: str) -> np.ndarray:
    """Intensities in [0, 1] as uint8. Other ranges are refused: their white point would be a guess."""
    low, high = intensity.min(), intensity.max()
    if not (low >= 0 and high <= 1):  # also false for NaN
        raise FileError(f"{name} range over [{low:g}, {high:g}] of full scale, but must lie in [0, 1]; rescale them")
    return np.rint(intensity * 255).astype(np.uint8)


def _name(source: PictureSource) -> str:
    if isinstance(source, str | Path):
        return str(source)
    if isinstance(source, np.ndarray):
        return f"the array of shape {source.shape}"
    if isinstance(source, Image.Image):
        return f"the Pillow image {getattr(source, 'filename', '')}".rstrip()
    if isinstance(source, bytes):
        return f"the picture of {len(source)} bytes"
    raise RequestError.of("source", type(source).__name__, "a path, bytes, a Pillow image or an array")


def _reason(error: BaseException) -> str:
    """The decoder's own words, on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _too_large(name: str, size: str, max_pixels: int) -> FileError:
    return FileError(f"{name} has {size}, but at most {max_pixels:,} pixels are read; make it smaller first")


@dataclass(frozen=True, kw_only=True, slots=True)
class Crop:
    """Fill the square: scale the short side to it and cut the long side at both ends."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pad:
    """Show everything: scale the long side to the square and fill the rest.

    Args:
        colour: Red, green and blue of the filling, 0 to 255.
    """

    colour: tuple[int, int, int] = WHITE


CROP: Final = Crop()


def fit_picture(
    picture: UInt8[np.ndarray, "h w 3"], size: int, *, how: Crop | Pad = CROP
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Resizes a picture to a square with an antialiased bicubic filter.

    Args:
        picture: uint8 `(h, w, 3)`.
        size: Side of the square in pixels, at least 1.
        how: `Crop()` or `Pad(colour=...)`.

    Returns:
        uint8 `(size, size, 3)`.

    Raises:
        RequestError: `size` is not positive.
    """
    if size < 1:
        raise RequestError.of("size", size, "at least 1 pixel")
    height, width = picture.shape[:2]
    image = Image.fromarray(np.ascontiguousarray(picture))
    if isinstance(how, Crop):
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return np.array(image.resize((size, size), Image.Resampling.BICUBIC, (left, top, left + side, top + side)))
    scale = size / max(width, height)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = Image.new("RGB", (size, size), how.colour)
    canvas.paste(image.resize(inner, Image.Resampling.BICUBIC), ((size - inner[0]) // 2, (size - inner[1]) // 2))
    return np.array(canvas)


def picture_to_tensor(picture: UInt8[np.ndarray, "h w 3"]) -> Float[Tensor, "3 h w"]:
    """A uint8 picture `(h, w, 3)` as a float32 tensor `(3, h, w)` in [-1, 1]."""
    return torch.from_numpy(np.array(picture, dtype=np.float32)).permute(2, 0, 1).contiguous() / 127.5 - 1


def tensor_to_picture(tensor: Float[Tensor, "3 h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """A float tensor `(3, h, w)` in [-1, 1] as a uint8 picture `(h, w, 3)`; values outside are clamped.

    Raises:
        ValueError: The tensor holds NaN, which has no colour.
    """
    if tensor.isnan().any():
        raise ValueError("tensor_to_picture was given NaN: the network that made it has diverged")
    levels = (tensor.detach().float().cpu().clamp(-1, 1) + 1) * 127.5
    return levels.round().byte().permute(1, 2, 0).contiguous().numpy()


def pictures_to_tensor(pictures: UInt8[np.ndarray, "n h w 3"]) -> Float[Tensor, "n 3 h w"]:
    """uint8 pictures `(n, h, w, 3)` as a float32 tensor `(n, 3, h, w)` in [-1, 1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def tensor_to_pictures(tensor: Float[Tensor, "n 3 h w"]) -> UInt8[np.ndarray, "n h w 3"]:
    """A float tensor `(n, 3, h, w)` in [-1, 1] as uint8 pictures `(n, h, w, 3)`; values outside are clamped."""
    levels = (tensor.detach().float().clamp(-1, 1) + 1) * 127.5
    return levels.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
