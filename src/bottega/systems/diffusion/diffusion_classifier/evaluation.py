"""Measuring the classifier on the emoji world: classes, Unicode's groups, counts, and missing parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch

from bottega.data import pictures_to_tensor
from bottega.errors import RequestError
from bottega.metrics import PixelFeatures
from bottega.room import Measure, Progress, Report
from bottega.systems.diffusion.diffusion_classifier.inference import Classifier
from bottega.systems.diffusion.diffusion_classifier.model import DiffusionClassifier
from bottega.worlds import EmojiWorld, Sample
from bottega.worlds.emoji import (
    EMOJI_CLASSES,
    Emoji,
    emoji_class,
    family_weights,
    load_atlas,
    load_index,
    reference_pictures,
    split,
)

SAMPLES, COUNT_SAMPLES, PART_SAMPLES = 24, 48, 64
NUMBERS = ("one", "two", "three", "four")
RIDGE = 0.1
FEATURES = PixelFeatures()
SOLID = 128
LEGS = 64 // 5  # rows of a tile, from the lowest opaque one up, that legs take


@torch.inference_mode()
def evaluate(model: DiffusionClassifier, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """Accuracy beside chance, the most frequent class, shuffled labels and a supervised classifier.

    Args:
        model: The classifier, with its diffusion model.
        seed: Picks the emoji and the noise.
        limit: Most pictures for each figure.
        report: Called after every picture.
    """
    random, found = np.random.default_rng(seed), {}
    classifier = Classifier(model, EMOJI_CLASSES, SAMPLES, seed)
    for name, asked in drawn_tiles(seed, limit).items():
        seen = [EMOJI_CLASSES[each] for each in _best(classifier, asked, name, report)]
        found |= _accuracies(asked, seen, name, random)
        found[f"class, {name}: supervised"] = _measure(supervised(asked), _classes(asked), random)
    found |= missing_legs(model, seed, limit, report)
    return found | counts(model, seed, limit, report)


def drawn_tiles(seed: int, limit: int) -> dict[str, list[Emoji]]:
    """So many emoji of the training split and of the held-out one, drawn by their families."""
    random, found = np.random.default_rng(seed), {}
    for name, emojis in (("training tiles", split("train")), ("held-out tiles", split("heldout"))):
        chosen = random.choice(len(emojis), limit, replace=limit > len(emojis), p=family_weights(emojis))
        found[name] = [emojis[i] for i in chosen]
    return found


def supervised(asked: Sequence[Emoji]) -> list[str]:
    """The classes that a ridge regression reads off random features; it has seen all training tiles with their class.

    Source of comparison for a classifier that was never trained to classify.
    """
    emojis = split("train")
    known = FEATURES.features(pictures_to_tensor(reference_pictures("train", 32)[0])).double()
    mean, std = known.mean(0), known.std(0).clamp(min=1e-6)
    known = (known - mean) / std
    targets = torch.zeros(len(emojis), len(EMOJI_CLASSES), dtype=torch.float64)
    targets[torch.arange(len(emojis)), [EMOJI_CLASSES.index(emoji_class(emoji)) for emoji in emojis]] = 1
    damping = RIDGE * len(emojis) * torch.eye(known.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(known.T @ known + damping, known.T @ targets)
    everything = pictures_to_tensor(reference_pictures("all", 32)[0][[emoji.id for emoji in asked]])
    seen = (FEATURES.features(everything).double() - mean) / std
    return [EMOJI_CLASSES[label] for label in (seen @ weights).argmax(1).tolist()]


@torch.inference_mode()
def missing_legs(model: DiffusionClassifier, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """Whether an animal with all its legs is likelier than the same animal with one leg painted over.

    A prior over pictures must know it; a discriminative classifier need not. Two readings, on equal times and noise:
    the density itself (which also rewards any picture for being plainer), and what the class adds to it, which is
    the evidence that the picture is of an animal. The control paints over as much in another place of the animal.
    """
    classifier = Classifier(model, ("animal mammal",), PART_SAMPLES, seed)
    nothing = Classifier(model, (), PART_SAMPLES, seed) if model.prior.null_cond is not None else None
    names = ("density", "evidence") if nothing is not None else ("density",)
    wins: dict[str, list[float]] = {name: [] for name in names}
    controls: dict[str, list[float]] = {name: [] for name in names}
    animals = [emoji for emoji in split("all") if emoji.subgroup == "animal-mammal" and leg_boxes(emoji)]
    picked = np.random.default_rng(seed).permutation(len(animals))[:limit]
    for number, index in enumerate(picked, 1):
        whole, lame, scarred = maimed(animals[index])
        density = [_error(classifier, picture) for picture in (whole, lame, scarred)]
        readings = {"density": density}
        if nothing is not None:
            readings["evidence"] = [
                a - _error(nothing, picture) for a, picture in zip(density, (whole, lame, scarred), strict=True)
            ]
        for name in names:
            wins[name].append(float(readings[name][0] < readings[name][1]))
            controls[name].append(float(readings[name][2] < readings[name][1]))
        report(Progress(step=number, total=len(picked), stage="legs"))
    return {
        f"all legs likelier than one missing: {name}": Measure(
            value=100 * float(np.mean(wins[name])), control=100 * float(np.mean(controls[name])), baseline=50.0,
            unit="%", samples=len(picked),
        )
        for name in names
    }  # fmt: skip


@torch.inference_mode()
def counts(model: DiffusionClassifier, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """Whether the number in a caption ("three flashlights") is told from the other numbers; only for free prompts."""
    samples, world = [], EmojiWorld(scenes=1.0, seed=seed)
    for index in range(40 * limit):
        sample = world.sample(index)
        number, _, rest = sample.caption.partition(" ")
        if number in NUMBERS and " and " not in rest and len(sample.things) == NUMBERS.index(number) + 1:
            samples.append(sample)
        if len(samples) == limit:
            break
    try:
        seen = [_count(model, sample, seed) for sample in samples[:1]]
    except RequestError:  # the diffusion model knows a list of classes, and no free prompts
        return {}
    for number, sample in enumerate(samples[1:], 2):
        seen.append(_count(model, sample, seed))
        report(Progress(step=number, total=len(samples), stage="count"))
    truth = [sample.caption.partition(" ")[0] for sample in samples]
    return {"how many": _measure(seen, truth, np.random.default_rng(seed), chance=100 / len(NUMBERS))}


def leg_boxes(emoji: Emoji) -> list[tuple[int, int, int]]:
    """A tile's legs: runs of columns `(left, right)` in its lowest rows, and the row `top`; two or more, or none."""
    solid = load_atlas()[emoji.id, ..., 3] >= SOLID
    bottom = int(np.flatnonzero(solid.any(1))[-1])
    feet = solid[bottom - LEGS // 3 : bottom + 1].any(0)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], feet, [False])).astype(int)))
    runs = [(int(a), int(b), bottom - LEGS) for a, b in zip(edges[::2], edges[1::2], strict=True) if 3 <= b - a <= 14]
    return runs if len(runs) >= 2 else []


def maimed(emoji: Emoji) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A tile on white whole, without its first leg, and with as much painted over higher up; uint8 `(64, 64, 3)`."""
    whole = reference_pictures("all")[0][emoji.id]
    left, right, top = leg_boxes(emoji)[0]
    lame, scarred = whole.copy(), whole.copy()
    lame[top:, left:right] = 255
    height = len(whole) - top
    middle = max(0, (top - height) // 2)
    centre = (len(whole) - (right - left)) // 2
    scarred[middle : middle + height, centre : centre + right - left] = 255
    return whole, lame, scarred


def _error(classifier: Classifier, picture: np.ndarray) -> float:
    """The error under the first label, on all draws."""
    return float(classifier.errors(classifier.state(picture)).means[0])


def _count(model: DiffusionClassifier, sample: Sample, seed: int) -> str:
    _, _, rest = sample.caption.partition(" ")
    single = rest.removesuffix("s") if rest.endswith("s") else rest
    prompts = [f"{number} {single if number == 'one' else rest}" for number in NUMBERS]
    classifier = Classifier(model, prompts, COUNT_SAMPLES, seed)
    return NUMBERS[classifier.errors(classifier.state(sample.picture)).best]


def _best(classifier: Classifier, asked: Sequence[Emoji], stage: str, report: Report) -> list[int]:
    tiles, best = reference_pictures("all")[0], []
    for number, emoji in enumerate(asked, 1):
        best.append(classifier.errors(classifier.state(tiles[emoji.id])).best)
        report(Progress(step=number, total=len(asked), stage=stage))
    return best


def _accuracies(
    asked: Sequence[Emoji], seen: Sequence[str], name: str, random: np.random.Generator
) -> dict[str, Measure]:
    """Accuracy on the classes, and on Unicode's groups, to which the classes belong."""
    groups = {emoji_class(emoji): emoji.group for emoji in load_index()}
    return {
        f"class, {name}": _measure(seen, _classes(asked), random),
        f"group, {name}": _measure([groups[one] for one in seen], [emoji.group for emoji in asked], random),
    }


def _classes(asked: Sequence[Emoji]) -> list[str]:
    return [emoji_class(emoji) for emoji in asked]


def _measure(seen: Sequence[str], truth: Sequence[str], random: np.random.Generator, *, chance: float = 0.0) -> Measure:
    """Accuracy; the baseline is to say the most frequent answer always, the control shuffles the truth."""
    frequent = 100 * Counter(truth).most_common(1)[0][1] / len(truth)
    shuffled = [truth[int(i)] for i in random.permutation(len(truth))]
    return Measure(
        value=_share(seen, truth), control=_share(seen, shuffled),
        baseline=max(chance, frequent), unit="%", samples=len(truth),
    )  # fmt: skip


def _share(seen: Sequence[str], truth: Sequence[str]) -> float:
    return 100 * sum(a == b for a, b in zip(seen, truth, strict=True)) / len(truth)
