"""Which language model is compressed, and the size of the reader of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bottega.networks import LlamaConfig, VitConfig
from bottega.room import Preset
from bottega.worlds.emoji import EMOJI_CLASSES

GROUPS: Final = (
    "Smileys & Emotion", "People & Body", "Animals & Nature", "Food & Drink", "Travel & Places", "Activities",
    "Objects", "Symbols", "Flags",
)  # fmt: skip
"""Unicode's groups of emoji, in Unicode's order."""

WORDS: Final = ("?", *GROUPS, *EMOJI_CLASSES)
"""What the reader can say: a question, then a group, then one of its classes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReaderConfig:
    """Size of the reader: a transformer for pictures in front of a decoder.

    Args:
        tower: The transformer whose tokens the decoder reads.
        decoder: The decoder; it knows `WORDS`.
    """

    tower: VitConfig = VitConfig(size=64, patch_size=8, width=96, depth=6, num_heads=4, eps=1e-6)
    decoder: LlamaConfig = LlamaConfig(
        vocabulary=len(WORDS), context=80, width=96, depth=6, num_heads=4, num_kv_heads=4, hidden=192, tied=True
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class KvCompressionConfig:
    """The room.

    Args:
        target: Catalogue id of the system whose language model is compressed, with a size where it is not the one at
            hand.
        reader: The reader of pictures; None for a room that compresses the language model only.
    """

    target: str = "llama"
    reader: ReaderConfig | None = None


PRESETS: Final = {
    "tiny": Preset(
        config=KvCompressionConfig(reader=ReaderConfig()),
        parameters=1_270_080,
        source="the reader of emoji; the language model is LLaMA's bundled size",
    ),
    "text": Preset(
        config=KvCompressionConfig(), parameters=0, source="none of its own: it compresses LLaMA's bundled size"
    ),
    "llama2-7b": Preset(
        config=KvCompressionConfig(target="llama:llama2-7b"),
        parameters=0,
        source="none of its own: it compresses Llama 2 7B, as arXiv:2309.17453 does",
    ),
}
"""By name; `--target` compresses any other system that holds a language model."""
