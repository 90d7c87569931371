"""Sizes of LLaMA and Llama 2, and one for the world of queries."""

from __future__ import annotations

from typing import Final

from bottega.networks import LlamaConfig
from bottega.room import Preset

FIRST, SECOND = "arXiv:2302.13971, table 2", "arXiv:2307.09288, table 1"


def _llama(width: int, depth: int, num_heads: int, hidden: int) -> LlamaConfig:
    return LlamaConfig(
        width=width, depth=depth, num_heads=num_heads, num_kv_heads=num_heads, hidden=hidden, context=2048, eps=1e-6
    )


def _llama2(width: int, depth: int, num_heads: int, hidden: int, kv_heads: int | None = None) -> LlamaConfig:
    return LlamaConfig(
        width=width, depth=depth, num_heads=num_heads, num_kv_heads=kv_heads or num_heads, hidden=hidden, context=4096
    )


TINY: Final = LlamaConfig(
    vocabulary=2048, context=512, width=192, depth=4, num_heads=6, num_kv_heads=2, hidden=512
)  # fmt: skip


def _preset(config: LlamaConfig, parameters: int, source: str) -> Preset[LlamaConfig]:
    return Preset(config=config, parameters=parameters, source=source)


PRESETS: Final = {
    "7b": _preset(_llama(4096, 32, 32, 11008), 6_738_415_616, FIRST),
    "13b": _preset(_llama(5120, 40, 40, 13824), 13_015_864_320, FIRST),
    "33b": _preset(_llama(6656, 60, 52, 17920), 32_528_943_616, FIRST),
    "65b": _preset(_llama(8192, 80, 64, 22016), 65_285_660_672, FIRST),
    "llama2-7b": _preset(_llama2(4096, 32, 32, 11008), 6_738_415_616, SECOND),
    "llama2-13b": _preset(_llama2(5120, 40, 40, 13824), 13_015_864_320, SECOND),
    "llama2-70b": _preset(_llama2(8192, 80, 64, 28672, 8), 68_976_648_192, SECOND),
    "tiny": _preset(TINY, 2_361_024, "for the world of queries"),
}
"""Sizes by name. The widths of their feed-forward layers are in Meta's params.json."""
