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
ADAPTED: Final = "the published size, and adapters of rank 16 for each role of alignment (arXiv:2106.09685)"


def _llama2(width: int, depth: int, num_heads: int, hidden: int, kv_heads: int | None = None) -> LlamaConfig:
    return LlamaConfig(
        width=width, depth=depth, num_heads=num_heads, num_kv_heads=kv_heads or num_heads, hidden=hidden, context=4096
    )


def _plain(decoder: LlamaConfig, parameters: int) -> Preset[ChatConfig]:
    return Preset(config=ChatConfig(decoder=decoder), parameters=parameters, source=SOURCE)


def _adapted(decoder: LlamaConfig, parameters: int) -> Preset[ChatConfig]:
    config = ChatConfig(decoder=decoder, adapters=LoraConfig(rank=16, alpha=32.0))
    return Preset(config=config, parameters=parameters, source=ADAPTED)


SMALL: Final = _llama2(4096, 32, 32, 11008)
MIDDLE: Final = _llama2(5120, 40, 40, 13824)
LARGE: Final = _llama2(8192, 80, 64, 28672, 8)
TINY: Final = ChatConfig(
    decoder=LlamaConfig(vocabulary=2048, context=512, width=192, depth=4, num_heads=6, num_kv_heads=2, hidden=512),
    adapters=LoraConfig(rank=4, alpha=8.0),
)

PRESETS: Final = {
    "7b": _plain(SMALL, 6_738_415_616),
    "13b": _plain(MIDDLE, 13_015_864_320),
    "70b": _plain(LARGE, 68_976_648_192),
    "7b-lora": _adapted(SMALL, 7_058_251_778),
    "13b-lora": _adapted(MIDDLE, 13_516_584_962),
    "70b-lora": _adapted(LARGE, 70_633_439_234),
    "tiny": Preset(config=TINY, parameters=2_796_162, source="for the world of requests: 2,361,024 in the decoder"),
}
"""Sizes by name: as published, and as they are aligned (start these from the published weights of any LLaMA)."""
