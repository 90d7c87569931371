"""Sizes of Llama 2-Chat, and one for the world of requests."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from bottega.layers import LoraConfig
from bottega.networks import LlamaConfig
from bottega.room import Preset


class Role(Enum):
    """What an adapter of the decoder is for."""

    GHOST = "ghost"
    """Keeps an instruction of the first turn."""
    REJECTION = "rejection"
    """Learned its own best answers of several."""
    PPO = "ppo"
    """Learned from rewards."""
    DPO = "dpo"
    """Learned from comparisons."""
    HELPFUL = "helpful"
    """Says how helpful an answer is."""
    SAFE = "safe"
    """Says how safe an answer is."""
    JOINT = "joint"
    """Says both in one number: what the paper found worse."""
    PLAIN = "plain"
    """Says how helpful an answer is, and learned without margins."""


REWARDS: Final = (Role.HELPFUL, Role.SAFE, Role.JOINT, Role.PLAIN)
"""Those that give a score."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatConfig:
    """A decoder and its adapters.

    Args:
        decoder: The decoder's size.
        adapters: Size of the adapters that alignment trains; None has none, as published weights do.
    """

    decoder: LlamaConfig
    adapters: LoraConfig | None = None


SOURCE: Final = "arXiv:2307.09288, table 1; transformers' LlamaForCausalLM on meta"
ADAPTERS: Final = LoraConfig(rank=4, alpha=8.0)


def _llama2(width: int, depth: int, num_heads: int, hidden: int, kv_heads: int | None = None) -> ChatConfig:
    return ChatConfig(
        decoder=LlamaConfig(
            width=width,
            depth=depth,
            num_heads=num_heads,
            num_kv_heads=kv_heads or num_heads,
            hidden=hidden,
            context=4096,
        )
    )


TINY: Final = ChatConfig(
    decoder=LlamaConfig(vocabulary=2048, context=512, width=192, depth=4, num_heads=6, num_kv_heads=2, hidden=512),
    adapters=ADAPTERS,
)

PRESETS: Final = {
    "7b": Preset(config=_llama2(4096, 32, 32, 11008), parameters=6_738_415_616, source=SOURCE),
    "13b": Preset(config=_llama2(5120, 40, 40, 13824), parameters=13_015_864_320, source=SOURCE),
    "70b": Preset(config=_llama2(8192, 80, 64, 28672, 8), parameters=68_976_648_192, source=SOURCE),
    "tiny": Preset(config=TINY, parameters=2_796_162, source="for the world of requests: 2,361,024 in the decoder"),
}
"""Sizes by name. A published size with adapters: `dataclasses.replace(config, adapters=LoraConfig(rank=16))`."""
