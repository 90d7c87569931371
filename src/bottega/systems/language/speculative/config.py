"""Sizes of drafts, and the models that they draft for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from bottega.networks import LlamaConfig
from bottega.processes.decoding import ForwardKl, JensenShannon, ReverseKl
from bottega.room import Preset


class Divergences(Enum):
    """How far a draft is from its target."""

    FORWARD = "forward"
    """KL(target | draft), whose gradient is that of the soft cross-entropy."""
    REVERSE = "reverse"
    """KL(draft | target): the draft leaves out what it cannot follow."""
    JENSEN_SHANNON = "jensen-shannon"
    """Of both to their mean, nine parts target and one part draft."""


DIVERGENCES: Final = {
    Divergences.FORWARD: ForwardKl(),
    Divergences.REVERSE: ReverseKl(),
    Divergences.JENSEN_SHANNON: JensenShannon(),
}


class Texts(Enum):
    """Along which texts a draft learns what its target thinks."""

    TARGET = "target"
    """The target's own likeliest answers."""
    SOURCE = "source"
    """The answers of the source, where it has any: these cost no writing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeculativeConfig:
    """A draft and its model.

    Args:
        target: A system of the catalogue that holds a language model, and its size: `ID` or `ID:PRESET`.
        draft: The small model; of the target's vocabulary.
        longest: Longest draft that is tried when the length is chosen by itself.
        texts: What it learns along before it serves.
        divergence: From what its target thinks to what it thinks.
        longest_answer: Tokens of an answer that a draft learns from, or is measured on, at most.
    """

    target: str = "llama"
    draft: LlamaConfig
    longest: int = 16
    texts: Texts = Texts.TARGET
    divergence: Divergences = Divergences.FORWARD
    longest_answer: int = 96

    def __post_init__(self) -> None:
        if min(self.longest, self.longest_answer) < 1:
            raise ValueError(f"longest {self.longest} and longest_answer {self.longest_answer} must be at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeculativeOptions:
    """How a draft learns before it serves, beyond the settings of every training."""

    texts: Texts | None = None
    """Along which texts; what the preset says when it is left out."""
    divergence: Divergences | None = None
    """How far it is from its target; likewise."""


def configure(config: SpeculativeConfig, options: SpeculativeOptions) -> SpeculativeConfig:
    """A preset's configuration with the user's choices."""
    texts, divergence = options.texts or config.texts, options.divergence or config.divergence
    return replace(config, texts=texts, divergence=divergence)


TINY: Final = SpeculativeConfig(
    draft=LlamaConfig(
        vocabulary=2048, context=512, width=64, depth=2, num_heads=2, num_kv_heads=1, hidden=176, tied=True
    ),
    texts=Texts.SOURCE,
)
PUBLISHED: Final = SpeculativeConfig(
    target="llama:7b", draft=LlamaConfig(width=768, depth=12, num_heads=12, num_kv_heads=12, hidden=3072, eps=1e-6)
)

PRESETS: Final = {
    "vicuna-7b": Preset(
        config=PUBLISHED,
        parameters=162_417_408,
        source="JackFram/llama-160m, the draft of Vicuna 7B in arXiv:2310.07177, section 5",
    ),
    "tiny": Preset(config=TINY, parameters=223_552, source="a tenth of the tiny LLaMA, for the world of queries"),
}
"""Sizes by name; parameters are the draft's."""
