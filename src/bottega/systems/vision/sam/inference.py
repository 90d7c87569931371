"""Running Segment Anything: pictures and prompts to masks. The only code that users run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bottega.data import read_picture
from bottega.errors import RequestError
from bottega.ops import boxes_of_masks, coco_segmentation
from bottega.processes.segmentation import (
    INSIDE,
    OUTSIDE,
    AutomaticSettings,
    Embedding,
    Frame,
    Prompts,
    Segments,
    find_masks,
    rough_mask,
)
from bottega.results import Origin, save
from bottega.room import PictureFile, Progress, Report
from bottega.systems.vision.sam.config import SamConfig
from bottega.systems.vision.sam.model import Sam, answers
from bottega.worlds import EmojiWorld

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Of ImageNet's pixels, as the published encoders were trained."""
TINTS = (
    (231, 76, 60), (52, 152, 219), (46, 204, 113), (241, 196, 15), (155, 89, 182), (26, 188, 156), (230, 126, 34),
    (236, 64, 122), (121, 134, 203), (139, 195, 74),
)  # fmt: skip


class Show(Enum):
    """How a mask is shown."""

    OVERLAY = "overlay"
    CUTOUT = "cutout"
    MASK = "mask"


@dataclass(frozen=True, kw_only=True, slots=True)
class SamRequest:
    """What to segment."""

    inputs: tuple[PictureFile, ...] = ()
    """Files of pictures; none for a scene of emoji. Without any prompt, every mask of the picture is found."""
    points: str = ""
    """Clicks as "x,y x,y" in pixels; a semicolon begins the clicks of the next thing: "250,187; 40,60 52,61"."""
    labels: str = ""
    """For each click 1 (on the thing) or 0 (not on it), "1 0"; semicolons as in points. Left out: all 1."""
    box: str = ""
    """Boxes as "left,top,right,bottom" in pixels; a semicolon begins the next thing's."""
    mask: PictureFile | None = None
    """A rough mask: white on the thing, black elsewhere, of the picture's shape."""
    text: str = ""
    """What to look for, in words; a semicolon begins the next thing's. Only for sizes that read words."""
    automatic: bool = False
    """Whether to find every mask of the picture instead."""
    multimask: bool | None = None
    """Three answers for each prompt, or one. Left out: three for a single click, otherwise one."""
    show: Show = Show.OVERLAY
    """How to show a mask: over the picture, cut out of it, or white on black."""
    grid: int = 16
    """Automatic: clicks along a side, 1 to 128; 32 were published for 1024 pixels."""
    min_score: float = 0.88
    """Automatic: least confidence of a mask, 0 to 1."""
    min_stability: float = 0.95
    """Automatic: least overlap of a mask with itself at a higher and a lower threshold, 0 to 1."""
    crops: int = 0
    """Automatic: layers of crops that are looked at, too, 0 to 4."""
    min_region: int = 0
    """Automatic: holes and islands of fewer pixels are removed."""
    seed: int = 0
    """Picks the scene where no picture is given, 0 to 2**31 - 1."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**31:
            raise RequestError.of("seed", self.seed, "between 0 and 2**31 - 1")
        if self.automatic and (self.points or self.box or self.mask or self.text):
            raise RequestError("automatic finds every mask and takes no points, box, mask or text; leave them out")
        if self.labels and not self.points:
            raise RequestError("labels need points; give the points that they belong to")
        if self.multimask is not None and self.finds_all:
            raise RequestError("multimask needs a prompt: points, a box, a mask or text")
        automatic_settings(self)
        counts = {len(part) for part in (self.clicks(), self.boxes(), _parts(self.text)) if part}
        if len(counts) > 1 or (self.mask and counts - {1}):
            raise RequestError("points, boxes and texts must be of equally many things; separate things by semicolons")

    @property
    def finds_all(self) -> bool:
        """Whether every mask is wanted."""
        return self.automatic or not (self.points or self.box or self.mask or self.text)

    def clicks(self) -> list[list[tuple[float, float, int]]]:
        """Of each thing its clicks as column, row and label."""
        things = [[_numbers("points", text, 2) for text in part.split()] for part in _parts(self.points)]
        labels = [part.replace(",", " ").split() for part in _parts(self.labels)] or [["1"] * len(t) for t in things]
        if [len(thing) for thing in things] != [len(given) for given in labels]:
            raise RequestError.of("labels", self.labels, "one for each of the points, in the same groups")
        if any(label not in ("0", "1") for given in labels for label in given):
            raise RequestError.of("labels", self.labels, "1 or 0 for each of the points")
        named = {"1": INSIDE, "0": OUTSIDE}
        return [
            [(x, y, named[label]) for (x, y), label in zip(thing, given, strict=True)]
            for thing, given in zip(things, labels, strict=True)
        ]

    def boxes(self) -> list[tuple[float, ...]]:
        """Of each thing its box."""
        boxes = [_numbers("box", part.replace(" ", ""), 4) for part in _parts(self.box)]
        for left, top, right, bottom in boxes:
            if right <= left or bottom <= top:
                raise RequestError.of("box", self.box, "left,top,right,bottom with right > left and bottom > top")
        return boxes


def automatic_settings(request: SamRequest) -> AutomaticSettings:
    """What counts as a mask where every mask is wanted."""
    return AutomaticSettings(
        points=request.grid, min_score=request.min_score, min_stability=request.min_stability,
        crop_layers=request.crops, crop_points=2 if request.crops else 1, min_region=request.min_region,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PictureMasks:
    """What was found in one picture.

    Args:
        picture: uint8 `(height, width, 3)`.
        masks: bool `(found, height, width)`.
        scores: float32 `(found,)`: how well each is expected to fit.
        low_res_logits: float32 `(found, s, s)`.
        prompts: int64 `(found,)`: which prompt each answers.
        annotations: COCO records, one a mask.
    """

    picture: np.ndarray
    masks: np.ndarray
    scores: np.ndarray
    low_res_logits: np.ndarray
    prompts: np.ndarray
    annotations: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SamResult:
    """Masks of pictures.

    Args:
        found: One for each picture.
        show: How `items` shows masks.
        seed: The request's.
        settings: What else made them, for people to read.
        origin: The recipe; filled in by a loaded system.
    """

    found: tuple[PictureMasks, ...]
    show: Show
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin | None = None

    def items(self) -> list[np.ndarray]:
        """One picture a mask, uint8 `(height, width, 3)`; cut-outs have an opacity, too. Of every mask: one for all."""
        shown = []
        for found in self.found:
            if self.settings["automatic"]:
                shown.append(overlay(found.picture, found.masks))
            else:
                shown += [_shown(found.picture, mask, self.show) for mask in found.masks]
        return shown

    def texts(self) -> tuple[str, ...]:
        """What each item is."""
        if self.settings["automatic"]:
            return tuple(f"{len(found.masks)} masks" for found in self.found)
        return tuple(f"score {score:.2f}" for found in self.found for score in found.scores)

    def arrays(self) -> Mapping[str, np.ndarray]:
        """`masks`, `scores`, `low_res_logits` and `prompts`; of several pictures `masks_0`, `masks_1`, ..."""
        names = ("masks", "scores", "low_res_logits", "prompts")
        several = len(self.found) > 1
        return {
            f"{name}_{i}" if several else name: getattr(found, name)
            for i, found in enumerate(self.found)
            for name in names
        }

    def record(self) -> Mapping[str, Any]:
        """The masks as COCO's JSON has them."""
        images = [
            {"id": i, "height": found.picture.shape[0], "width": found.picture.shape[1]}
            for i, found in enumerate(self.found)
        ]
        rows = [(i, row) for i, found in enumerate(self.found) for row in found.annotations]
        annotations = [{"id": n, "image_id": i, "category_id": 1, **row} for n, (i, row) in enumerate(rows, 1)]
        return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}

    def save(self, path: str | Path) -> list[Path]:
        """Writes the result; the path's extension picks the form. See `bottega.results.save`."""
        return save(self, path)


class SamSegmenter:
    """A loaded model as rooms, the studio and the mask generator see it.

    Args:
        model: The model.
    """

    def __init__(self, model: Sam) -> None:
        self.model = model
        with torch.inference_mode():
            self._grid = model.prompt_encoder.grid()

    @property
    def low_res_side(self) -> int:
        """Side of the low-resolution logits that `Prompts.masks` takes."""
        return self.model.config.low_res_side

    @torch.inference_mode()
    def encode(self, picture: np.ndarray) -> Embedding:
        """A picture, uint8 `(height, width, 3)`, to what `prompt` takes."""
        like = self.model.mask_decoder.score_token
        square, frame = prepare(picture, self.model.config)
        return Embedding(self.model.encode(square[None].to(like))[0], frame)

    @torch.inference_mode()
    def prompt(self, embedding: Embedding, prompts: Prompts, *, multimask: bool = True) -> Segments:
        """The answers to prompts about one picture, in its own pixels."""
        like = self.model.mask_decoder.score_token
        logits, scores = self.model.decode(
            embedding.features[None], in_square(prompts, embedding.frame, like), self._grid
        )
        logits, scores = answers(logits, scores, multimask=multimask)
        return Segments(low_res_logits=logits[0], scores=scores[0], frame=embedding.frame)

    def read(self, texts: tuple[str, ...]) -> Tensor:
        """Texts as `Prompts.words`.

        Raises:
            RequestError: This size reads no words.
        """
        return self.model.reader.texts(texts)


def prepare(picture: np.ndarray, config: SamConfig) -> tuple[Tensor, Frame]:
    """A picture, uint8 `(height, width, 3)`, as the encoder's normalised square `(3, size, size)`, and its frame."""
    frame = Frame(picture.shape[0], picture.shape[1], config.size)
    rows, columns = frame.inner
    small = np.asarray(Image.fromarray(picture).resize((columns, rows), Image.Resampling.BILINEAR), dtype=np.float32)
    square = np.zeros((3, config.size, config.size), dtype=np.float32)
    normalised = (small - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    square[:, :rows, :columns] = normalised.transpose(2, 0, 1)
    return torch.from_numpy(square), frame


def in_square(prompts: Prompts, frame: Frame, like: Tensor) -> Prompts:
    """Prompts about one picture as the model takes them: in pixels of the square, with a batch of one."""
    points, boxes, masks, words = prompts.points, prompts.boxes, prompts.masks, prompts.words
    return Prompts(
        points=None if points is None else frame.to_square(points.to(like.device, torch.float32))[None],
        labels=None if prompts.labels is None else prompts.labels.to(like.device)[None],
        boxes=None
        if boxes is None
        else frame.to_square(boxes.to(like.device).float().unflatten(-1, (2, 2))).flatten(-2)[None],
        masks=None if masks is None else masks.to(like)[None],
        words=None if words is None else words.to(like)[None],
    )


def infer(model: Sam, request: SamRequest, report: Report) -> SamResult:
    """Segments the pictures.

    Args:
        model: The model.
        request: What to segment.
        report: Called after every picture is encoded and after every batch of clicks; may raise `Cancelled`.

    Raises:
        RequestError: The mask has another shape than the picture, or the size reads no words.
        FileError: A picture cannot be read.
    """
    segmenter = SamSegmenter(model)
    pictures = [read_picture(path) for path in request.inputs] or [scene(request.seed)]
    found = []
    for number, picture in enumerate(pictures, 1):
        if request.finds_all:
            found.append(_all_masks(segmenter, picture, request, report))
            continue
        embedding = segmenter.encode(picture)
        report(Progress(step=number, total=len(pictures), stage="look"))
        prompts = _prompts(request, picture, segmenter)
        multimask = request.multimask
        if multimask is None:
            multimask = prompts.points is not None and prompts.points.shape[-2] == 1 and len(prompts.given) == 1
        found.append(_picture_masks(picture, segmenter.prompt(embedding, prompts, multimask=multimask)))
    settings = {"automatic": request.finds_all, "masks": sum(len(each.masks) for each in found)}
    return SamResult(found=tuple(found), show=request.show, seed=request.seed, settings=settings)


def files(request: SamRequest) -> tuple[str, ...]:
    """The files that a request reads."""
    return request.inputs if request.mask is None else (*request.inputs, request.mask)


def scene(seed: int) -> np.ndarray:
    """The emoji scene that stands in for a user's picture."""
    return EmojiWorld(split="heldout", scenes=1.0, size=256, seed=1).sample(seed).picture


def overlay(picture: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Masks in colours over a picture, the largest first, uint8 `(height, width, 3)`."""
    out = picture.astype(np.float32)
    order = np.argsort(-masks.sum((1, 2)), kind="stable")
    for place, index in enumerate(order):
        tint = np.array(TINTS[place % len(TINTS)], np.float32)
        out[masks[index]] = out[masks[index]] * 0.45 + tint * 0.55
        out[_outline(masks[index])] = tint * 0.6
    return np.rint(out).astype(np.uint8)


def _outline(mask: np.ndarray) -> np.ndarray:
    """A mask's pixels that have a neighbour outside it."""
    padded = np.pad(mask, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def _shown(picture: np.ndarray, mask: np.ndarray, show: Show) -> np.ndarray:
    match show:
        case Show.OVERLAY:
            return overlay(picture, mask[None])
        case Show.CUTOUT:
            return np.concatenate((picture, mask[..., None].astype(np.uint8) * 255), axis=2)
        case Show.MASK:
            return np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=2)


def _all_masks(segmenter: SamSegmenter, picture: np.ndarray, request: SamRequest, report: Report) -> PictureMasks:
    found = find_masks(
        segmenter, picture, automatic_settings(request),
        lambda step, total: report(Progress(step=step, total=total, stage="click")),
    )  # fmt: skip
    if found is None:
        empty = np.zeros((0, *picture.shape[:2]), dtype=bool)
        low = np.zeros((0, segmenter.low_res_side, segmenter.low_res_side), dtype=np.float32)
        none = np.zeros(0, dtype=np.float32)
        return PictureMasks(
            picture=picture, masks=empty, scores=none, low_res_logits=low, prompts=np.zeros(0, dtype=np.int64),
            annotations=[],
        )  # fmt: skip
    return PictureMasks(
        picture=picture, masks=found.masks(), scores=found.scores.numpy(), low_res_logits=found.logits.numpy(),
        prompts=np.arange(len(found)), annotations=found.coco(),
    )  # fmt: skip


def _picture_masks(picture: np.ndarray, segments: Segments) -> PictureMasks:
    masks = segments.masks().flatten(0, 1).cpu()
    scores = segments.scores.flatten().float().cpu().numpy()
    boxes = boxes_of_masks(masks).tolist()
    annotations = [
        {
            "segmentation": coco_segmentation(mask), "area": int(mask.sum()), "iscrowd": 0,
            "bbox": [box[0], box[1], box[2] - box[0] + 1, box[3] - box[1] + 1] if mask.any() else [0, 0, 0, 0],
            "predicted_iou": round(float(score), 6),
        }
        for mask, box, score in zip(masks.numpy(), boxes, scores, strict=True)
    ]  # fmt: skip
    count, several = segments.scores.shape
    return PictureMasks(
        picture=picture, masks=masks.numpy(), scores=scores, annotations=annotations,
        low_res_logits=segments.low_res_logits.flatten(0, 1).float().cpu().numpy(),
        prompts=np.repeat(np.arange(count), several),
    )  # fmt: skip


def _prompts(request: SamRequest, picture: np.ndarray, segmenter: SamSegmenter) -> Prompts:
    """The request's prompts, in pixels of the picture; clicks are filled up where things have unequally many."""
    clicks, boxes, texts = request.clicks(), request.boxes(), _parts(request.text)
    most = max((len(thing) for thing in clicks), default=0)
    filled = [[*thing, *[(0.0, 0.0, -1)] * (most - len(thing))] for thing in clicks]
    rows = torch.tensor(filled, dtype=torch.float32)
    masks = None
    if request.mask is not None:
        given = read_picture(request.mask).mean(-1) > 127.5
        if given.shape != picture.shape[:2]:
            sizes = " x ".join(map(str, picture.shape[1::-1]))
            raise RequestError.of("mask", request.mask, f"of the picture's size, {sizes} pixels")
        masks = rough_mask(given, segmenter.low_res_side)
    return Prompts(
        points=rows[..., :2] if clicks else None,
        labels=rows[..., 2].long() if clicks else None,
        boxes=torch.tensor(boxes, dtype=torch.float32) if boxes else None,
        masks=masks,
        words=segmenter.read(tuple(texts)) if texts else None,
    )


def _parts(text: str) -> list[str]:
    """What semicolons separate."""
    return [part.strip() for part in text.split(";") if part.strip()]


def _numbers(name: str, text: str, count: int) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise RequestError.of(name, text, f"{count} numbers, with commas between them")
    return numbers
