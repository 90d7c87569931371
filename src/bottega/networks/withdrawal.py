"""Visual tokens withdrawal: from some layer on, a decoder goes on without the tokens of the picture.

Source: arXiv:2405.05803, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bottega.layers import Turns
from bottega.networks.llama import Llama


def withdrawn_states(model: Llama, x: Tensor, visual: slice, layer: int) -> Tensor:
    """What `Llama.states` does, without the visual tokens behind the first `layer` blocks.

    The tokens that stay keep their positions. With as many blocks as there are it is the decoder itself.

    Args:
        model: The decoder.
        x: Embeddings `(batch, tokens, width)`.
        visual: Which tokens are visual.
        layer: Blocks that still see them, 0 or more.

    Returns:
        Normalised states of all other tokens, `(batch, tokens - visual tokens, width)`.
    """
    places = torch.arange(x.shape[1], device=x.device)
    words = torch.cat((places[: visual.start], places[visual.stop :]))
    seen = model.rotary.turns(places, x.dtype)
    for number, block in enumerate(model.blocks):
        if number == layer:
            x, seen = x[:, words], Turns(seen.cos[words], seen.sin[words], seen.layout)
        x = block(x, seen, number)
    if layer >= len(model.blocks):
        x = x[:, words]
    return model.norm(x)


def withdrawal_divergences(full: Tensor, withdrawn: Sequence[Tensor]) -> list[float]:
    """How far next-token distributions are from those of the full model: KL(withdrawn | full), mean in nats.

    Args:
        full: Logits of the full model, `(samples, vocabulary)`.
        withdrawn: Logits with visual tokens withdrawn, one tensor a layer.

    Source: lzhxmu/VTW, the published code, for the direction of the divergence.
    """
    truth = full.float().log_softmax(-1)
    others = [each.float().log_softmax(-1) for each in withdrawn]
    return [float((other.exp() * (other - truth)).sum(-1).mean()) for other in others]


def withdrawal_layer(divergences: Sequence[float], most: float) -> int:
    """The first layer at which little is lost: of a divergence of at most `most`, else behind all layers.

    Source: arXiv:2405.05803, section 3.
    """
    return next((layer for layer, value in enumerate(divergences) if value <= most), len(divergences))
