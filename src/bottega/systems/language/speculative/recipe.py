"""How a draft learns before it serves: from its target's distributions along the target's own answers.

Source: arXiv:2310.07177, section 4.1 (distillation with a choice of divergence and of who writes the texts).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bottega.processes.decoding import (
    Divergence,
    ForwardKl,
    LanguageModel,
    distillation_loss,
    finished,
    padded_places,
    question,
    write,
)
from bottega.room import Stage
from bottega.systems.language.speculative.model import Speculative
from bottega.training import Cosine, FitSettings, Optimizer, Precision, TrainState, decay_groups, descend
from bottega.worlds.queries import Passage

LONGEST_PROMPT = 160
FORWARD = ForwardKl()


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
        divergence: From the target's distributions to the draft's.
    """

    def __init__(self, room: Speculative, source: Questions, divergence: Divergence = FORWARD) -> None:
        self.room, self.model, self.source, self.divergence = room, room.draft, source, divergence
        self.language = room.target

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> list[list[int]]:
        """Prompts: questions, or the beginnings of texts that ask nothing."""
        return [self._prompt(self.source.sample(index)) for index in indices]

    def _prompt(self, asks: Text) -> list[int]:
        if isinstance(asks, Passage) and asks.question is not None:
            return question(self.language, asks.question)[-LONGEST_PROMPT:]
        return self.language.tokens.ids(asks.text, start=True)[: LONGEST_PROMPT // 4]

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Matrices with decay, norms without."""
        return decay_groups(self.model, settings)

    def step(self, state: TrainState, batch: list[list[int]]) -> Mapping[str, float | Tensor]:
        """One update: the target answers, and the draft learns what it thought of every token of its answer."""
        texts = answers(self.language.model, batch, self.language.tokens.end, self.room.config.longest_answer)
        places = [range(len(prompt), len(text)) for prompt, text in zip(batch, texts, strict=True)]
        tokens, at, counts = (values.to(state.device) for values in padded_places(texts, places))
        with torch.no_grad():
            teacher = self.language.model(tokens, at=at)

        def loss(part: Lesson) -> Tensor:
            return distillation_loss(self.model(part.tokens, at=part.at), part.teacher, part.counts, self.divergence)

        return descend(state, Lesson(tokens=tokens, at=at, counts=counts, teacher=teacher), loss)


def answers(model: LanguageModel, prompts: Sequence[Sequence[int]], end: int, most: int) -> list[list[int]]:
    """Every prompt with the model's likeliest answer behind it."""
    made = finished(write(model, prompts, most=most, end=end))
    return [[*prompt, *row.tokens] for prompt, row in zip(prompts, made, strict=True)]


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
            steps=1500, batch_size=32, learning_rate=4e-3, warmup_steps=50, schedule=Cosine(final=0.05),
            weight_decay=0.01, betas=(0.9, 0.95), clip_norm=1.0, optimizer=Optimizer.MUON, precision=Precision.FP32,
        ),
        finetune=True,
    ),
)  # fmt: skip
