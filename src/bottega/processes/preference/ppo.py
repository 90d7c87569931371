"""Proximal policy optimisation of a language model against a reward, on a leash to a reference."""

from __future__ import annotations

import torch
from torch import Tensor

from bottega.processes.preference.answers import masked_mean


def penalised_rewards(scores: Tensor, policy: Tensor, reference: Tensor, mask: Tensor, beta: float) -> Tensor:
    """A reward for each token: the answer's score at its last token, less what leaving the reference costs.

    Args:
        scores: Of whole answers, `(batch,)`.
        policy: Log-probability of each token under the policy that drew them, `(batch, tokens)`.
        reference: The same under the reference.
        mask: True at the answers' tokens; each row has at least one.
        beta: Cost of a nat.

    Returns:
        `(batch, tokens)`, 0 outside the answers. The sum of a row is score - beta (log policy - log reference).

    Source: arXiv:2307.09288, section 3.2.3: R(g | p).
    """
    rewards = -beta * (policy - reference) * mask
    places = torch.arange(mask.shape[1], device=mask.device)
    last = torch.where(mask, places, -1).amax(1, keepdim=True)
    return rewards.scatter_add(1, last, scores[:, None].to(rewards.dtype))


def sequence_returns(rewards: Tensor, mask: Tensor) -> Tensor:
    """The bandit's view: the whole answer is one action, and each of its tokens returns the whole row's reward."""
    return rewards.sum(1, keepdim=True) * mask


def advantages(
    rewards: Tensor, values: Tensor, mask: Tensor, *, discount: float = 1.0, trace: float = 0.95
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation over the answers' tokens, which lie next to each other in each row.

    Args:
        rewards: `(batch, tokens)`.
        values: What was expected before each token, `(batch, tokens)`.
        mask: True at the answers' tokens.
        discount: Of a reward one token later.
        trace: 1 sums all that follows; 0 looks one token ahead.

    Returns:
        Advantages, and the returns that the values should have been; both 0 outside the answers.

    Source: arXiv:1506.02438, equation 16.
    """
    found = torch.zeros_like(rewards)
    later, after = torch.zeros_like(rewards[:, 0]), torch.zeros_like(rewards[:, 0])
    for place in range(rewards.shape[1] - 1, -1, -1):
        inside = mask[:, place]
        surprise = rewards[:, place] + discount * after - values[:, place]
        later = torch.where(inside, surprise + discount * trace * later, 0.0)
        after = torch.where(inside, values[:, place], 0.0)
        found[:, place] = later
    return found, (found + values) * mask


def clipped_loss(policy: Tensor, old: Tensor, advantage: Tensor, mask: Tensor, clip: float = 0.2) -> Tensor:
    """PPO's loss: the advantage times the ratio of the policies, without reward for a ratio far from 1.

    Args:
        policy: Log-probability of each token under the policy that learns, `(batch, tokens)`.
        old: The same under the policy that drew them.
        advantage: Of each token.
        mask: True at the answers' tokens.
        clip: Ratios beyond 1 +- this gain nothing.

    Source: arXiv:1707.06347, equation 7.
    """
    ratio = (policy - old).exp()
    return -masked_mean(torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage), mask)


def value_loss(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """Half the mean squared error of expected returns at the answers' tokens."""
    return 0.5 * masked_mean((values - returns).square(), mask)


def kl_estimate(policy: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """How far each row's policy is from the reference, in nats a whole answer, from tokens that the policy drew.

    Args:
        policy: Log-probabilities under the policy `(batch, tokens)`.
        reference: The same under the reference.
        mask: True at the answers' tokens.

    Returns:
        `(batch,)`: an estimate without bias that is never negative, r - 1 - log r with r = reference / policy.
    """
    log_ratio = (reference - policy) * mask
    return (log_ratio.exp() - 1 - log_ratio).sum(1)
