"""Noise levels as subtasks that may conflict: their gradients, and the weights that hurt none of them.

Source: arXiv:2303.09556 section 3.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from bottega.errors import RequestError


def gradient_gram(losses: Sequence[Tensor], parameters: Iterable[Tensor]) -> Tensor:
    """Inner products of the gradients of several losses.

    Args:
        losses: Scalars, one for each subtask (a bin of noise levels, say), that share a graph or have one each.
        parameters: What the gradients are with respect to.

    Returns:
        float64 `(losses, losses)`. Divided by its diagonal's roots it is the matrix of gradient cosines.
    """
    inputs = [parameter for parameter in parameters if parameter.requires_grad]
    rows = []
    for loss in losses:
        parts = torch.autograd.grad(loss, inputs, retain_graph=True, allow_unused=True)
        flat = [torch.zeros_like(p) if g is None else g for g, p in zip(parts, inputs, strict=True)]
        rows.append(torch.cat([part.detach().flatten().double() for part in flat]))
    gradients = torch.stack(rows)
    return gradients @ gradients.T


def gradient_cosines(gram: Tensor) -> Tensor:
    """Cosines between gradients, from their inner products; below 0 two subtasks pull against each other."""
    size = gram.diagonal().clamp(min=torch.finfo(gram.dtype).tiny).sqrt()
    return gram / size[:, None] / size


def min_norm_weights(gram: Tensor, ridge: float = 0.0, *, tolerance: float = 1e-12, most: int = 100_000) -> Tensor:
    """The weights w >= 0 of sum 1 whose combined gradient is shortest: |sum w g|^2 + ridge |w|^2 is least.

    A step along the shortest combination lowers every subtask's loss, or none can be lowered without another rising
    (a Pareto point, where the combination vanishes). Min-SNR is its cheap, fixed stand-in.

    Args:
        gram: Inner products of the gradients `(tasks, tasks)`.
        ridge: Draws the weights together, at least 0; relative to the mean squared gradient.
        tolerance: Largest gap to the optimum, relative to the mean squared gradient.
        most: Most steps.

    Returns:
        float64 `(tasks,)`.

    Source: arXiv:2303.09556 equation 6; the pairwise steps are those of Mitchell, Demyanov and Malozemov (1974).
    """
    if gram.ndim != 2 or gram.shape[0] != gram.shape[1] or not ridge >= 0:
        raise RequestError.of("gram, ridge", (tuple(gram.shape), ridge), "a square matrix and a number of at least 0")
    unit = gram.double().diagonal().mean().clamp(min=torch.finfo(torch.float64).tiny)
    matrix = gram.double() / unit + ridge * torch.eye(len(gram), dtype=torch.float64, device=gram.device)
    weights = torch.full((len(gram),), 1.0 / len(gram), dtype=torch.float64, device=gram.device)
    pull = matrix @ weights
    for _ in range(most):
        toward = int(pull.argmin())
        away = int(torch.where(weights > 0, pull, -torch.inf).argmax())
        gap = pull[away] - pull[toward]
        if gap <= tolerance:
            break
        curvature = matrix[toward, toward] - 2 * matrix[toward, away] + matrix[away, away]
        step = torch.minimum(gap / curvature.clamp(min=torch.finfo(torch.float64).tiny), weights[away])
        weights[toward] += step
        weights[away] -= step
        pull += step * (matrix[:, toward] - matrix[:, away])
    return weights / weights.sum()
