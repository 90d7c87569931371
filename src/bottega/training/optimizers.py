"""The optimizers of `fit`, and the usual parameter groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from bottega.training.settings import FitSettings, Optimizer


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon on the groups that say `"muon": True` (matrices between hidden layers), AdamW on the others.

    Muon steps along the orthogonal factor of the averaged gradient, scaled to the size of AdamW's steps, so that the
    rate and decay found for AdamW hold for both.

    Args:
        groups: Parameter groups.
        settings: Rate, betas (of AdamW) and decay, unless a group sets its own.

    Source: arXiv:2502.16982, section 2.2, equation 4.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], settings: FitSettings) -> None:
        groups = _trained(groups)
        matrices = [group for group in groups if group.get("muon", False)]
        others = [group for group in groups if not group.get("muon", False)]
        rate, decay = settings.learning_rate, settings.weight_decay
        self._parts: list[torch.optim.Optimizer] = []
        if matrices:
            muon = torch.optim.Muon(matrices, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
            self._parts.append(muon)
        if others:
            self._parts.append(adamw(others, settings))
        super().__init__([group for part in self._parts for group in part.param_groups], {})
        for part in self._parts:
            part.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore - torch overloads it
        """One update of every group."""
        loss = None if closure is None else closure()
        for part in self._parts:
            part.step()
        return loss


def optimizer_of(groups: Iterable[dict[str, Any]], settings: FitSettings) -> torch.optim.Optimizer:
    """The optimizer that the settings name, over these groups; parameters that require no gradient are left out."""
    if settings.optimizer is Optimizer.MUON:
        return MuonWithAdamW(groups, settings)
    return adamw(groups, settings)


def adamw(groups: Iterable[dict[str, Any]], settings: FitSettings) -> torch.optim.AdamW:
    """AdamW with the rate, betas and decay of the settings, unless a group sets its own.

    Args:
        groups: Parameter groups; parameters that require no gradient are left out.
        settings: Source of the defaults.

    Returns:
        The fused optimizer; its groups' `lr` are the base rates that the schedule multiplies.

    Source: arXiv:1711.05101, algorithm 2.
    """
    return torch.optim.AdamW(
        _trained(groups),
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def decay_groups(
    model: nn.Module, settings: FitSettings, no_decay: Callable[[str, nn.Parameter], bool] | None = None
) -> list[dict[str, Any]]:
    """Parameter groups: matrices and kernels with weight decay; vectors (norms, biases) and named exceptions without.

    With `Optimizer.MUON` the decayed matrices make a group of their own, which Muon moves. Tables of embeddings stay
    with AdamW: most of their rows get no gradient in a step.

    Args:
        model: Its trained parameters are split.
        settings: Source of the weight decay and of the optimizer.
        no_decay: Further parameters without decay, by name and value; position and token embeddings, say.

    Returns:
        Groups for `optimizer_of`; an empty one is left out.
    """
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    plain = [p for name, p in trained if p.ndim < 2 or (no_decay is not None and no_decay(name, p))]
    kept = {id(p) for p in plain}
    decayed = [p for _, p in trained if id(p) not in kept]
    tables = {id(part.weight) for part in model.modules() if isinstance(part, nn.Embedding | nn.EmbeddingBag)}
    matrices = {id(p) for p in decayed if p.ndim == 2} - tables
    orthogonal = matrices if settings.optimizer is Optimizer.MUON else set()
    groups = [
        {"params": [p for p in decayed if id(p) in orthogonal], "weight_decay": settings.weight_decay, "muon": True},
        {"params": [p for p in decayed if id(p) not in orthogonal], "weight_decay": settings.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _trained(groups: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The groups without parameters that require no gradient, and without empty groups."""
    trained = [{**group, "params": [p for p in group["params"] if p.requires_grad]} for group in groups]
    return [group for group in trained if group["params"]]
