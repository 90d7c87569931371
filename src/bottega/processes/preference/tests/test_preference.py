"""Losses of preferences and policies against their equations."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bottega.processes.preference import (
    Grade,
    Margins,
    advantages,
    answer_loss,
    best_of,
    best_of_divergence,
    clipped_loss,
    dpo_loss,
    gated,
    kl_estimate,
    log_chances,
    margins_of,
    penalised_rewards,
    ranking_loss,
    sequence_log_chances,
    sequence_returns,
    whiten,
)


@pytest.fixture
def numbers():
    return torch.Generator().manual_seed(0)


# ------------------------------------------------------------------------------------------------------------- answers
def test_no_gradient_comes_from_what_was_asked(numbers):
    logits = torch.randn(2, 6, 9, generator=numbers, requires_grad=True)
    tokens = torch.randint(0, 9, (2, 6), generator=numbers)
    learned = torch.tensor([[False, False, True, True, False, True], [False, True, True, False, False, False]])
    answer_loss(logits, tokens, learned).backward()
    moved = logits.grad.abs().sum(-1) > 0
    assert torch.equal(moved, torch.cat((learned[:, 1:], torch.zeros(2, 1, dtype=torch.bool)), 1))


def test_log_chances_of_a_whole_answer(numbers):
    logits, tokens = torch.randn(2, 5, 7, generator=numbers), torch.randint(0, 7, (2, 5), generator=numbers)
    learned = torch.tensor([[False, False, True, True, True], [False, True, False, False, False]])
    by_hand = logits.log_softmax(-1)
    assert math.isclose(
        float(sequence_log_chances(logits, tokens, learned)[0]),
        sum(float(by_hand[0, place - 1, tokens[0, place]]) for place in (2, 3, 4)),
        rel_tol=1e-5,
    )
    assert log_chances(logits, tokens).shape == (2, 4)


# --------------------------------------------------------------------------------------------------------- comparisons
def test_margins_of_the_four_grades():
    grades = torch.tensor(list(Grade))
    assert margins_of(grades, Margins.LARGE).tolist() == [0, 1, 2, 3]
    torch.testing.assert_close(margins_of(grades, Margins.SMALL), torch.tensor([0, 1 / 3, 2 / 3, 1]))
    assert margins_of(grades, Margins.NONE).tolist() == [0] * 4


def test_larger_margins_drive_scores_further_apart():
    """Fitted to the same pairs with some noise, the scores of better graded answers lie further apart."""
    grades = torch.tensor(list(Grade) * 2)
    noise = torch.tensor([1.0] * 4 + [0.25] * 4)  # each pair was also judged the other way round, once in five times
    gaps = {}
    for margins in Margins:
        gap = torch.zeros(4, requires_grad=True)
        optimizer = torch.optim.Adam([gap], lr=0.1)
        for _ in range(400):
            optimizer.zero_grad()
            signs = torch.cat((gap, -gap))
            losses = -nn.functional.logsigmoid(signs - margins_of(grades, margins))
            (losses * noise).sum().backward()
            optimizer.step()
        gaps[margins] = gap.detach()
    assert (gaps[Margins.NONE] - math.log(4)).abs().max() < 0.01
    assert gaps[Margins.LARGE].diff().min() > 0
    assert (gaps[Margins.LARGE] >= gaps[Margins.SMALL] - 1e-3).all()
    assert gaps[Margins.LARGE][3] > gaps[Margins.SMALL][3] + 0.3 > gaps[Margins.NONE][3] + 0.3


def test_ranking_loss_is_bradley_terry():
    chosen, rejected = torch.tensor([1.0, 0.0]), torch.tensor([0.5, 2.0])
    by_hand = [-math.log(1 / (1 + math.exp(-(c - r - 1)))) for c, r in ((1.0, 0.5), (0.0, 2.0))]
    assert math.isclose(float(ranking_loss(chosen, rejected, 1.0)), sum(by_hand) / 2, rel_tol=1e-6)


def test_gradient_of_dpo_is_the_paper_s(numbers):
    """Equation below (7): -beta sigmoid(r_rejected - r_chosen) (grad log pi(chosen) - grad log pi(rejected))."""
    beta = 0.3
    policy = torch.randn(2, 4, generator=numbers, dtype=torch.float64, requires_grad=True)
    reference = torch.randn(2, 4, generator=numbers, dtype=torch.float64)
    dpo_loss(policy[0] - reference[0], policy[1] - reference[1], beta).backward()
    with torch.no_grad():
        rewards = beta * (policy - reference)
        weight = (rewards[1] - rewards[0]).sigmoid() * beta / 4
    torch.testing.assert_close(policy.grad, torch.stack((-weight, weight)))


# ------------------------------------------------------------------------------------------------------------- rewards
def test_gate_of_safety():
    helpful, safe = torch.tensor([3.0, 3.0, 3.0]), torch.tensor([0.0, 0.0, -2.0])  # sigmoid(-2) = 0.12 < 0.15
    assert gated(helpful, safe, torch.tensor([False, True, False])).tolist() == [3.0, 0.0, -2.0]
    assert gated(helpful, safe, torch.tensor([False] * 3), threshold=0.1).tolist() == [3.0] * 3


def test_whitened_gate_is_the_paper_s(numbers):
    helpful, safe = torch.randn(2, 50, generator=numbers)
    prompt = torch.rand(50, generator=numbers) < 0.3
    probabilities = torch.where(prompt | (safe.sigmoid() < 0.15), safe.sigmoid(), helpful.sigmoid())
    found = whiten(gated(helpful, safe, prompt))
    torch.testing.assert_close(found, whiten(probabilities.logit()), atol=1e-4, rtol=1e-4)
    assert abs(float(found.mean())) < 1e-6
    assert math.isclose(float(found.std(correction=0)), 1, abs_tol=1e-4)


def test_best_of():
    assert best_of(torch.tensor([[1.0, 3.0, 3.0], [2.0, 1.0, 0.0]])).tolist() == [1, 0]
    assert best_of_divergence(1) == 0
    assert math.isclose(best_of_divergence(4), math.log(4) - 0.75)


# ----------------------------------------------------------------------------------------------------------------- PPO
MASK = torch.tensor([[False, True, True, True, False], [False, False, True, True, True]])


def test_rewards_sum_to_score_less_divergence(numbers):
    policy, reference = torch.randn(2, 2, 5, generator=numbers)
    scores = torch.tensor([1.0, -2.0])
    rewards = penalised_rewards(scores, policy, reference, MASK, beta=0.5)
    torch.testing.assert_close(rewards.sum(1), scores - 0.5 * ((policy - reference) * MASK).sum(1))
    assert (rewards[~MASK] == 0).all()
    assert math.isclose(float(rewards[0, 3]), 1.0 - 0.5 * float(policy[0, 3] - reference[0, 3]), rel_tol=1e-5)
    assert torch.equal(sequence_returns(rewards, MASK)[0], rewards[0].sum() * MASK[0])


def test_advantages_at_the_ends_of_the_trace(numbers):
    rewards, values = torch.randn(2, 2, 5, generator=numbers) * MASK
    full, returns = advantages(rewards, values, MASK, trace=1.0)
    to_go = rewards.flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(full, (to_go - values) * MASK)  # Monte Carlo
    torch.testing.assert_close(returns, to_go * MASK)
    short, _ = advantages(rewards, values, MASK, trace=0.0)
    following = torch.cat((values[:, 1:], torch.zeros(2, 1)), 1)
    torch.testing.assert_close(short, (rewards + following - values) * MASK)  # one step


def test_advantages_by_the_sum_of_the_paper(numbers):
    rewards, values = torch.randn(2, 1, 4, generator=numbers)
    found, _ = advantages(rewards, values, torch.ones(1, 4, dtype=torch.bool), discount=0.9, trace=0.8)
    following = torch.cat((values[0, 1:], torch.zeros(1)))
    surprise = rewards[0] + 0.9 * following - values[0]
    by_hand = [sum(0.72**k * surprise[t + k] for k in range(4 - t)) for t in range(4)]
    torch.testing.assert_close(found[0], torch.stack(by_hand))


@pytest.mark.parametrize(
    ("ratio", "advantage", "moves"), [(1.5, 1, False), (1.5, -1, True), (0.5, -1, False), (0.5, 1, True)]
)
def test_clipping(ratio, advantage, moves):
    old = torch.zeros(1, 1)
    policy = torch.full((1, 1), math.log(ratio), requires_grad=True)
    clipped_loss(policy, old, torch.full((1, 1), float(advantage)), torch.ones(1, 1, dtype=torch.bool)).backward()
    assert bool(policy.grad.abs().sum() > 0) == moves


def test_divergence_estimate_has_no_bias(numbers):
    policy, reference = torch.randn(2, 6, generator=numbers).log_softmax(-1)
    exact = float((policy.exp() * (policy - reference)).sum())
    drawn = torch.multinomial(policy.exp(), 200_000, replacement=True, generator=numbers)
    estimate = kl_estimate(
        policy[drawn][:, None], reference[drawn][:, None], torch.ones(len(drawn), 1, dtype=torch.bool)
    )
    assert float(estimate.min()) >= 0
    assert math.isclose(float(estimate.mean()), exact, rel_tol=0.02)


def bandit(beta, steps=150):
    """A policy over four answers, rewarded for the last; returns its divergence from the reference and its reward."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.zeros(4, requires_grad=True)
    reference, rewards = torch.full((4,), 0.25).log(), torch.tensor([0.0, 0.2, 0.5, 1.0])
    optimizer = torch.optim.SGD([logits], lr=0.5 / (1 + beta))
    mask = torch.ones(64, 1, dtype=torch.bool)
    for _ in range(steps):
        with torch.no_grad():
            drawn = torch.multinomial(logits.softmax(-1), 64, replacement=True, generator=generator)
            old = logits.log_softmax(-1)[drawn][:, None]
            returned = penalised_rewards(rewards[drawn], old, reference[drawn][:, None], mask, beta)
        advantage = returned - returned.mean()
        for _ in range(2):
            optimizer.zero_grad()
            clipped_loss(logits.log_softmax(-1)[drawn][:, None], old, advantage, mask).backward()
            optimizer.step()
    policy = logits.detach().log_softmax(-1)
    return float((policy.exp() * (policy - reference)).sum()), float(policy.exp() @ rewards)


def test_a_long_leash_raises_the_reward_and_a_short_one_freezes_the_policy():
    far, reward = bandit(0.0)
    near, little = bandit(100.0)
    assert reward > 0.8
    assert far > 0.5
    assert near < 1e-3
    assert abs(little - 0.425) < 0.02
    # in between, the answer is the tilted reference: pi ~ exp(reward / beta)
    tilted = (torch.tensor([0.0, 0.2, 0.5, 1.0]) / 0.5).softmax(-1)
    assert abs(bandit(0.5, 600)[1] - float(tilted @ torch.tensor([0.0, 0.2, 0.5, 1.0]))) < 0.04
