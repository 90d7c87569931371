"""Which diffusion model is sampled."""

from __future__ import annotations

from dataclasses import dataclass

from bottega.room import Preset


@dataclass(frozen=True, kw_only=True, slots=True)
class FastSamplingConfig:
    """The room has no parameters of its own.

    Args:
        prior: Catalogue id of the system whose diffusion model is sampled, with a size where it is not the one at hand.
    """

    prior: str = "uvit"


def _preset(config: FastSamplingConfig, what: str) -> Preset[FastSamplingConfig]:
    return Preset(config=config, parameters=0, source=f"none of its own: it samples {what}")


PRESETS = {
    "tiny": _preset(FastSamplingConfig(), "the U-ViT that comes with the package: the emoji's 99 classes"),
    "unidiffuser": _preset(FastSamplingConfig(prior="unidiffuser"), "UniDiffuser, which takes any prompt"),
}
"""By name; `--prior` samples any other system that holds a diffusion model."""
