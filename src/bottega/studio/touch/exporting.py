"""What was kept, to take home: cut-outs, COCO's JSON, raw arrays, and films."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from bottega.errors import RequestError
from bottega.ops import RunLengths
from bottega.results import ANIMATION_SUFFIXES, animation_bytes, picture_bytes, slug
from bottega.studio.touch.messages import Kept, Picture, Refined

TINTS: Final = ((214, 69, 45), (47, 125, 168), (66, 140, 83), (196, 143, 26), (133, 84, 158), (26, 143, 133))
"""Colours of things, in order, as the page shows them."""
FRAME_MILLISECONDS: Final = 120
ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)

Logits = Callable[[Picture, Refined], np.ndarray | None]


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """One picture with the things that were kept in it.

    Args:
        name: What the person calls the picture.
        given: The picture as the page named it.
        pixels: uint8 `(height, width, 3)`.
        objects: The things.
    """

    name: str
    given: Picture
    pixels: np.ndarray
    objects: list[Kept]

    def masks(self) -> np.ndarray:
        """Bool `(objects, height, width)`.

        Raises:
            RequestError: A mask is not of the picture's size.
        """
        height, width = self.pixels.shape[:2]
        masks = [RunLengths.parse(kept.counts, height, width).mask() for kept in self.objects]
        return np.stack(masks) if masks else np.zeros((0, height, width), dtype=bool)

    @property
    def stem(self) -> str:
        """The picture's name as part of a file name."""
        return slug(self.name.rsplit(".", 1)[0])


@dataclass(frozen=True, slots=True)
class Taken:
    """A file to download."""

    name: str
    kind: str
    data: bytes


def cut_out(page: Page, *, trim: bool) -> bytes:
    """The things of a picture, with nothing around them, as a PNG with opacity."""
    opaque: np.ndarray = np.logical_or.reduce(page.masks(), axis=0)
    picture = np.concatenate((page.pixels, opaque[..., None].astype(np.uint8) * 255), axis=2)
    picture[~opaque] = 0
    rows, columns = np.flatnonzero(opaque.any(axis=1)), np.flatnonzero(opaque.any(axis=0))
    if trim and len(rows):
        picture = picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return picture_bytes(np.ascontiguousarray(picture), ".png", None)


def cut_outs(pages: list[Page], *, trim: bool) -> Taken:
    """Cut-outs: a PNG, or of several pictures a zip of them."""
    if len(pages) == 1:
        return Taken(f"{pages[0].stem}-cut-out.png", "image/png", cut_out(pages[0], trim=trim))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for number, page in enumerate(pages, 1):
            info = zipfile.ZipInfo(f"{number:02d}-{page.stem}.png", ZIP_TIME)
            archive.writestr(info, cut_out(page, trim=trim))
    return Taken("cut-outs.zip", "application/zip", buffer.getvalue())


def coco(pages: list[Page]) -> Taken:
    """Everything as COCO's JSON: a category for each name, masks as compressed run lengths."""
    names = list(dict.fromkeys(kept.name for page in pages for kept in page.objects))
    images, rows = [], []
    for number, page in enumerate(pages, 1):
        height, width = page.pixels.shape[:2]
        images.append({"id": number, "file_name": page.name, "height": height, "width": width})
        for kept, mask in zip(page.objects, page.masks(), strict=True):
            rows.append(_annotation(kept, mask) | {"image_id": number, "category_id": names.index(kept.name) + 1})
    record = {
        "images": images,
        "annotations": [{"id": number, **row} for number, row in enumerate(rows, 1)],
        "categories": [{"id": number, "name": name} for number, name in enumerate(names, 1)],
    }
    return Taken("masks-coco.json", "application/json", (json.dumps(record, ensure_ascii=False) + "\n").encode())


def _annotation(kept: Kept, mask: np.ndarray) -> dict[str, object]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = [int(columns[0]), int(rows[0]), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1] if mask.any() else [0] * 4
    size = [int(side) for side in mask.shape]
    return {
        "segmentation": {"size": size, "counts": kept.counts}, "area": int(mask.sum()), "bbox": box, "iscrowd": 0,
        "score": round(kept.score, 6),
    }  # fmt: skip


def arrays(pages: list[Page], logits: Logits) -> Taken:
    """`masks`, `scores`, `names` and `low_res_logits`; of several pictures `masks_0`, `masks_1`, ...

    Logits of an answer that is no longer remembered are NaN; where none is, the array is left out.
    """
    made: dict[str, np.ndarray] = {}
    for number, page in enumerate(pages):
        end = f"_{number}" if len(pages) > 1 else ""
        made[f"masks{end}"] = page.masks()
        made[f"scores{end}"] = np.array([kept.score for kept in page.objects], dtype=np.float32)
        made[f"names{end}"] = np.array([kept.name for kept in page.objects], dtype=np.str_)
        raw = [None if kept.source is None else logits(page.given, kept.source) for kept in page.objects]
        known = next((each for each in raw if each is not None), None)
        if known is not None:
            unknown = np.full_like(known, np.nan)
            made[f"low_res_logits{end}"] = np.stack([unknown if each is None else each for each in raw])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **made)
    return Taken("masks.npz", "application/octet-stream", buffer.getvalue())


def film(pages: list[Page], suffix: str) -> Taken:
    """The pictures in order as a film, with their things in colours.

    Raises:
        RequestError: The pictures are not of one size, or a video cannot be written here.
    """
    if len({page.pixels.shape for page in pages}) > 1:
        raise RequestError("a film needs pictures of one size; take PNG, COCO or npz")
    data = animation_bytes([_tinted(page) for page in pages], suffix, None, milliseconds=FRAME_MILLISECONDS)
    return film_file("film", suffix, data)


def film_file(stem: str, suffix: str, data: bytes) -> Taken:
    """The bytes of a film to download."""
    if suffix not in ANIMATION_SUFFIXES:
        raise RequestError.of("form", suffix, f"one of {', '.join(ANIMATION_SUFFIXES)}")
    return Taken(f"{stem}{suffix}", "image/gif" if suffix == ".gif" else "video/webm", data)


def _tinted(page: Page) -> np.ndarray:
    out = page.pixels.astype(np.float32)
    for number, mask in enumerate(page.masks()):
        out[mask] = out[mask] * 0.5 + np.array(TINTS[number % len(TINTS)], np.float32) * 0.5
    return np.rint(out).astype(np.uint8)
