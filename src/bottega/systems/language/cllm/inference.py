"""Answering questions by Jacobi decoding. The only code that users run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from bottega.errors import RequestError
from bottega.processes.decoding import (
    ContextGuess,
    Guess,
    JacobiText,
    Language,
    NgramGuess,
    Sampling,
    Task,
    Window,
    jacobi,
    jacobi_trace,
    new_letters,
    question,
)
from bottega.results import WordsResult
from bottega.room import Progress, Report
from bottega.systems.language.cllm.model import Cllm
from bottega.training import draw_generators


class Writer(Enum):
    """Who writes."""

    TUNED = "tuned"
    """The model that was tuned to guess many tokens."""
    TARGET = "target"
    """The model as it was before: plain Jacobi decoding."""


class FirstGuess(Enum):
    """Where the first guesses of a block come from."""

    CONTEXT = "context"
    """Tokens drawn from the question and the text so far."""
    NGRAM = "ngram"
    """What followed the last words when they stood there before."""


class Blocks(Enum):
    """How windows move over the text."""

    WHOLE = "whole"
    """A block is solved to its end before the next begins, as published."""
    ROLLING = "rolling"
    """New guesses come in behind as soon as tokens in front are final."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CllmRequest:
    """What to answer, and how many tokens are solved for together."""

    inputs: tuple[str, ...] = ()
    """Questions, at most 64."""
    writer: Writer = Writer.TUNED
    """The tuned model, or the one that it was tuned from."""
    window: int | None = None
    """Tokens that are solved for together, 1 to 128. Left out: as many as the model was tuned for."""
    blocks: Blocks = Blocks.ROLLING
    """How windows move over the text."""
    guess: FirstGuess = FirstGuess.CONTEXT
    """Where first guesses come from; the text does not depend on it."""
    max_new_tokens: int = 128
    """Most tokens of an answer, 1 or more."""
    temperature: float = 0.0
    """How freely words are chosen: 0 not at all, 1 as the model was taught."""
    top_p: float = 1.0
    """Words beyond the likeliest that reach this probability together are left out."""
    seed: int = 0
    """Where all chance comes from, 0 to 2**31 - 1."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.inputs) <= 64:
            raise RequestError.of("the number of questions", len(self.inputs), "between 1 and 64")
        if self.window is not None and not 1 <= self.window <= 128:
            raise RequestError.of("window", self.window, "between 1 and 128")
        if self.max_new_tokens < 1:
            raise RequestError.of("max_new_tokens", self.max_new_tokens, "1 or more")
        if not 0 <= self.seed < 2**31:
            raise RequestError.of("seed", self.seed, "between 0 and 2**31 - 1")


def infer(model: Cllm, request: CllmRequest, report: Report) -> WordsResult:
    """Answers the questions.

    Args:
        model: The tuned model with its target.
        request: What to do.
        report: Called after every pass; may raise `Cancelled`.

    Raises:
        RequestError: A question that leaves no room in the context, or a number out of its range.
    """
    language = model.language if request.writer is Writer.TUNED else model.target
    guess: Guess = NgramGuess() if request.guess is FirstGuess.NGRAM else ContextGuess(seed=request.seed)
    window = Window(size=request.window or model.config.block, rolling=request.blocks is Blocks.ROLLING, guess=guess)
    task = Task(
        prompts=[question(language, text) for text in request.inputs],
        most=request.max_new_tokens,
        end=language.tokens.end,
        sampling=Sampling(temperature=request.temperature, top_p=request.top_p),
        generators=draw_generators(request.seed, len(request.inputs)),
    )
    made, shown = list[JacobiText](), 0
    for made in jacobi(language.model, task, window):
        written = max(len(text.tokens) for text in made)
        new = new_letters(language.tokens, made[0].tokens, shown) if len(made) == 1 else ""
        shown += len(new)
        report(Progress(step=min(written, task.most), total=task.most, stage="solve", text=new))
    return WordsResult(
        words=_words(language, made),
        sources=request.inputs,
        seed=request.seed,
        settings={
            "writer": request.writer.value,
            "window": window.size,
            "blocks": request.blocks.value,
            **counts(made),
        },
        traces=tuple(jacobi_trace(text, language.tokens).to_json() for text in made),
    )


def counts(texts: Sequence[JacobiText]) -> dict[str, Any]:
    """What the texts took."""
    tokens, passes = sum(len(text.tokens) for text in texts), sum(len(text.iterations) for text in texts)
    return {
        "tokens": tokens,
        "passes": passes,
        "tokens per pass": round(tokens / passes, 3),
        "fast-forwarded": sum(text.fast_forwarded for text in texts),
        "stationary": sum(text.stationary for text in texts),
    }


def _words(language: Language, texts: Sequence[JacobiText]) -> tuple[str, ...]:
    return tuple(language.tokens.text(text.tokens) for text in texts)
