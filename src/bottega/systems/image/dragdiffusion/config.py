"""Which diffusion model is dragged."""

from __future__ import annotations

from dataclasses import dataclass

from bottega.room import Preset


@dataclass(frozen=True, kw_only=True, slots=True)
class DragDiffusionConfig:
    """The room has no parameters of its own.

    Args:
        prior: Catalogue id of the system whose diffusion model is dragged, with a size where it is not the one at hand.
    """

    prior: str = "unidiffuser"


def _preset(config: DragDiffusionConfig, what: str) -> Preset[DragDiffusionConfig]:
    return Preset(config=config, parameters=0, source=f"none of its own: it drags {what}")


PRESETS = {
    "tiny": _preset(DragDiffusionConfig(), "the latent diffusion of UniDiffuser, which reads sentences"),
    "uvit": _preset(DragDiffusionConfig(prior="uvit"), "U-ViT, which draws the emoji's classes"),
}
"""By name; `--prior` drags any other system whose diffusion model can be looked into."""
