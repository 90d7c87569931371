"""Measuring UniDiffuser on the emoji world, where the right answer is known exactly.

A generated picture is read by its nearest tile of the whole atlas (train and held out), by pixels at 16 x 16. The
control is the same figure with the prompts (or pictures) shuffled; the baseline is a tile drawn at random.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from bottega.data import pictures_to_tensor, tensor_to_pictures
from bottega.metrics import keyword_overlap, psnr
from bottega.room import Measure, Progress, Report
from bottega.systems.diffusion.unidiffuser.model import UniDiffuser
from bottega.systems.diffusion.unidiffuser.sampling import Conditions, Sampler
from bottega.worlds.emoji import Emoji, reference_pictures, split

STEPS, GUIDANCE, BATCH = 20, 4.0, 64

Judge = Callable[[Emoji, Sequence[Emoji]], bool]
"""Whether the nearest tiles, nearest first, are right for the emoji that was asked for."""


class NearestTiles:
    """Finds a picture's nearest tiles in the atlas."""

    def __init__(self) -> None:
        self.pictures, _ = reference_pictures("all")
        self.emojis = split("all")
        self.gallery = coarse(self.pictures)

    def __call__(self, pictures: np.ndarray, count: int = 5) -> list[list[Emoji]]:
        """The `count` nearest tiles of each picture, nearest first."""
        distances = torch.cdist(coarse(pictures), self.gallery)
        return [[self.emojis[i] for i in row] for row in distances.topk(count, largest=False).indices.tolist()]


def coarse(pictures: np.ndarray) -> Tensor:
    """uint8 `(n, 64, 64, 3)` to mean colours of a 16 x 16 grid, `(n, 768)`."""
    n, height, width, channels = pictures.shape
    cells = pictures.reshape(n, 16, height // 16, 16, width // 16, channels)
    return torch.from_numpy(cells.mean((2, 4), dtype=np.float32).reshape(n, -1))


@torch.inference_mode()
def evaluate(model: UniDiffuser, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """Text to picture on training names and held-out compositions, picture to text, and the joint mode.

    Args:
        model: The pipeline with its tokenizers.
        seed: Picks the emoji and the noise.
        limit: Most samples of each figure.
        report: Called after every batch.
    """
    evaluation = _Evaluation(model, seed, limit, report)
    train, held = split("train"), split("heldout")
    objects = [emoji for emoji in train if not emoji.skin_tones]
    pairs = [emoji for emoji in held if len(emoji.skin_tones) == 2]
    found: dict[str, Measure] = {}
    found |= evaluation.text_to_picture("train", train, {"top-1": top(1), "top-5": top(5)})
    found |= evaluation.text_to_picture("objects", objects, {"top-1": top(1), "top-5": top(5)})
    judges = {"top-1": top(1), "top-5": top(5), "base": same_base, "tone": same_tones}
    found |= evaluation.text_to_picture("held-out", held, judges)
    found |= evaluation.text_to_picture("held-out pairs", pairs, {"two-tone binding": same_tones})
    found |= evaluation.picture_to_text("train", train)
    found |= evaluation.picture_to_text("held-out", held)
    found |= evaluation.joint()
    found["autoencoder PSNR"] = evaluation.reconstruction(held)
    return found


def top(count: int) -> Judge:
    """The very tile is among the `count` nearest."""
    return lambda asked, nearest: any(emoji.id == asked.id for emoji in nearest[:count])


def same_base(asked: Emoji, nearest: Sequence[Emoji]) -> bool:
    """The nearest tile shows the same identity, whatever its skin tones."""
    return nearest[0].base == asked.base


def same_tones(asked: Emoji, nearest: Sequence[Emoji]) -> bool:
    """The nearest tile has the same skin tones, in order."""
    return nearest[0].skin_tones == asked.skin_tones


class _Evaluation:
    def __init__(self, model: UniDiffuser, seed: int, limit: int, report: Report) -> None:
        self.model, self.seed, self.limit, self.report = model, seed, limit, report
        self.tiles = NearestTiles()
        self.random = np.random.default_rng(seed)
        self.sampler = Sampler(model.joint, steps=STEPS, guidance=GUIDANCE, seed=seed)
        self.batches = 0

    def text_to_picture(self, name: str, emojis: list[Emoji], judges: dict[str, Judge]) -> dict[str, Measure]:
        """Pictures of names, judged by their nearest tiles."""
        asked = self._pick(emojis)
        pictures = np.concatenate([self._draw(part) for part in self._parts(asked)])
        nearest = self.tiles(pictures)
        shuffled = self._shuffled(len(asked))
        gallery = self.tiles.emojis
        measures = {}
        for label, judge in judges.items():
            right = [judge(emoji, near) for emoji, near in zip(asked, nearest, strict=True)]
            wrong = [judge(asked[other], near) for other, near in zip(shuffled, nearest, strict=True)]
            guesses = self.random.integers(len(gallery), size=(len(asked), 200, 5))
            chance = [judge(emoji, [gallery[i] for i in row]) for emoji, rows in zip(asked, guesses, strict=True)
                      for row in rows]  # fmt: skip
            measures[f"text to picture, {name}: {label}"] = _share(right, wrong, chance)
        return measures

    def picture_to_text(self, name: str, emojis: list[Emoji]) -> dict[str, Measure]:
        """Texts of pictures: whether they hold the exact name, and how many of its words."""
        asked = self._pick(emojis)
        texts: list[str] = []
        for part in self._parts(asked):
            pictures = self._pictures(part)
            given = Conditions.picture(
                self.model.autoencoder.to_latents(pictures), self.model.picture_embedding(pictures)
            )
            texts += self.model.write(self.sampler.texts(given, lambda _: None), beams=1)
            self._count("picture to text")
        names = [emoji.phrase for emoji in asked]
        others = [names[other] for other in self._shuffled(len(names))]
        guesses = [emoji.phrase for emoji in self.random.choice(np.array(self.tiles.emojis, dtype=object), len(asked))]
        exact = [_holds(text, phrase) for text, phrase in zip(texts, names, strict=True)]
        wrong = [_holds(text, phrase) for text, phrase in zip(texts, others, strict=True)]
        chance = [_holds(guess, phrase) for guess, phrase in zip(guesses, names, strict=True)]
        overlap = Measure(
            value=_mean_overlap(texts, names),
            control=_mean_overlap(texts, others),
            baseline=_mean_overlap(guesses, names),
            samples=len(asked),
        )
        label = f"picture to text, {name}"
        return {f"{label}: exact name": _share(exact, wrong, chance), f"{label}: keyword overlap": overlap}

    def joint(self) -> dict[str, Measure]:
        """Whether the words of a joint sample name one of the five tiles nearest to its picture."""
        count = min(self.limit, 128)
        latents, codes = self.sampler.both(count, lambda _: None)
        nearest = self.tiles(tensor_to_pictures(self.model.autoencoder.from_latents(latents)))
        texts = self.model.write(codes, beams=1)
        self._count("joint")
        agree = [_names_one(text, near) for text, near in zip(texts, nearest, strict=True)]
        apart = [_names_one(texts[other], near) for other, near in zip(self._shuffled(count), nearest, strict=True)]
        return {"joint: words name the picture": _share(agree, apart, apart)}

    def reconstruction(self, emojis: list[Emoji]) -> Measure:
        """What the autoencoder keeps of pictures it has not seen; the baseline is their mean colour."""
        pictures = self._pictures(self._pick(emojis))
        made = self.model.autoencoder.from_latents(self.model.autoencoder.to_latents(pictures)).clamp(-1, 1)
        flat = pictures.mean((2, 3), keepdim=True).expand_as(pictures)
        value, baseline = (float(psnr(other.float(), pictures).mean()) for other in (made, flat))
        return Measure(value=value, baseline=baseline, unit="dB", samples=len(pictures))

    def _draw(self, part: list[Emoji]) -> np.ndarray:
        code = self.model.text_code([emoji.phrase for emoji in part])
        latents, _ = self.sampler.pictures(Conditions.text(code), lambda _: None)
        self._count("text to picture")
        return tensor_to_pictures(self.model.autoencoder.from_latents(latents))

    def _pictures(self, part: list[Emoji]) -> Tensor:
        chosen = self.tiles.pictures[[emoji.id for emoji in part]]
        return pictures_to_tensor(chosen).to(self.model.joint.pos_embed)

    def _pick(self, emojis: list[Emoji]) -> list[Emoji]:
        order = np.random.default_rng(self.seed).permutation(len(emojis))[: self.limit]
        return [emojis[i] for i in order]

    def _shuffled(self, count: int) -> list[int]:
        """Every position gets another's: a random rotation of the order."""
        return [(i + count // 2) % count for i in range(count)]

    def _parts(self, asked: list[Emoji]) -> list[list[Emoji]]:
        return [asked[i : i + BATCH] for i in range(0, len(asked), BATCH)]

    def _count(self, stage: str) -> None:
        self.batches += 1
        total = max(6 * -(-self.limit // BATCH) + 1, self.batches)
        self.report(Progress(step=self.batches, total=total, stage=stage))


def _share(right: Sequence[bool], wrong: Sequence[bool], chance: Sequence[bool]) -> Measure:
    value, control, baseline = (100 * sum(each) / len(each) for each in (right, wrong, chance))
    return Measure(value=value, control=control, baseline=baseline, unit="%", samples=len(right))


def _mean_overlap(texts: Sequence[str], names: Sequence[str]) -> float:
    return sum(map(keyword_overlap, texts, names)) / len(names)


def _holds(text: str, phrase: str) -> bool:
    """Whether a text has a phrase's letters and digits in a row, at word ends, whatever the punctuation."""
    return f" {_plain(phrase)} " in f" {_plain(text)} "


def _names_one(text: str, nearest: Sequence[Emoji]) -> bool:
    return any(_holds(text, emoji.phrase) for emoji in nearest)


def _plain(text: str) -> str:
    return " ".join("".join(letter if letter.isalnum() else " " for letter in text.lower()).split())
