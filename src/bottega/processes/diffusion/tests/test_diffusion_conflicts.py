"""Noise levels as tasks: gradients, the shortest combination of them, and the transfer matrix."""

import itertools

import pytest
import torch
from torch import nn

from bottega.errors import RequestError
from bottega.processes.diffusion import (
    X0,
    DiscreteVp,
    TransferPlan,
    gradient_cosines,
    gradient_gram,
    min_norm_weights,
    transfer_matrix,
)


def random_gram(tasks, dimensions, seed=0):
    gradients = torch.randn(tasks, dimensions, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return gradients @ gradients.T, gradients


def test_gram_holds_the_products_of_gradients():
    weight = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
    spare = torch.zeros(2, requires_grad=True)
    losses = [weight.square().sum() / 2, (3 * weight[0] - weight[2]).sum(), -weight.square().sum() / 2]
    gram = gradient_gram(losses, [weight, spare])
    gradients = torch.tensor([[1.0, -2.0, 0.5], [3.0, 0.0, -1.0], [-1.0, 2.0, -0.5]]).double()
    torch.testing.assert_close(gram, gradients @ gradients.T)
    cosines = gradient_cosines(gram)
    torch.testing.assert_close(cosines.diagonal(), torch.ones(3).double())
    torch.testing.assert_close(cosines[0, 2], torch.tensor(-1.0).double())


def test_two_tasks_have_the_closed_form():
    gram, gradients = random_gram(2, 5)
    first, second = gradients
    share = ((second - first) @ second / (first - second).square().sum()).clamp(0, 1)
    torch.testing.assert_close(min_norm_weights(gram), torch.stack([share, 1 - share]), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dimensions", [3, 40])
def test_no_other_weights_give_a_shorter_step(dimensions):
    gram, _ = random_gram(4, dimensions)
    weights = min_norm_weights(gram)
    least = weights @ gram @ weights
    for parts in itertools.product(range(21), repeat=3):
        if sum(parts) <= 20:
            other = torch.tensor([*parts, 20 - sum(parts)]).double() / 20
            assert other @ gram @ other >= least - 1e-9
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0).double())


def test_a_step_along_the_combination_helps_every_task():
    gram, _ = random_gram(5, 30, seed=2)
    weights = min_norm_weights(gram)
    helped = gram @ weights
    assert (helped >= weights @ helped - 1e-9).all()
    assert weights @ helped > 0


def test_opposed_tasks_cancel_and_a_ridge_draws_weights_together():
    gram = torch.tensor([[1.0, -2.0], [-2.0, 4.0]])
    weights = min_norm_weights(gram)
    torch.testing.assert_close(weights, torch.tensor([2.0, 1.0]).double() / 3)
    tied = min_norm_weights(gram, ridge=1e6)
    torch.testing.assert_close(tied, torch.full((2,), 0.5).double(), rtol=1e-4, atol=0)
    with pytest.raises(RequestError, match="square"):
        min_norm_weights(torch.ones(2, 3))


class OneGainPerLevel(nn.Module):
    """Predicts x0 as a gain times the state; levels below 50 share one gain, the others another."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor([0.2, 0.2]))

    def forward(self, x, t, cond=None):
        return self.gain[(t >= 50).long()].reshape(-1, 1) * x


class OneGain(OneGainPerLevel):
    """Predicts x0 as one gain times the state, whatever the level."""

    def forward(self, x, t, cond=None):
        return self.gain[0] * x


PLAN = TransferPlan(bins=4, steps=25, rate=1e-2, batch=64)
PATH = DiscreteVp.cosine(100)


def matrix(network, seen=None):
    states = torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    done = (lambda *_: None) if seen is None else lambda *progress: seen.append(progress)
    return transfer_matrix(
        network, (states[:200], None), (states[200:], None), PLAN, path=PATH, prediction=X0(), report=done
    )


def test_levels_that_share_nothing_do_not_move_each_other():
    network, seen = OneGainPerLevel(), []
    found = matrix(network, seen)
    assert seen[-1] == (4, 4)
    assert (found.change[:2, 2:] == 0).all()
    assert (found.change[2:, :2] == 0).all()
    assert (found.change.diagonal() < 0).all()
    assert network.gain.tolist() == pytest.approx([0.2, 0.2])  # the network itself stays as it is
    assert found.edges.tolist() == [0, 25, 50, 75, 99]


def test_levels_that_share_a_parameter_fight_over_it():
    network = OneGain()
    with torch.no_grad():
        network.gain.fill_(0.55)  # too little for clean states, too much for noisy ones
    change = matrix(network).change
    assert change[0, 0] < 0 < change[0, 3]
    assert change[3, 3] < 0 < change[3, 0]


def test_the_same_plan_measures_the_same_in_inference_mode():
    first = matrix(OneGain())
    with torch.inference_mode():
        second = matrix(OneGain())
    assert torch.equal(first.after, second.after)
