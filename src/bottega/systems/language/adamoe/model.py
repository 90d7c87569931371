"""The decoder with its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from bottega.networks import MixtralConfig, mixtral
from bottega.processes.decoding import Language, NoTokens, TextTokens
from bottega.tokenizers import TOKENIZER, TextTokenizer, require_fit, tokenizer_from_json


class AdaMoe(nn.Module):
    """A language model whose tokens choose their experts."""

    def __init__(self, config: MixtralConfig) -> None:
        super().__init__()
        self.config = config
        self.decoder = mixtral(config)
        self.tokenizer: TextTokenizer | None = None

    def forward(self, tokens: Tensor) -> Tensor:
        """Ids `(batch, tokens)` to the logits of the next ids, `(batch, tokens, vocabulary)`."""
        return self.decoder(tokens)

    def attach(self, assets: Mapping[str, str]) -> None:
        """Puts a checkpoint's tokenizer onto the model.

        Raises:
            FileError: It is damaged, or has ids that the model has not.
        """
        if (text := assets.get(TOKENIZER)) is not None:
            self.tokenizer = tokenizer_from_json(text)
            require_fit(self.tokenizer, self.config.decoder.vocabulary)

    @property
    def language(self) -> Language:
        """The model as rooms see it that work on any language model."""
        tokens: TextTokens = NoTokens() if self.tokenizer is None else self.tokenizer
        return Language(model=self.decoder, tokens=tokens)
