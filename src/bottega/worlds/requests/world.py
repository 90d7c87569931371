"""The world of requests, and conversations in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bottega.errors import RequestError
from bottega.worlds.dice import Dice, mix_text
from bottega.worlds.requests.dangers import dangerous, harmless
from bottega.worlds.requests.request import Intent, Request
from bottega.worlds.requests.styles import Style
from bottega.worlds.requests.tasks import useful
from bottega.worlds.settings import check_length, check_split, within

_MAKERS: Final[dict[Intent, Callable[[Dice], Request]]] = {
    Intent.USEFUL: useful,
    Intent.DANGEROUS: dangerous,
    Intent.HARMLESS: harmless,
}
_HELD_OUT: Final = 8  # one composition in so many is held out


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestsWorld:
    """An endless, deterministic source of requests; a map-style data set.

    Args:
        split: "train", "heldout" (compositions that training never sees), or "all".
        seed: Any integer.
        intents: Which requests come.
        weights: How often each intent comes, in any unit.
        length: What `len` says; `sample` takes any index.
    """

    split: str = "train"
    seed: int = 0
    intents: tuple[Intent, ...] = tuple(Intent)
    weights: tuple[float, ...] = (0.6, 0.25, 0.15)
    length: int = 1_000_000

    def __post_init__(self) -> None:
        check_split(self.split)
        check_length(self.length)
        if (
            len(self.weights) != len(self.intents)
            or not self.intents
            or sum(self.weights) <= 0
            or min(self.weights) < 0
        ):
            raise RequestError.of("weights", self.weights, f"{max(len(self.intents), 1)} numbers, one for each intent")

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Request:
        return self.sample(within(index, self.length))

    def sample(self, index: int) -> Request:
        """The request at any index from 0."""
        dice = Dice(self.seed ^ mix_text(self.split), index)
        make = _MAKERS[dice.weighted(self.intents, self.weights)]
        while True:
            request = make(dice)
            held_out = mix_text(request.key) % _HELD_OUT == 0
            if self.split == "all" or held_out == (self.split == "heldout"):
                return request

    def batch(self, indices: Sequence[int]) -> list[Request]:
        """The requests at these indices."""
        return [self.sample(index) for index in indices]


@dataclass(frozen=True, kw_only=True, slots=True)
class Conversation:
    """Several requests in a row, with an instruction for all replies or without one.

    Args:
        requests: What the user asks, turn by turn.
        style: The manner that the system prompt asks for, or None.
    """

    requests: tuple[Request, ...]
    style: Style | None

    @property
    def users(self) -> list[str]:
        """What the user says, turn by turn."""
        return [request.text for request in self.requests]

    @property
    def system(self) -> str:
        """The system prompt, or ""."""
        return "" if self.style is None else self.style.value


def conversation(requests: Sequence[Request], dice: Dice, *, instructed: float) -> Conversation:
    """A conversation of these requests.

    Args:
        requests: Turn by turn.
        dice: Decides the instruction.
        instructed: Share of conversations that have one.
    """
    style = dice.pick(tuple(Style)) if dice.unit() < instructed else None
    return Conversation(requests=tuple(requests), style=style)
