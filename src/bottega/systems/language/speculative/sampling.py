"""A stream of questions through one or several drafts, which may learn from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bottega.networks import Llama
from bottega.processes.decoding import (
    Acceptance,
    Corrections,
    FixedLength,
    LanguageModel,
    LengthRule,
    ModelDraft,
    Notes,
    RoutedDraft,
    Speculation,
    Task,
    finished,
    speculate,
)

PUBLISHED_LENGTH = FixedLength(5)
"""Source: arXiv:2310.07177, section 5."""
ONLY = "draft"
"""The name of a draft that is the only one."""


class Learner(Protocol):
    """What trains a draft while it serves: an `OnlineDistiller`."""

    def served(self, corrections: Iterable[Corrections], texts: int = 1) -> float | None:
        """Takes the corrections of served texts; the loss of the update that was due, or None."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """One batch of a stream.

    Args:
        texts: What was written.
        acceptance: How often drafted tokens were accepted.
        loss: Of the updates that followed, the mean; None where nothing was learned.
    """

    texts: tuple[Speculation, ...]
    acceptance: Acceptance
    loss: float | None = None

    @property
    def rate(self) -> float:
        """Accepted share of the judged tokens, 0 where none was judged."""
        return self.acceptance.accepted / max(self.acceptance.judged, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Drafts:
    """Drafts of one target, by name.

    Args:
        models: The drafts.
        route: A prompt to the name of its draft.
        distillers: What trains them while they serve; empty for drafts that stay as they are.
    """

    models: Mapping[str, Llama]
    route: Callable[[Sequence[int]], str] = lambda prompt: ONLY
    distillers: Mapping[str, Learner]

    def learn(self, prompts: Sequence[Sequence[int]], texts: Sequence[Speculation], notes: Notes) -> float | None:
        """Hands every finished text to the distiller of its draft; the mean loss of the updates that were due."""
        rows = [[*prompt, *text.tokens] for prompt, text in zip(prompts, texts, strict=True)]
        found, losses = notes.take(rows), []
        for row, prompt in enumerate(prompts):
            distiller = self.distillers.get(self.route(prompt))
            if distiller is not None:
                losses.append(distiller.served([found[row]] if row in found else []))
        due = [loss for loss in losses if loss is not None]
        return sum(due) / len(due) if due else None


def serve(
    target: LanguageModel, drafts: Drafts, tasks: Sequence[Task], length: LengthRule = PUBLISHED_LENGTH
) -> Iterator[Served]:
    """Answers batches of questions one after the other; drafts with a distiller learn between them.

    Args:
        target: Whose text it is.
        drafts: What proposes.
        tasks: The batches.
        length: How long drafts are.
    """
    for task in tasks:
        notes, acceptance = Notes(), Acceptance()
        routed = RoutedDraft({name: ModelDraft(model, name) for name, model in drafts.models.items()}, drafts.route)
        texts = finished(speculate(target, routed, task, length=length, acceptance=acceptance, watch=notes.watch))
        loss = drafts.learn(task.prompts, texts, notes)
        yield Served(texts=tuple(texts), acceptance=acceptance, loss=loss)


def single(model: Llama, distiller: Learner | None = None) -> Drafts:
    """One draft for all."""
    return Drafts(models={ONLY: model}, distillers={} if distiller is None else {ONLY: distiller})
