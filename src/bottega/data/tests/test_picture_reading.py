"""Reading a generated zoo of pictures: every orientation, mode and format, and files that are damaged or hostile."""

from __future__ import annotations

import io
import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from beartype import beartype
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import jaxtyped
from PIL import Image

import bottega.data
from bottega.errors import FileError, RequestError

read_picture = jaxtyped(typechecker=beartype)(bottega.data.read_picture)

# Pillow warns of what it makes the best of; here it is fed such files on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")

HEIGHT, WIDTH = 6, 10


def scene() -> np.ndarray:
    """No symmetry: every orientation of it is another picture."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([rows * 40, columns * 25, (rows * 7 + columns * 3) % 50 * 5], axis=2).astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


# What a camera stores when it is held so that the scene must be turned by `orientation` to stand upright.
STORED = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"}), ("WEBP", {"lossless": True})],
)
def test_orientation_is_undone(orientation, kind, options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(STORED[orientation](scene()).copy()), kind, exif=exif, **options)
    picture = read_picture(data)
    assert np.array_equal(picture, scene())


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["JPEG", "MPO"])
def test_orientation_of_a_photograph(orientation, kind):
    """JPEG is lossy, so a smooth scene: the corners tell the orientations apart."""
    rows, columns = np.mgrid[:48, :80]
    smooth = np.stack([rows * 5, columns * 3, 255 - rows * 5], axis=2).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(STORED[orientation](smooth).copy()), kind, exif=exif, quality=95, subsampling=0)
    assert np.abs(read_picture(data).astype(int) - smooth).max() <= 12


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_a_damaged_exif_block_does_not_cost_the_picture(exif):
    data = encoded(Image.fromarray(scene()), "PNG", exif=exif)
    assert np.array_equal(read_picture(data), scene())


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_means_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(read_picture(encoded(Image.fromarray(scene()), "PNG", exif=exif)), scene())


def over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return colour * share + 255 * (1 - share)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_composed_on_white(kind):
    alpha = np.linspace(0, 255, HEIGHT * WIDTH).astype(np.uint8).reshape(HEIGHT, WIDTH)
    image = Image.fromarray(np.dstack([scene(), alpha]))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    picture = read_picture(encoded(image, kind, **options))
    assert np.abs(picture - over_white(scene(), alpha)).max() <= 1


def test_grey_with_transparency():
    grey, alpha = scene()[..., 1], scene()[..., 0]
    image = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])
    picture = read_picture(encoded(image, "PNG"))
    assert np.abs(picture - over_white(np.dstack([grey] * 3), alpha)).max() <= 1


def test_palette_with_transparency():
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    opaque = encoded(image, "PNG")
    assert read_picture(opaque).tolist() == [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]
    several = encoded(image, "PNG", transparency=bytes([255, 0, 128]))
    assert read_picture(several).tolist() == [[[255, 0, 0], [255, 255, 255], [127, 127, 255]]]
    for kind in ("PNG", "GIF"):
        one = encoded(image, kind, transparency=1)
        assert read_picture(one).tolist() == [[[255, 0, 0], [255, 255, 255], [0, 0, 255]]]


@pytest.mark.parametrize(("mode", "key", "pixels"), [("RGB", (1, 2, 3), [(1, 2, 3), (9, 8, 7)]), ("L", 7, [7, 9])])
def test_a_transparent_colour_key_becomes_white(mode, key, pixels):
    image = Image.new(mode, (2, 1))
    image.putdata(pixels)
    picture = read_picture(encoded(image, "PNG", transparency=key))
    assert picture[0, 0].tolist() == [255, 255, 255]
    assert picture[0, 1].tolist() == (list(pixels[1]) if mode == "RGB" else [9, 9, 9])


def sixteen_bit() -> np.ndarray:
    return np.array([[0, 257, 1000], [32768, 65534, 65535]], dtype=np.uint16)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bit_grey_is_scaled_and_not_cut(kind):
    expected = np.rint(sixteen_bit() / 257).astype(np.uint8)
    picture = read_picture(encoded(Image.fromarray(sixteen_bit()), kind))
    assert np.array_equal(picture, np.dstack([expected] * 3))


def test_sixteen_bit_big_endian_and_colour_key():
    image = Image.frombytes("I;16B", (3, 2), sixteen_bit().astype(">u2").tobytes())
    picture = read_picture(image)
    assert picture[..., 0].tolist() == [[0, 1, 4], [128, 255, 255]]
    header = struct.pack(">IIBBBBB", 3, 2, 16, 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in sixteen_bit())
    data = png(header, (b"tRNS", struct.pack(">H", 1000)), (b"IDAT", zlib.compress(rows)))
    assert read_picture(data)[..., 2].tolist() == [[0, 1, 255], [128, 255, 255]]


def test_sixteen_bit_colour():
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    rows = b"\0" + np.array([0, 32768, 65535, 257, 514, 65278], dtype=">u2").tobytes()
    picture = read_picture(png(header, (b"IDAT", zlib.compress(rows))))
    assert picture.tolist() == [[[0, 128, 255], [1, 2, 254]]]


def png(header: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG from its chunks, so that headers can lie."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    parts = [(b"IHDR", header), *chunks, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, body) for kind, body in parts)


def test_floating_point_samples_in_the_unit_range():
    samples = np.array([[0, 0.5], [0.25, 1]], dtype=np.float32)
    picture = read_picture(encoded(Image.fromarray(samples), "TIFF"))
    assert picture[..., 0].tolist() == [[0, 128], [64, 255]]
    for wrong in (2.0, -0.1, np.nan):
        with pytest.raises(FileError, match=r"must lie in \[0, 1\]"):
            read_picture(encoded(Image.fromarray(samples * 0 + np.float32(wrong)), "TIFF"))


def test_cmyk_is_ink_on_white():
    image = Image.new("CMYK", (5, 1))
    image.putdata([(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255)])
    colours = [[255, 255, 255], [0, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 0]]
    assert read_picture(encoded(image, "TIFF")).tolist() == [colours]
    wide = image.resize((40, 8), Image.Resampling.NEAREST)
    photograph = read_picture(encoded(wide, "JPEG", quality=100, subsampling=0))  # stored inverted, as Adobe does
    assert np.abs(photograph[4, 4::8].astype(int) - colours).max() <= 4


def test_one_bit_and_tiny_pictures():
    image = Image.new("1", (2, 1))
    image.putdata([0, 255])
    for kind in ("PNG", "TIFF", "BMP", "PPM"):
        assert read_picture(encoded(image, kind)).tolist() == [[[0, 0, 0], [255, 255, 255]]]
    for kind in ("PNG", "WEBP", "GIF", "BMP", "TIFF"):
        assert read_picture(encoded(Image.new("RGB", (1, 1), "white"), kind)).tolist() == [[[255, 255, 255]]]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_gives_its_first_frame(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert np.array_equal(read_picture(data), np.broadcast_to(np.uint8([255, 0, 0]), (8, 8, 3)))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "TGA", "ICO", "PCX", "SGI", "QOI", "JPEG2000", "IM"])
def test_every_lossless_format_gives_the_same_pixels(kind):
    image = Image.fromarray(np.tile(scene(), (3, 2, 1))[:16, :16])
    options = {"sizes": [(16, 16)]} if kind == "ICO" else {}
    if kind == "QOI":
        pytest.importorskip("PIL.QoiImagePlugin")
    assert np.array_equal(read_picture(encoded(image, kind, **options)), np.asarray(image))


@pytest.mark.parametrize("mode", ["HSV", "YCbCr", "CMYK", "RGBX", "RGBa", "LA", "PA", "1", "F"])
def test_any_mode_of_a_pillow_image(mode):
    path = {"RGBa": "RGBA", "PA": "P", "LA": "L", "1": "L", "F": "L"}.get(mode, "RGB")
    image = Image.fromarray(scene()).convert(path).convert(mode)
    if mode == "F":
        image = Image.fromarray(np.asarray(image) / np.float32(255))
        expected = Image.fromarray(scene()).convert("L").convert("RGB")
    else:
        expected = image.convert("RGBA" if mode in {"RGBa", "PA"} else "RGB").convert("RGB")
    assert np.abs(read_picture(image).astype(int) - np.asarray(expected)).max() <= 1


def test_all_kinds_of_sources_agree(tmp_path):
    path = tmp_path / "ein Bild é😀.png"
    Image.fromarray(scene()).save(path)
    for source in (path, str(path), path.read_bytes(), Image.open(path), scene()):
        assert np.array_equal(read_picture(source), scene())


def test_arrays():
    grey = scene()[..., 0]
    assert np.array_equal(read_picture(grey), np.dstack([grey] * 3))
    assert np.array_equal(read_picture(grey[..., None]), np.dstack([grey] * 3))
    assert np.array_equal(read_picture(scene()[:, ::-1]), scene()[:, ::-1])
    assert np.array_equal(read_picture(scene() / 255), scene())
    assert np.array_equal(read_picture(scene().astype(np.uint16) * 257), scene())
    assert np.array_equal(read_picture(grey > 100)[..., 0], (grey > 100) * np.uint8(255))
    clear = np.dstack([scene(), np.zeros_like(grey)])
    assert (read_picture(clear) == 255).all()
    for wrong in (np.zeros(3), np.zeros((2, 2, 5)), np.zeros((0, 4, 3), np.uint8), np.zeros((2, 2), np.int64)):
        with pytest.raises(FileError, match="array of shape"):
            read_picture(wrong)
    with pytest.raises(RequestError, match="source is 'int'"):
        bottega.data.read_picture(3)


def test_the_picture_is_a_copy():
    array = scene()
    read_picture(array)[:] = 0
    assert np.array_equal(array, scene())
    assert read_picture(array).flags.writeable


def test_a_bomb_is_refused_by_its_header():
    """The header promises more than a terabyte; were a pixel decoded, the data would be found missing instead."""
    for size in (100_000, 9_000, 12_000):
        header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
        with pytest.raises(FileError, match=r"at most 64,000,000 pixels"):
            read_picture(png(header, (b"IDAT", b"")))
    small = encoded(Image.fromarray(scene()), "PNG")
    assert read_picture(small, max_pixels=HEIGHT * WIDTH).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(FileError, match="10 x 6 pixels, but at most 59"):
        read_picture(small, max_pixels=HEIGHT * WIDTH - 1)
    with pytest.raises(FileError, match="at most 59"):
        read_picture(scene(), max_pixels=59)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_a_truncated_file_is_named_and_refused(kind, tmp_path):
    noise = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
    whole = encoded(Image.fromarray(noise), kind)
    for share in (0.1, 0.5, 0.9):
        path = tmp_path / "cut.dat"
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(FileError) as caught:
            read_picture(path)
        assert "cut.dat" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("text.png", b"this is no picture", "not a picture in a known format"),
        ("empty.jpg", b"", "not a picture in a known format"),
        ("page.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "program"),
        ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture in a known format"),
    ],
)
def test_what_is_no_picture_is_refused(name, content, words, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FileError, match=words) as caught:
        read_picture(path)
    assert name in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(FileError, match="does not exist"):
        read_picture(tmp_path / "missing.png")
    with pytest.raises(FileError, match="is a folder"):
        read_picture(tmp_path)
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    with pytest.raises(FileError, match="not a regular file"):
        read_picture(pipe)
    for hopeless in ("x" * 5000, "nul\0l", ""):
        with pytest.raises(FileError):
            read_picture(hopeless)
    closed = Image.open(io.BytesIO(encoded(Image.fromarray(scene()), "PNG")))
    closed.close()
    with pytest.raises(FileError):
        read_picture(closed)


KINDS = [
    "PNG",
    "JPEG",
    "GIF",
    "WEBP",
    "TIFF",
    "BMP",
    "TGA",
    "ICO",
    "PPM",
    "PCX",
    "SGI",
    "JPEG2000",
    "QOI",
    "AVIF",
    "DDS",
]
WHOLE = {kind: encoded(Image.fromarray(np.tile(scene(), (3, 2, 1))), kind) for kind in KINDS}


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from(KINDS), st.data())
def test_damaged_bytes_give_a_picture_or_a_file_error(kind, data):
    """Whatever a file holds, nothing but `FileError` comes out: a server lives on that."""
    damaged = bytearray(WHOLE[kind])
    head = st.integers(0, min(200, len(damaged)) - 1) | st.integers(0, len(damaged) - 1)
    for place, value in data.draw(st.lists(st.tuples(head, st.integers(0, 255)), min_size=1, max_size=6)):
        damaged[place] = value
    cut = data.draw(st.none() | st.integers(0, len(damaged)))
    with suppress(FileError):
        assert min(read_picture(bytes(damaged[:cut]), max_pixels=100_000).shape) > 0


def test_files_are_closed_whatever_happens(tmp_path):
    """Pillow keeps animations open for their next frame."""
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        pytest.skip("this system has no /proc/self/fd to count open files in")
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    good, bad = tmp_path / "a.gif", tmp_path / "b.gif"
    frames[0].save(good, save_all=True, append_images=frames[1:])
    bad.write_bytes(good.read_bytes()[:30])
    before = len(list(folder.iterdir()))
    for _ in range(5):
        read_picture(good)
        with pytest.raises(FileError):
            read_picture(bad)
    assert len(list(folder.iterdir())) <= before
