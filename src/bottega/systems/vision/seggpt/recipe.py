"""How SegGPT learns: contexts in random colours, partly masked. Source: arXiv:2304.03284, sections 3.1 and 4.1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from bottega.networks import TargetKind
from bottega.processes.masked import BlockMasks
from bottega.processes.painting import BETA, from_paint, painting_loss, to_paint, training_masks, unknown_half
from bottega.room import Stage
from bottega.systems.vision.seggpt.model import SegGpt
from bottega.systems.vision.seggpt.objective import color_context, mosaic
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
from bottega.worlds.contexts import Context, ContextKind, ContextsWorld, MaskFolder

TABLES = ("positions", "row_positions", "column_positions", "type_tokens")
"""Parameters that are looked up, not multiplied: they do not decay, and Muon leaves them alone."""


class Contexts(Protocol):
    """A world of contexts, or a folder of the user's pictures with masks."""

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Context:
        """The context at an index; at least two pictures."""
        ...


@dataclass(frozen=True, slots=True)
class PaintingBatch:
    """What the network learns from, in its values: pictures and targets `(batch, 3, 2 * size, size)`, masks, kinds."""

    pictures: Tensor
    targets: Tensor
    masked: Tensor
    kinds: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixture:
    """How samples are made of contexts.

    Args:
        halves: Share of samples whose query is unknown altogether; the others have blocks masked in both.
        mixed: Share of samples that are mix-context.
        jitter: How far brightness, contrast and channels of each picture are moved, from 0.
        size: Side of pictures in pixels; None takes the network's. Smaller ones are painted with the same weights, for
            positions are interpolated, at a fraction of the cost.
        beta: Where the loss goes from a parabola to a line; see `painting_loss`.
    """

    halves: float = 0.7
    mixed: float = 0.1
    jitter: float = 0.25
    size: int | None = None
    beta: float = BETA


class SegGptRecipe:
    """The one stage: painting contexts in colours that no two samples share.

    Args:
        model: What is trained.
        source: Contexts.
        mixture: How samples are made of them.
    """

    def __init__(self, model: SegGpt, source: Contexts, mixture: Mixture | None = None) -> None:
        self.model, self.source, self.mixture = model, source, mixture or Mixture()
        self.size = self.mixture.size or model.size
        columns = self.size // model.config.network.patch_size
        rows = 2 * columns
        least = max(rows * columns // 98, 1)  # the authors' 16 of 1568
        self.masks = BlockMasks(rows=rows, columns=columns, masked=rows * columns // 2, smallest=least)

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> PaintingBatch:
        """Contexts in random colours."""
        generators = sample_generators(generator, indices)
        made = [self._pair(index, Random(g.initial_seed())) for index, g in zip(indices, generators, strict=True)]
        pictures, targets, kinds = (np.stack(part) for part in zip(*made, strict=True))
        return PaintingBatch(
            to_paint(torch.from_numpy(pictures).permute(0, 3, 1, 2)),
            to_paint(torch.from_numpy(targets).permute(0, 3, 1, 2)),
            training_masks(self.masks, self.mixture.halves, generators),
            torch.from_numpy(kinds),
        )

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Matrices with decay; vectors, positions and type tokens without."""
        return decay_groups(self.model, settings, lambda name, _: name.split(".")[-1] in TABLES)

    def step(self, state: TrainState, batch: PaintingBatch) -> Mapping[str, float | Tensor]:
        """One update."""

        def loss(part: PaintingBatch) -> Tensor:
            made = self.model(part.pictures, part.targets, part.masked, part.kinds)
            return painting_loss(made.float(), part.targets, part.masked, beta=self.mixture.beta)

        return descend(state, batch, loss)

    def preview(self, state: TrainState) -> Mapping[str, np.ndarray]:
        """Eight contexts: example, its target, query, what was painted, what was wanted."""
        batch = self.batch(range(8), torch.Generator().manual_seed(0))
        with torch.inference_mode():
            device = state.device
            masked = unknown_half(self.masks.rows // 2, self.masks.columns, device)
            made = self.model(
                batch.pictures.to(device), batch.targets.to(device), masked, batch.kinds.to(device)
            ).float().cpu()  # fmt: skip
        shown = torch.cat((batch.pictures, batch.targets, made), dim=2)  # pictures above targets above what was made
        pixels = (from_paint(shown).clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
        return {"contexts": np.concatenate(list(pixels), axis=1)}

    def _pair(self, index: int, random: Random) -> tuple[np.ndarray, np.ndarray, np.int64]:
        """Pictures and targets, float32 `(2 * size, size, 3)` in [0, 1], and what the targets show."""
        context = self.source.sample(index)
        views = list(zip(context.pictures, context.labels, strict=True))
        chosen = random.sample(views, 2)
        if random.random() < self.mixture.mixed:
            chosen = [mosaic(random.choices(views, k=4), random) for _ in range(2)]
        pictures, labels = zip(*chosen, strict=True)
        colors = color_context(len(context.names), random)
        if len(pictures[0]) != self.size:
            pictures, labels = zip(*(_resized(*one, self.size) for one in chosen), strict=True)
        shown = np.concatenate([self._jittered(picture, random) for picture in pictures])
        kind = TargetKind.INSTANCE if context.same else TargetKind.SEMANTIC
        return shown, colors[np.concatenate(labels)], np.int64(kind)

    def _jittered(self, picture: np.ndarray, random: Random) -> np.ndarray:
        """A picture in [0, 1] with its brightness, contrast and channels moved at random."""
        far = self.mixture.jitter
        gain = np.array([random.uniform(1 - far, 1 + far) for _ in range(3)], dtype=np.float32)
        gain = (gain + 2 * gain.mean()) / 3  # channels move together, mostly
        shift = np.float32(random.uniform(-far, far) / 3)
        return np.clip((picture.astype(np.float32) / 255 - 0.5) * gain + 0.5 + shift, 0, 1)


def _resized(picture: np.ndarray, labels: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture and its labels at another size."""
    smooth = Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(smooth), np.asarray(Image.fromarray(labels).resize((size, size), Image.Resampling.NEAREST))


def small_recipe(model: nn.Module, source: Contexts) -> SegGptRecipe:
    """Where a network learns that examples matter at all: emoji seen again, at half the size, with a softer loss.

    In the published loss the best answer to doubt is black, the median, and a network that starts from nothing stays
    there; and blocks that are masked in both targets teach to look for likeness within a picture first.
    """
    kinds = {ContextKind.EMOJI_VIEWS: 0.6, ContextKind.EMOJI: 0.4}
    return _halved(_seggpt(model), source, kinds)


def class_recipe(model: nn.Module, source: Contexts) -> SegGptRecipe:
    """The same with classes of figures and their parts, whose colours differ from scene to scene."""
    kinds = {
        ContextKind.EMOJI_VIEWS: 0.15, ContextKind.EMOJI: 0.25, ContextKind.FIGURE_VIEWS: 0.1,
        ContextKind.PART_VIEWS: 0.1, ContextKind.FIGURES: 0.25, ContextKind.PARTS: 0.15,
    }  # fmt: skip
    return _halved(_seggpt(model), source, kinds)


def _halved(model: SegGpt, source: Contexts, kinds: Mapping[ContextKind, float]) -> SegGptRecipe:
    size = max(model.size // 2, 4 * model.config.network.patch_size)
    if isinstance(source, ContextsWorld):
        source = replace(source, kinds=tuple(kinds), weights=tuple(kinds.values()))
    return SegGptRecipe(model, _sized(source, size), Mixture(halves=0.4, mixed=0.0, size=size, beta=1.0))


def seggpt_recipe(model: nn.Module, source: Contexts) -> SegGptRecipe:
    """Everything, at the network's own size and with the published loss."""
    seggpt = _seggpt(model)
    return SegGptRecipe(seggpt, _sized(source, seggpt.size))


def _seggpt(model: nn.Module) -> SegGpt:
    if not isinstance(model, SegGpt):
        raise TypeError(f"SegGPT's stages train a SegGpt, not a {type(model).__name__}")
    return model


def _sized(source: Contexts, size: int) -> Contexts:
    """The same contexts with pictures of another size; other sources are resized picture by picture."""
    return replace(source, size=size) if isinstance(source, ContextsWorld | MaskFolder) else source


SMALL = FitSettings(
    steps=1500, batch_size=64, learning_rate=2e-3, warmup_steps=100, schedule=Cosine(final=0.1), weight_decay=0.05,
    betas=(0.9, 0.99), precision=Precision.BF16, ema_decay=0.995, preview_every=500, compile=True,
    optimizer=Optimizer.MUON,
)  # fmt: skip

STAGES = (
    Stage(name="small", recipe=small_recipe, settings=SMALL),
    Stage(name="classes", recipe=class_recipe, settings=replace(SMALL, steps=3000)),
    Stage(
        name="paint",
        recipe=seggpt_recipe,
        settings=replace(
            SMALL, steps=3000, batch_size=48, learning_rate=1.5e-3, ema_decay=0.998, schedule=Cosine(final=0.02)
        ),
        finetune=True,
    ),
)
"""Stages for the bundled world: from scratch, most is learned at half the size, where it costs a fourth."""


def open_contexts(place: str | Path | None) -> Contexts:
    """The bundled world of contexts, or a folder of the user's with pictures and masks."""
    return ContextsWorld() if place is None or place == "contexts" else MaskFolder.open(Path(place))
