"""Sizes of SegGPT, published and for the bundled worlds."""

from __future__ import annotations

from dataclasses import dataclass

from bottega.networks import PainterConfig
from bottega.room import Preset


@dataclass(frozen=True, kw_only=True, slots=True)
class SegGptConfig:
    """Size of SegGPT.

    Args:
        network: The transformer; it must be told what a target shows.
        segmenter: A promptable segmenter that turns clicks on an example into its mask; empty for none.
    """

    network: PainterConfig
    segmenter: str = ""

    def __post_init__(self) -> None:
        if not self.network.typed:
            raise ValueError("typed is False, but SegGPT's network is told whether it sees classes or single things")


LARGE = PainterConfig(typed=True)
TINY = PainterConfig(
    size=64, patch_size=8, width=160, depth=7, num_heads=5, mlp_ratio=3.0, merge_index=1, taps=(2, 4, 6),
    decoder_width=16, position_rows=8, typed=True, drop_path=0.0,
)  # fmt: skip

PRESETS = {
    "vit-l": Preset(
        config=SegGptConfig(network=LARGE),
        parameters=370_723_203,
        source="seggpt_vit_large.pth and BAAI/seggpt-vit-large: 370.7 M",
    ),
    "tiny": Preset(
        config=SegGptConfig(network=TINY),
        parameters=2_353_091,
        source="for contexts of emoji and figures at 64 pixels",
    ),
}
"""Sizes by name."""
