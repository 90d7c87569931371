"""Sizes of tuned models, and how they are tuned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from bottega.networks import LlamaConfig
from bottega.room import Preset


class Consistency(Enum):
    """What a state of a trajectory must agree with. Source: arXiv:2403.00835, section 3.2.2."""

    GLOBAL = "global"
    """The solution."""
    LOCAL = "local"
    """The next state."""


class Collected(Enum):
    """Whose trajectories are learned from."""

    TARGET = "target"
    """The model's that is tuned, as it was before: the published way."""
    STUDENT = "student"
    """Its own, as it is now."""


class Solutions(Enum):
    """Whose answers the trajectories lead to."""

    TARGET = "target"
    """The target's own likeliest answers: the published way."""
    SOURCE = "source"
    """The right answers of the texts, where they have any; these cost no writing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CllmConfig:
    """A tuned model.

    Args:
        target: A system of the catalogue that holds the model to start from, and its size: `ID` or `ID:PRESET`.
        network: The model's size; the target's.
        block: Tokens that are solved for together.
        consistency: What states must agree with.
        collected: Whose trajectories.
        solutions: Whose answers they lead to.
        passes: Most passes from a first guess to a state that is learned from.
        ar_weight: How much the autoregressive loss counts beside the consistency loss.
        smoothing: Share of the autoregressive labels that is spread over all tokens.
        longest_answer: Tokens of an answer that is learned from, or measured on, at most.
    """

    target: str = "llama"
    network: LlamaConfig
    block: int = 16
    consistency: Consistency = Consistency.GLOBAL
    collected: Collected = Collected.TARGET
    solutions: Solutions = Solutions.TARGET
    passes: int = 15
    ar_weight: float = 10.0
    smoothing: float = 0.1
    longest_answer: int = 512

    def __post_init__(self) -> None:
        if self.block < 2:
            raise ValueError(f"block is {self.block}, but there must be at least 2 tokens to solve for together")
        if not 0 <= self.passes < self.block:
            raise ValueError(f"passes is {self.passes}, but a block of {self.block} is solved in as many")
        if self.ar_weight < 0 or not 0 <= self.smoothing < 1 or self.longest_answer < 1:
            raise ValueError(
                f"ar_weight {self.ar_weight}, smoothing {self.smoothing} and longest_answer {self.longest_answer} must "
                "be at least 0, in [0, 1) and at least 1"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class CllmOptions:
    """How to tune, beyond the settings of every training."""

    consistency: Consistency | None = None
    """What states must agree with; what the preset says when it is left out."""
    collected: Collected | None = None
    """Whose trajectories are learned from; likewise."""
    solutions: Solutions | None = None
    """Whose answers they lead to; likewise."""
    ar_weight: float | None = None
    """How much the autoregressive loss counts, 0 or more; at 0 the text collapses. Likewise."""


def configure(config: CllmConfig, options: CllmOptions) -> CllmConfig:
    """A preset's configuration with the user's choices."""
    return replace(
        config,
        consistency=config.consistency if options.consistency is None else options.consistency,
        collected=config.collected if options.collected is None else options.collected,
        solutions=config.solutions if options.solutions is None else options.solutions,
        ar_weight=config.ar_weight if options.ar_weight is None else options.ar_weight,
    )


TINY: Final = CllmConfig(
    network=LlamaConfig(vocabulary=2048, context=512, width=192, depth=4, num_heads=6, num_kv_heads=2, hidden=512),
    collected=Collected.STUDENT,
    solutions=Solutions.SOURCE,
    passes=2,
    ar_weight=1.0,
    smoothing=0.0,
    longest_answer=96,
)
PUBLISHED: Final = CllmConfig(target="llama:7b", network=LlamaConfig(eps=1e-6))

PRESETS: Final = {
    "7b": Preset(
        config=PUBLISHED,
        parameters=6_738_415_616,
        source="cllm/consistency-llm-7b-gsm8k and -math, tuned from LLaMA 7B's size: arXiv:2403.00835, section 4.1",
    ),
    "tiny": Preset(config=TINY, parameters=2_361_024, source="the tiny LLaMA's size, for the world of queries"),
}
"""Sizes by name."""
