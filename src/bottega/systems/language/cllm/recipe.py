"""How a model learns to solve for many tokens at once.

Blocks of an answer are replaced by states of their Jacobi trajectories, and behind every guess the model must say what
it says behind the right tokens. All blocks of an answer go through the model in one pass (`PackedBlocks`).

Source: arXiv:2403.00835, sections 3.2 and 3.3, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bottega.networks import Llama
from bottega.processes.decoding import (
    BlockView,
    ContextGuess,
    LanguageModel,
    PackedBlocks,
    finished,
    pack_blocks,
    padded_places,
    question,
    write,
)
from bottega.room import Stage
from bottega.systems.language.cllm.config import Collected, Consistency, Solutions
from bottega.systems.language.cllm.model import Cllm
from bottega.systems.language.cllm.objective import autoregressive_loss, consistency_loss
from bottega.training import Cosine, FitSettings, Optimizer, Precision, TrainState, decay_groups, descend, to_device
from bottega.worlds.queries import Passage

MOST_REPEATED = 10
"""An answer is cut where it has said one token so often in a row."""


class Asked(Protocol):
    """A text that may begin with a question, and then perhaps has the answer."""

    @property
    def text(self) -> str:
        """The whole text."""
        ...


class Passages(Protocol):
    """A source of such texts, each a function of its index."""

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Asked:
        """The text at an index."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A text of which a part is learned.

    Args:
        prompt: The ids in front.
        tokens: The ids of the answer; empty while it is not written.
    """

    prompt: list[int]
    tokens: list[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class CllmLesson:
    """What one update learns from.

    Args:
        packed: Right texts with states of their blocks behind.
        at: Places `(rows, most)` in front of the answers' tokens.
        labels: Those tokens.
        counts: 1 where there is one.
    """

    packed: PackedBlocks
    at: Tensor
    labels: Tensor
    counts: Tensor


class CllmRecipe:
    """The one stage.

    Args:
        room: Its model is tuned.
        source: The questions.
    """

    def __init__(self, room: Cllm, source: Passages) -> None:
        self.room, self.model, self.source = room, room.student, source
        self.language, self.config = room.target, room.config

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> list[Answer]:
        """Questions, or the first quarter of texts that ask nothing; with their answers if these are learned."""
        most = self.config.network.context - self.config.longest_answer
        return [self._answer(self.source.sample(index), most) for index in indices]

    def _answer(self, asked: Asked, most: int) -> Answer:
        tokens, known = self.language.tokens, self.config.solutions is Solutions.SOURCE
        if isinstance(asked, Passage) and asked.question is not None and asked.answer is not None:
            prompt, rest = question(self.language, asked.question), tokens.ids(asked.answer, end=True)
        else:
            ids = tokens.ids(asked.text, start=True, end=True)
            cut = max(len(ids) // 4, 1)
            prompt, rest = ids[:cut], ids[cut:]
        return Answer(prompt=prompt[:most], tokens=rest[: self.config.longest_answer] if known else [])

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Matrices with decay, norms without; the head is no matrix between hidden layers."""
        groups, head = decay_groups(self.model, settings), self.model.head
        if head is None or settings.optimizer is not Optimizer.MUON:
            return groups
        others = [{**group, "params": [p for p in group["params"] if p is not head.weight]} for group in groups]
        return [*others, {"params": [head.weight], "weight_decay": settings.weight_decay}]

    def step(self, state: TrainState, batch: list[Answer]) -> Mapping[str, float | Tensor]:
        """One update."""
        lesson = self.lesson(batch, state.settings.seed + state.step)
        config = self.config

        def loss(part: CllmLesson) -> Mapping[str, Tensor]:
            return cllm_losses(self.model, part, config.ar_weight, config.smoothing, config.consistency)

        return descend(state, to_device(lesson, state.device), loss)

    def lesson(self, batch: Sequence[Answer], seed: int) -> CllmLesson:
        """Answers, and a state of each of their blocks.

        Args:
            batch: Answers; those that are not written are written by the target.
            seed: Picks blocks, first guesses, and how many passes lie between those and the states.
        """
        written = answered(self.language.model, batch, self.language.tokens.end, self.config.longest_answer)
        generator, size = torch.Generator().manual_seed(seed), self.config.block
        shift, passes = (int(torch.randint(most, (), generator=generator)) for most in (size, self.config.passes + 1))
        texts = [[*each.prompt, *each.tokens] for each in written]
        starts = [
            [max(first, place) for place in range(first - shift, len(text), size) if place < len(text)]
            for first, text in ((len(each.prompt), text) for each, text in zip(written, texts, strict=True))
        ]
        guess = ContextGuess(seed=seed)
        guesses = [[guess(text[:start], size) for start in own] for text, own in zip(texts, starts, strict=True)]
        packed = pack_blocks(texts, starts, guesses)
        device = next(self.model.parameters()).device
        walker = self.model if self.config.collected is Collected.STUDENT else self.language.model
        packed = walked(walker, to_device(packed, device), passes)
        places = [range(len(each.prompt), len(text)) for each, text in zip(written, texts, strict=True)]
        _, at, counts = padded_places(texts, places)
        labels = packed.tokens[:, : packed.length].gather(1, (at + 1).to(device))
        return CllmLesson(packed=packed, at=at, labels=labels, counts=counts)


@torch.no_grad()
def walked(model: LanguageModel, packed: PackedBlocks, passes: int) -> PackedBlocks:
    """The states after some passes of Jacobi decoding."""
    for _ in range(passes):
        packed = packed.advanced(model(packed.tokens, BlockView(packed), at=packed.at()))
    return packed


def cllm_losses(
    model: Llama, lesson: CllmLesson, ar_weight: float, smoothing: float, consistency: Consistency
) -> dict[str, Tensor]:
    """The whole loss and its two parts."""
    packed, most = lesson.packed, lesson.at.shape[1]
    places = torch.cat([lesson.at, packed.sources(), packed.at()], 1)
    logits = model(packed.tokens, BlockView(packed), at=places)
    guesses = packed.at().shape[1]
    right, solution, state = logits.split((most, guesses, guesses), dim=1)
    if consistency is Consistency.LOCAL:
        with torch.no_grad():
            after = packed.advanced(state)
            solution = model(after.tokens, BlockView(after), at=after.at())
    agree = consistency_loss(state, solution, packed.guessed.flatten(1))
    own = autoregressive_loss(right, lesson.labels, lesson.counts, smoothing)
    return {"loss": agree + ar_weight * own, "consistency": agree, "autoregressive": own}


def answered(model: LanguageModel, batch: Sequence[Answer], end: int, most: int) -> list[Answer]:
    """The same answers, where they are not written by the model's likeliest ones, cut where these repeat themselves."""
    missing = [each.prompt for each in batch if not each.tokens]
    made = iter(finished(write(model, missing, most=most, end=end)) if missing else [])
    return [each if each.tokens else Answer(prompt=each.prompt, tokens=unrepeated(next(made).tokens)) for each in batch]


def unrepeated(tokens: Sequence[int]) -> list[int]:
    """The tokens up to where one of them comes `MOST_REPEATED` times in a row."""
    run = 0
    for place, token in enumerate(tokens):
        run = run + 1 if place and token == tokens[place - 1] else 1
        if run == MOST_REPEATED:
            return list(tokens[: place - MOST_REPEATED + 2])
    return list(tokens)


def cllm_recipe(model: nn.Module, source: Passages) -> CllmRecipe:
    """The recipe of a CLLM."""
    if not isinstance(model, Cllm):
        raise TypeError(f"the stage tunes a Cllm, not a {type(model).__name__}")
    return CllmRecipe(model, source)


STAGES = (
    Stage(
        name="tune",
        recipe=cllm_recipe,
        settings=FitSettings(
            steps=300, batch_size=16, learning_rate=2e-3, warmup_steps=20, schedule=Cosine(final=0.05),
            weight_decay=0.01, betas=(0.9, 0.95), clip_norm=1.0, optimizer=Optimizer.MUON, precision=Precision.BF16,
        ),
        finetune=True,
    ),
)  # fmt: skip
"""The authors: rate 2e-5 with AdamW, 3 % warm-up, cosine, one pass over the trajectories of the published size."""
