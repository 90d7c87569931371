"""Speculative sampling: a draft proposes, one pass of the model judges, and the text is distributed as the model's own.

Source: arXiv:2211.17192, algorithm 1, sections 2.3 and 3; arXiv:2302.01318, algorithm 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.decoding.drafts import Draft, Proposal
from bottega.processes.decoding.model import LanguageModel
from bottega.processes.decoding.passes import Task, read_on
from bottega.processes.decoding.sampling import Sampling, probabilities

Watch = Callable[[int, int, Tensor], None]
"""`(row, index in the row of a token that the draft got wrong, the model's logits there (vocabulary,))`."""


def nobody(row: int, place: int, logits: Tensor) -> None:
    """The `Watch` that does nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Round:
    """One pass of the model over a draft's proposal.

    Args:
        drafted: What the draft proposed.
        accepted: How many of its first tokens were accepted.
        written: What the round added to the text: the accepted tokens and then one of the model's own, unless the text
            ended before.
        source: Which draft it was.
    """

    drafted: tuple[int, ...]
    accepted: int
    written: tuple[int, ...]
    source: str = ""


@dataclass(slots=True)
class Speculation:
    """What was written behind one prompt, and how.

    Args:
        tokens: The new ids; an end token is the last one.
        rounds: The passes that wrote them; the first one also read the prompt.
        done: Whether it ended by an end token or by `Task.stop`, not by its length.
    """

    tokens: list[int] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    done: bool = False


@dataclass(slots=True)
class Acceptance:
    """How often a draft's tokens are accepted.

    Args:
        accepted: Tokens that were.
        judged: Tokens that were accepted or rejected; those behind a rejected one are not judged.
    """

    accepted: int = 0
    judged: int = 0

    @property
    def rate(self) -> float:
        """Accepted share, as if one of two had been accepted before: never 0 or 1."""
        return (self.accepted + 1) / (self.judged + 2)

    def add(self, accepted: int, drafted: int) -> None:
        """Counts one round."""
        self.accepted += accepted
        self.judged += min(accepted + 1, drafted)


LONGEST_DRAFT: Final = 64
"""Most tokens of a draft, whatever a rule says."""

LengthRule = Callable[[Acceptance], int]
"""What was accepted so far to the length of the next draft."""


@dataclass(frozen=True, slots=True)
class FixedLength:
    """Drafts of always the same length."""

    length: int = 5

    def __post_init__(self) -> None:
        if self.length < 0:
            raise RequestError.of("draft length", self.length, "0 or more")

    def __call__(self, acceptance: Acceptance) -> int:
        """The length."""
        return self.length


@dataclass(frozen=True, kw_only=True, slots=True)
class BestLength:
    """The length of largest speed-up at the acceptance measured so far.

    Args:
        cost: Cost of one token of the draft in passes of the model.
        most: Longest draft.
    """

    cost: float
    most: int = 16

    def __call__(self, acceptance: Acceptance) -> int:
        """The length."""
        return best_length(acceptance.rate, self.cost, self.most)


def expected_tokens(rate: float, length: int) -> float:
    """Expected tokens a round, `(1 - a^(k+1)) / (1 - a)`. Source: arXiv:2211.17192, equation 1."""
    return length + 1.0 if rate >= 1 else (1 - rate ** (length + 1)) / (1 - rate)


def speedup(rate: float, length: int, cost: float) -> float:
    """Expected tokens a round over the round's cost `c k + 1`. Source: arXiv:2211.17192, theorem 3.8."""
    return expected_tokens(rate, length) / (cost * length + 1)


def best_length(rate: float, cost: float, most: int = 64) -> int:
    """The draft length of largest speed-up; 0 where no draft pays."""
    return max(range(most + 1), key=lambda length: speedup(rate, length, cost))


def judge(proposal: Proposal, chances: Tensor, generator: torch.Generator | None) -> tuple[int, int]:
    """Accepts the beginning of a proposal and adds one token, so that all are distributed as the model's.

    Token i is accepted with probability `min(1, p_i(x) / q_i(x))`; at the first rejection one is drawn from
    `max(p_i - q_i, 0)`, normalised; behind the last acceptance one from the model's next distribution.

    Args:
        proposal: What was drafted.
        chances: The model's distribution at each proposed token and behind the last, `(tokens + 1, vocabulary)`.
        generator: Randomness; None where all distributions are certain.

    Returns:
        How many were accepted, and the token behind them.
    """
    for place, token in enumerate(proposal.tokens):
        drafted = 1.0 if proposal.chances is None else float(proposal.chances[place, token])
        ratio = float(chances[place, token]) / drafted
        if ratio >= 1 or (generator is not None and ratio > 0 and float(torch.rand((), generator=generator)) < ratio):
            continue
        rest = chances[place].clone()
        if proposal.chances is None:
            rest[token] = 0
        else:
            rest = (rest - proposal.chances[place].to(rest)).clamp(min=0)
        if float(rest.sum()) <= 0:  # p equals q up to rounding
            rest = chances[place]
        return place, _drawn(rest, generator)
    return len(proposal.tokens), _drawn(chances[len(proposal.tokens)], generator)


@torch.inference_mode()
def speculate(
    model: LanguageModel,
    draft: Draft,
    task: Task,
    *,
    length: LengthRule = FixedLength(),
    acceptance: Acceptance | None = None,
    watch: Watch = nobody,
) -> Iterator[list[Speculation]]:
    """Continues every prompt by rounds of drafting and judging; yields the texts, which grow, after each round.

    Every text is distributed as the model alone would write it, and equal to it under greedy sampling. Rows that are
    complete leave the batch. Under a `FixedLength`, a row's text depends on its prompt and its generator alone.

    Args:
        model: The model whose text it is.
        draft: What proposes.
        task: The prompts, and how to continue them.
        length: How long the drafts are.
        acceptance: Where accepted tokens are counted, over all rows; goes on from what it holds.
        watch: Sees every rejected token.

    Raises:
        RequestError: A prompt that is empty, or that leaves no room in the context.
    """
    task.check(model)
    counted = Acceptance() if acceptance is None else acceptance
    made = [Speculation() for _ in task.prompts]
    rooms = [task.room(row, model.context) for row in range(len(made))]
    rows, held = list(range(len(made))), [list(prompt) for prompt in task.prompts]
    longest = max(len(prompt) + room for prompt, room in zip(held, rooms, strict=True))
    capacity = longest + LONGEST_DRAFT + 1  # a row that is ahead is padded beyond its end
    memory = model.new_memory(len(rows), capacity)
    draft.begin(held, capacity)
    while True:
        planned = min(length(counted), LONGEST_DRAFT)
        counts = [min(planned, rooms[row] - len(made[row].tokens) - 1) for row in rows]
        chosen = [task.generator(row) for row in rows]
        proposals = draft.propose(held, counts, task.sampling, chosen)
        texts = [[*text, *proposal.tokens] for text, proposal in zip(held, proposals, strict=True)]
        logits = read_on(model, memory, texts, [len(text) - 1 for text in held])
        for place, row in enumerate(rows):
            chances = _chances(logits[place], texts[place], len(held[place]), task.sampling)
            verdict = judge(proposals[place], chances, chosen[place])
            counted.add(verdict[0], len(proposals[place].tokens))
            if verdict[0] < len(proposals[place].tokens):
                watch(row, len(held[place]) + verdict[0], logits[place, verdict[0]])
            written = _write(task, row, made[row], proposals[place], verdict, rooms[row])
            held[place] = [*held[place], *written]
        memory.crop([len(text) - 1 for text in held])
        yield made
        going = [place for place, row in enumerate(rows) if not made[row].done and len(made[row].tokens) < rooms[row]]
        if not going:
            return
        if len(going) < len(rows):
            memory.select(going)
            draft.select(going)
            rows, held = [rows[place] for place in going], [held[place] for place in going]


def _write(
    task: Task, row: int, text: Speculation, proposal: Proposal, verdict: tuple[int, int], room: int
) -> tuple[int, ...]:
    """Appends what a round gave to a row's text, up to its end, and notes the round; returns what was appended."""
    accepted, token = verdict
    before = len(text.tokens)
    text.done = task.append(row, text.tokens, (*proposal.tokens[:accepted], token), room)
    written = tuple(text.tokens[before:])
    kept = min(accepted, len(written))
    text.rounds.append(Round(drafted=proposal.tokens, accepted=kept, written=written, source=proposal.source))
    return written


def _chances(logits: Tensor, text: Sequence[int], start: int, sampling: Sampling) -> Tensor:
    """The model's distributions at the proposed tokens `text[start:]` and behind the last."""
    count = len(text) - start + 1
    held = [text[: start + place] for place in range(count)] if sampling.repetition_penalty != 1 else None
    return probabilities(logits[:count], sampling, held)


def _drawn(chances: Tensor, generator: torch.Generator | None) -> int:
    if generator is None:
        return int(chances.argmax())
    return int(torch.multinomial(chances.cpu(), 1, generator=generator))
