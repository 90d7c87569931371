"""Sizes of the StyleGAN2 that is dragged: published, and for portraits."""

from __future__ import annotations

from dataclasses import dataclass

from bottega.networks import StyleGan2Config
from bottega.room import Preset
from bottega.worlds.portraits import KINDS


@dataclass(frozen=True, kw_only=True, slots=True)
class DragGanConfig:
    """A generator, its discriminator, and where it is dragged.

    Args:
        network: Size of both.
        kinds: Names of the kinds of pictures, in the order of the network's labels; empty where there is one.
        feature_side: Side of the feature map that handles are followed in.
        dragged_styles: How many of the first styles a drag changes; the rest keep colours and texture.
        rate: Adam's rate on styles.
        patch: Radius of what is pulled around a handle, in pixels.
        window: Half the side of where a handle is looked for, in pixels.
        near: A handle within so many pixels of its target has arrived.
    """

    network: StyleGan2Config
    kinds: tuple[str, ...] = ()
    feature_side: int
    dragged_styles: int
    rate: float
    patch: float
    window: float
    near: float

    def __post_init__(self) -> None:
        if len(self.kinds) != self.network.labels:
            raise ValueError(f"{len(self.kinds)} kinds do not fit {self.network.labels} labels")
        if self.feature_side not in self.network.sides:
            raise ValueError(f"feature_side is {self.feature_side}, but it must be one of {self.network.sides}")
        if not 1 <= self.dragged_styles <= self.network.styles:
            raise ValueError(f"dragged_styles is {self.dragged_styles}, but there are {self.network.styles} styles")


def published(network: StyleGan2Config) -> DragGanConfig:
    """How published networks are dragged: in the map of side 128 (the sixth block), by the first six styles.

    Radii are those of 512 pixels, scaled: 3 and 12.
    """
    share = network.resolution / 512
    return DragGanConfig(
        network=network,
        kinds=tuple(f"kind {number}" for number in range(network.labels)),
        feature_side=min(128, network.resolution),
        dragged_styles=min(6, network.styles),
        rate=1e-3,
        patch=3 * share,
        window=12 * share,
        near=max(2 * share, 2.0),
    )


def _published(resolution: int, channel_base: int) -> DragGanConfig:
    return published(StyleGan2Config(resolution=resolution, channel_base=channel_base))


_TINY = DragGanConfig(
    network=StyleGan2Config(
        resolution=64, latent_dim=64, style_dim=128, mapping_layers=2, channel_base=1024, channel_max=128,
        labels=len(KINDS), clamp=None,
    ),
    kinds=KINDS,
    feature_side=32,
    dragged_styles=7,
    rate=0.02,
    patch=2.0,
    window=4.0,
    near=1.0,
)  # fmt: skip

PRESETS = {
    "256": Preset(
        config=_published(256, 16384),
        parameters=48_768_547,
        source="stylegan2-ada-pytorch, config paper256 with 8 mapping layers: 24.77 M and 24.00 M (DragGAN's lions)",
    ),
    "512": Preset(
        config=_published(512, 32768),
        parameters=59_259_432,
        source="stylegan2-ada-pytorch, config paper512: 30.28 M and 28.98 M (DragGAN's cats, FFHQ, cars, dogs)",
    ),
    "1024": Preset(
        config=_published(1024, 32768),
        parameters=59_382_573,
        source="arXiv:1912.04958, configuration F: 30.37 M and 29.01 M",
    ),
    "tiny": Preset(config=_TINY, parameters=1_801_112, source="for the world of portraits at 64 pixels"),
}
"""Sizes by name: a generator and a discriminator each."""
