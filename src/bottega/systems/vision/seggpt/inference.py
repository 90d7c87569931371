"""Running SegGPT: examples and pictures to masks. The only code that users run."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from bottega.data import read_frames, read_picture
from bottega.errors import RequestError
from bottega.networks import TargetKind
from bottega.processes.segmentation import Example, Likeness, Segmenter, click
from bottega.results import Origin, save
from bottega.room import PictureFile, Progress, Report
from bottega.systems.vision.seggpt.model import SegGpt
from bottega.systems.vision.seggpt.objective import colors_of_masks, nearest_colors
from bottega.systems.vision.seggpt.sampling import Prompt, paint, tiled, track, tune
from bottega.worlds.contexts import ContextKind, ContextsWorld

MAX_PROMPTS, MAX_MEMORY, MAX_STEPS = 64, 32, 5000
SHOWN = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0.1, 0.3, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1)], dtype=np.float32)
"""Colours of the scene that stands in for a user's pictures."""


class Means(Enum):
    """What a colour of the example's mask means."""

    INSTANCE = "instance"
    """One thing, which the pictures show again."""
    SEMANTIC = "semantic"
    """A class, of which the pictures may show several things."""

    @property
    def kind(self) -> TargetKind:
        """What the network is told."""
        return TargetKind.INSTANCE if self is Means.INSTANCE else TargetKind.SEMANTIC


class Ensemble(Enum):
    """How several examples work together."""

    FEATURE = "feature"
    """Each at full size; what a picture gathers from them is averaged in every block."""
    SPATIAL = "spatial"
    """All in one picture, as a grid of smaller ones: as fast as a single example."""


class Show(Enum):
    """How the answer is shown."""

    OVERLAY = "overlay"
    COLORS = "colors"


@dataclass(frozen=True, kw_only=True, slots=True)
class SegGptRequest:
    """What to segment, and by which examples."""

    inputs: tuple[PictureFile, ...] = ()
    """Files of pictures, or folders of them; none for scenes of emoji with examples of their own."""
    prompt_pictures: tuple[PictureFile, ...] = ()
    """Files of the examples' pictures. Left out: the first of the inputs, whose mask or clicks are given."""
    prompt_masks: tuple[PictureFile, ...] = ()
    """One mask for each example: any colours on black; each colour is one thing or class."""
    points: str = ""
    """Instead of masks: clicks on the first example, "x,y x,y" in pixels; a semicolon begins the clicks of the next
    thing. Needs a segmenter (`--segmenter sam`)."""
    means: Means = Means.INSTANCE
    """What a colour means: one thing, or a class."""
    ensemble: Ensemble = Ensemble.FEATURE
    """How several examples work together."""
    video: bool = False
    """Whether the inputs are frames in order: a folder, an animation, or a video file."""
    memory: int = 4
    """Video: how many of the last frames, with what was found on them, are examples too, 0 to 32."""
    tune_steps: int = 0
    """Steps of learning one better example from those given, 0 to 5000; the network stays as it is."""
    show: Show = Show.OVERLAY
    """How to show the answer: over the picture, or its colours alone."""
    seed: int = 0
    """Picks the scenes where no picture is given, and the order of tuning, 0 to 2**31 - 1."""

    def __post_init__(self) -> None:
        for name in ("prompt_pictures", "prompt_masks"):  # a form has one place for each
            given = getattr(self, name)
            if isinstance(given, str):
                object.__setattr__(self, name, (given,))
        for name, most in (("memory", MAX_MEMORY), ("tune_steps", MAX_STEPS), ("seed", 2**31 - 1)):
            if not 0 <= getattr(self, name) <= most:
                raise RequestError.of(name, getattr(self, name), f"between 0 and {most}")
        self._check_examples()
        self.clicks()

    def _check_examples(self) -> None:
        if not self.inputs:
            given = [name for name in ("prompt_pictures", "prompt_masks", "points", "video") if getattr(self, name)]
            if given:
                raise RequestError(f"{given[0]} needs pictures to segment; give their files first")
            return
        if bool(self.prompt_masks) == bool(self.points):
            raise RequestError("give prompt_masks, or points to click on what is meant, and not both")
        examples = max(len(self.prompt_pictures), 1)
        if self.prompt_masks and len(self.prompt_masks) != examples:
            raise RequestError.of("prompt_masks", f"{len(self.prompt_masks)} files", f"{examples}, one an example")
        if self.points and len(self.prompt_pictures) > 1:
            raise RequestError.of("prompt_pictures", f"{len(self.prompt_pictures)} files", "one, for points are on it")
        if examples > MAX_PROMPTS:
            raise RequestError.of("prompt_pictures", f"{examples} files", f"at most {MAX_PROMPTS}")

    def clicks(self) -> list[list[tuple[float, float]]]:
        """Of each thing the points that were clicked on, as column and row."""
        try:
            things = [
                [(float(x), float(y)) for x, y in (one.split(",") for one in part.split())]
                for part in self.points.split(";")
                if part.strip()
            ]
        except ValueError as error:
            raise RequestError.of("points", self.points, 'of the form "x,y x,y; x,y"') from error
        return things


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Painted:
    """What was found in one picture.

    Args:
        picture: uint8 `(height, width, 3)`.
        colors: What the network painted, at the picture's size, uint8 alike.
        masks: bool `(asked, height, width)`: where each colour of the examples is the nearest.
    """

    picture: np.ndarray
    colors: np.ndarray
    masks: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SegGptResult:
    """Masks of pictures.

    Args:
        found: One for each picture, or for each frame.
        palette: The examples' colours without black, uint8 `(asked, 3)`.
        show: How `items` shows them.
        seed: The request's.
        settings: What else made them, for people to read.
        origin: The recipe; filled in by a loaded system.
    """

    found: tuple[Painted, ...]
    palette: np.ndarray
    show: Show
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin | None = None

    def items(self) -> list[np.ndarray]:
        """One picture for each, uint8 `(height, width, 3)`."""
        if self.show is Show.COLORS:
            return [one.colors for one in self.found]
        return [overlay(one.picture, one.colors) for one in self.found]

    def texts(self) -> tuple[str, ...]:
        """How much of each picture was found, by colour."""
        names, told = [_hexadecimal(color) for color in self.palette], []
        for one in self.found:
            shares = one.masks.mean(axis=(1, 2))
            told.append(", ".join(f"{name} {100 * share:.1f} %" for name, share in zip(names, shares, strict=True)))
        return tuple(text or "nothing was asked for" for text in told)

    def arrays(self) -> Mapping[str, np.ndarray]:
        """`palette`, `masks` and `colors`; of several pictures of different sizes `masks_0`, `masks_1`, ..."""
        names = ("masks", "colors")
        if len({one.picture.shape for one in self.found}) == 1:
            stacked = {name: np.stack([getattr(one, name) for one in self.found]) for name in names}
            if len(self.found) == 1:
                stacked = {name: value[0] for name, value in stacked.items()}
            return {"palette": self.palette, **stacked}
        each = {f"{name}_{i}": getattr(one, name) for i, one in enumerate(self.found) for name in names}
        return {"palette": self.palette, **each}

    def save(self, path: str | Path) -> list[Path]:
        """Writes the result; the path's extension picks the form. See `bottega.results.save`."""
        return save(self, path)


class SegGptSegmenter:
    """A loaded model as rooms and the studio see it that find in other pictures what examples show.

    Args:
        model: The model.
        memory: In films, how many of the last frames are examples, too.
    """

    def __init__(self, model: SegGpt, memory: int = 4) -> None:
        self.model, self.memory = model, memory

    def find(self, examples: tuple[Example, ...], picture: np.ndarray) -> Likeness:
        """The same thing in another picture, uint8 `(height, width, 3)`."""
        square = prepare(picture, self.model.size).to(self.model.network.mask_token)
        return _likeness(paint(self.model, self._prompt(examples), square, TargetKind.INSTANCE), picture)

    def follow(self, examples: tuple[Example, ...], frames: Iterable[np.ndarray]) -> Iterator[Likeness]:
        """The same thing in the frames of a film, uint8 `(height, width, 3)` each."""
        like, shapes = self.model.network.mask_token, deque[np.ndarray]()

        def squares() -> Iterator[Tensor]:
            for frame in frames:
                shapes.append(frame)
                yield prepare(frame, self.model.size).to(like)

        colors = torch.tensor([[0.0] * 3, [1.0] * 3])
        prompt = self._prompt(examples)
        for made in track(self.model, prompt, squares(), colors, TargetKind.INSTANCE, memory=self.memory):
            yield _likeness(made, shapes.popleft())

    def _prompt(self, examples: tuple[Example, ...]) -> Prompt:
        if not examples:
            raise RequestError("there is no example; mark the thing in at least one picture")
        masks = [np.repeat(example.mask[..., None].astype(np.uint8) * 255, 3, axis=2) for example in examples]
        return _prompt(self.model, [(one.picture, mask) for one, mask in zip(examples, masks, strict=True)])


def _likeness(made: Tensor, picture: np.ndarray) -> Likeness:
    """A white mask as it was painted, at the picture's size; as sure as its pixels are far from grey."""
    light = F.interpolate(made[None].float().cpu(), size=picture.shape[:2], mode="nearest")[0].mean(dim=0).numpy()
    mask = light > 0.5
    return Likeness(mask, float(2 * light[mask].mean() - 1) if mask.any() else 0.0)


def infer(model: SegGpt, request: SegGptRequest, report: Report) -> SegGptResult:
    """Segments the pictures.

    Args:
        model: The model.
        request: What to segment.
        report: Called after every step of tuning and every picture; may raise `Cancelled`.

    Raises:
        RequestError: A mask has another shape than its picture, or points are given without a segmenter.
        FileError: A file cannot be read.
    """
    examples, queries = _demonstration(request, model.size) if not request.inputs else _given(model, request)
    colors = colors_of_masks([mask for _, mask in examples])
    prompt = _prompt(model, examples)
    kind = request.means.kind
    total = request.tune_steps + len(queries)
    if request.tune_steps:
        prompt = tune(
            model, prompt, kind, steps=request.tune_steps, seed=request.seed,
            report=lambda step, _, loss: report(Progress(step=step, total=total, stage=f"tune, loss {loss:.3f}")),
        )  # fmt: skip
    elif request.ensemble is Ensemble.SPATIAL and len(prompt) > 1:
        prompt = tiled(prompt)
    found = []
    for number, (picture, made) in enumerate(
        zip(queries, _painted(model, request, prompt, queries, colors), strict=True), 1
    ):
        found.append(_decoded(picture, made, colors))
        shown = found[-1]
        preview = lambda one=shown: overlay(one.picture, one.colors)  # noqa: E731
        report(Progress(step=request.tune_steps + number, total=total, stage="paint", preview=preview))
    settings = {"examples": len(examples), "ensemble": request.ensemble.value, "means": request.means.value}
    palette = np.rint(colors[1:] * 255).astype(np.uint8)
    return SegGptResult(found=tuple(found), palette=palette, show=request.show, seed=request.seed, settings=settings)


def files(request: SegGptRequest) -> tuple[str, ...]:
    """The files that a request reads."""
    named = [file for place in request.inputs for file in _files_at(place)]
    return (*named, *request.prompt_pictures, *request.prompt_masks)


def overlay(picture: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Colours over a picture, as the authors show them: black darkens, uint8 `(height, width, 3)`."""
    return (picture * (0.6 * colors.astype(np.float32) / 255 + 0.4)).astype(np.uint8)


def prepare(picture: np.ndarray, size: int, *, mask: bool = False) -> Tensor:
    """A picture, or a mask in colours, uint8 `(height, width, 3)`, as the square `(3, size, size)` in [0, 1]."""
    how = Image.Resampling.NEAREST if mask else Image.Resampling.BICUBIC
    square = np.asarray(Image.fromarray(picture).resize((size, size), how), dtype=np.float32) / 255
    return torch.from_numpy(square).movedim(-1, 0)


def _painted(
    model: SegGpt, request: SegGptRequest, prompt: Prompt, queries: Sequence[np.ndarray], colors: np.ndarray
) -> Iterable[Tensor]:
    """Colours of each query, `(3, size, size)`, as they are asked for."""
    like, kind = model.network.mask_token, request.means.kind
    squares = (prepare(picture, model.size).to(like) for picture in queries)
    if request.video:
        palette = torch.from_numpy(colors).to(like.device)
        return track(model, prompt, squares, palette, kind, memory=request.memory)
    return (paint(model, prompt, square, kind) for square in squares)


def _decoded(picture: np.ndarray, made: Tensor, colors: np.ndarray) -> Painted:
    """What was painted at the picture's own size, each pixel as it is (not smoothed)."""
    full = F.interpolate(made[None].float().cpu(), size=picture.shape[:2], mode="nearest")[0].movedim(0, -1).numpy()
    labels = nearest_colors(full, colors)
    masks = np.stack([labels == label for label in range(1, len(colors))]) if len(colors) > 1 else None
    return Painted(
        picture=picture,
        colors=np.rint(full * 255).astype(np.uint8),
        masks=np.zeros((0, *picture.shape[:2]), dtype=bool) if masks is None else masks,
    )


def _prompt(model: SegGpt, examples: Sequence[tuple[np.ndarray, np.ndarray]]) -> Prompt:
    like = model.network.mask_token
    pictures = torch.stack([prepare(picture, model.size) for picture, _ in examples]).to(like)
    return Prompt(pictures, torch.stack([prepare(mask, model.size, mask=True) for _, mask in examples]).to(like))


def _given(model: SegGpt, request: SegGptRequest) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[np.ndarray]]:
    """The user's examples, each a picture and its mask, and the pictures to segment."""
    if request.video:
        queries = [frame for place in request.inputs for frame in read_frames(place)]
    else:
        queries = [read_picture(file) for place in request.inputs for file in _files_at(place)]
    pictures = [read_picture(file) for file in request.prompt_pictures] or queries[:1]
    if request.points:
        return [(pictures[0], clicked(model.segmenter, pictures[0], request))], queries
    masks = [read_picture(file) for file in request.prompt_masks]
    for file, picture, mask in zip(request.prompt_masks, pictures, masks, strict=True):
        if picture.shape != mask.shape:
            sizes = " x ".join(map(str, picture.shape[1::-1]))
            raise RequestError.of("prompt_masks", file, f"of its picture's size, {sizes} pixels")
    return list(zip(pictures, masks, strict=True)), queries


def clicked(segmenter: Segmenter | None, picture: np.ndarray, request: SegGptRequest) -> np.ndarray:
    """The mask of what was clicked on, in one colour a thing, uint8 `(height, width, 3)`; one thing is white.

    Raises:
        RequestError: There is no segmenter.
    """
    if segmenter is None:
        raise RequestError("points need a segmenter; add --segmenter sam, or give prompt_masks")
    things = request.clicks()
    colors = np.full((1, 3), 255) if len(things) == 1 else np.rint(SHOWN[1:] * 255)
    if len(things) > len(colors):
        raise RequestError.of("points", f"{len(things)} things", f"at most {len(colors)}")
    embedding, mask = segmenter.encode(picture), np.zeros(picture.shape, dtype=np.uint8)
    for points, color in zip(things, colors, strict=False):
        answer = segmenter.prompt(embedding, click(points), multimask=len(points) == 1).best()
        mask[answer.masks()[0, 0].cpu().numpy()] = color
    return mask


def _demonstration(request: SegGptRequest, size: int) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[np.ndarray]]:
    """Two examples and two pictures of the same emoji, which training never sees."""
    kinds = (ContextKind.EMOJI,) if request.means is Means.SEMANTIC else (ContextKind.EMOJI_VIEWS,)
    world = ContextsWorld(split="heldout", kinds=kinds, pictures=4, size=min(max(size, 32), 512), seed=request.seed)
    made = world.sample(0)
    masks = np.rint(SHOWN[np.minimum(made.labels, len(SHOWN) - 1)] * 255).astype(np.uint8)
    return [(made.pictures[i], masks[i]) for i in range(2)], list(made.pictures[2:])


def _files_at(place: str) -> list[str]:
    """The files that an input means: those of a folder by name, or itself."""
    path = Path(place)
    if not path.is_dir():
        return [place]
    names = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
    found = sorted(str(file) for file in path.iterdir() if file.suffix.lower() in names)
    if not found:
        raise RequestError.of("inputs", place, "a file, or a folder with pictures in it")
    return found


def _hexadecimal(color: np.ndarray) -> str:
    return "#" + "".join(f"{int(channel):02x}" for channel in color)
