"""Contrastive learning over many processes: each compares its own rows with everybody's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, distributed

from bottega.networks.clip import contrastive_loss

LARGEST_SCALE = 4.6052
"""Logarithm of the published bound on the scale, 100."""


def local_contrastive_loss(texts: Tensor, pictures: Tensor, log_scale: Tensor) -> Tensor:
    """This process's part of the symmetric cross-entropy of matching pairs over all processes.

    The mean over the processes is `contrastive_loss` of all pairs, and so are the gradients, once they are averaged:
    embeddings are gathered with their gradients. With one process it is `contrastive_loss`.

    Args:
        texts: This process's embeddings `(batch, channels)`; every process has as many.
        pictures: Embeddings of the pictures they belong to, `(batch, channels)`.
        log_scale: Logarithm of the inverse temperature, a tensor without axes.

    Source: `local_loss` and `gather_with_grad` of the published training code of EVA-CLIP.
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return contrastive_loss(texts, pictures, log_scale)
    from torch.distributed.nn.functional import all_gather  # noqa: PLC0415 - it would slow every start

    texts, pictures = (F.normalize(part.float(), dim=-1) for part in (texts, pictures))
    all_texts, all_pictures = (torch.cat(tuple(all_gather(part.contiguous()))) for part in (texts, pictures))
    return rows_loss(texts, pictures, all_texts, all_pictures, distributed.get_rank() * len(texts), log_scale)


def rows_loss(
    texts: Tensor, pictures: Tensor, all_texts: Tensor, all_pictures: Tensor, first: int, log_scale: Tensor
) -> Tensor:
    """The symmetric cross-entropy of some rows among all.

    Args:
        texts: Embeddings of length 1, `(rows, channels)`.
        pictures: Of the pictures they belong to.
        all_texts: `(all, channels)`.
        all_pictures: `(all, channels)`.
        first: Where the rows begin among all.
        log_scale: Logarithm of the inverse temperature.
    """
    scale = log_scale.clamp(max=LARGEST_SCALE).exp()
    labels = torch.arange(first, first + len(texts), device=texts.device)
    by_text = F.cross_entropy(scale * texts @ all_pictures.T, labels)
    return 0.5 * (by_text + F.cross_entropy(scale * pictures @ all_texts.T, labels))
