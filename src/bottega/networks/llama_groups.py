"""Fewer key and value heads for a decoder that was trained with more.

Source: arXiv:2305.13245, section 2.1.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.networks.llama import Llama, LlamaConfig


def grouped_config(config: LlamaConfig, kv_heads: int) -> LlamaConfig:
    """The configuration with fewer key and value heads.

    Raises:
        RequestError: The number does not divide those there are.
    """
    if kv_heads < 1 or config.num_kv_heads % kv_heads:
        raise RequestError.of("kv_heads", kv_heads, f"a divisor of the {config.num_kv_heads} that the model has")
    return dataclasses.replace(config, num_kv_heads=kv_heads)


@torch.no_grad()
def grouped_llama(model: Llama, kv_heads: int) -> Llama:
    """A copy in which neighbouring key and value heads are replaced by their means; the model itself if none are.

    Args:
        model: The decoder, as it was trained.
        kv_heads: Key and value heads of the copy; as many as now change nothing, 1 is multi-query attention.

    Raises:
        RequestError: As `grouped_config`.
    """
    config = grouped_config(model.config, kv_heads)
    with torch.device("meta"):
        copy = Llama(config)
    sizes = (config.num_heads, model.config.num_kv_heads, model.config.num_kv_heads)
    tensors = {name: value.clone() for name, value in model.state_dict().items()}
    for name, value in tensors.items():
        if name.endswith("attention.qkv.weight"):
            q, k, v = value.unflatten(0, (-1, config.head_dim)).split(sizes)
            tensors[name] = torch.cat((q, _means(k, kv_heads), _means(v, kv_heads))).flatten(0, 1)
    copy.load_state_dict(tensors, assign=True)
    return copy.train(model.training)


def _means(heads: Tensor, groups: int) -> Tensor:
    return heads.unflatten(0, (groups, -1)).mean(1)
