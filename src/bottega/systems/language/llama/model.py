"""The decoder with its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from bottega.errors import WeightsError
from bottega.networks import Llama, LlamaConfig
from bottega.processes.decoding import Language, NoTokens
from bottega.tokenizers import TOKENIZER, TextTokenizer, require_fit, tokenizer_from_json


class LlamaPipeline(nn.Module):
    """Text to ids, ids to the logits of the next ones, and ids to text."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.decoder = Llama(config)
        self.tokenizer: TextTokenizer | None = None

    def forward(self, tokens: Tensor) -> Tensor:
        """Ids `(batch, tokens)` to the logits of the next ids, `(batch, tokens, vocabulary)`."""
        return self.decoder(tokens)

    def attach(self, assets: Mapping[str, str]) -> None:
        """Puts a checkpoint's tokenizer onto the model.

        Raises:
            FileError: It is damaged, or belongs to a model of another vocabulary.
        """
        if TOKENIZER in assets:
            self.use(tokenizer_from_json(assets[TOKENIZER]))

    def use(self, tokenizer: TextTokenizer) -> None:
        """Puts a tokenizer onto the model, of whose vocabulary it may use a part.

        Raises:
            FileError: It has ids that the model has not.
        """
        require_fit(tokenizer, self.config.vocabulary, spare=self.config.vocabulary)
        self.tokenizer = tokenizer

    def assets(self) -> dict[str, str]:
        """What `attach` takes; empty for a model without a tokenizer."""
        return {} if self.tokenizer is None else {TOKENIZER: self.tokenizer.to_json()}

    def tokens(self) -> TextTokenizer:
        """The tokenizer.

        Raises:
            WeightsError: The weights came without one.
        """
        if self.tokenizer is None:
            raise WeightsError("these weights have no tokenizer; put tokenizer.json or tokenizer.model beside them")
        return self.tokenizer

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of texts that are to be continued."""
        tokenizer = self.tokens()
        return [tokenizer.ids(text, start=True) for text in texts]

    def language(self) -> Language:
        """The model as rooms see it that work on any language model."""
        return Language(model=self.decoder, tokens=self.tokenizer or NoTokens())
