"""How LLaMA learns to write: seven sources, mixed by the published shares, packed into windows of the context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from torch import Tensor, nn

from bottega.data import TextFolder
from bottega.errors import RequestError
from bottega.networks import LlamaConfig
from bottega.room import Stage
from bottega.systems.language.llama.model import LlamaPipeline
from bottega.systems.language.llama.objective import next_token_loss
from bottega.tokenizers import LanguageTokenizer, TextTokenizer
from bottega.training import Cosine, FitSettings, Optimizer, Precision, TrainState, decay_groups, descend
from bottega.weights import read_json
from bottega.worlds import Dice
from bottega.worlds.queries import QueriesWorld, Topic

PUBLISHED_SHARES: Final = {
    "CommonCrawl": 67.0,
    "C4": 15.0,
    "GitHub": 4.5,
    "Wikipedia": 4.5,
    "Books": 4.5,
    "ArXiv": 2.5,
    "StackExchange": 2.0,
}
"""How often each source is drawn from, in percent (arXiv:2302.13971, table 1)."""

QUERIES_SHARES: Final = {
    Topic.SUMS: 36.0,
    Topic.SQL: 18.0,
    Topic.JSON: 18.0,
    Topic.DIALOGUE: 14.0,
    Topic.CODE: 7.0,
    Topic.FACTS: 4.0,
    Topic.DOCS: 3.0,
}
"""How often the bundled size sees each topic, in percent: what can be judged comes more often."""

SHARES_FILE: Final = "mixture.json"
TEXTS_FOR_TOKENIZER: Final = 6000
SAMPLES: Final = 10_000_000  # how many samples an endless row of texts or windows counts as


class Texts(Protocol):
    """A source of texts, each a function of its index."""

    def __len__(self) -> int: ...

    def sample(self, index: int) -> Written:
        """The text at an index."""
        ...


class Written(Protocol):
    """Whatever has a text."""

    @property
    def text(self) -> str:
        """The text."""
        ...


@dataclass(frozen=True, slots=True)
class Mixture:
    """Several sources, each drawn from as often as its share says.

    Args:
        sources: The sources.
        shares: How often each is drawn from, in any unit.
        seed: Any integer.
    """

    sources: tuple[Texts, ...]
    shares: tuple[float, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.sources) != len(self.shares) or not self.sources:
            raise RequestError.of("shares", self.shares, f"{max(len(self.sources), 1)} numbers, one for each source")
        if min(self.shares) < 0 or sum(self.shares) <= 0:
            raise RequestError.of("shares", self.shares, "0 or more, and not all 0")

    def __len__(self) -> int:
        return SAMPLES

    def place(self, index: int) -> tuple[int, int]:
        """The source of an index, and the index in that source."""
        dice = Dice(self.seed, index)
        number = dice.weighted(range(len(self.sources)), self.shares)
        return number, dice.below(len(self.sources[number]))

    def sample(self, index: int) -> Written:
        """The text at an index."""
        number, place = self.place(index)
        return self.sources[number].sample(place)


def packed(source: Texts, tokenizer: TextTokenizer, index: int, length: int) -> list[int]:
    """The window of an index, exactly `length` ids: texts one after the other between start and end, the last cut."""
    window, dice = list[int](), Dice(length, index)
    while len(window) < length:
        window += tokenizer.ids(source.sample(dice.below(len(source))).text, start=True, end=True)
    return window[:length]


class PretrainRecipe:
    """The one stage: the next token.

    Args:
        pipeline: Its decoder is trained; without a tokenizer it gets one, learned from the texts.
        source: The texts.
        window: Tokens of a window; None for the whole context.
    """

    def __init__(self, pipeline: LlamaPipeline, source: Texts, window: int | None = None) -> None:
        self.pipeline, self.model, self.source = pipeline, pipeline.decoder, source
        self.window = pipeline.config.context if window is None else min(window, pipeline.config.context)
        if pipeline.tokenizer is None:
            dice = Dice(0, len(source))
            count = min(TEXTS_FOR_TOKENIZER, 4 * len(source))
            texts = (source.sample(dice.below(len(source))).text for _ in range(count))
            pipeline.use(LanguageTokenizer.trained(texts, pipeline.config.vocabulary))
        self.tokenizer = pipeline.tokens()

    def __len__(self) -> int:
        return SAMPLES

    def batch(self, indices: Sequence[int], generator: torch.Generator) -> Tensor:
        """Windows `(batch, window + 1)`; each is a function of its index."""
        rows = [packed(self.source, self.tokenizer, index, self.window + 1) for index in indices]
        return torch.tensor(rows)

    def parameter_groups(self, settings: FitSettings) -> list[dict[str, Any]]:
        """Matrices with decay, norms without; the table of embeddings and the head are no matrices for Muon."""
        groups = decay_groups(self.model, settings)
        head = self.model.head
        if head is None or settings.optimizer is not Optimizer.MUON:
            return groups
        for group in groups:
            group["params"] = [p for p in group["params"] if p is not head.weight]
        return [*groups, {"params": [head.weight], "weight_decay": settings.weight_decay}]

    def step(self, state: TrainState, batch: Tensor) -> Mapping[str, float | Tensor]:
        """One update."""

        def loss(part: Tensor) -> Tensor:
            return next_token_loss(self.model(part[:, :-1]), part[:, 1:])

        return descend(state, batch, loss)


def queries_mixture(split: str = "train") -> Mixture:
    """The queries world, topic by topic, in the shares of the bundled size."""
    sources = tuple(QueriesWorld(topics=(topic,), split=split) for topic in QUERIES_SHARES)
    return Mixture(sources, tuple(QUERIES_SHARES.values()))


def texts_at(place: Path) -> Texts:
    """The user's texts: a folder (or file) of them, or folders that `mixture.json` gives shares.

    Args:
        place: With `mixture.json`, such as `{"web": 67, "books": 4.5}`, its subfolders are the sources.

    Raises:
        FileError: No text can be used there.
        RequestError: A share that is no number.
    """
    if not (place / SHARES_FILE).is_file():
        return TextFolder(place)
    shares = read_json(place / SHARES_FILE)
    odd = [name for name, share in shares.items() if not isinstance(share, int | float) or name != Path(name).name]
    if odd:
        raise RequestError.of(f"{place / SHARES_FILE}'s {odd[0]!r}", shares[odd[0]], "the share of a subfolder")
    return Mixture(tuple(TextFolder(place / name) for name in shares), tuple(map(float, shares.values())))


def llama_recipe(model: nn.Module, source: Texts, window: int | None = None) -> PretrainRecipe:
    """The recipe of a LLaMA."""
    if not isinstance(model, LlamaPipeline):
        raise TypeError(f"LLaMA's stages train a LlamaPipeline, not a {type(model).__name__}")
    return PretrainRecipe(model, source, window)


def published_settings(config: LlamaConfig, learning_rate: float, steps: int) -> FitSettings:
    """What the paper says of optimisation (arXiv:2302.13971, section 2.3): batches of 4 M tokens."""
    return FitSettings(
        steps=steps, batch_size=4_194_304 // config.context, learning_rate=learning_rate, warmup_steps=2000,
        schedule=Cosine(final=0.1), weight_decay=0.1, betas=(0.9, 0.95), clip_norm=1.0,
    )  # fmt: skip


_SHORT = FitSettings(
    steps=3000, batch_size=8, learning_rate=4e-3, warmup_steps=100, schedule=Cosine(final=0.1), weight_decay=0.1,
    betas=(0.9, 0.95), clip_norm=1.0, optimizer=Optimizer.MUON, precision=Precision.BF16, compile=True,
)  # fmt: skip

STAGES = (
    Stage(name="pretrain", recipe=partial(llama_recipe, window=256), settings=_SHORT),
    Stage(
        name="lengthen",
        recipe=llama_recipe,
        settings=replace(_SHORT, steps=1800, batch_size=4, learning_rate=3e-3, warmup_steps=50),
        finetune=True,
    ),
)
"""Windows of 256 tokens first, for speed; then of the whole context. Published sizes: see `published_settings`."""
