"""The text world: passages of seven topics, most of them questions whose answers can be judged exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from bottega.errors import RequestError
from bottega.worlds.dice import Dice, mix_text
from bottega.worlds.queries.code import code
from bottega.worlds.queries.docs import docs
from bottega.worlds.queries.facts import facts
from bottega.worlds.queries.passage import Draft, Passage, Topic
from bottega.worlds.queries.records import records
from bottega.worlds.queries.sql import sql
from bottega.worlds.queries.sums import sums
from bottega.worlds.queries.talk import talk
from bottega.worlds.settings import check_length, check_split, within

_DRAFTS: Final[dict[Topic, Callable[[Dice], Draft]]] = {
    Topic.SUMS: sums,
    Topic.SQL: sql,
    Topic.JSON: records,
    Topic.DIALOGUE: talk,
    Topic.CODE: code,
    Topic.FACTS: facts,
    Topic.DOCS: docs,
}
_HELD_OUT: Final = 8  # one composition in so many is held out


@dataclass(frozen=True, kw_only=True, slots=True)
class QueriesWorld:
    """An endless, deterministic source of passages; a map-style data set.

    Args:
        split: "train", "heldout" (compositions that training never sees: other numbers of a sum, other columns and
            conditions of a query, other pages), or "all".
        seed: Any integer.
        topics: What passages are about.
        weights: How often each topic comes, in any unit; None for equally often.
        length: What `len` says; `sample` takes any index.
    """

    split: str = "train"
    seed: int = 0
    topics: tuple[Topic, ...] = tuple(Topic)
    weights: tuple[float, ...] | None = None
    length: int = 1_000_000

    def __post_init__(self) -> None:
        check_split(self.split)
        check_length(self.length)
        if not self.topics or len(set(self.topics)) < len(self.topics):
            names = [topic.value for topic in self.topics]
            raise RequestError.of("topics", names, "at least one topic, none of them twice")
        if self.weights is not None and (
            len(self.weights) != len(self.topics) or min(self.weights) < 0 or sum(self.weights) <= 0
        ):
            raise RequestError.of("weights", self.weights, f"{len(self.topics)} numbers from 0, one for each topic")

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Passage:
        return self.sample(within(index, self.length))

    def sample(self, index: int) -> Passage:
        """The passage at any index from 0."""
        dice = Dice(self.seed ^ mix_text(self.split), index)
        topic = dice.weighted(self.topics, self.weights or (1.0,) * len(self.topics))
        while True:
            draft = _DRAFTS[topic](dice)
            if self.split == "all" or held_out(draft) == (self.split == "heldout"):
                return draft.passage(topic)

    def batch(self, indices: Sequence[int]) -> list[Passage]:
        """The passages at these indices."""
        return [self.sample(index) for index in indices]


def held_out(draft: Draft) -> bool:
    """Whether a draft's composition is kept from training."""
    return mix_text(draft.key) % _HELD_OUT == 0
