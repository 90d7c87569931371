"""Measuring EVA on the emoji world: zero-shot naming, retrieval and linear probes, on pictures unseen in training.

Held out are skin tones of known identities, scenes of combinations never seen together, and every place: the grounds,
sizes and positions of this seed. A control is the same figure with the pictures exchanged; a baseline is named there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bottega.data import pictures_to_tensor
from bottega.metrics import retrieval_accuracy
from bottega.networks import Eva, clip_normalise
from bottega.processes.masked import BlockMasks, block_masks, masked_cosine
from bottega.room import Measure, Report
from bottega.systems.vision.eva.inference import (
    TEMPLATES,
    emoji_names,
    label_features,
    picture_features,
    plain_emojis,
)
from bottega.systems.vision.eva.model import EvaRoom, sized
from bottega.systems.vision.eva.objective import teacher_features
from bottega.training import draw_generators
from bottega.worlds.emoji import EmojiPlacesWorld, compose, load_atlas, load_index, reference_pictures, split

UNSEEN = 7_000_001
"""Added to the seed of the places that are measured, far from those of training."""
RIDGE = 0.1
PROBED = 4
"""Pictures of each identity that a probe is fitted on."""


@torch.inference_mode()
def evaluate(model: EvaRoom, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """Everything that can be asked of a size with texts.

    Args:
        model: The towers with their tokenizer.
        seed: Of the places.
        limit: Most pictures of each figure.
        report: Called after every pass of a tower.
    """
    return {
        **naming(model, seed, limit, report),
        **held_out_tones(model, limit, report),
        **scenes(model, seed, limit, report),
        **probe(model, seed, limit),
    }


def naming(model: EvaRoom, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """Zero-shot: the name of an emoji in an unseen place, among all names. Baseline: the nearest tile by its pixels."""
    gallery, names = plain_emojis(), emoji_names()
    world = EmojiPlacesWorld(split="all", scenes=0.0, seed=seed + UNSEEN)
    plain = {emoji.id: number for number, emoji in enumerate(gallery)}
    drawn = [sample for sample in world.batch(range(4 * limit)) if sample.things[0].id in plain][:limit]
    pictures = np.stack([sample.picture for sample in drawn])
    targets = torch.tensor([plain[sample.things[0].id] for sample in drawn])
    seen, told = picture_features(model, pictures, report), label_features(model, names, report)
    tiles = coarse(compose(load_atlas()[[emoji.id for emoji in gallery]]))
    found = {}
    for top in (1, 5):
        baseline = retrieval_accuracy(coarse(pictures), tiles, targets, top)
        found[f"naming, top {top}"] = _measure(seen, told, targets, top, baseline)
    return found


def held_out_tones(model: EvaRoom, limit: int, report: Report) -> dict[str, Measure]:
    """Zero-shot: emoji with skin tones that training lacked, among all names. Baseline: chance."""
    emojis = load_index()
    pictures, _ = reference_pictures("heldout", model.config.tower.size)
    targets = torch.tensor([emoji.id for emoji in split("heldout")])[:limit]
    seen = picture_features(model, pictures[:limit], report)
    told = label_features(model, [emoji.phrase for emoji in emojis], report, templates=TEMPLATES[:1])
    found = {}
    for top in (1, 5):
        chance = top / len(emojis)
        found[f"held-out tones, top {top}"] = _measure(seen, told, targets, top, chance)
    return found


def scenes(model: EvaRoom, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """Retrieval between scenes of held-out combinations and their sentences. Baseline: chance."""
    world = EmojiPlacesWorld(split="heldout", scenes=1.0, seed=seed + UNSEEN)
    samples = list({sample.caption: sample for sample in world.batch(range(limit))}.values())
    seen = picture_features(model, np.stack([sample.picture for sample in samples]), report)
    told = label_features(model, [sample.caption for sample in samples], report, templates=TEMPLATES[:1])
    targets = torch.arange(len(samples))
    ways = {"sentence of a scene": (seen, told), "scene of a sentence": (told, seen)}
    return {
        f"{way}, top {top}": _measure(*pair, targets, top, top / len(samples))
        for way, pair in ways.items()
        for top in (1, 5)
    }


def probe(model: EvaRoom, seed: int, limit: int) -> dict[str, Measure]:
    """A linear probe of the tower. Baseline: the same tower before any training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = Eva(replace(model.config.tower)).to(model.tower.pos_embed.device).eval()
    value, control = probe_accuracy(tower_features(model.tower), seed, limit)
    baseline, _ = probe_accuracy(tower_features(fresh), seed, limit)
    pixels, _ = probe_accuracy(coarse, seed, limit)
    count = min(limit, 4096)
    return {
        "linear probe": Measure(value=value, baseline=baseline, control=control, unit="%", samples=count),
        "linear probe, against pixels": Measure(value=value, baseline=pixels, control=control, unit="%", samples=count),
    }


def tower_features(tower: Eva) -> Callable[[np.ndarray], Tensor]:
    """The class token and the mean of the patches, for pictures uint8 `(n, height, width, 3)`."""

    @torch.inference_mode()
    def features(pictures: np.ndarray) -> Tensor:
        made = []
        for start in range(0, len(pictures), 128):
            part = clip_normalise(sized(pictures_to_tensor(pictures[start : start + 128]), tower.config.size))
            states = tower(part.to(tower.pos_embed))
            made.append(torch.cat((states[:, 0], states[:, 1:].mean(1)), dim=1).float().cpu())
        return torch.cat(made)

    return features


def probe_accuracy(features: Callable[[np.ndarray], Tensor], seed: int, limit: int) -> tuple[float, float]:
    """Percent of pictures whose subgroup a linear map of the features tells, and the same with the answers exchanged.

    The map is ridge regression on standardised features of pictures in places; it is asked about identities of emoji
    that it was not fitted on (one in five).

    Args:
        features: Pictures to features.
        seed: Of the places.
        limit: Most pictures that are asked about; four times as many are fitted on.
    """
    world = EmojiPlacesWorld(split="all", scenes=0.0, seed=seed + 2 * UNSEEN)
    emojis, samples = load_index(), world.batch(range((PROBED + 1) * limit))
    subgroups = sorted({emoji.subgroup for emoji in emojis})
    answers = torch.tensor([subgroups.index(emojis[sample.things[0].id].subgroup) for sample in samples])
    identities = sorted({emoji.base for emoji in emojis})
    asked = set(np.random.default_rng(seed).permutation(len(identities))[: len(identities) // 5].tolist())
    number = {name: place for place, name in enumerate(identities)}
    held = torch.tensor([number[emojis[sample.things[0].id].base] in asked for sample in samples])
    x = features(np.stack([sample.picture for sample in samples])).double()
    fitted = x[~held]
    x = (x - fitted.mean(0)) / (fitted.std(0) + 1e-6)
    x = torch.cat((x, torch.ones(len(x), 1, dtype=x.dtype)), dim=1)
    y = F.one_hot(answers, len(subgroups)).double()
    gram = x[~held].T @ x[~held]
    damped = gram + RIDGE * len(fitted) * torch.eye(len(gram), dtype=x.dtype)
    told = (x[held] @ torch.linalg.solve(damped, x[~held].T @ y[~held])).argmax(1)
    exchanged = answers[held].roll(1)
    return _percent(told == answers[held]), _percent(told == exchanged)


@torch.inference_mode()
def masked_figures(model: EvaRoom, seed: int, limit: int) -> Mapping[str, Measure]:
    """How well hidden patches are told. Baseline: the teacher's mean feature; control: another picture's features.

    Args:
        model: A tower right after its masked pre-training, with its teacher.
        seed: Of places and masks.
        limit: Pictures.
    """
    world = EmojiPlacesWorld(scenes=0.0, seed=seed + UNSEEN)
    shown = clip_normalise(pictures_to_tensor(np.stack([sample.picture for sample in world.batch(range(limit))])))
    side, masked = model.config.tower.side, model.config.masked
    if masked is None or model.student is None:
        return {}
    masks = BlockMasks(rows=side, columns=side, masked=round(masked.share * side**2), smallest=4)
    mask = block_masks(masks, draw_generators(seed, limit)).flatten(1)
    told, wanted = model.student(model.tower, shown, mask), teacher_features(model, shown)
    mean = F.normalize(wanted, dim=-1).mean((0, 1)).expand_as(wanted)
    return {
        "cosine of hidden patches": Measure(
            value=float(masked_cosine(told, wanted, mask)),
            baseline=float(masked_cosine(mean, wanted, mask)),
            control=float(masked_cosine(told, wanted.roll(1, 0), mask)),
            samples=limit,
        )
    }


def coarse(pictures: np.ndarray) -> Tensor:
    """uint8 `(n, height, width, 3)` to the colours of a 16 x 16 grid, `(n, 768)`."""
    small = F.adaptive_avg_pool2d(torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255, 16)
    return small.flatten(1)


def _measure(queries: Tensor, gallery: Tensor, targets: Tensor, top: int, baseline: float) -> Measure:
    """The share of queries that find their target, in percent; the control exchanges the queries."""
    value, control = (retrieval_accuracy(part, gallery, targets, top) for part in (queries, queries.roll(1, 0)))
    return Measure(value=100 * value, baseline=100 * baseline, control=100 * control, unit="%", samples=len(targets))


def _percent(right: Tensor) -> float:
    return 100 * float(right.double().mean())
