"""AdamW and the usual parameter groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from bottega.training.settings import FitSettings


def adamw(groups: Iterable[dict[str, Any]], settings: FitSettings) -> torch.optim.AdamW:
    """AdamW with the rate, betas and decay of the settings, unless a group sets its own.

    Args:
        groups: Parameter groups; parameters that require no gradient are left out.
        settings: Source of the defaults.

    Returns:
        The fused optimizer; its groups' `lr` are the base rates that the schedule multiplies.

    Source: arXiv:1711.05101, algorithm 2.
    """
    trained = [{**group, "params": [p for p in group["params"] if p.requires_grad]} for group in groups]
    return torch.optim.AdamW(
        [group for group in trained if group["params"]],
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def decay_groups(
    model: nn.Module, settings: FitSettings, no_decay: Callable[[str, nn.Parameter], bool] | None = None
) -> list[dict[str, Any]]:
    """Two groups: matrices and kernels with weight decay; vectors (norms, biases) and the named exceptions without.

    Args:
        model: Its trained parameters are split.
        settings: Source of the weight decay.
        no_decay: Further parameters without decay, by name and value; position and token embeddings, say.

    Returns:
        Groups for `adamw`; an empty one is left out.
    """
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    plain = [p for name, p in trained if p.ndim < 2 or (no_decay is not None and no_decay(name, p))]
    kept = {id(p) for p in plain}
    decayed = [p for _, p in trained if id(p) not in kept]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
