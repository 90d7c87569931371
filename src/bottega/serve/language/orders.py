"""What is asked of the engine, and what it tells while it writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from bottega.errors import RequestError
from bottega.processes.decoding import GREEDY, Sampling


@dataclass(frozen=True, kw_only=True, slots=True)
class TextOrder:
    """One text to write.

    Args:
        prompt: The ids to continue, at least one.
        most: Most new tokens, at least 1.
        sampling: How tokens are drawn.
        presence: Taken off the logits of tokens that were written already.
        frequency: Taken off the logits of tokens for each time that they were written already.
        seed: The same seed makes the same text, whatever else is being written.
        stops: Texts that end the writing; they are not shown.
        rivals: How many of the likeliest tokens are told beside each token with their log-probabilities; None tells
            no log-probabilities at all.
        ends: Whether the model's end token ends the writing.
        opening: Whether the new text begins by itself (an answer) rather than going on with the prompt's last word.
    """

    prompt: tuple[int, ...]
    most: int
    sampling: Sampling = GREEDY
    presence: float = 0.0
    frequency: float = 0.0
    seed: int = 0
    stops: tuple[str, ...] = ()
    rivals: int | None = None
    ends: bool = True
    opening: bool = False

    def __post_init__(self) -> None:
        if not self.prompt:
            raise RequestError("the prompt has no tokens; write at least one word")
        if self.most < 1:
            raise RequestError.of("most", self.most, "at least 1 new token")
        if "" in self.stops:
            raise RequestError("a stop sequence is empty; leave it out")


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenScore:
    """A token with the model's log-probability of it, before any `Sampling`.

    Args:
        token: Its id.
        begins: How many letters of the text come before it.
        log_chance: In nats.
        rivals: The likeliest ids at its place with theirs, likeliest first.
    """

    token: int
    begins: int
    log_chance: float
    rivals: tuple[tuple[int, float], ...] = ()


class Ending(Enum):
    """Why a text ended."""

    STOP = "stop"
    """By the end token or a stop sequence."""
    LENGTH = "length"
    """By its length."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wrote:
    """More of a text.

    Args:
        text: Whole letters; perhaps none yet, when only scores are told.
        scores: The tokens whose letters are all told now, where the order asked for them.
    """

    text: str
    scores: tuple[TokenScore, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """The text is complete.

    Args:
        ending: Why.
        new_tokens: How many tokens were written, an end token included.
    """

    ending: Ending
    new_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Broke:
    """The text will not be completed.

    Args:
        sentence: Why, for the user.
        ours: Whether it is a fault of bottega's rather than that the server is closing.
    """

    sentence: str
    ours: bool = True


Event = Wrote | Ended | Broke

Listener = Callable[[int, Event], None]
"""Told `(which order of the submission, what happened)` on the engine's thread; returns at once."""
