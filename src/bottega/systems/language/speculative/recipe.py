"""How a draft learns before it serves: from its target's distributions along answers, its own or the source's.

Source: arXiv:2310.07177, section 4.1 (distillation with a choice of divergence and of who writes the texts).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bottega.processes.decoding import (
    LanguageModel,
    distillation_loss,
    finished,
    padded_places,
    question,
    write,
)
from bottega.room import Stage
from bottega.systems.language.speculative.config import DIVERGENCES, Texts
from bottega.systems.language.speculative.model import Speculative
from bottega.training import Cosine, FitSettings, Optimizer, Precision, TrainState, decay_groups, descend
from bottega.worlds.queries import Passage

LONGEST_PROMPT = 160


class Text(Protocol):
    """A text; a `Passage` may ask something."""

    @property
    def text(self) -> str:
        """The whole text."""
        ...


class Questions(Protocol):
    """A source of questions, each a function of its index."""

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Text:
        """The question at an index."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Half:
    """A prompt and what comes behind it.

    Args:
        prompt: Ids.
        rest: Ids; empty where the target is to write them.
    """

    prompt: list[int]
    rest: list[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesson:
    """Texts with the target's opinion of some of their tokens.

    Args:
        tokens: Ids `(rows, longest)`.
        at: Places `(rows, most)` whose next tokens count.
        counts: 1 where such a place is one, `(rows, most)`.
        teacher: The target's logits there, `(rows, most, vocabulary)`.
    """

    tokens: Tensor
    at: Tensor
    counts: Tensor
    teacher: Tensor


class DistillRecipe:
    """The one stage.

    Args:
        room: Its draft is trained, its target teaches.
        source: The questions.
    """

    def __init__(self, room: Speculative, source: Questions) -> None:
        self.room, self.model, self.source = room, room.draft, source
        self.language, self.divergence = room.target, DIVERGENCES[room.config.divergence]

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> list[Half]:
        """Prompts, and what comes behind them where it is not the target who writes that."""
        return [self._half(self.source.sample(index)) for index in indices]

    def _half(self, asks: Text) -> Half:
        tokens, most = self.language.tokens, self.room.config.longest_answer
        if isinstance(asks, Passage) and asks.question is not None:
            prompt = question(self.language, asks.question)
            rest = tokens.ids(asks.answer or "", end=True)
        else:  # a text that asks nothing is its own beginning, and its own answer
            ids = tokens.ids(asks.text, start=True, end=True)
            prompt, rest = ids[: most // 4], ids[most // 4 :]
        known = self.room.config.texts is Texts.SOURCE and rest
        return Half(prompt=prompt[-LONGEST_PROMPT:], rest=rest[:most] if known else [])

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Matrices with decay, norms without."""
        return decay_groups(self.model, settings)

    def step(self, state: TrainState, batch: list[Half]) -> Mapping[str, float | Tensor]:
        """One update: the draft learns what the target thinks of every token of an answer."""
        texts = answers(self.language.model, batch, self.language.tokens.end, self.room.config.longest_answer)
        places = [range(len(half.prompt), len(text)) for half, text in zip(batch, texts, strict=True)]
        tokens, at, counts = (values.to(state.device) for values in padded_places(texts, places))
        with torch.no_grad():
            teacher = self.language.model(tokens, at=at)

        def loss(part: Lesson) -> Tensor:
            return distillation_loss(self.model(part.tokens, at=part.at), part.teacher, part.counts, self.divergence)

        return descend(state, Lesson(tokens=tokens, at=at, counts=counts, teacher=teacher), loss)


def answers(model: LanguageModel, batch: Sequence[Half], end: int, most: int) -> list[list[int]]:
    """Every prompt with what comes behind it; where nothing does, with the model's likeliest answer."""
    missing = [half.prompt for half in batch if not half.rest]
    made = iter(finished(write(model, missing, most=most, end=end)) if missing else [])
    return [[*half.prompt, *(half.rest or next(made).tokens)] for half in batch]


def distill_recipe(model: nn.Module, source: Questions) -> DistillRecipe:
    """The recipe of a draft."""
    if not isinstance(model, Speculative):
        raise TypeError(f"the stage trains the draft of a Speculative, not a {type(model).__name__}")
    return DistillRecipe(model, source)


STAGES = (
    Stage(
        name="distill",
        recipe=distill_recipe,
        settings=FitSettings(
            steps=600, batch_size=32, learning_rate=6e-3, warmup_steps=30, schedule=Cosine(final=0.05),
            weight_decay=0.01, betas=(0.9, 0.95), clip_norm=1.0, optimizer=Optimizer.MUON, precision=Precision.FP32,
        ),
        finetune=True,
    ),
)  # fmt: skip
