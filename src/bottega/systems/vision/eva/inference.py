"""Running EVA: pictures and sentences to features, and what can be told from them. The only code that users run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bottega.data import Crop, fit_picture, pictures_to_tensor, read_picture
from bottega.errors import RequestError
from bottega.results import Origin, PicturesResult, save
from bottega.room import Progress, Report
from bottega.systems.vision.eva.model import EvaRoom
from bottega.worlds.emoji import Emoji, EmojiPlacesWorld, compose, load_atlas, load_index

AT_ONCE = 128
"""Pictures or texts that pass a tower together."""

TEMPLATES = ("{}", "emoji of {}", "a picture of {}")
"""Sentences that a label is read in; their features are averaged (arXiv:2103.00020, section 3.1.4)."""


class Task(Enum):
    """What is asked."""

    TELL = "tell"
    """Which of the labels fits each picture."""
    FIND = "find"
    """Which of the emoji (without skin tones) fit each sentence."""

    @property
    def takes(self) -> str:
        """What the inputs are."""
        return "picture" if self is Task.TELL else "text"


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaRequest:
    """What to compare."""

    inputs: tuple[str, ...] = ()
    """Files of pictures, none for an emoji that the seed draws; or, for find, sentences."""
    task: Task = Task.TELL
    """Tell which label fits a picture, or find emoji for a sentence."""
    labels: tuple[str, ...] = ()
    """Names or sentences to choose from; none for the names of all emoji. Sizes without texts give features alone."""
    top: int = 5
    """How many of the best to show, 1 to 100."""
    seed: int = 0
    """Picks the emoji where no picture is given, 0 to 2**31 - 1."""

    def __post_init__(self) -> None:
        if not 1 <= self.top <= 100:
            raise RequestError.of("top", self.top, "between 1 and 100")
        if not 0 <= self.seed < 2**31:
            raise RequestError.of("seed", self.seed, "between 0 and 2**31 - 1")
        if any(not label.strip() for label in self.labels):
            raise RequestError("a label is empty; write what a picture may show")
        if self.task is Task.FIND:
            if not self.inputs or any(not text.strip() for text in self.inputs):
                raise RequestError("find needs sentences; write what the emoji should show")
            if self.labels:
                raise RequestError("find looks among all emoji and takes no labels; leave them out")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EvaResult:
    """Features of pictures and labels, and how well they fit.

    Args:
        sources: The files, or what was drawn.
        labels: What was chosen from; none where the size reads no texts.
        picture_features: float32 `(pictures, width)`, of length 1.
        label_features: float32 `(labels, width)`, of length 1.
        similarities: float32 `(pictures, labels)`: cosines.
        chances: float32 `(pictures, labels)`: the softmax of the scaled cosines, 1 in sum for each picture.
        top: How many labels a text shows.
        seed: The seed of the request.
        settings: What else made it, for people to read.
        origin: The recipe; filled in by a loaded system.
    """

    sources: tuple[str, ...]
    labels: tuple[str, ...]
    picture_features: np.ndarray
    label_features: np.ndarray
    similarities: np.ndarray
    chances: np.ndarray
    top: int
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin | None = None

    def best(self, picture: int) -> list[tuple[str, float]]:
        """The best labels of a picture with their chances."""
        order = np.argsort(-self.chances[picture], kind="stable")[: self.top]
        return [(self.labels[label], float(self.chances[picture, label])) for label in order]

    def items(self) -> list[str]:
        """A line for each picture."""
        return list(self.texts())

    def texts(self) -> tuple[str, ...]:
        """A line for each picture: its best labels with their chances; or its feature's size."""
        if not self.labels:
            return tuple(f"{source}: {self.picture_features.shape[1]} features" for source in self.sources)
        told = (", ".join(f"{name} ({chance:.1%})" for name, chance in self.best(n)) for n in range(len(self.sources)))
        return tuple(told)

    def arrays(self) -> Mapping[str, np.ndarray]:
        """Features, similarities and chances, and the names that they belong to."""
        return {
            "picture_features": self.picture_features,
            "label_features": self.label_features,
            "similarities": self.similarities,
            "chances": self.chances,
            "labels": np.array(self.labels, dtype=np.str_),
            "sources": np.array(self.sources, dtype=np.str_),
        }

    def save(self, path: str | Path) -> list[Path]:
        """Writes the lines or the arrays; the path's extension picks the form."""
        return save(self, path)


@torch.inference_mode()
def infer(model: EvaRoom, request: EvaRequest, report: Report) -> EvaResult | PicturesResult:
    """Compares pictures with sentences.

    Args:
        model: A tower, with texts where sentences are compared.
        request: What to compare.
        report: Called after every pass of a tower; may raise `Cancelled`.

    Returns:
        For find the emoji that fit best, each with its name and similarity; else features and chances.

    Raises:
        FileError: A file is no picture.
        WeightsError: The size reads no texts, or came without a tokenizer.
    """
    if request.task is Task.FIND:
        return _find(model, request, report)
    pictures, sources = _given(model, request)
    seen = picture_features(model, pictures, report)
    labels = _labels(model, request)
    templates = TEMPLATES if request.labels else TEMPLATES[:1]  # of 1,900 names, three ways are not worth the time
    told = label_features(model, labels, report, templates=templates) if labels else seen.new_zeros(0, seen.shape[1])
    similarities = seen @ told.T
    scale = float(model.joined().log_scale.exp()) if labels else 1.0
    chances = (scale * similarities).softmax(-1) if labels else similarities
    seen, told, similarities, chances = (part.float().cpu().numpy() for part in (seen, told, similarities, chances))
    return EvaResult(
        sources=sources, labels=labels, picture_features=seen, label_features=told, similarities=similarities,
        chances=chances, top=request.top, seed=request.seed, settings={"labels": len(labels), "scale": scale},
    )  # fmt: skip


def _find(model: EvaRoom, request: EvaRequest, report: Report) -> PicturesResult:
    """The emoji whose pictures fit each sentence best."""
    words = label_features(model, request.inputs, report, templates=("{}",))
    emojis = plain_emojis()
    tiles = compose(load_atlas()[[emoji.id for emoji in emojis]])
    seen = picture_features(model, tiles, report)
    chosen, captions = [], []
    for number, similarity in enumerate(words @ seen.T):
        values, order = similarity.topk(min(request.top, len(tiles)))
        for value, tile in zip(values.tolist(), order.tolist(), strict=True):
            chosen.append(tile)
            captions.append(f"{request.inputs[number]}: {emojis[tile].phrase} ({value:.2f})")
    settings = {"top": request.top, "emoji": len(tiles)}
    return PicturesResult(pictures=tiles[chosen], captions=tuple(captions), seed=request.seed, settings=settings)


def picture_features(model: EvaRoom, pictures: np.ndarray, report: Report) -> Tensor:
    """Features of length 1 of pictures, uint8 `(pictures, height, width, 3)`: `(pictures, width)`."""
    device, found = model.tower.pos_embed.device, []
    total = -(-len(pictures) // AT_ONCE)
    for step in range(total):
        part = pictures_to_tensor(pictures[step * AT_ONCE : (step + 1) * AT_ONCE]).to(device)
        found.append(model.picture_features(part))
        report(Progress(step=step + 1, total=total, stage="look"))
    return torch.cat(found)


def label_features(
    model: EvaRoom, labels: Sequence[str], report: Report, *, templates: Sequence[str] = TEMPLATES
) -> Tensor:
    """Features of length 1 of labels, each the mean over some sentences that say it: `(labels, width)`."""
    found = []
    total = -(-len(labels) // AT_ONCE)
    for step in range(total):
        part = labels[step * AT_ONCE : (step + 1) * AT_ONCE]
        ways = [model.text_features([template.format(label) for label in part]) for template in templates]
        found.append(torch.nn.functional.normalize(torch.stack(ways).mean(0), dim=-1))
        report(Progress(step=step + 1, total=total, stage="read"))
    return torch.cat(found)


def _given(model: EvaRoom, request: EvaRequest) -> tuple[np.ndarray, tuple[str, ...]]:
    """The pictures as squares of the tower's size, and what they are called."""
    size = model.config.tower.size
    if not request.inputs:
        sample = EmojiPlacesWorld(scenes=0.0, size=min(size, 512), seed=request.seed).sample(0)
        return fit_picture(sample.picture, size, how=Crop())[None], (f"{sample.things[0].name}, in a place",)
    squares = [fit_picture(read_picture(Path(name)), size, how=Crop()) for name in request.inputs]
    return np.stack(squares), request.inputs


def _labels(model: EvaRoom, request: EvaRequest) -> tuple[str, ...]:
    """What is chosen from; nothing where the size reads no texts and none were given."""
    if request.labels:
        return request.labels
    return () if model.clip is None or model.tokenizer is None else emoji_names()


@lru_cache(maxsize=1)
def plain_emojis() -> tuple[Emoji, ...]:
    """All emoji without skin tones, one for each name, in the atlas's order."""
    named = {emoji.phrase: emoji for emoji in reversed(load_index()) if not emoji.skin_tones}
    return tuple(sorted(named.values(), key=lambda emoji: emoji.id))


def emoji_names() -> tuple[str, ...]:
    """Their names."""
    return tuple(emoji.phrase for emoji in plain_emojis())


def files(request: EvaRequest) -> tuple[str, ...]:
    """The files that a request reads."""
    return request.inputs if request.task is Task.TELL else ()
