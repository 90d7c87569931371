"""Measuring drafts on the world of queries: what they save, and what learning online brings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from bottega.processes.decoding import (
    Acceptance,
    Corrections,
    Draft,
    Generators,
    ModelDraft,
    NgramDraft,
    OnlineDistiller,
    Proposal,
    Sampling,
    Task,
    TokenRouter,
    expected_tokens,
    finished,
    question,
    speculate,
)
from bottega.room import Measure, Progress, Report
from bottega.systems.language.speculative.inference import BATCH, SHIFT, STREAM, questions_task, shift
from bottega.systems.language.speculative.model import Speculative
from bottega.systems.language.speculative.sampling import PUBLISHED_LENGTH, Drafts, serve, single
from bottega.worlds.queries import Passage, QueriesWorld, Topic, is_right


class OtherPrompts:
    """A draft that is shown the prompt of the next row in place of the row's own: the control.

    Args:
        draft: The draft.
    """

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self._own: list[int] = []
        self._shown: list[list[int]] = []

    def begin(self, prompts: Sequence[Sequence[int]], capacity: int) -> None:
        """Turns the prompts by one row."""
        self._own = [len(prompt) for prompt in prompts]
        self._shown = [list(prompt) for prompt in (*prompts[1:], prompts[0])]
        self.draft.begin(self._shown, capacity + max(self._own))

    def propose(
        self, held: Sequence[Sequence[int]], counts: Sequence[int], sampling: Sampling, generators: Generators
    ) -> list[Proposal]:
        """Asks the draft about the row's text behind another prompt."""
        texts = [[*shown, *row[own:]] for shown, row, own in zip(self._shown, held, self._own, strict=True)]
        return self.draft.propose(texts, counts, sampling, generators)

    def select(self, rows: Sequence[int]) -> None:
        """Keeps the given rows in that order."""
        self._own, self._shown = [self._own[row] for row in rows], [self._shown[row] for row in rows]
        self.draft.select(rows)


class MixedUp:
    """A distiller whose corrections have each other's logits: the control.

    Args:
        distiller: The distiller.
        seed: Of the order.
    """

    def __init__(self, distiller: OnlineDistiller, seed: int) -> None:
        self.distiller, self.random = distiller, np.random.default_rng(seed)

    def served(self, corrections: Iterable[Corrections], texts: int = 1) -> float | None:
        """Mixes up and passes on."""
        orders = ((each, self.random.permutation(len(each.places)).tolist()) for each in corrections)
        return self.distiller.served([replace(each, logits=each.logits[order]) for each, order in orders], texts)


def evaluate(model: Speculative, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """What a draft saves beside an n-gram draft and one shown other prompts; and what learning online brings.

    Args:
        model: The draft with its target.
        seed: Picks the questions.
        limit: Most questions of each comparison, at least 32.
        report: Called after every comparison.
    """
    count = max(limit // 32, 1) * 32
    found = saved(model, seed, count, report)
    rates = shift(model, max(count // (2 * BATCH), 2) * 2 * BATCH, seed, report)
    last_quarter = {name: float(values[-max(len(values) // 4, 1) :].mean()) for name, values in rates.items()}
    found["acceptance at the end of a stream that changed its topic, online draft"] = Measure(
        value=last_quarter["online"], baseline=last_quarter["offline"],
        control=_mistaught(model, count, seed), samples=count,
    )  # fmt: skip
    routed, alone = routing(model, count, seed, report)
    found["acceptance in a mixed stream, a draft for each topic"] = Measure(value=routed, baseline=alone, samples=count)
    return found


def saved(model: Speculative, seed: int, count: int, report: Report) -> dict[str, Measure]:
    """Tokens a pass, acceptance and right answers on held-out questions."""
    passages = QueriesWorld(split="heldout", topics=SHIFT, seed=seed).batch(range(count))
    language, accepted, speed, words = model.target, dict[str, float](), dict[str, float](), list[str]()
    rivals: dict[str, Draft] = {
        "model": ModelDraft(model.draft),
        "n-gram": NgramDraft(),
        "other prompts": OtherPrompts(ModelDraft(model.draft)),
    }
    for number, (name, draft) in enumerate(rivals.items(), 1):
        acceptance, tokens, passes = Acceptance(), 0, 0
        for start in range(0, count, 32):
            task = questions_task(model, [each.question or "" for each in passages[start : start + 32]])
            made = finished(speculate(language.model, draft, task, length=PUBLISHED_LENGTH, acceptance=acceptance))
            tokens += sum(len(text.tokens) for text in made)
            passes += sum(len(text.rounds) for text in made)
            if name == "model":
                words += [language.tokens.text(text.tokens) for text in made]
        speed[name] = tokens / passes
        accepted[name] = acceptance.accepted / max(acceptance.judged, 1)
        report(Progress(step=number, total=len(rivals), stage="compare"))
    return {
        "tokens a pass": Measure(
            value=speed["model"], baseline=speed["n-gram"], control=speed["other prompts"], samples=count
        ),
        "acceptance": Measure(
            value=accepted["model"], baseline=accepted["n-gram"], control=accepted["other prompts"], samples=count
        ),
        "tokens a pass that the formula expects of this acceptance": Measure(
            value=expected_tokens(accepted["model"], PUBLISHED_LENGTH.length), baseline=speed["model"], samples=count
        ),
        "right answers": _right(passages, words, seed),
    }


def _right(passages: Sequence[Passage], words: list[str], seed: int) -> Measure:
    order = np.random.default_rng(seed).permutation(len(words))
    mixed = [words[place] for place in order]
    value, control = (sum(map(is_right, passages, said)) for said in (words, mixed))
    scale = 100 / len(words)
    return Measure(value=scale * value, control=scale * control, unit="%", samples=len(words))


def _mistaught(model: Speculative, count: int, seed: int) -> float:
    """Acceptance at the end of a stream of the last topic, of a fresh draft that learns from mixed-up corrections."""
    learner = model.learner(fresh_seed=seed)
    drafts = single(learner, MixedUp(OnlineDistiller(learner, STREAM), seed))
    rates = [each.rate for each in serve(model.target.model, drafts, _tasks(model, count // 2, seed, SHIFT[1:]))]
    return float(np.mean(rates[len(rates) // 2 :]))


def routing(model: Speculative, count: int, seed: int, report: Report) -> tuple[float, float]:
    """Acceptance in the second half of a mixed stream: fresh drafts routed by topic, and one for all."""
    language, worlds = model.target, [QueriesWorld(topics=(topic,), seed=seed + 1) for topic in SHIFT]
    router = TokenRouter(language.model.vocabulary)
    for world, topic in zip(worlds, SHIFT, strict=True):
        for number in range(32):
            router.learn(question(language, world.sample(number).question or ""), topic.value)
    several = {topic.value: model.learner(fresh_seed=seed + place) for place, topic in enumerate(SHIFT)}
    half = replace(STREAM, every=STREAM.every // 2)
    one = model.learner(fresh_seed=seed)
    streams = (
        Drafts(models=several, route=router, distillers={n: OnlineDistiller(m, half) for n, m in several.items()}),
        single(one, OnlineDistiller(one, STREAM)),
    )
    means = []
    for number, drafts in enumerate(streams, 1):
        rates = [each.rate for each in serve(language.model, drafts, _tasks(model, count, seed, SHIFT))]
        means.append(float(np.mean(rates[len(rates) // 2 :])))
        report(Progress(step=number, total=len(streams), stage="route"))
    return means[0], means[1]


def _tasks(model: Speculative, count: int, seed: int, topics: tuple[Topic, ...]) -> list[Task]:
    world = QueriesWorld(topics=topics, seed=seed)
    texts = [world.sample(number).question or "" for number in range(count)]
    return [questions_task(model, texts[start : start + BATCH]) for start in range(0, count, BATCH)]
