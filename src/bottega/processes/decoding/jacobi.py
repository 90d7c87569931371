"""Jacobi decoding: many tokens guessed at once and corrected in parallel until nothing changes.

The n tokens behind a text solve n equations `y_i = f(text, y_1 .. y_{i-1})`, where f takes the likeliest token, or the
one that wins a race with noise fixed for each place. Every pass puts all guesses in and takes all answers as the next
guesses. The first answer is right, and so is every answer whose guesses before it were all right: at most n passes lead
to the one solution, which is the text that f writes token by token, whatever the first guess and the model.

Source: arXiv:2002.03629, section 3 (Jacobi iteration of feedforward computation); arXiv:2305.10427, section 3 (with the
language model's cache); arXiv:2403.00835, sections 3.1 and 3.3; arXiv:2002.09928, section 3 (fixed noise).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.decoding.model import LanguageModel
from bottega.processes.decoding.ngram import what_followed
from bottega.processes.decoding.passes import Task, read_on, shared_start
from bottega.processes.decoding.sampling import Sampling, probabilities

Guess = Callable[[Sequence[int], int], list[int]]
"""`(all tokens of a row, count)` to `count` tokens that may follow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextGuess:
    """Tokens drawn from the row itself: the first guess of arXiv:2403.00835 (their code).

    Args:
        seed: Any integer.
    """

    seed: int = 0

    def __call__(self, held: Sequence[int], count: int) -> list[int]:
        """The guess; the same for the same seed and length of the row."""
        return random.Random(f"{self.seed} {len(held)}").choices(list(held), k=count)


@dataclass(frozen=True, kw_only=True, slots=True)
class NgramGuess:
    """What followed the row's last tokens when they stood in the row before, and behind that tokens drawn from it.

    Args:
        longest: Tokens of the longest match that is looked for.
        rest: Guesses the tokens behind the copied ones.
    """

    longest: int = 3
    rest: Guess = ContextGuess()

    def __call__(self, held: Sequence[int], count: int) -> list[int]:
        """The guess."""
        copied = what_followed(held, count, self.longest)
        return copied + self.rest(held, count - len(copied))


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """Which tokens are solved for together.

    Args:
        size: Tokens of a window.
        rolling: Whether new guesses come in behind as soon as tokens in front are final. Otherwise a block of `size`
            tokens is solved to its end before the next one begins, as published.
        guess: The first guesses.
    """

    size: int = 16
    rolling: bool = False
    guess: Guess = ContextGuess()

    def __post_init__(self) -> None:
        if self.size < 1:
            raise RequestError.of("window", self.size, "at least 1 token")

    def refill(self, held: Sequence[int], window: list[int], room: int) -> list[int]:
        """The next window: the guesses left over, and new ones, at most `room` in all."""
        if self.rolling or not window:
            window = window + self.guess([*held, *window], self.size - len(window))
        return window[:room]


@dataclass(frozen=True, kw_only=True, slots=True)
class Iteration:
    """One pass of the model over one window.

    Args:
        place: New tokens in front of the window, all final.
        guess: The window before the pass; the last guess is not looked at.
        state: The window after it.
        confirmed: How many tokens of `state`, from the first, are final.
    """

    place: int
    guess: tuple[int, ...]
    state: tuple[int, ...]
    confirmed: int


@dataclass(slots=True)
class JacobiText:
    """What was written behind one prompt, and how.

    Args:
        tokens: The new ids; an end token is the last one.
        iterations: The passes that wrote them; the first one also read the prompt.
        done: Whether it ended by an end token or by `Task.stop`, not by its length.
    """

    tokens: list[int] = field(default_factory=list)
    iterations: list[Iteration] = field(default_factory=list)
    done: bool = False

    @property
    def fast_forwarded(self) -> int:
        """Tokens that were final beyond the one that every pass makes final. Source: arXiv:2403.00835, section 3.3."""
        return len(self.tokens) - len(self.iterations)

    @property
    def stationary(self) -> int:
        """Tokens that were right, and stayed so, behind one that was still wrong. Source: as above."""
        return sum(_stood_early(self, place) for place in range(len(self.tokens)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Trajectory:
    """The states of one block, from the first guess to the solution.

    Args:
        start: New tokens in front of the block.
        states: Each as long as the block, cut where the text ends; the last one is the solution.
    """

    start: int
    states: tuple[tuple[int, ...], ...]


@torch.inference_mode()
def jacobi(model: LanguageModel, task: Task, window: Window = Window()) -> Iterator[list[JacobiText]]:
    """Continues every prompt by Jacobi iteration; yields the texts, which grow, after each pass.

    Every text is the one that the model writes token by token: exactly so under greedy sampling; and drawn from the
    same distribution otherwise. Rows that are complete leave the batch. A row's text depends on its prompt and its
    generator alone, not on the window.

    Args:
        model: The model.
        task: The prompts, and how to continue them.
        window: Which tokens are solved for together.

    Raises:
        RequestError: A prompt that is empty, or that leaves no room in the context.
    """
    task.check(model)
    made = [JacobiText() for _ in task.prompts]
    rooms = [task.room(row, model.context) for row in range(len(made))]
    rows, held = list(range(len(made))), [list(prompt) for prompt in task.prompts]
    races = [_Race(task.generator(row), model.vocabulary) for row in rows]
    windows = [window.refill(prompt, [], room) for prompt, room in zip(held, rooms, strict=True)]
    longest = max(len(prompt) + room for prompt, room in zip(held, rooms, strict=True))
    memory = model.new_memory(len(rows), longest + window.size)
    while True:
        texts = [[*text, *guess[:-1]] for text, guess in zip(held, windows, strict=True)]
        logits = read_on(model, memory, texts, [len(text) - 1 for text in held])
        for place, row in enumerate(rows):
            guess, text = windows[place], held[place]
            chances = _chances(logits[place, : len(guess)], texts[place], len(text), task.sampling)
            state = races[row].winners(chances, len(text))
            confirmed = 1 + shared_start(guess[:-1], state)
            written, before = made[row].tokens, len(made[row].tokens)
            made[row].done = task.append(row, written, state[:confirmed], rooms[row])
            made[row].iterations.append(
                Iteration(place=before, guess=tuple(guess), state=tuple(state), confirmed=len(written) - before)
            )
            held[place] = [*text, *written[before:]]
            windows[place] = window.refill(held[place], state[confirmed:], rooms[row] - len(written))
        memory.crop([len(text) - 1 for text in held])
        yield made
        going = [place for place, row in enumerate(rows) if not made[row].done and len(made[row].tokens) < rooms[row]]
        if not going:
            return
        if len(going) < len(rows):
            memory.select(going)
            rows, held = [rows[place] for place in going], [held[place] for place in going]
            windows = [windows[place] for place in going]


def trajectories(text: JacobiText, size: int) -> list[Trajectory]:
    """The states of every block of a text that was written in blocks of `size`."""
    found = []
    for start in range(0, len(text.tokens), size):
        own = [each for each in text.iterations if start <= each.place < start + size]
        end = min(start + size, len(text.tokens))
        states = [own[0].guess[: end - start]]
        states += [(*text.tokens[start : each.place], *each.state)[: end - start] for each in own]
        found.append(Trajectory(start=start, states=tuple(states)))
    return found


def repeat_rate(tokens: Sequence[int]) -> float:
    """Share of tokens that equal the token before them: high where a model has collapsed to repeating itself."""
    return sum(a == b for a, b in zip(tokens, tokens[1:], strict=False)) / max(len(tokens) - 1, 1)


class _Race:
    """Tokens as functions of their distributions: the likeliest, or the winner against noise fixed for each place."""

    def __init__(self, generator: torch.Generator | None, vocabulary: int) -> None:
        self.generator, self.vocabulary = generator, vocabulary
        self._noise: dict[int, Tensor] = {}

    def winners(self, chances: Tensor, first: int) -> list[int]:
        """A token of each distribution `(places, vocabulary)`; the first place of the row is `first`."""
        if self.generator is None:
            return chances.argmax(-1).tolist()
        places = range(first, first + len(chances))
        self._noise = {place: noise for place, noise in self._noise.items() if place >= first}
        for place in places:
            if place not in self._noise:  # places come in order, so that noise depends on the generator alone
                noise = torch.empty(self.vocabulary)
                self._noise[place] = noise.exponential_(generator=self.generator)
        return (chances.cpu() / torch.stack([self._noise[place] for place in places])).argmax(-1).tolist()


def _chances(logits: Tensor, text: Sequence[int], start: int, sampling: Sampling) -> Tensor:
    """The distributions, or under greedy sampling any scores with the same largest one, from place `start` on."""
    if sampling.repetition_penalty == 1:
        return logits if sampling.greedy else probabilities(logits, sampling)
    return probabilities(logits, sampling, [text[: start + place] for place in range(len(logits))])


def _stood_early(text: JacobiText, place: int) -> bool:
    """Whether a token was right, and stayed so, in a pass that left an earlier one wrong."""
    early = False
    for each in text.iterations:
        at = place - each.place
        if not each.confirmed <= at < len(each.state):
            continue
        right = each.state[at] == text.tokens[place]
        before = range(each.confirmed, at)
        wrong = any(each.state[other] != text.tokens[each.place + other] for other in before)
        early = right and (early or wrong)
    return early
