"""How a text was written, token by token, as records that people and JSON can read.

A token is its id and its letters; bytes that are no UTF-8 by themselves become U+FFFD.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bottega.processes.decoding.jacobi import JacobiText
from bottega.processes.decoding.model import Language, Message, Speaker, TextTokens
from bottega.processes.decoding.speculative import Speculation


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """A token.

    Args:
        id: Its number.
        letters: What it adds to the text.
    """

    id: int
    letters: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RoundTrace:
    """One round of speculative sampling: one pass of the model.

    Args:
        drafted: What the draft proposed; `drafted[accepted]` was rejected if it is there and the round wrote further.
        accepted: How many of its first tokens were accepted.
        written: What the round added to the text.
        source: Which draft it was.
    """

    drafted: tuple[Token, ...]
    accepted: int
    written: tuple[Token, ...]
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeculationTrace:
    """How a text was written by speculative sampling.

    Args:
        tokens: The text.
        rounds: In order; their `written` are the text.
        kind: "speculative".
    """

    tokens: tuple[Token, ...]
    rounds: tuple[RoundTrace, ...]
    kind: str = "speculative"

    def to_json(self) -> str:
        """The record as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class IterationTrace:
    """One Jacobi iteration: one pass of the model.

    Args:
        place: Index in the text of the window's first token; all before it is final.
        guess: The window before the pass.
        state: The window after it.
        confirmed: How many tokens of `state`, from the first, are final.
    """

    place: int
    guess: tuple[Token, ...]
    state: tuple[Token, ...]
    confirmed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class JacobiTrace:
    """How a text was written by Jacobi decoding.

    Args:
        tokens: The text.
        iterations: In order.
        fast_forwarded: Tokens beyond the one that every pass makes final.
        stationary: Tokens that stood right behind a wrong one.
        kind: "jacobi".
    """

    tokens: tuple[Token, ...]
    iterations: tuple[IterationTrace, ...]
    fast_forwarded: int
    stationary: int
    kind: str = "jacobi"

    def to_json(self) -> str:
        """The record as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)


def speculation_trace(text: Speculation, tokens: TextTokens) -> SpeculationTrace:
    """The record of a text that `speculate` wrote."""
    rounds = tuple(
        RoundTrace(
            drafted=lettered(each.drafted, tokens), accepted=each.accepted, written=lettered(each.written, tokens),
            source=each.source,
        )
        for each in text.rounds
    )  # fmt: skip
    return SpeculationTrace(tokens=lettered(text.tokens, tokens), rounds=rounds)


def jacobi_trace(text: JacobiText, tokens: TextTokens) -> JacobiTrace:
    """The record of a text that `jacobi` wrote."""
    iterations = tuple(
        IterationTrace(
            place=each.place, guess=lettered(each.guess, tokens), state=lettered(each.state, tokens),
            confirmed=each.confirmed,
        )
        for each in text.iterations
    )  # fmt: skip
    return JacobiTrace(
        tokens=lettered(text.tokens, tokens), iterations=iterations, fast_forwarded=text.fast_forwarded,
        stationary=text.stationary,
    )  # fmt: skip


def lettered(ids: Sequence[int], tokens: TextTokens) -> tuple[Token, ...]:
    """Tokens with their letters."""
    return tuple(Token(id=number, letters=tokens.token_bytes(number).decode("utf-8", "replace")) for number in ids)


def new_letters(tokens: TextTokens, ids: Sequence[int], shown: int) -> str:
    """What a growing text says beyond its first `shown` letters; half a letter at its end waits."""
    return tokens.text(ids).rstrip("\ufffd")[shown:]


def question(language: Language, text: str) -> list[int]:
    """The ids behind which a model answers a question: by its template, or plainly the question and a new line."""
    if language.template is not None:
        return language.template([Message(speaker=Speaker.USER, text=text)])
    return language.tokens.ids(f"{text}\n", start=True)
