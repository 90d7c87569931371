"""Sizes: Mixtral's, and small ones for the world of queries that differ in their routing alone."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final

from bottega.errors import RequestError
from bottega.networks import ChosenDepths, ChosenTokens, Dense, Experts, LlamaConfig, MixtralConfig, Routing
from bottega.room import Preset

SMALL: Final = LlamaConfig(
    vocabulary=1024, context=256, width=128, depth=4, num_heads=4, num_kv_heads=2, hidden=128, tied=True
)
"""The decoder of the small sizes; `hidden` is one expert's."""
NULLS: Final = Experts(experts=8, choices=3, nulls=8)
"""Three choices among eight experts and eight null experts: one and a half experts a token when all are used evenly."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaMoeOptions:
    """What training may change about the experts.

    Args:
        experts: Experts of a layer.
        choices: Slots that a token chooses.
        nulls: Null experts of a layer.
    """

    experts: int | None = None
    choices: int | None = None
    nulls: int | None = None


def configure(config: MixtralConfig, options: AdaMoeOptions) -> MixtralConfig:
    """The configuration with the options that were given.

    Raises:
        RequestError: The size has no experts that tokens choose.
    """
    given = {name: value for name in AdaMoeOptions.__slots__ if (value := getattr(options, name)) is not None}
    if not given:
        return config
    if not isinstance(config.routing, Experts):
        raise RequestError(f"this size has no experts that tokens choose, so leave out {', '.join(given)}")
    return dataclasses.replace(config, routing=dataclasses.replace(config.routing, **given))


def _small(routing: Routing, hidden: int, parameters: int, what: str) -> Preset[MixtralConfig]:
    config = MixtralConfig(decoder=dataclasses.replace(SMALL, hidden=hidden), routing=routing)
    return Preset(config=config, parameters=parameters, source=f"for the world of queries: {what}")


PRESETS: Final = {
    "8x7b": Preset(config=MixtralConfig(), parameters=46_702_792_704, source="arXiv:2401.04088, table 1"),
    "8x22b": Preset(
        config=MixtralConfig(
            decoder=LlamaConfig(
                context=65536, width=6144, depth=56, num_heads=48, num_kv_heads=8, hidden=16384, rope_base=1e6
            )
        ),
        parameters=140_620_634_112,
        source="mistralai/Mixtral-8x22B-v0.1, config.json",
    ),
    "tiny": _small(NULLS, 128, 1_909_888, "three choices among eight experts and eight null ones"),
    "tiny-mixtral": _small(Experts(), 128, 1_905_792, "two of eight experts"),
    "tiny-dense": _small(Dense(), 256, 722_048, "as much work for every token as two experts"),
    "tiny-expert-choice": _small(ChosenTokens(), 128, 1_905_792, "experts choose tokens, so it cannot write"),
    "tiny-depths": _small(ChosenDepths(), 256, 722_304, "every other block chooses an eighth of the tokens"),
}
"""By name. The small ones have the same decoder and differ in their feed-forward layers."""
