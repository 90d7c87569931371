"""A diffusion model as a classifier beside CLIP and a supervised classifier: the classes of emoji, and their legs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

import bottega
from benchmarks.measure import Outcome, Row
from bottega.data import pictures_to_tensor
from bottega.room import silent
from bottega.systems.diffusion.diffusion_classifier.evaluation import drawn_tiles, evaluate, leg_boxes, maimed
from bottega.systems.diffusion.diffusion_classifier.model import DiffusionClassifier
from bottega.systems.diffusion.unidiffuser.model import UniDiffuser
from bottega.worlds.emoji import EMOJI_CLASSES, Emoji, emoji_class, reference_pictures, split

LIMIT, SEED, RIDGE = 32, 0, 1e-3
ANIMAL = "animal mammal"


class Clip:
    """The towers of the bundled UniDiffuser with a map from texts to pictures.

    The map that compared them in training is not among the weights: ridge regression on the training pairs fits it
    again. Class names are its prompts, as they are the diffusion model's.
    """

    def __init__(self, model: UniDiffuser) -> None:
        self.model = model
        pictures = self.see(reference_pictures("train")[0])
        texts = self._pooled([emoji.base for emoji in split("train")])
        self.mean, self.centre = pictures.mean(0), texts.mean(0)
        given = texts - self.centre
        damped = given.T @ given + RIDGE * len(given) * torch.eye(given.shape[1], dtype=given.dtype)
        self.map = torch.linalg.solve(damped, given.T @ (pictures - self.mean))

    def see(self, pictures: np.ndarray) -> Tensor:
        """Embeddings of pictures uint8 `(n, height, width, 3)`, of length 1."""
        parts = pictures_to_tensor(pictures).split(128)
        return normalize(torch.cat([self.model.picture_embedding(part).double() for part in parts]), dim=1)

    def likeness(self, pictures: np.ndarray, texts: Sequence[str]) -> Tensor:
        """Cosines `(pictures, texts)`, both without what all have in common."""
        told = normalize((self._pooled(texts) - self.centre) @ self.map, dim=1)
        return normalize(self.see(pictures) - self.mean, dim=1) @ told.T

    def _pooled(self, texts: Sequence[str]) -> Tensor:
        tokens = [self.model.tokenize(texts[i : i + 128]) for i in range(0, len(texts), 128)]
        return torch.cat([self.model.text.pool(self.model.text(part), part).double() for part in tokens])


@torch.inference_mode()
def run(limit: int = LIMIT) -> Outcome:
    """Every reader on the same pictures."""
    classifier, joint = bottega.load("diffusion_classifier").model, bottega.load("unidiffuser").model
    if not (isinstance(classifier, DiffusionClassifier) and isinstance(joint, UniDiffuser)):
        raise TypeError("the two systems are not what their names say")
    found, clip, rows = evaluate(classifier, SEED, limit, silent), Clip(joint), []
    for name, asked in drawn_tiles(SEED, limit).items():
        own, taught = found[f"class, {name}"], found[f"class, {name}: supervised"]
        readers = {"U-ViT": own.value, "CLIP": classes_seen(clip, asked), "supervised": taught.value}
        rows += [Row(what=f"{name}, {reader}", value=value, unit="%") for reader, value in readers.items()]
        rows.append(Row(what=f"{name}, most frequent class", value=own.baseline or 0.0, unit="%"))
    for name in ("density", "evidence"):
        legs = found[f"all legs likelier than one missing: {name}"]
        control = f"{legs.control:.0f} % with as much painted over elsewhere"
        rows.append(Row(what=f"all legs before one missing, U-ViT's {name}", value=legs.value, unit="%", note=control))
    wins, control = legs_seen(clip, limit)
    note = f"{control:.0f} % with as much painted over elsewhere"
    rows.append(Row(what="all legs before one missing, CLIP", value=wins, unit="%", note=note))
    method = (
        f"{limit} emoji of each split at 64 pixels, drawn by families, {len(EMOJI_CLASSES)} classes, seed {SEED}. The "
        "U-ViT and CLIP are told the classes' names and were not trained to classify; the U-ViT was trained on class "
        "names as conditions, CLIP on full names, and its map from texts to pictures is fitted again by ridge "
        "regression on the training pairs. The supervised classifier is a ridge regression of the classes on colours "
        "and gradients of the training tiles. Legs: how often a mammal with all legs is more of a mammal than the "
        "same one with a leg painted over; chance is 50 %."
    )
    return Outcome(name="zero_shot", title="Who tells emoji apart", method=method, rows=tuple(rows))


def classes_seen(clip: Clip, asked: Sequence[Emoji]) -> float:
    """Percent of emoji whose class's name is the most like their picture."""
    likeness = clip.likeness(reference_pictures("all")[0][[emoji.id for emoji in asked]], EMOJI_CLASSES)
    seen = [EMOJI_CLASSES[place] for place in likeness.argmax(1).tolist()]
    return 100 * float(np.mean([a == emoji_class(emoji) for a, emoji in zip(seen, asked, strict=True)]))


def legs_seen(clip: Clip, limit: int) -> tuple[float, float]:
    """Percent of mammals that are more like the word with all legs, and with a leg missing than with a scar."""
    animals = [emoji for emoji in split("all") if emoji.subgroup == "animal-mammal" and leg_boxes(emoji)]
    picked = np.random.default_rng(SEED).permutation(len(animals))[:limit]
    told = torch.stack([clip.likeness(np.stack(maimed(animals[i])), [ANIMAL])[:, 0] for i in picked])
    whole, lame, scarred = told.unbind(1)
    return 100 * float((whole > lame).double().mean()), 100 * float((scarred > lame).double().mean())
