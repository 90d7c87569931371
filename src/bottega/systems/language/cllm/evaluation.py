"""Measuring what tuning brings, on held-out questions: tokens a pass, right answers, and whether the text collapses."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from bottega.processes.decoding import (
    FixedLength,
    JacobiText,
    Language,
    NgramDraft,
    Speculation,
    Task,
    Window,
    finished,
    jacobi,
    question,
    repeat_rate,
    speculate,
)
from bottega.room import Measure, Progress, Report
from bottega.systems.language.cllm.model import Cllm
from bottega.worlds.queries import Passage, QueriesWorld, Topic, is_right

TOPICS = (Topic.SQL, Topic.SUMS)
BATCH = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """Answers of one way of writing to the same questions.

    Args:
        texts: As they were written.
        words: As words.
        passes: Passes of the model, over all answers.
    """

    texts: tuple[JacobiText | Speculation, ...]
    words: tuple[str, ...]
    passes: int

    @property
    def speed(self) -> float:
        """Tokens a pass."""
        return sum(len(text.tokens) for text in self.texts) / self.passes

    @property
    def repeats(self) -> float:
        """Percentage of tokens that equal the one before."""
        return 100 * sum(repeat_rate(text.tokens) for text in self.texts) / len(self.texts)

    def right(self, passages: Sequence[Passage]) -> float:
        """Percentage of right answers."""
        return 100 * sum(map(is_right, passages, self.words)) / len(passages)


def evaluate(model: Cllm, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """The tuned model beside the one that it was tuned from, an n-gram draft, and questions without sense.

    Args:
        model: The tuned model with its target.
        seed: Picks the questions.
        limit: Most questions of each of the two topics.
        report: Called after every way of writing.
    """
    found: dict[str, Measure] = {}
    for place, topic in enumerate(TOPICS):
        passages = QueriesWorld(split="heldout", topics=(topic,), seed=seed).batch(range(max(limit, 2)))
        told = Telling(report, place * 6, 6 * len(TOPICS))
        found |= {f"{topic.value}: {name}": measure for name, measure in compare(model, passages, seed, told).items()}
    return found


class Telling:
    """Reports one way of writing after the other.

    Args:
        report: Whom to tell.
        before: Ways before the first.
        total: Ways in all.
    """

    def __init__(self, report: Report, before: int, total: int) -> None:
        self.report, self.step, self.total = report, before, total

    def __call__(self, stage: str) -> None:
        """One more is done."""
        self.step += 1
        self.report(Progress(step=self.step, total=self.total, stage=stage))


def compare(model: Cllm, passages: Sequence[Passage], seed: int, told: Telling) -> dict[str, Measure]:
    """All figures on one set of questions."""
    texts, count = [passage.question or "" for passage in passages], len(passages)
    blocks, rolling = Window(size=model.config.block), Window(size=model.config.block, rolling=True)
    asked = {
        "tuned": (model.language, texts, rolling),
        "tuned, whole blocks": (model.language, texts, blocks),
        "before": (model.target, texts, rolling),
        "before, whole blocks": (model.target, texts, blocks),
        "tuned, words shuffled": (model.language, shuffled(texts, seed), rolling),
    }
    made = {}
    for name, (language, questions, window) in asked.items():
        made[name] = solve(language, questions, window, model.config.longest_answer)
        told(name)
    copied = copy_on(model.target, texts, model.config.longest_answer)
    told("n-gram draft")
    tuned, before, senseless = made["tuned"], made["before"], made["tuned, words shuffled"]
    stationary = sum(text.stationary for text in tuned.texts if isinstance(text, JacobiText)) / count
    forward = sum(text.fast_forwarded for text in tuned.texts if isinstance(text, JacobiText)) / count
    plain = [text for text in before.texts if isinstance(text, JacobiText)]
    return {
        "tokens a pass (baseline: plain Jacobi)": Measure(
            value=tuned.speed, baseline=before.speed, control=senseless.speed, samples=count
        ),
        "tokens a pass (baseline: n-gram draft)": Measure(value=tuned.speed, baseline=copied.speed, samples=count),
        "tokens a pass in whole blocks (baseline: plain Jacobi)": Measure(
            value=made["tuned, whole blocks"].speed, baseline=made["before, whole blocks"].speed, samples=count
        ),
        "right answers": Measure(
            value=tuned.right(passages), baseline=before.right(passages), control=senseless.right(passages), unit="%",
            samples=count,
        ),
        "fast-forwarded tokens an answer": Measure(
            value=forward, baseline=sum(text.fast_forwarded for text in plain) / count, samples=count
        ),
        "stationary tokens an answer": Measure(
            value=stationary, baseline=sum(text.stationary for text in plain) / count, samples=count
        ),
        "repeated tokens": Measure(
            value=tuned.repeats, baseline=before.repeats, unit="%", higher_is_better=False, samples=count
        ),
    }  # fmt: skip


def solve(language: Language, texts: Sequence[str], window: Window, most: int) -> Answered:
    """Answers by Jacobi decoding."""
    made: list[JacobiText] = []
    for task in _tasks(language, texts, most):
        made += finished(jacobi(language.model, task, window))
    passes = sum(len(text.iterations) for text in made)
    return Answered(texts=tuple(made), words=_words(language, made), passes=passes)


def copy_on(language: Language, texts: Sequence[str], most: int) -> Answered:
    """Answers by speculative decoding with an n-gram draft."""
    made: list[Speculation] = []
    for task in _tasks(language, texts, most):
        made += finished(speculate(language.model, NgramDraft(), task, length=FixedLength(8)))
    return Answered(texts=tuple(made), words=_words(language, made), passes=sum(len(text.rounds) for text in made))


def shuffled(texts: Sequence[str], seed: int) -> list[str]:
    """Questions with their words in any order."""
    dice, found = random.Random(seed), []
    for text in texts:
        words = text.split(" ")
        dice.shuffle(words)
        found.append(" ".join(words))
    return found


def _tasks(language: Language, texts: Sequence[str], most: int) -> list[Task]:
    prompts, end = [question(language, text) for text in texts], language.tokens.end
    return [Task(prompts=prompts[start : start + BATCH], most=most, end=end) for start in range(0, len(prompts), BATCH)]


def _words(language: Language, texts: Sequence[JacobiText | Speculation]) -> tuple[str, ...]:
    return tuple(language.tokens.text(text.tokens) for text in texts)
