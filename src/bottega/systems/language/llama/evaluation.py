"""Measuring LLaMA on the queries world: how well it expects held-out text, and how often its answers are right."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from bottega.metrics import NGrams, keyword_overlap
from bottega.processes.decoding import write
from bottega.room import Measure, Progress, Report
from bottega.systems.language.llama.model import LlamaPipeline
from bottega.systems.language.llama.recipe import queries_mixture
from bottega.tokenizers import TextTokenizer
from bottega.worlds.queries import Passage, QueriesWorld, Topic, is_right

ORDER: Final = 5
COUNTED: Final = 40  # training texts that the n-grams are counted on, for each sample of `limit`
LONGEST: Final = 160  # tokens of an answer
ROWS: Final = 32  # texts that are read or continued at once


@dataclass(frozen=True, slots=True)
class Read:
    """A held-out text as ids.

    Args:
        ids: Start, text, end.
        begins: The place of the first id that counts: the answer's, or the text's middle where nothing is asked.
    """

    ids: list[int]
    begins: int

    def behind(self, other: Read) -> Read:
        """What counts of this text, behind what does not count of another."""
        return Read([*other.ids[: other.begins], *self.ids[self.begins :]], other.begins)


@torch.inference_mode()
def evaluate(model: LlamaPipeline, seed: int, limit: int, report: Report) -> dict[str, Measure]:
    """Perplexity of held-out answers, and the share of right ones, topic by topic.

    The baseline of perplexities is a 5-gram model counted on training text; of answers, the answer to the most similar
    question of 200 from training. The control of both: another passage's question in front.

    Args:
        model: The decoder with its tokenizer.
        seed: Picks passages.
        limit: Most passages in all, shared evenly by the topics; the n-grams count 40 training texts for each.
            Questions that fill more than half of the context are left out.
        report: Called after every step; may raise `Cancelled`.
    """
    tokenizer, count = model.tokens(), max(limit // len(Topic), 2)
    total = 2 * len(Topic) + 1
    grams = counted(tokenizer, limit * COUNTED, seed)
    report(Progress(step=1, total=total, stage="count"))
    found: dict[str, Measure] = {}
    for number, topic in enumerate(Topic, 1):
        drawn = QueriesWorld(split="heldout", topics=(topic,), seed=seed).batch(range(count))
        passages = [passage for passage in drawn if len(tokenizer.ids(passage.prompt)) < model.config.context // 2]
        if not passages:
            continue
        found[f"perplexity, {topic.value}"] = perplexities(model, grams, passages)
        report(Progress(step=2 * number, total=total, stage="read"))
        if passages[0].question is not None:
            found[f"right answers, {topic.value}"] = right_answers(model, passages, seed)
        report(Progress(step=2 * number + 1, total=total, stage="answer"))
    return found


def counted(tokenizer: TextTokenizer, texts: int, seed: int) -> NGrams:
    """The 5-gram model of so many texts of the training mixture."""
    grams, source = NGrams(ORDER, tokenizer.vocabulary), queries_mixture()
    first = (seed + 1) * 100_000_000
    grams.learn(tokenizer.ids(source.sample(first + i).text, start=True, end=True) for i in range(texts))
    return grams


def as_read(tokenizer: TextTokenizer, passage: Passage, context: int) -> Read:
    """A passage as ids; what is too long for the context loses its tail."""
    ids = tokenizer.ids(passage.text, start=True, end=True)[:context]
    begins = len(tokenizer.ids(passage.prompt, start=True)) if passage.question is not None else len(ids) // 2
    return Read(ids, begins)


def perplexities(model: LlamaPipeline, grams: NGrams, passages: Sequence[Passage]) -> Measure:
    """The perplexity a token of what counts; of the 5-gram model; behind another passage's beginning."""
    texts = [as_read(model.tokens(), passage, model.config.context) for passage in passages]
    others = [text.behind(other) for text, other in zip(texts, [*texts[1:], texts[0]], strict=True)]
    baseline = [chance for text in texts for chance in grams.log_chances(text.ids, text.begins)]
    return Measure(
        value=_perplexity(_read(model, texts)),
        baseline=_perplexity(baseline),
        control=_perplexity(_read(model, others)),
        higher_is_better=False,
        samples=len(baseline),
    )


def _perplexity(log_chances: Sequence[float]) -> float:
    return math.exp(-sum(log_chances) / len(log_chances))


def _read(model: LlamaPipeline, texts: Sequence[Read]) -> list[float]:
    """The model's log-probability of every token that counts."""
    found: list[float] = []
    for start in range(0, len(texts), ROWS):
        rows = texts[start : start + ROWS]
        longest = min(max(len(row.ids) for row in rows), model.config.context)
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        for place, row in enumerate(rows):
            ids[place, : len(row.ids)] = torch.tensor(row.ids[:longest])
        chances = log_chances(model, ids)
        for place, row in enumerate(rows):
            found += chances[place, row.begins - 1 : min(len(row.ids), longest) - 1].tolist()
    return found


def log_chances(model: LlamaPipeline, ids: Tensor) -> Tensor:
    """Log-probabilities `(batch, tokens - 1)` of all ids `(batch, tokens)` but the first."""
    ids = ids.to(next(model.parameters()).device)
    logits = model(ids[:, :-1]).float().log_softmax(-1)
    return logits.gather(-1, ids[:, 1:, None])[..., 0].cpu()


def answers(model: LlamaPipeline, passages: Sequence[Passage]) -> list[str]:
    """The likeliest continuation of each question."""
    tokenizer, found = model.tokens(), list[str]()
    for start in range(0, len(passages), ROWS):
        prompts = model.prompts([passage.prompt for passage in passages[start : start + ROWS]])
        steps = list(write(model.decoder, prompts, most=LONGEST, end=tokenizer.end))
        found += [tokenizer.text(made.tokens) for made in steps[-1]]
    return found


def right_answers(model: LlamaPipeline, passages: Sequence[Passage], seed: int) -> Measure:
    """The share of right answers; of the nearest training question's; of answers to other questions."""
    made = answers(model, passages)
    train = QueriesWorld(topics=(passages[0].topic,), seed=seed).batch(range(200))

    def nearest(passage: Passage) -> str:
        likeness: Callable[[Passage], float] = lambda other: keyword_overlap(passage.prompt, other.prompt)  # noqa: E731
        return max(train, key=likeness).answer or ""

    return Measure(
        value=_share(passages, made),
        baseline=_share(passages, [nearest(passage) for passage in passages]),
        control=_share(passages, [*made[1:], made[0]]),
        unit="%",
        samples=len(passages),
    )


def _share(passages: Sequence[Passage], made: Sequence[str]) -> float:
    right = [is_right(passage, answer) for passage, answer in zip(passages, made, strict=True)]
    return 100 * sum(right) / len(right)
