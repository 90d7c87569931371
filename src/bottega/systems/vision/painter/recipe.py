"""How Painter learns: an example and a query of the same task stacked, parts of their painted answers masked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor, nn

from bottega.processes.masked import BlockMasks
from bottega.processes.painting import PaintTask, training_masks
from bottega.room import Stage
from bottega.systems.vision.painter.inference import NEAREST, SMOOTH, painted_answer, square
from bottega.systems.vision.painter.model import PainterSystem
from bottega.systems.vision.painter.objective import painter_loss, pixel_weights
from bottega.training import (
    Cosine,
    FitSettings,
    Optimizer,
    Precision,
    TrainState,
    decay_groups,
    descend,
    sample_generators,
)
from bottega.worlds import Dice
from bottega.worlds.lessons import Lesson, LessonsWorld

LAYER_DECAY = 0.8


class Lessons(Protocol):
    """A world of lessons, or a folder of the user's."""

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Lesson:
        """The lesson at an index."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """How lessons are changed while training; what a task does not allow is left out (`PaintTask.crops`).

    Args:
        smallest: Least share of a picture that a random crop keeps, above 0 to 1; 1 never crops.
        jitter: Most change of brightness, contrast and saturation, in parts of one; half as much for saturation.
        flip: Whether pictures are mirrored half of the time.
        stacked: Whether the stacked canvas is cropped once more where its mask is not a whole half.
    """

    smallest: float = 0.3
    jitter: float = 0.4
    flip: bool = True
    stacked: bool = True


@dataclass(frozen=True, slots=True)
class PainterBatch:
    """Pictures and targets `(batch, 3, 2 * size, size)` in [0, 1], masks of patches, and weights of pixels."""

    pictures: Tensor
    targets: Tensor
    masked: Tensor
    weights: Tensor


class PainterRecipe:
    """The one stage: masked paintings.

    Args:
        system: Its network is trained.
        source: Lessons.
        halves: Share of samples whose query is to be painted wholly, as at inference; the authors' 0.1.
        augment: How lessons are changed; None leaves them as they are, as an endless world allows.
        layer_decay: By how much each block's rate is lower than the next one's; the authors' 0.8, or 1.
    """

    def __init__(
        self,
        system: PainterSystem,
        source: Lessons,
        *,
        halves: float = 0.75,
        augment: Augmentation | None = None,
        layer_decay: float = 1.0,
    ) -> None:
        self.system, self.model, self.source = system, system.network, source
        self.halves, self.augment, self.layer_decay = halves, augment, layer_decay
        rows, columns = system.config.network.grid
        patches = rows * columns
        smallest = min(16, max(patches // 32, 1))
        self.masks = BlockMasks(
            rows=rows, columns=columns, masked=patches // 2, smallest=smallest, largest=max(patches // 4, smallest)
        )

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> PainterBatch:
        """Stacked lessons with their masks."""
        canvases, masks = [], []
        for index, own in zip(indices, sample_generators(generator, indices), strict=True):
            random = Random(own.initial_seed())
            half = random.random() < self.halves
            masks.append(training_masks(self.masks, float(half), [own])[0])
            canvases.append(self.canvas(self.source.sample(index), random, half=half))
        masked = torch.stack(masks)
        tasks = [task for task, _, _ in canvases]
        pictures, targets = (torch.stack([canvas[part] for canvas in canvases]) for part in (1, 2))
        weights = torch.stack([pixel_weights(task, target) for task, target in zip(tasks, targets, strict=True)])
        return PainterBatch(pictures, targets, masked, weights)

    def canvas(self, lesson: Lesson, random: Random, *, half: bool) -> tuple[PaintTask, Tensor, Tensor]:
        """A lesson's pictures and paintings, example above query, each `(3, 2 * size, size)`."""
        task, size = lesson.task, self.system.config.network.size
        how = NEAREST if task.flat else SMOOTH
        pairs = []
        for study in (lesson.example, lesson.query):
            pair = study.picture, painted_answer(study, task, self.system.config)
            if self.augment is not None and task.crops:
                pair = changed(pair, self.augment, random, restores=task.restores, how=how)
            pairs.append((square(pair[0], size, SMOOTH), square(pair[1], size, how)))
        pictures, targets = (torch.cat([pair[part] for pair in pairs], dim=1) for part in (0, 1))
        if self.augment is not None and self.augment.stacked and task.crops and not half:
            pictures, targets = cropped_canvas(pictures, targets, self.augment.smallest, random, flat=task.flat)
        return task, pictures, targets

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Matrices with decay, vectors and positions without; earlier blocks learn more slowly with a layer decay."""
        if self.layer_decay == 1.0:
            return decay_groups(self.model, settings, lambda name, _: name == "positions")
        depth, groups = self.system.config.network.depth, []
        for name, parameter in self.model.named_parameters():
            rate = settings.learning_rate * self.layer_decay ** (depth + 1 - layer_of(name, depth))
            plain = parameter.ndim < 2 or name == "positions"
            groups.append({"params": [parameter], "lr": rate, "weight_decay": 0.0 if plain else settings.weight_decay})
        return groups

    def step(self, state: TrainState, batch: PainterBatch) -> Mapping[str, float | Tensor]:
        """One update."""

        def loss(part: PainterBatch) -> Tensor:
            return painter_loss(self.model, part.pictures, part.targets, part.masked, part.weights)

        return descend(state, batch, loss)

    def preview(self, state: TrainState) -> Mapping[str, np.ndarray]:
        """One lesson of each task: example, its target, query, what was painted, what it should be."""
        config, columns = self.system.config, []
        world = LessonsWorld(size=min(max(config.network.size, 32), 512), seed=1)
        for number, task in enumerate(PaintTask):
            lesson = world.lesson(task, Dice(1, number))
            shown = [lesson.example.picture, painted_answer(lesson.example, task, config), lesson.query.picture]
            tiles = [square(picture, config.network.size, NEAREST) for picture in shown]
            made = self.system.paint(*(tile[None].to(state.device) for tile in tiles))[0].clamp(0, 1).cpu()
            true = square(painted_answer(lesson.query, task, config), config.network.size, NEAREST)
            columns.append(torch.cat([*tiles, made, true], dim=1))
        sheet = torch.cat(columns, dim=2).permute(1, 2, 0)
        return {"lessons": (255 * sheet).round().to(torch.uint8).numpy()}


def layer_of(name: str, depth: int) -> int:
    """Which layer a parameter of the network belongs to, as a layer decay counts: 0 to `depth + 1`."""
    if name.startswith(("positions", "patch_embed")):
        return 0
    return int(name.split(".")[1]) + 1 if name.startswith("blocks.") else depth + 1


def changed(
    pair: tuple[np.ndarray, np.ndarray], augment: Augmentation, random: Random, *, restores: bool, how: Image.Resampling
) -> tuple[np.ndarray, np.ndarray]:
    """A picture and its painting, cropped and mirrored alike; colours of a painting change where it restores."""
    picture, target = (Image.fromarray(part) for part in pair)
    width, height = picture.size
    side = random.uniform(augment.smallest, 1.0) ** 0.5
    box_width, box_height = side * width, side * height
    left, top = random.uniform(0, width - box_width), random.uniform(0, height - box_height)
    box = (left, top, left + box_width, top + box_height)
    picture = picture.resize((width, height), SMOOTH, box=box)
    target = target.resize((width, height), how, box=box)
    if augment.flip and random.random() < 0.5:
        picture, target = (part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for part in (picture, target))
    if augment.jitter and random.random() < 0.8:
        enhancers = ((ImageEnhance.Brightness, 1.0), (ImageEnhance.Contrast, 1.0), (ImageEnhance.Color, 0.5))
        for enhancer, strength in enhancers:
            factor = 1 + random.uniform(-augment.jitter, augment.jitter) * strength
            picture = enhancer(picture).enhance(factor)
            target = enhancer(target).enhance(factor) if restores else target
    return np.asarray(picture), np.asarray(target)


def cropped_canvas(
    pictures: Tensor, targets: Tensor, smallest: float, random: Random, *, flat: bool
) -> tuple[Tensor, Tensor]:
    """A crop of the stacked canvas, of about its shape, stretched over all of it."""
    height, width = pictures.shape[1:]
    side = random.uniform(smallest, 1.0) ** 0.5
    rows, columns = max(round(side * height), 2), max(round(side * width), 2)
    top, left = random.randint(0, height - rows), random.randint(0, width - columns)
    parts = [part[None, :, top : top + rows, left : left + columns] for part in (pictures, targets)]
    smooth = torch.nn.functional.interpolate(parts[0], (height, width), mode="bicubic", align_corners=False)
    if flat:
        return smooth[0].clamp(0, 1), torch.nn.functional.interpolate(parts[1], (height, width), mode="nearest")[0]
    drawn = torch.nn.functional.interpolate(parts[1], (height, width), mode="bicubic", align_corners=False)
    return smooth[0].clamp(0, 1), drawn[0].clamp(0, 1)


def painter_recipe(model: nn.Module, source: Lessons) -> PainterRecipe:
    """The recipe of a size: the authors' for published ones, shorter work for tiny."""
    if not isinstance(model, PainterSystem):
        raise TypeError(f"Painter's stage trains a PainterSystem, not a {type(model).__name__}")
    if model.config.network.size >= 224:
        return PainterRecipe(model, source, halves=0.1, augment=Augmentation(), layer_decay=LAYER_DECAY)
    return PainterRecipe(model, source)


STAGES = (
    Stage(
        name="paint",
        recipe=painter_recipe,
        settings=FitSettings(
            steps=7000, batch_size=32, learning_rate=1.5e-3, warmup_steps=100, schedule=Cosine(final=0.02),
            weight_decay=0.05, betas=(0.9, 0.99), clip_norm=3.0, precision=Precision.BF16, ema_decay=0.998,
            preview_every=500, compile=True, optimizer=Optimizer.MUON,
        ),
        finetune=True,
    ),
)  # fmt: skip
