"""How the decoder learns to write: passages of the queries world, packed into windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from bottega.data import TextFolder
from bottega.room import Stage
from bottega.systems.language.adamoe.model import AdaMoe
from bottega.systems.language.adamoe.objective import adamoe_loss
from bottega.tokenizers import LanguageTokenizer
from bottega.training import Cosine, FitSettings, Optimizer, TrainState, decay_groups, descend
from bottega.worlds.queries import QueriesWorld, Topic

TOPICS: Final = {Topic.SUMS: 3.0, Topic.SQL: 3.0, Topic.JSON: 2.0, Topic.DIALOGUE: 1.0, Topic.CODE: 1.0}
"""How often each topic comes."""
LEARNED: Final = 3000  # passages that a new tokenizer learns from
BALANCE: Final = 0.01
"""Weight of the balance loss (arXiv:2101.03961, section 2.2)."""


Texts = QueriesWorld | TextFolder
"""What is learned from: the world of queries, or the user's own texts."""


def queries(split: str = "train", seed: int = 0) -> QueriesWorld:
    """The passages that the bundled size learns from, or those kept from it."""
    return QueriesWorld(split=split, seed=seed, topics=tuple(TOPICS), weights=tuple(TOPICS.values()))


class AdaMoeRecipe:
    """The one stage: the next token, with experts in balance.

    Args:
        model: Its decoder is trained; without a tokenizer it gets one, learned from the passages.
        source: The passages.
    """

    def __init__(self, model: AdaMoe, source: Texts) -> None:
        self.room, self.model, self.source = model, model.decoder, source
        if model.tokenizer is None:
            texts = (source.sample(index).text for index in range(min(LEARNED, len(source))))
            model.tokenizer = LanguageTokenizer.trained(texts, model.config.decoder.vocabulary)
        self.tokens = model.tokenizer

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Tensor:
        """Windows `(batch, context + 1)`: the passage of an index and those behind it, the last one cut."""
        return torch.tensor([self.window(index) for index in indices])

    def window(self, index: int) -> list[int]:
        """The window that begins with the passage of an index."""
        ids, length = list[int](), self.model.context + 1
        while len(ids) < length:
            ids += self.tokens.ids(self.source.sample(index % len(self.source)).text, start=True, end=True)
            index += 1
        return ids[:length]

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Matrices with decay; norms, gates and the table of embeddings without."""
        return decay_groups(self.model, settings, lambda name, _: "gate.weight" in name or "embed" in name)

    def step(self, state: TrainState, batch: Tensor) -> Mapping[str, float | Tensor]:
        """One update."""
        return descend(state, batch, lambda part: adamoe_loss(self.model, part, BALANCE))


def adamoe_recipe(model: nn.Module, source: Texts) -> AdaMoeRecipe:
    """The recipe of an AdaMoE."""
    if not isinstance(model, AdaMoe):
        raise TypeError(f"AdaMoE's stage trains an AdaMoe, not a {type(model).__name__}")
    return AdaMoeRecipe(model, source)


STAGES: Final = (
    Stage(
        name="pretrain",
        recipe=adamoe_recipe,
        settings=FitSettings(
            steps=600, batch_size=8, learning_rate=5e-3, warmup_steps=30, schedule=Cosine(final=0.05),
            weight_decay=0.1, betas=(0.9, 0.95), optimizer=Optimizer.MUON,
        ),
        finetune=True,
    ),
)  # fmt: skip
