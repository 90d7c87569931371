"""A language model that writes out what a sequence of text features says.

Text features (`prefix_dim` channels for each of `prefix_length` tokens, from a text encoder) go through a narrow
bottleneck (`hidden_dim` channels) and then stand in front of a GPT-2, which is trained to repeat the text. The
bottleneck is a small continuous code of a sentence, in which a diffusion model can work.

Source: UniDiffuser, arXiv:2303.06555, section 4.1 and appendix; the prefix idea is ClipCap's, arXiv:2111.09734.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bottega.networks.gpt2 import Gpt2, Gpt2Config


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionDecoderConfig:
    """Size of a caption decoder.

    Args:
        prefix_length: Feature tokens in front of the text.
        prefix_dim: Channels of a feature token.
        hidden_dim: Channels of the bottleneck.
        gpt2: The language model.
    """

    prefix_length: int = 77
    prefix_dim: int = 768
    hidden_dim: int = 64
    gpt2: Gpt2Config = Gpt2Config()


class CaptionDecoder(nn.Module):
    """Features to a bottleneck code, and a code to text."""

    def __init__(self, config: CaptionDecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encode_prefix = nn.Linear(config.prefix_dim, config.hidden_dim)
        self.decode_prefix = nn.Linear(config.hidden_dim, config.gpt2.width)
        self.gpt2 = Gpt2(config.gpt2)

    def forward(self, code: Tensor, tokens: Tensor) -> Tensor:
        """Next-token logits with teacher forcing.

        Args:
            code: Bottleneck codes `(batch, prefix_length, hidden_dim)`.
            tokens: The text's ids `(batch, length)`.

        Returns:
            `(batch, length, vocabulary)`: the logits from which each of `tokens` is predicted.
        """
        embeddings = torch.cat((self.decode_prefix(code), self.gpt2.token_embed(tokens)), dim=1)
        return self.gpt2(embeddings)[:, code.shape[1] - 1 : -1]

    @torch.no_grad()
    def generate(self, code: Tensor, *, end_token: int, beams: int = 5, longest: int = 67) -> list[list[int]]:
        """The most likely text of each code by beam search, as token ids without the end token.

        Args:
            code: `(batch, prefix_length, hidden_dim)`.
            end_token: Id at which a text ends.
            beams: Texts kept at each step; 1 is greedy.
            longest: Most tokens of a text.
        """
        return [_beam_search(self, row, end_token, beams, longest) for row in code.split(1)]


def _beam_search(decoder: CaptionDecoder, code: Tensor, end_token: int, beams: int, longest: int) -> list[int]:
    """Beam search for one code `(1, prefix, hidden)`; beams are compared by mean log-probability a token."""
    gpt2 = decoder.gpt2
    cache = gpt2.new_cache()
    logits = gpt2(decoder.decode_prefix(code), cache)[:, -1]
    scores, tokens = F.log_softmax(logits.float(), dim=-1)[0].topk(beams)
    texts = tokens[:, None]
    lengths = torch.ones_like(scores)
    rows = torch.zeros_like(tokens)
    for _ in range(longest - 1):
        done = texts[:, -1] == end_token
        if bool(done.all()):
            break
        for block in cache:
            block.reorder(rows)
        logits = gpt2(gpt2.token_embed(texts[:, -1:]), cache)[:, -1]
        grown = F.log_softmax(logits.float(), dim=-1)
        stay = torch.full_like(grown, -torch.inf)
        stay[:, end_token] = 0.0  # a finished text only repeats its end, at no cost
        total = scores[:, None] + torch.where(done[:, None], stay, grown)
        count = lengths + (~done).to(lengths)
        _, best = (total / count[:, None]).flatten().topk(beams)
        rows, token = best // grown.shape[1], best % grown.shape[1]
        scores, lengths = total.flatten()[best], count[rows]
        texts = torch.cat((texts[rows], token[:, None]), dim=1)
    best_text = texts[int((scores / lengths).argmax())].tolist()
    return best_text[: best_text.index(end_token)] if end_token in best_text else best_text
