"""The optimizers of `fit`, and the usual parameter groups."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

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


class Lamb(torch.optim.Optimizer):
    """Adam's direction with decoupled decay, each tensor's step scaled to the tensor's own length.

    A tensor without weight decay (a norm, a bias) takes Adam's step as it is, as in EVA-CLIP.

    Args:
        groups: Parameter groups.
        settings: Rate, betas and decay, unless a group sets its own.
        eps: What is added to the root of the second moment.

    Source: arXiv:1904.00962, algorithm 2, with the corrected moments of the authors' later versions; the exception for
    undecayed tensors is of the published training code of EVA-CLIP.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], settings: FitSettings, eps: float = 1e-6) -> None:
        self.eps = eps
        defaults = {"lr": settings.learning_rate, "betas": settings.betas, "weight_decay": settings.weight_decay}
        super().__init__(_trained(groups), defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore - torch overloads it
        """One update of every group."""
        loss = None if closure is None else closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, weight.grad, group)
        return loss

    def _move(self, weight: nn.Parameter, gradient: Tensor, group: dict[str, Any]) -> None:
        state, (beta1, beta2), decay = self.state[weight], group["betas"], group["weight_decay"]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
        state["step"] += 1
        count = state["step"].to(weight.device)
        mean, square = state["exp_avg"], state["exp_avg_sq"]
        mean.lerp_(gradient, 1 - beta1)
        square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        step = mean / (1 - beta1**count) / ((square / (1 - beta2**count)).sqrt() + self.eps)
        if decay:
            step += decay * weight
            length, reach = weight.norm(), step.norm()
            step *= torch.where((length > 0) & (reach > 0), length / reach, torch.ones_like(length))
        weight.sub_(group["lr"] * step)


def optimizer_of(groups: Iterable[dict[str, Any]], settings: FitSettings) -> torch.optim.Optimizer:
    """The optimizer that the settings name, over these groups; parameters that require no gradient are left out."""
    match settings.optimizer:
        case Optimizer.MUON:
            return MuonWithAdamW(groups, settings)
        case Optimizer.LAMB:
            return Lamb(groups, settings)
        case Optimizer.ADAMW:
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


def layered_groups(
    groups: Iterable[dict[str, Any]], rates: Mapping[int, float], learning_rate: float
) -> list[dict[str, Any]]:
    """The same groups, cut up so that every parameter has its own share of the rate: layer-wise learning rates.

    Args:
        groups: As `decay_groups` makes them.
        rates: `id(parameter)` to its share of `learning_rate`; what is missing has all of it.
        learning_rate: The base rate.

    Source: arXiv:2106.08254, appendix (BEiT's fine-tuning): the share falls by a constant factor a layer towards the
    pixels; see `layer_rates`.
    """
    cut: dict[tuple[int, float], dict[str, Any]] = {}
    for number, group in enumerate(groups):
        for parameter in group["params"]:
            share = rates.get(id(parameter), 1.0)
            part = cut.setdefault((number, share), {**group, "params": [], "lr": share * learning_rate})
            part["params"].append(parameter)
    return list(cut.values())


def layer_rates(tower: nn.Module, depth: int, decay: float, share: float = 1.0) -> dict[int, float]:
    """The share of the rate of every parameter of a transformer whose blocks are in a list `blocks`.

    Args:
        tower: The transformer. What lies outside its blocks is below them where its name holds "embed" or "token",
            else above them.
        depth: Its blocks.
        decay: Factor a layer, in (0, 1]: block l of L has decay ** (L + 1 - l), what is below decay ** (L + 1).
        share: The share of what is above the blocks.

    Returns:
        By `id(parameter)`, as `layered_groups` takes it.
    """
    rates: dict[int, float] = {}
    for name, parameter in tower.named_parameters():
        place = _BLOCK.search(name)
        below = "embed" in name or "token" in name
        layer = int(place[1]) + 1 if place else (0 if below else depth + 1)
        rates[id(parameter)] = share * decay ** (depth + 1 - layer)
    return rates


_BLOCK = re.compile(r"(?:^|\.)blocks\.(\d+)\.")


def _trained(groups: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The groups without parameters that require no gradient, and without empty groups."""
    trained = [{**group, "params": [p for p in group["params"] if p.requires_grad]} for group in groups]
    return [group for group in trained if group["params"]]
