"""Answering questions by speculative sampling. The only code that users run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from bottega.errors import RequestError
from bottega.processes.decoding import (
    Acceptance,
    BestLength,
    Draft,
    FixedLength,
    LengthRule,
    ModelDraft,
    NgramDraft,
    OnlineDistiller,
    OnlineSettings,
    Sampling,
    Speculation,
    Task,
    new_letters,
    question,
    speculate,
    speculation_trace,
)
from bottega.results import PicturesResult, WordsResult, curves
from bottega.room import Progress, Report
from bottega.systems.language.speculative.model import Speculative
from bottega.systems.language.speculative.sampling import serve, single
from bottega.training import draw_generators
from bottega.worlds.queries import QueriesWorld, Topic

MOST_QUESTIONS, BATCH = 64, 8
STREAM = OnlineSettings(every=BATCH, rate=6e-3, passes=8)
"""How a draft learns in the stream that changes its topic."""
SHIFT = (Topic.SQL, Topic.SUMS)
"""The topics of that stream."""


class DraftKind(Enum):
    """What guesses."""

    MODEL = "model"
    """The small model."""
    NGRAM = "ngram"
    """What followed the last words when they stood there before; no model at all."""


class Mode(Enum):
    """What is made."""

    TEXT = "text"
    """Answers."""
    SHIFT = "shift"
    """A figure: a stream of questions that changes its topic, and how a draft that learns online recovers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeculativeRequest:
    """What to answer, and how guesses are made."""

    inputs: tuple[str, ...] = ()
    """Questions, at most 64."""
    mode: Mode = Mode.TEXT
    """Answers, or a figure of a stream of questions that changes its topic."""
    draft: DraftKind = DraftKind.MODEL
    """What guesses: the small model, or the words that are already there."""
    draft_length: int | None = None
    """Tokens guessed at a time, 0 to 64. Left out: whatever pays best at the acceptance measured so far."""
    online: bool = False
    """Answer one question after the other, and let the draft learn from its mistakes in each. Its weights are not
    kept."""
    max_new_tokens: int = 128
    """Longest answer in tokens."""
    temperature: float = 0.0
    """0: the likeliest words; 1: words as often as the model expects them."""
    top_k: int = 0
    """Above 0: only so many of the likeliest tokens are drawn from."""
    top_p: float = 1.0
    """Below 1: only the likeliest tokens are drawn from that together reach this probability."""
    requests: int = 160
    """Questions of the stream, a multiple of 16; the topic changes in the middle."""
    seed: int = 0
    """Source of all chance, 0 to 2**31 - 1."""

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("the number of questions", len(self.inputs), 0, MOST_QUESTIONS),
            ("draft_length", self.draft_length or 0, 0, 64),
            ("max_new_tokens", self.max_new_tokens, 1, 100_000),
            ("seed", self.seed, 0, 2**31 - 1),
            ("requests", self.requests, 2 * BATCH, 10_000),
        ):
            if not low <= value <= high:
                raise RequestError.of(name, value, f"between {low} and {high}")
        if self.requests % (2 * BATCH):
            raise RequestError.of("requests", self.requests, f"a multiple of {2 * BATCH}")
        if self.mode is Mode.TEXT and not self.inputs:
            raise RequestError("there is no question; write one in quotes")
        if self.online and self.draft is DraftKind.NGRAM:
            raise RequestError.of("online", True, "off with --draft ngram", "it has nothing that could learn")

    @property
    def sampling(self) -> Sampling:
        """How tokens are drawn.

        Raises:
            RequestError: A number out of its range.
        """
        return Sampling(temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)


def infer(model: Speculative, request: SpeculativeRequest, report: Report) -> WordsResult | PicturesResult:
    """Answers the questions, or draws the figure.

    Args:
        model: The draft with its target.
        request: What to do.
        report: Called after every round; may raise `Cancelled`.

    Raises:
        RequestError: A question that leaves no room in the context.
    """
    match request.mode:
        case Mode.TEXT:
            return _answered(model, request, report)
        case Mode.SHIFT:
            return _shifted(model, request, report)


def _answered(model: Speculative, request: SpeculativeRequest, report: Report) -> WordsResult:
    language, acceptance = model.target, Acceptance()
    answer = _online if request.online else _together
    made = answer(model, request, acceptance, report)
    words = tuple(language.tokens.text(text.tokens) for text in made)
    return WordsResult(
        words=words,
        sources=request.inputs,
        seed=request.seed,
        settings=_settings(made, acceptance) | {"draft": request.draft.value, "online": request.online},
        traces=tuple(speculation_trace(text, language.tokens).to_json() for text in made),
    )


def _together(
    model: Speculative, request: SpeculativeRequest, acceptance: Acceptance, report: Report
) -> list[Speculation]:
    """All questions as one batch."""
    draft: Draft = NgramDraft() if request.draft is DraftKind.NGRAM else ModelDraft(model.draft)
    made, shown, tokens = list[Speculation](), 0, model.target.tokens
    steps = speculate(
        model.target.model, draft, _task(model, request, range(len(request.inputs))), length=_length(model, request),
        acceptance=acceptance,
    )  # fmt: skip
    for made in steps:
        written = max(len(text.tokens) for text in made)
        new = new_letters(tokens, made[0].tokens, shown) if len(made) == 1 else ""
        shown += len(new)
        report(
            Progress(step=min(written, request.max_new_tokens), total=request.max_new_tokens, stage="write", text=new)
        )
    return made


def _online(
    model: Speculative, request: SpeculativeRequest, acceptance: Acceptance, report: Report
) -> list[Speculation]:
    """One question after the other, with a copy of the draft that learns from each."""
    learner, made = model.learner(), list[Speculation]()
    drafts = single(learner, OnlineDistiller(learner, OnlineSettings(every=1, rate=1e-3)))
    tasks = [_task(model, request, [row]) for row in range(len(request.inputs))]
    for number, served in enumerate(serve(model.target.model, drafts, tasks, _length(model, request)), 1):
        made += served.texts
        acceptance.accepted += served.acceptance.accepted
        acceptance.judged += served.acceptance.judged
        report(Progress(step=number, total=len(tasks), stage="serve"))
    return made


def _task(model: Speculative, request: SpeculativeRequest, rows: Sequence[int]) -> Task:
    language, generators = model.target, draw_generators(request.seed, len(request.inputs))
    return Task(
        prompts=[question(language, request.inputs[row]) for row in rows],
        most=request.max_new_tokens,
        end=language.tokens.end,
        sampling=request.sampling,
        generators=[generators[row] for row in rows],
    )


def _length(model: Speculative, request: SpeculativeRequest) -> LengthRule:
    if request.draft_length is not None:
        return FixedLength(request.draft_length)
    cost = 0.0 if request.draft is DraftKind.NGRAM else model.cost
    return BestLength(cost=cost, most=model.config.longest)


def _settings(made: Sequence[Speculation], acceptance: Acceptance) -> dict[str, Any]:
    tokens, passes = sum(len(text.tokens) for text in made), sum(len(text.rounds) for text in made)
    return {
        "tokens": tokens,
        "passes": passes,
        "tokens per pass": round(tokens / passes, 3),
        "accepted": acceptance.accepted,
        "judged": acceptance.judged,
        "acceptance": round(acceptance.accepted / max(acceptance.judged, 1), 4),
    }


def shift(model: Speculative, requests: int, seed: int, report: Report) -> dict[str, np.ndarray]:
    """Acceptance, batch by batch, of fresh drafts in a stream whose topic changes in the middle.

    One draft learns throughout, the other stops learning at the change.

    Args:
        model: The room; only the size of its draft counts here.
        requests: Questions in all.
        seed: Of the questions and the fresh weights.
        report: Called after every batch.

    Returns:
        "online" and "offline": accepted shares `(batches,)`.
    """
    batches = requests // BATCH
    worlds = [QueriesWorld(topics=(topic,), seed=seed) for topic in SHIFT]
    learner = model.learner(fresh_seed=seed)
    rates: dict[str, list[float]] = {"online": [], "offline": []}
    drafts, offline = single(learner, OnlineDistiller(learner, STREAM)), None
    for batch in range(batches):
        later = 2 * batch >= batches
        if later and offline is None:
            offline = model.learner(fresh_seed=seed)
            offline.load_state_dict(learner.state_dict())
        world, start = worlds[later], batch * BATCH
        task = questions_task(model, [world.sample(start + number).question or "" for number in range(BATCH)])
        (online,) = serve(model.target.model, drafts, [task])
        rates["online"].append(online.rate)
        if offline is not None:
            (still,) = serve(model.target.model, single(offline), [task])
            rates["offline"].append(still.rate)
        else:
            rates["offline"].append(online.rate)
        report(Progress(step=batch + 1, total=batches, stage="serve"))
    return {name: np.array(values) for name, values in rates.items()}


def questions_task(model: Speculative, texts: Sequence[str]) -> Task:
    """Questions to be answered greedily."""
    language, most = model.target, model.config.longest_answer
    return Task(prompts=[question(language, text) for text in texts], most=most, end=language.tokens.end)


def _shifted(model: Speculative, request: SpeculativeRequest, report: Report) -> PicturesResult:
    rates = shift(model, request.requests, request.seed, report)
    served = (np.arange(len(rates["online"])) + 1.0) * BATCH
    first, second = (topic.value for topic in SHIFT)
    title = f"Accepted share of drafted tokens; {first} until {request.requests // 2}, then {second}"
    drawn = curves({name: (served, values) for name, values in rates.items()}, title, "questions served", "accepted")
    quarter = max(len(served) // 4, 1)
    settings = {f"{name}, last quarter": round(float(values[-quarter:].mean()), 4) for name, values in rates.items()}
    return PicturesResult(pictures=drawn[None], captions=(title,), seed=request.seed, settings=settings)
