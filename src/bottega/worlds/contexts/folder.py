"""A user's own pictures with masks as a source of contexts."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from bottega.errors import FileError
from bottega.worlds.contexts.context import Context
from bottega.worlds.dice import Dice
from bottega.worlds.settings import within

Color = tuple[int, int, int]
LEAST = 1 / 256
"""Share of a mask's pixels that a colour must be on."""
MOST_FILES_IN_MEMORY = 256
LARGEST_SIDE = 1024
"""Longer sides of pictures, in pixels, are shrunk to this."""
_MASK = ("_mask", "-mask", ".mask")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskFolder:
    """Pictures with masks in colours; a map-style data set of contexts of two pictures.

    A folder holds `cat.jpg` with `cat_mask.png` beside it, or `pictures/cat.jpg` with `masks/cat.png`. Black is
    nothing; the same colour in two masks means the same class, and one that a single mask has is learned from two
    crops of it.

    Args:
        files: Pairs of a picture and its mask.
        colors: For every colour the numbers of the pairs whose mask has it.
        size: Side of the contexts' pictures in pixels.
        seed: Any integer.
        length: What `len` says; `sample` takes any index.
    """

    files: tuple[tuple[Path, Path], ...]
    colors: tuple[tuple[Color, tuple[int, ...]], ...]
    size: int = 64
    seed: int = 0
    length: int = 1_000_000

    @classmethod
    def open(cls, folder: Path) -> MaskFolder:
        """Looks through a folder.

        Raises:
            FileError: It holds no picture with a mask, or all masks are black, or a mask does not fit its picture.
        """
        pairs = _pairs(folder)
        if not pairs:
            raise FileError(f"{folder} holds no picture with a mask; put cat_mask.png beside cat.jpg, colours on black")
        where: dict[Color, list[int]] = defaultdict(list)
        for number, (picture, mask) in enumerate(pairs):
            if read(picture).shape != read(mask).shape:
                raise FileError(f"{mask} must be as large as {picture}; export it again at the picture's size")
            for color in _colors(read(mask)):
                where[color].append(number)
        if not where:
            raise FileError(f"every mask in {folder} is black; paint what is meant in colours")
        return cls(files=tuple(pairs), colors=tuple((color, tuple(found)) for color, found in sorted(where.items())))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Context:
        return self.sample(within(index, self.length))

    def sample(self, index: int) -> Context:
        """The context at any index from 0."""
        dice = Dice(self.seed, index)
        while True:
            color, found = dice.pick(self.colors)
            same = len(found) == 1
            chosen = [found[0]] * 2 if same else dice.choose(found, 2)
            crops = [self._crop(number, dice) for number in chosen]
            seen = [{one for one, _ in self.colors if (mask == one).all(axis=-1).mean() > LEAST} for _, mask in crops]
            shared = sorted(seen[0] & seen[1])
            if color in shared:
                break
        labels = np.zeros((2, self.size, self.size), dtype=np.uint8)
        for label, one in enumerate(shared, 1):
            for place, (_, mask) in enumerate(crops):
                labels[place][(mask == one).all(axis=-1)] = label
        names = tuple("#" + "".join(f"{channel:02x}" for channel in one) for one in shared)
        return Context(pictures=np.stack([picture for picture, _ in crops]), labels=labels, names=names, same=same)

    def _crop(self, number: int, dice: Dice) -> tuple[np.ndarray, np.ndarray]:
        """A picture and its mask, cropped to a half to all of each side, mirrored or not."""
        share, across, down, mirrored = dice.between(0.5, 1.0), dice.unit(), dice.unit(), dice.below(2)
        made = []
        for file, how in zip(self.files[number], (Image.Resampling.BICUBIC, Image.Resampling.NEAREST), strict=True):
            image = Image.fromarray(read(file))
            left, top = across * (1 - share) * image.width, down * (1 - share) * image.height
            box = (left, top, left + share * image.width, top + share * image.height)
            cut = np.asarray(image.resize((self.size, self.size), how, box=box))
            made.append(cut[:, ::-1] if mirrored else cut)
        return made[0], made[1]


def read(file: Path) -> np.ndarray:
    """A picture, uint8 `(height, width, 3)`, read-only, shrunk where it is very large; as it is on disk now."""
    return _read(file, file.stat().st_mtime_ns if file.is_file() else 0)


@lru_cache(maxsize=MOST_FILES_IN_MEMORY)
def _read(file: Path, _changed_ns: int) -> np.ndarray:
    from bottega.data import read_picture  # noqa: PLC0415 - it imports torch, which worlds do without

    picture = read_picture(file)
    longer = max(picture.shape[:2])
    if longer > LARGEST_SIDE:
        sides = [max(1, round(side * LARGEST_SIDE / longer)) for side in picture.shape[1::-1]]
        picture = np.array(Image.fromarray(picture).resize((sides[0], sides[1]), Image.Resampling.NEAREST))
    picture.setflags(write=False)
    return picture


def _colors(mask: np.ndarray) -> list[Color]:
    found, counts = np.unique(mask.reshape(-1, 3), axis=0, return_counts=True)
    kept = found[(counts > LEAST * mask.shape[0] * mask.shape[1]) & (found.sum(axis=1) > 0)]
    return [(int(red), int(green), int(blue)) for red, green, blue in kept]


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    if not folder.is_dir():
        raise FileError(f"{folder} is not a folder; give one that holds pictures and masks")
    if (folder / "masks").is_dir():
        inside = folder / "pictures" if (folder / "pictures").is_dir() else folder / "images"
        masks = {file.stem: file for file in _files(folder / "masks")}
        return [(file, masks[file.stem]) for file in _files(inside) if file.stem in masks]
    files = {file.stem: file for file in _files(folder)}
    return [(file, files[stem + end]) for stem, file in files.items() for end in _MASK if stem + end in files]


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES) if folder.is_dir() else []
