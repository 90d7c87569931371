"""How Segment Anything learns: a simulated person prompts, the answers are corrected, eleven times in all.

Source: arXiv:2304.02643, appendix A, "Training algorithm".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.errors import RequestError
from bottega.ops import boxes_of_masks
from bottega.processes.segmentation import INSIDE, Prompts, next_labels, random_pixels, rough_boxes, wrong
from bottega.room import Stage
from bottega.systems.vision.sam.inference import MEAN, STD, overlay, prepare
from bottega.systems.vision.sam.model import Sam, answers
from bottega.systems.vision.sam.objective import answer_loss, true_overlap
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


class Segmented(Protocol):
    """A picture with masks of what can be meant in it."""

    @property
    def picture(self) -> np.ndarray:
        """The pixels, uint8 `(height, width, 3)`."""
        ...

    @property
    def masks(self) -> np.ndarray:
        """Bool `(segments, height, width)`; at least one, none empty."""
        ...


class SegmentedPictures(Protocol):
    """A world, or what an annotator has made so far."""

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Segmented:
        """The picture at an index."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Rounds:
    """How long the simulated person goes on.

    Args:
        clicks: Clicks after the first prompt.
        graded: How many rounds are learned from: the first, and others drawn at random, early ones more often; the
            person stops after the last of them. 0 for all, as published.
    """

    clicks: int = 8
    graded: int = 0

    @property
    def total(self) -> int:
        """The first prompt, the clicks, and two rounds without anything new."""
        return self.clicks + 3


@dataclass(frozen=True, slots=True)
class Round:
    """One round: whether the person says nothing new, and whether the model learns from it."""

    silent: bool
    graded: bool


@dataclass(frozen=True, slots=True)
class SamBatch:
    """Normalised pictures `(batch, 3, size, size)` and masks, bool `(batch, prompts, size, size)`."""

    pictures: Tensor
    masks: Tensor


@dataclass(frozen=True, slots=True)
class WordsBatch:
    """As `SamBatch`, with cut-outs of the things `(batch, prompts, 3, s, s)` in [-1, 1]."""

    pictures: Tensor
    masks: Tensor
    cuts: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Given:
    """What the simulated person has said: half of the prompts began with a click, half with a box.

    Args:
        points: Clicks of all prompts so far, `(batch, prompts, clicks, 2)`, in pixels of the square.
        labels: `(batch, prompts, clicks)`.
        first: First clicks of the first half, `(batch, half, 1, 2)`.
        boxes: Boxes of the others, `(batch, prompts - half, 4)`.
    """

    points: Tensor
    labels: Tensor
    first: Tensor
    boxes: Tensor

    def with_clicks(self, points: Tensor, labels: Tensor) -> Given:
        """The same with one more click each, `(batch, prompts, 2)` with labels."""
        more = torch.cat((self.points, points[:, :, None]), dim=2), torch.cat((self.labels, labels[:, :, None]), dim=2)
        return Given(*more, self.first, self.boxes)


class SamRecipe:
    """The one stage.

    Args:
        model: The model.
        source: Pictures with masks.
        prompts: Masks that are asked for in each picture, an even number.
        rounds: How long the simulated person goes on.
    """

    def __init__(
        self, model: Sam, source: SegmentedPictures, *, prompts: int = 8, rounds: Rounds = Rounds(graded=3)
    ) -> None:
        self.model, self.source, self.prompts, self.rounds = model, source, prompts, rounds

    def __len__(self) -> int:
        return len(self.source)

    def compiled_parts(self) -> Sequence[nn.Module]:
        """Encoder and decoder, each as a whole."""
        return self.model.image_encoder, self.model.mask_decoder

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> SamBatch:
        """Pictures in changed light, mirrored, some of them cut, with masks drawn from all that they have."""
        pictures, masks = [], []
        for index, own in zip(indices, sample_generators(generator, indices), strict=True):
            random = np.random.default_rng(own.initial_seed())
            sample = self.source.sample(index)
            if not isinstance(getattr(sample, "masks", None), np.ndarray):
                raise RequestError(
                    "Segment Anything learns from pictures with masks, but these have none; leave --data out"
                )
            picture, found = varied(sample, random)
            square, frame = prepare(picture, self.model.config)
            chosen = found[random.integers(len(found), size=self.prompts)] if len(found) else found
            if not len(chosen):
                raise RequestError("a picture without masks cannot be learned from; leave it out")
            pictures.append(square)
            masks.append(in_frame(chosen, frame.inner, frame.side))
        return SamBatch(torch.stack(pictures), torch.stack(masks))

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Matrices with decay; vectors, positions and tokens without."""
        plain = ("pos_embed", "positions", "kinds", "tokens")
        return decay_groups(self.model, settings, lambda name, _: name.endswith(plain))

    def step(self, state: TrainState, batch: SamBatch) -> Mapping[str, float | Tensor]:
        """One update."""
        return descend(state, batch, lambda part: self.losses(part, state.generator))

    def losses(self, batch: SamBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """The mean loss of the rounds that are learned from, and the overlaps of the first and the last answers."""
        side = self.model.config.low_res_side
        factor = batch.masks.shape[-1] // side
        targets = F.avg_pool2d(batch.masks.float(), factor)
        features = self.model.encode(batch.pictures)
        given = self._first(batch.masks, generator)
        plan = self._plan(generator)
        logits, total, figures = None, features.new_zeros(()), {}
        for number, now in enumerate(plan):
            if number and not now.silent:
                given = self._click(given, logits, targets, factor, generator)
            with torch.set_grad_enabled(torch.is_grad_enabled() and now.graded):
                every, confidences = self._answers(features, given, logits)
            many, scores = answers(every, confidences, multimask=number == 0)
            if now.graded:
                made = answer_loss(many, scores, targets)
                loss = made.loss
                if number == 0:
                    figures["first"] = made.overlap.amax(-1).mean()
                    figures["score_error"] = (scores.detach().float() - made.overlap).abs().mean()
                    loss = loss + answer_loss(*answers(every, confidences, multimask=False), targets).loss
                total = total + loss / sum(each.graded for each in plan)
            best = scores.detach().argmax(-1)[..., None, None, None].expand(*scores.shape[:2], 1, side, side)
            logits = many.detach().float().gather(2, best)[:, :, 0]
            figures["last"] = true_overlap(logits, targets).mean()
        return {"loss": total, **figures}

    def _plan(self, generator: torch.Generator) -> list[Round]:
        """The rounds of one update; from the generator's seed alone."""
        random, total = np.random.default_rng(generator.initial_seed()), self.rounds.total
        quiet = {int(random.integers(1, total - 1)), total - 1}
        chosen = set(range(total))
        if self.rounds.graded:
            chances = 1 / np.arange(1, total)
            drawn = random.choice(total - 1, self.rounds.graded - 1, replace=False, p=chances / chances.sum())
            chosen = {0, *(1 + int(number) for number in drawn)}
        return [Round(silent=number in quiet, graded=number in chosen) for number in range(max(chosen) + 1)]

    def _first(self, masks: Tensor, generator: torch.Generator) -> Given:
        """A click somewhere on the first half of the masks, rough boxes of the others."""
        half = masks.shape[1] // 2
        first = random_pixels(masks[:, :half], generator)
        boxes = rough_boxes(masks[:, half:], generator, side=masks.shape[-1])
        none = masks.new_zeros((*masks.shape[:2], 0), dtype=torch.long)
        return Given(first.new_zeros((*masks.shape[:2], 0, 2)), none, first[:, :, None], boxes)

    def _click(
        self, given: Given, logits: Tensor | None, targets: Tensor, factor: int, generator: torch.Generator
    ) -> Given:
        """One more click each, somewhere where the last answer was wrong."""
        truths = targets > 0.5
        missed, extra = wrong(torch.zeros_like(truths) if logits is None else logits > 0, truths)
        points = random_pixels(missed | extra, generator)
        labels = next_labels(points, truths)
        return given.with_clicks(points * factor + (factor - 1) / 2, labels)

    def _answers(self, features: Tensor, given: Given, logits: Tensor | None) -> tuple[Tensor, Tensor]:
        """All answers and scores."""
        encoder, half = self.model.prompt_encoder, given.first.shape[1]
        inside = torch.full(given.first.shape[:3], INSIDE, device=features.device)
        points = torch.cat((given.first, given.points[:, :half]), dim=2)
        labels = torch.cat((inside, given.labels[:, :half]), dim=2)
        clicked = encoder.tokens(Prompts(points=points, labels=labels))
        boxed = encoder.tokens(Prompts(points=given.points[:, half:], labels=given.labels[:, half:], boxes=given.boxes))
        if clicked is None or boxed is None:
            raise ValueError("prompts without tokens cannot be learned from")
        tokens = torch.cat((clicked, boxed), dim=1)
        picture = features.flatten(2).transpose(1, 2)[:, None] + encoder.map(logits)
        return self.model.mask_decoder(picture, encoder.grid(), tokens)

    def preview(self, state: TrainState) -> Mapping[str, np.ndarray]:
        """Four pictures with what one click and what eight find."""
        device = state.device
        batch = self.batch(range(4), torch.Generator().manual_seed(0))
        batch = SamBatch(batch.pictures.to(device), batch.masks[:, :2].to(device))
        generator = torch.Generator(device).manual_seed(0)
        features = self.model.encode(batch.pictures)
        every = self._answers(features, self._first(batch.masks, generator), None)
        many, scores = answers(*every, multimask=True)
        side = self.model.config.size
        large = F.interpolate(many.flatten(1, 2).float(), (side, side), mode="bilinear").unflatten(1, many.shape[1:3])
        best = scores.argmax(-1)[:, 0].tolist()
        pictures = (batch.pictures * 57 + 115).clamp(0, 255).permute(0, 2, 3, 1).byte().cpu().numpy()
        rows = [
            np.concatenate((picture, overlay(picture, truth[:1]), overlay(picture, made[0, place, None])), axis=1)
            for picture, truth, made, place in zip(
                pictures, batch.masks.cpu().numpy(), (large > 0).cpu().numpy(), best, strict=True
            )
        ]
        return {"picture, wanted, one click": np.concatenate(rows)}


def varied(sample: Segmented, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A sample's picture and masks, mirrored and turned, mostly cut to a rectangle, in other light.

    Args:
        sample: The sample.
        random: Source of randomness.

    Returns:
        uint8 `(height, width, 3)` and bool `(segments, height, width)`, none of them nearly empty.
    """
    picture, masks = sample.picture, sample.masks
    if random.random() < 0.5:
        picture, masks = picture[:, ::-1], masks[:, :, ::-1]
    turns = int(random.integers(4)) if random.random() < 0.3 else 0
    picture, masks = np.rot90(picture, turns), np.rot90(masks, turns, axes=(1, 2))
    if random.random() < CUT:
        cut, found = _cut(picture, masks, random)
        if len(found):
            picture, masks = cut, found
    light = random.uniform(0.7, 1.2) * random.uniform(0.85, 1.15, size=3)
    return np.clip(picture * light + random.uniform(-20, 20), 0, 255).astype(np.uint8), np.ascontiguousarray(masks)


CUT, SMALLEST_CUT, LEAST = 0.7, 0.4, 1 / 600
"""Share of pictures that are cut, least side of a cut, and least share of the pixels that a mask must have there."""


def _cut(picture: np.ndarray, masks: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A rectangle of a picture, every second one a square, with the masks that it shows enough of."""
    height, width = picture.shape[:2]
    share = random.uniform(SMALLEST_CUT, 1.0, size=2)
    if random.random() < 0.5:
        share[:] = share[0]
    rows, columns = int(height * share[0]), int(width * share[1])
    top, left = int(random.integers(height - rows + 1)), int(random.integers(width - columns + 1))
    window = (slice(top, top + rows), slice(left, left + columns))
    found = masks[(slice(None), *window)]
    return picture[window], found[found.sum((1, 2)) >= rows * columns * LEAST]


def in_frame(masks: np.ndarray, inner: tuple[int, int], side: int) -> Tensor:
    """Masks of a picture as masks of the encoder's square, bool `(segments, side, side)`."""
    height, width = masks.shape[1:]
    rows = np.minimum(((np.arange(inner[0]) + 0.5) * height / inner[0]).astype(int), height - 1)
    columns = np.minimum(((np.arange(inner[1]) + 0.5) * width / inner[1]).astype(int), width - 1)
    out = np.zeros((len(masks), side, side), dtype=bool)
    out[:, : inner[0], : inner[1]] = masks[:, rows[:, None], columns]
    return torch.from_numpy(out)


def first_recipe(model: nn.Module, source: SegmentedPictures) -> SamRecipe:
    """The recipe of the first stage: first prompts alone, which are quick and wake masks up from being empty."""
    return SamRecipe(_checked(model), source, rounds=Rounds(graded=1))


def sam_recipe(model: nn.Module, source: SegmentedPictures) -> SamRecipe:
    """The recipe of the second stage: the whole simulation, of which three rounds are learned from."""
    return SamRecipe(_checked(model), source)


def _checked(model: nn.Module) -> Sam:
    if not isinstance(model, Sam):
        raise TypeError(f"Segment Anything's stages train a Sam, not a {type(model).__name__}")
    return model


class WordsRecipe:
    """The last stage: the first prompt is what an encoder of pictures and words makes of a thing that is cut out.

    Words have never been seen then; they are understood because their features lie near those of what they name.

    Args:
        model: The model, with its reader.
        source: Pictures with masks.
        prompts: Things that are asked for in each picture, an even number.

    Source: arXiv:2304.02643, appendix D.5, "Zero-Shot Text-to-Mask".
    """

    def __init__(self, model: Sam, source: SegmentedPictures, *, prompts: int = 8) -> None:
        self.model, self.source, self.prompts = model, source, prompts
        self.usual = SamRecipe(model, source, prompts=prompts, rounds=Rounds(graded=2))

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> WordsBatch:
        """The usual batch, with a cut-out of each thing that is asked for."""
        usual, size = self.usual.batch(indices, generator), self.model.reader.size
        mean, std = (usual.pictures.new_tensor(numbers).view(3, 1, 1) / 127.5 for numbers in (MEAN, STD))
        pictures = usual.pictures * std + mean - 1
        cuts = [
            cut_outs(picture, boxes, size, own)
            for picture, boxes, own in zip(
                pictures, boxes_of_masks(usual.masks), sample_generators(generator, indices), strict=True
            )
        ]
        return WordsBatch(usual.pictures, usual.masks, torch.stack(cuts))

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """As in the other stages."""
        return self.usual.parameter_groups(settings)

    def step(self, state: TrainState, batch: WordsBatch) -> Mapping[str, float | Tensor]:
        """One update."""
        return descend(state, batch, lambda part: self.losses(part, state.generator))

    def losses(self, batch: WordsBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """The loss of answers to cut-outs, and that of the usual prompts."""
        usual = self.usual.losses(SamBatch(batch.pictures, batch.masks), generator)
        with torch.no_grad():
            words = self.model.reader.pictures(batch.cuts.flatten(0, 1)).unflatten(0, batch.cuts.shape[:2])
        every = self.model.decode(self.model.encode(batch.pictures), Prompts(words=words))
        side = self.model.config.low_res_side
        targets = F.avg_pool2d(batch.masks.float(), batch.masks.shape[-1] // side)
        several, single = (answer_loss(*answers(*every, multimask=many), targets) for many in (True, False))
        told = {"cut out": single.overlap.mean(), "first": usual["first"], "last": usual["last"]}
        return {"loss": usual["loss"] + several.loss + single.loss, **told}


WIDER = 1.5
"""How much more than its box is cut out around a thing at most, as a factor on the sides; 2 in the paper."""


def cut_outs(picture: Tensor, boxes: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Boxes cut out of a picture and stretched to squares, each with a random share of what is around it.

    Args:
        picture: `(3, height, width)`.
        boxes: `(boxes, 4)`: left, top, right, bottom, the last two inclusive.
        size: Side of the squares.
        generator: Source of randomness.

    Returns:
        `(boxes, 3, size, size)`.
    """
    low, high = boxes[:, :2].float(), boxes[:, 2:].float() + 1
    factor = 1 + (WIDER - 1) * torch.rand(len(boxes), 1, generator=generator)
    extent = picture.new_tensor((picture.shape[2], picture.shape[1]))
    centre, half = (low + high) / extent - 1, (high - low) / extent * factor
    zero = torch.zeros(len(boxes))
    across = torch.stack((half[:, 0], zero, centre[:, 0]), dim=1)
    down = torch.stack((zero, half[:, 1], centre[:, 1]), dim=1)
    grid = F.affine_grid(torch.stack((across, down), dim=1), [len(boxes), 3, size, size], align_corners=False)
    whole = picture.expand(len(boxes), -1, -1, -1)
    return F.grid_sample(whole, grid, mode="bilinear", padding_mode="border", align_corners=False)


def words_recipe(model: nn.Module, source: SegmentedPictures) -> WordsRecipe:
    """The recipe of the last stage."""
    return WordsRecipe(_checked(model), source)


_SETTINGS = FitSettings(
    steps=2000, batch_size=12, learning_rate=4e-3, warmup_steps=20, schedule=Cosine(final=0.05), weight_decay=0.05,
    betas=(0.9, 0.99), precision=Precision.BF16, ema_decay=0.99, preview_every=500, optimizer=Optimizer.MUON,
)  # fmt: skip

STAGES = (
    Stage(name="first", recipe=first_recipe, settings=_SETTINGS),
    Stage(
        name="segment",
        recipe=sam_recipe,
        settings=replace(_SETTINGS, steps=3000, batch_size=8, learning_rate=2.5e-3, ema_decay=0.998),
        finetune=True,
    ),
    Stage(
        name="words",
        recipe=words_recipe,
        settings=replace(_SETTINGS, steps=800, batch_size=8, learning_rate=1e-3, ema_decay=0.998, preview_every=0),
    ),
)
