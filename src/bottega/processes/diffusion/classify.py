"""A diffusion model as a classifier: the label under which it removes noise best.

p(label | x) follows from the bound on log p(x | label), which is the expected squared error of the noise. Labels are
compared on the same times and the same noise, so that what the draw of noise adds to all of them cancels.
Source: Li et al., "Your Diffusion Model is Secretly a Zero-Shot Classifier", arXiv:2303.16203, sections 3.2 and 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.processes.diffusion.objective import corrupt, noise_like
from bottega.processes.diffusion.paths import Path
from bottega.processes.diffusion.predictions import Denoiser, Epsilon, coefficients_like
from bottega.processes.diffusion.weighting import Uniform, Weighting

Counted = Callable[[int, int], None]
BATCH = 128
"""Most states in one call of a network."""


@final
@dataclass(frozen=True, slots=True)
class Round:
    """One round of elimination.

    Args:
        draws: Pairs of time and noise that each surviving label has seen at its end, in all.
        keep: How many labels go on.
    """

    draws: int
    keep: int


def elimination(labels: int, draws: int, *, rounds: int = 3) -> tuple[Round, ...]:
    """Rounds in which the draws double and the labels shrink by an equal factor, to the best one after `draws`.

    Args:
        labels: How many labels there are.
        draws: Draws that the last labels see.
        rounds: How many rounds; 1 compares all labels on all draws.
    """
    for name, value in (("labels", labels), ("draws", draws), ("rounds", rounds)):
        if value < 1:
            raise RequestError.of(name, value, "at least 1")
    plan: list[Round] = []
    for number in range(1, rounds + 1):
        seen = max(1, round(draws * 2.0 ** (number - rounds)))
        keep = max(1, math.ceil(labels ** (1 - number / rounds)))
        if number < rounds:
            keep = max(keep, min(labels, 2))
        if not plan or seen > plan[-1].draws:
            plan.append(Round(seen, keep))
        else:
            plan[-1] = Round(seen, keep)
    return tuple(plan)


@final
@dataclass(frozen=True, slots=True, eq=False)
class LabelErrors:
    """The errors of every label on every draw that it has seen.

    Args:
        errors: float64 `(labels, draws)`: mean squared error of the noise, NaN where a label was out already.
    """

    errors: Tensor

    @property
    def calls(self) -> int:
        """How many times the network saw the picture."""
        return int((~self.errors.isnan()).sum())

    @property
    def means(self) -> Tensor:
        """Each label's mean error over what it has seen, `(labels,)`: the smaller, the likelier."""
        return self.errors.nanmean(dim=1)

    @property
    def ranking(self) -> tuple[int, ...]:
        """Labels from the likeliest: who survived longer comes first, and then who has the smaller error."""
        seen, means = (~self.errors.isnan()).sum(dim=1).tolist(), self.means.tolist()
        return tuple(sorted(range(len(means)), key=lambda label: (-seen[label], means[label])))

    @property
    def best(self) -> int:
        """The likeliest label."""
        return self.ranking[0]

    def gap(self, label: int, other: int) -> tuple[float, float]:
        """How much more error a label has than another, and the standard error of that, on the draws of both."""
        return _mean_and_error(self.errors[label] - self.errors[other])

    def probabilities(self, numbers: int) -> Tensor:
        """Posterior of the labels under equal priors, `(labels,)`, if errors were exact: softmax of the bound.

        Args:
            numbers: Numbers in one state: the bound sums over them.
        """
        return torch.softmax(-0.5 * numbers * self.means, dim=0)


def _mean_and_error(values: Tensor) -> tuple[float, float]:
    values = values[~values.isnan()]
    if len(values) < 2:
        return float(values.mean()) if len(values) else math.nan, math.nan
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))


def label_errors(
    denoiser: Denoiser,
    state: Tensor,
    conditions: Any,  # noqa: ANN401 - a condition is the model's type
    rounds: Sequence[Round],
    *,
    path: Path,
    generator: torch.Generator,
    weighting: Weighting = Uniform(),  # noqa: B008 - frozen
    report: Counted = lambda done, total: None,
) -> LabelErrors:
    """Compares labels by the error with which the noise of one sample is predicted under each.

    Args:
        denoiser: `(x_t, t, cond) -> x0`.
        state: The clean sample, one state without a batch.
        conditions: One row for each label.
        rounds: Who is dropped when; see `elimination`.
        path: The path that the denoiser works on.
        generator: Source of the noise; times are even over the path, in the middle of equal parts.
        weighting: How much each time counts, on the squared error of the noise.
        report: Called with the network's calls so far and the number in all.
    """
    labels, device = _count_rows(conditions), state.device
    draws = rounds[-1].draws
    times = path.training_time(_spread_places(draws)).to(device)
    noise = noise_like(state.expand(draws, *state.shape), generator)
    weights = weighting(path.alpha(times), path.sigma(times), Epsilon()).double()
    errors = torch.full((labels, draws), math.nan, dtype=torch.float64)
    alive, seen, done = list(range(labels)), 0, 0
    total = total_calls(labels, rounds)
    for plan in rounds:
        pairs = [(label, draw) for draw in range(seen, plan.draws) for label in alive]
        for start in range(0, len(pairs), BATCH):
            rows, columns = (
                torch.tensor(part, device=device) for part in zip(*pairs[start : start + BATCH], strict=True)
            )
            found = _errors(denoiser, state, select_rows(conditions, rows), times[columns], noise[columns], path)
            errors[rows.cpu(), columns.cpu()] = (weights[columns] * found).cpu()
            done += len(rows)
            report(done, total)
        seen = plan.draws
        means = LabelErrors(errors).means.tolist()
        alive = sorted(sorted(alive, key=means.__getitem__)[: plan.keep])
    return LabelErrors(errors)


def total_calls(labels: int, rounds: Sequence[Round]) -> int:
    """How often a network sees the sample in such rounds."""
    total, seen, alive = 0, 0, labels
    for plan in rounds:
        total += (plan.draws - seen) * alive
        seen, alive = plan.draws, min(alive, plan.keep)
    return total


def select_rows(cond: Any, rows: Tensor) -> Any:  # noqa: ANN401 - a condition is the model's type
    """The given rows of a condition, whatever it is made of."""
    if isinstance(cond, Tensor):
        return cond[rows]
    if isinstance(cond, Mapping):
        return {name: select_rows(part, rows) for name, part in cond.items()}
    if isinstance(cond, tuple | list):
        return tuple(select_rows(part, rows) for part in cond)
    return cond


def _errors(denoiser: Denoiser, state: Tensor, cond: Any, t: Tensor, noise: Tensor, path: Path) -> Tensor:  # noqa: ANN401
    """Mean squared error of the noise that the denoiser implies, `(b,)`, float64."""
    clean = state.expand(len(t), *state.shape)
    x0 = denoiser(corrupt(clean, t, noise, path), t, cond)
    alpha, sigma = coefficients_like(clean, t, path)
    return ((alpha / sigma) * (x0 - clean)).square().flatten(1).mean(1).double()


def _spread_places(draws: int) -> Tensor:
    """Places in (0, 1): the middles of equal parts, in an order whose every beginning is spread as well.

    The order is that of the golden ratio's multiples, so that labels dropped early have seen all noise levels.
    """
    index = torch.arange(draws, dtype=torch.float64)
    order = ((index * (math.sqrt(5.0) - 1) / 2) % 1.0).argsort().argsort()
    return (order + 0.5) / draws


def _count_rows(cond: Any) -> int:  # noqa: ANN401 - a condition is the model's type
    if isinstance(cond, Tensor):
        return int(cond.shape[0])
    parts = list(cond.values()) if isinstance(cond, Mapping) else list(cond) if isinstance(cond, tuple | list) else []
    if not parts:
        raise RequestError.of("conditions", type(cond).__name__, "a tensor, or a tuple, list or mapping of tensors")
    return _count_rows(parts[0])
