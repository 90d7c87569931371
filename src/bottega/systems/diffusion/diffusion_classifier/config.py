"""Which diffusion model is asked, and how labels drop out."""

from __future__ import annotations

from dataclasses import dataclass

from bottega.room import Preset


@dataclass(frozen=True, kw_only=True, slots=True)
class DiffusionClassifierConfig:
    """A classifier.

    Args:
        prior: Catalogue id of the system whose diffusion model is asked, with a size where it is not the one at hand.
        rounds: Rounds of elimination; 1 compares all labels on all draws.
    """

    prior: str = "uvit:tiny"
    rounds: int = 3

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"rounds is {self.rounds}, but it must be at least 1")


def _preset(config: DiffusionClassifierConfig, what: str) -> Preset[DiffusionClassifierConfig]:
    return Preset(config=config, parameters=0, source=f"none of its own: it asks {what}")


PRESETS = {
    "tiny": _preset(DiffusionClassifierConfig(), "the tiny U-ViT, which knows the emoji's 99 classes"),
    "mdt": _preset(DiffusionClassifierConfig(prior="mdt:tiny"), "the tiny MDTv2, which knows the emoji's 99 classes"),
    "unidiffuser": _preset(DiffusionClassifierConfig(prior="unidiffuser"), "UniDiffuser, which takes any prompt"),
}
"""Classifiers by name."""
