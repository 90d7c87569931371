"""The language model of another room, and a small reader of pictures of this room's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn

from bottega.errors import RequestError, WeightsError
from bottega.networks import Llama, Vit, merged_vit, withdrawn_states
from bottega.processes.decoding import Language
from bottega.systems.language.kv_compression.config import GROUPS, WORDS, KvCompressionConfig, ReaderConfig

ANSWERS: Final = (slice(1, 1 + len(GROUPS)), slice(1 + len(GROUPS), len(WORDS)))
"""The ids that may be said first (groups) and second (classes)."""


class Reader(nn.Module):
    """Says what is in a picture: its group, then its class."""

    def __init__(self, config: ReaderConfig) -> None:
        super().__init__()
        self.config = config
        self.tower = Vit(config.tower)
        self.bridge = nn.Linear(config.tower.width, config.decoder.width)
        self.decoder = Llama(config.decoder)

    def look(self, pictures: Tensor, merged: int = 0) -> Tensor:
        """Pictures `(batch, 3, size, size)` to what the decoder sees of them, `(batch, tokens, width)`.

        Args:
            pictures: In [-1, 1].
            merged: Pairs of patches that become one in every block of the tower.
        """
        seen = self.tower(pictures) if merged == 0 else merged_vit(self.tower, pictures, merged).values
        return self.bridge(seen)

    def say(self, seen: Tensor, words: Tensor, layer: int | None = None) -> Tensor:
        """Logits behind every word.

        Args:
            seen: What `look` gave.
            words: Ids `(batch, words)`, the question first.
            layer: Blocks of the decoder that see the picture; None lets all of them.

        Returns:
            `(batch, words, vocabulary)`.
        """
        x = torch.cat((seen, self.decoder.token_embed(words)), dim=1)
        depth = self.config.decoder.depth if layer is None else layer
        states = withdrawn_states(self.decoder, x, slice(0, seen.shape[1]), depth)
        return states @ self.decoder.token_embed.weight.T

    def forward(self, pictures: Tensor, groups: Tensor, *, merged: int = 0, layer: int | None = None) -> Tensor:
        """Logits of the group, and of the class behind a given group.

        Args:
            pictures: `(batch, 3, size, size)` in [-1, 1].
            groups: Ids of groups among `WORDS`, `(batch,)`.
            merged: As in `look`.
            layer: As in `say`.

        Returns:
            `(batch, 2, vocabulary)`.
        """
        words = torch.stack((torch.zeros_like(groups), groups), dim=1)
        return self.say(self.look(pictures, merged), words, layer)

    def read(self, pictures: Tensor, *, merged: int = 0, layer: int | None = None) -> Tensor:
        """The likeliest group and class of every picture, ids among `WORDS`, `(batch, 2)`."""
        seen = self.look(pictures, merged)
        words = torch.zeros(len(seen), 1, dtype=torch.long, device=seen.device)
        for allowed in ANSWERS:
            last = self.say(seen, words, layer)[:, -1, allowed]
            words = torch.cat((words, allowed.start + last.argmax(-1, keepdim=True)), dim=1)
        return words[:, 1:]


class KvCompression(nn.Module):
    """The reader, and the language model that `connect` is given."""

    def __init__(self, config: KvCompressionConfig) -> None:
        super().__init__()
        self.config = config
        self.reader = None if config.reader is None else Reader(config.reader)
        self._parts: dict[str, Language] = {}

    def connect(self, parts: Mapping[str, Language]) -> None:
        """Takes the language model that is compressed."""
        self._parts = dict(parts)

    @property
    def target(self) -> Language:
        """The language model that is compressed, with its tokenizer.

        Raises:
            WeightsError: None was connected.
        """
        if "target" not in self._parts:
            raise WeightsError(f"there is no language model to compress; load this room by `bottega.load` "
                               f"({self.config.target})")  # fmt: skip
        return self._parts["target"]

    @property
    def network(self) -> Llama:
        """The language model as the decoder whose layers and heads are known.

        Raises:
            RequestError: It is no LLaMA.
        """
        model = self.target.model
        if not isinstance(model, Llama):
            raise RequestError.of("target", self.config.target, "a system that holds a LLaMA", type(model).__name__)
        return model

    @property
    def eyes(self) -> Reader:
        """The reader of pictures.

        Raises:
            RequestError: This size has none.
        """
        if self.reader is None:
            raise RequestError("this size reads no pictures; take --preset tiny, or a method for text")
        return self.reader
