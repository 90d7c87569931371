"""Measuring eDiff-I on coloured emoji, by pixels alone: which colours are there, on which shapes, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from bottega.data import pictures_to_tensor, tensor_to_pictures
from bottega.processes.diffusion import no_report
from bottega.room import Measure, Progress, Report
from bottega.systems.diffusion.edm_experts.inference import TextReaders, ask, draw
from bottega.systems.diffusion.edm_experts.model import EdmExperts
from bottega.systems.diffusion.edm_experts.objective import IntervalTimes, edm_loss, member_times
from bottega.systems.diffusion.edm_experts.sampling import Region, boost_of, draw_base
from bottega.training import draw_generators
from bottega.worlds import ColouredEmojiWorld, tight_box
from bottega.worlds.emoji import coloured_nouns, load_atlas

STEPS, UPSCALE_STEPS, GUIDANCE = 20, 8, 2.0
LEAST = 0.015
"""Share of the picture that a colour must cover to be there."""
BOX = 16
"""Side at which shapes are compared."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt about two things that differ in colour and shape.

    Args:
        caption: The prompt.
        things: Colour and shape of each.
        masks: Where they are in the picture that the prompt is from, bool `(2, height, width)`.
    """

    caption: str
    things: tuple[tuple[str, str], ...]
    masks: np.ndarray


@torch.inference_mode()
def evaluate(model: EdmExperts, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """How well words bind colours to shapes, by either reader of texts; where paint puts them; what experts gain.

    Pairs of things are held out from training. Controls ask for what another picture was drawn for; the baseline of
    binding is the share that pictures of random pairs reach, of painting the same prompt without paint, and of the
    experts the last one on all noise levels.

    Args:
        model: The pipeline.
        seed: Picks prompts and noise.
        limit: Most pictures to draw for each figure.
        report: Called after every set of pictures.
    """
    asked, found = prompts(seed, max(limit, 2)), {}
    chance = [bound(picture, one) for picture, one in zip(_random_pictures(seed, len(asked)), asked, strict=True)]
    for number, readers in enumerate(TextReaders, 1):
        told = ask(model, [one.caption for one in asked], readers=readers)
        made = tensor_to_pictures(draw(
            model, told, seed, steps=STEPS, upscale_steps=UPSCALE_STEPS, guidance=GUIDANCE, report=no_report
        ))  # fmt: skip
        found |= binding(made, asked, chance, _NAMES[readers])
        report(Progress(step=number, total=5, stage="draw"))
    found["IoU with the painted region"] = painting(model, asked, seed)
    report(Progress(step=4, total=5, stage="paint"))
    found |= expert_gain(model, seed, max(limit, 2))
    report(Progress(step=5, total=5, stage="experts"))
    return found


_NAMES = {TextReaders.BOTH: "CLIP and T5", TextReaders.CLIP: "CLIP alone", TextReaders.T5: "T5 alone"}


def prompts(seed: int, count: int) -> list[Asked]:
    """Prompts of the held-out split about two things of two colours and two shapes."""
    world, found, index = ColouredEmojiWorld(split="heldout", seed=1 + seed), [], 0
    while len(found) < count:
        sample = world.sample(index)
        index += 1
        things = tuple((thing.name.split()[0], thing.name.split()[1]) for thing in sample.things)
        if len(things) == 2 and all(a != b for a, b in zip(*things, strict=True)):
            found.append(Asked(sample.caption, things, sample.masks))
    return found


def binding(
    made: np.ndarray, asked: Sequence[Asked], chance: list[tuple[float, float]], who: str
) -> dict[str, Measure]:
    """Shares of asked colours that are there, and of those on their own shape; the control shifts prompts by one."""
    shifted = [*asked[1:], asked[0]]
    true = np.array([bound(picture, one) for picture, one in zip(made, asked, strict=True)])
    other = np.array([bound(picture, one) for picture, one in zip(made, shifted, strict=True)])
    base, result = np.array(chance).mean(0), {}
    for i, what in enumerate(("colours that are there", "colours on their shapes")):
        value, control, baseline = (100 * float(part) for part in (true[:, i].mean(), other[:, i].mean(), base[i]))
        result[f"{what}, {who}"] = Measure(
            value=value, baseline=baseline, control=control, unit="%", samples=2 * len(asked)
        )
    return result


def bound(picture: np.ndarray, asked: Asked) -> tuple[float, float]:
    """The shares of the asked colours that a picture uint8 `(height, width, 3)` shows, at all and on their shapes.

    A colour is there when it is one of the two that cover most, and covers enough.
    """
    areas = sorted(((colour_mask(picture, name).mean(), name) for name in palette()[0][:-1]), reverse=True)
    most = [name for area, name in areas[:2] if area >= LEAST]
    there = [colour in most for colour, _ in asked.things]
    right = [colour in most and shape_of(colour_mask(picture, colour)) == shape for colour, shape in asked.things]
    return float(np.mean(there)), float(np.mean(right))


@lru_cache(maxsize=1)
def palette() -> tuple[tuple[str, ...], np.ndarray]:
    """The colours by name, and white; and their mean pixels in the atlas, float `(9, 3)`."""
    pixels: dict[str, list[np.ndarray]] = {}
    for noun in coloured_nouns():
        tile = load_atlas()[noun.id]
        pixels.setdefault(noun.phrase.split()[0], []).append(tile[tile[..., 3] > 200][:, :3].mean(0))
    names = (*pixels, "white")
    return names, np.array([*(np.mean(rows, axis=0) for rows in pixels.values()), np.full(3, 255.0)])


def colour_mask(picture: np.ndarray, colour: str) -> np.ndarray:
    """The pixels nearest to a colour among all colours and white, bool `(height, width)`."""
    names, values = palette()
    away = np.linalg.norm(picture[..., None, :].astype(float) - values, axis=-1)
    return away.argmin(-1) == names.index(colour)


@lru_cache(maxsize=1)
def _shapes() -> dict[str, np.ndarray]:
    tiles = {noun.phrase.split()[1]: load_atlas()[noun.id][..., 3] > 128 for noun in coloured_nouns()}
    return {shape: _boxed(mask) for shape, mask in tiles.items()}


def shape_of(mask: np.ndarray) -> str:
    """The shape whose outline in its box is most like the mask's."""
    own = _boxed(mask)
    return max(_shapes(), key=lambda shape: _iou(own, _shapes()[shape]))


def _boxed(mask: np.ndarray) -> np.ndarray:
    box = tight_box(mask)
    inside = torch.from_numpy(mask[box.top : box.bottom, box.left : box.right].astype(np.float32))
    return interpolate(inside[None, None], size=(BOX, BOX), mode="bilinear")[0, 0].numpy() > 0.5


def _iou(left: np.ndarray, right: np.ndarray) -> float:
    return float((left & right).sum() / max((left | right).sum(), 1))


def painting(model: EdmExperts, asked: Sequence[Asked], seed: int) -> Measure:
    """IoU of each colour with the region painted for it, in the base model's pictures of words that tell no place.

    The baseline is the same noise without paint, the control the next picture's painting.
    """
    texts = [" and ".join(f"a{'n' * (c[0] in 'aeiou')} {c} {s}" for c, s in one.things) for one in asked]
    told = ask(model, texts)
    size = model.config.base.unet.size
    streams = draw_generators(seed, len(texts))
    noise = torch.stack([torch.randn(3, size, size, generator=stream) for stream in streams]).to(told["clip"])
    regions = [
        [Region(phrase=" ".join(thing), mask=mask) for thing, mask in zip(one.things, one.masks, strict=True)]
        for one in asked
    ]
    boosts = torch.stack([boost_of(model, text, own, 1.0) for text, own in zip(texts, regions, strict=True)])
    scores = []
    for extra in ({"boost": boosts.to(told["clip"])}, {}):
        drawn = draw_base(model, told | extra, noise, steps=STEPS, guidance=GUIDANCE, report=no_report)
        made = tensor_to_pictures(interpolate(drawn, size=asked[0].masks.shape[1:], mode="bilinear"))
        scores.append([_covered(p, one, one.masks) for p, one in zip(made, asked, strict=True)])
        shifted = [*asked[1:], asked[0]]
        scores.append([_covered(p, one, o.masks) for p, one, o in zip(made, asked, shifted, strict=True)])
    value, control, baseline, _ = (float(np.mean(score)) for score in scores)
    return Measure(value=value, baseline=baseline, control=control, samples=2 * len(asked))


def _covered(picture: np.ndarray, asked: Asked, masks: np.ndarray) -> float:
    pairs = zip(asked.things, masks, strict=True)
    return float(np.mean([_iou(colour_mask(picture, colour), mask) for (colour, _), mask in pairs]))


def expert_gain(model: EdmExperts, seed: int, count: int) -> dict[str, Measure]:
    """The loss of each expert on its own noise levels, beside that of the one for the rest."""
    stage, found = model.config.base, {}
    samples = ColouredEmojiWorld(split="heldout", seed=2 + seed).batch(range(count))
    told = ask(model, [sample.caption for sample in samples])
    whole = pictures_to_tensor(np.stack([sample.picture for sample in samples])).to(told["clip"])
    pictures = interpolate(whole, size=(stage.unet.size, stage.unet.size), mode="area")
    for number, times in enumerate(member_times(stage)[:-1]):
        errors = [_loss(model, member, pictures, told, times, seed) for member in (number, -1)]
        node = stage.experts[number]
        found[f"loss of expert {node.index} of {2**node.level}"] = Measure(
            value=errors[0], baseline=errors[1], higher_is_better=False, samples=4 * count
        )
    return found


def _loss(
    model: EdmExperts, member: int, pictures: Tensor, told: dict[str, Tensor], times: IntervalTimes, seed: int
) -> float:
    generator, data = torch.Generator().manual_seed(seed), model.config.sigma_data
    network = model.base.members[member]
    return float(np.mean([
        edm_loss(network, pictures, told, times, data, generator).mean().item() for _ in range(4)
    ]))  # fmt: skip


def _random_pictures(seed: int, count: int) -> np.ndarray:
    return np.stack([sample.picture for sample in ColouredEmojiWorld(split="train", seed=3 + seed).batch(range(count))])
