from __future__ import annotations

import pytest
import torch
from transformers import MixtralConfig
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock, load_balancing_loss_func

from bottega.layers import ExpertChoice, MixtureOfDepths, TokenChoice, balance_loss, route, watched

WIDTH, HIDDEN, EXPERTS = 16, 24, 4


def layer(choices: int = 2, nulls: int = 0, seed: int = 0) -> TokenChoice:
    torch.manual_seed(seed)
    made = TokenChoice(WIDTH, HIDDEN, experts=EXPERTS, choices=choices, nulls=nulls)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made


def texts(rows: int = 3, tokens: int = 7) -> torch.Tensor:
    return torch.randn(rows, tokens, WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("choices", [1, 2, 4])
def test_without_nulls_it_is_mixtrals_sparse_block(choices: int) -> None:
    ours = layer(choices)
    peer = MixtralSparseMoeBlock(
        MixtralConfig(
            hidden_size=WIDTH, intermediate_size=HIDDEN, num_local_experts=EXPERTS, num_experts_per_tok=choices
        )
    )
    with torch.no_grad():
        peer.gate.weight.copy_(ours.gate.weight)
        for number, expert in enumerate(ours.experts):
            peer.experts.gate_up_proj[number] = expert.gate_up.weight
            peer.experts.down_proj[number] = expert.down.weight
        x = texts()
        with watched(ours) as found:
            torch.testing.assert_close(ours(x), peer(x), atol=1e-5, rtol=1e-5)
    assert found[0].real.unique().tolist() == [choices]
    theirs = load_balancing_loss_func((found[0].logits,), EXPERTS, choices)
    torch.testing.assert_close(balance_loss(found[0]), theirs)
    assert ours.seen is None


def test_null_experts_leave_the_others_their_shares() -> None:
    ours, x = layer(3, nulls=5), texts(20, 10).reshape(-1, WIDTH)
    routed, got = ours.route(x), ours(x)
    real = routed.real
    assert {0, 1, 2, 3} == set(real.tolist())
    torch.testing.assert_close(routed.weights.sum(-1), (real > 0).float())
    assert ours.null_gate is not None
    scores = torch.cat((x @ ours.gate.weight.T, x @ ours.null_gate.weight.T), -1).exp()  # the equations once more
    for token, (score, made) in enumerate(zip(scores, got, strict=True)):
        best = [int(slot) for slot in score.argsort(descending=True)[:3] if slot < EXPERTS]
        shares = score[best] / score[best].sum()
        expected = sum(
            (share * ours.experts[slot](x[token]) for share, slot in zip(shares, best, strict=True)), 0 * made
        )
        torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-4)


def test_no_null_experts_are_plain_experts_to_the_bit() -> None:
    logits = torch.randn(9, EXPERTS, generator=torch.Generator().manual_seed(0))
    plain, top = route(logits, 2, EXPERTS), logits.softmax(-1).topk(2)
    assert torch.equal(plain.weights, top.values / top.values.sum(-1, keepdim=True))
    assert torch.equal(plain.chosen, top.indices)


def test_unlikely_nulls_change_nothing() -> None:
    plain, with_nulls, x = layer(2), layer(2, nulls=3), texts()
    with_nulls.load_state_dict(plain.state_dict(), strict=False)
    assert with_nulls.null_gate is not None
    x = torch.cat((x, torch.ones(3, 7, 1)), -1)[..., 1:]  # the last channel is 1
    with torch.no_grad():
        with_nulls.null_gate.weight.zero_()[:, -1] = -50.0
    torch.testing.assert_close(with_nulls(x), plain(x))


def test_which_null_is_chosen_costs_nothing() -> None:
    one, other = torch.full((2, 8, EXPERTS + 2), -9.0)
    for token in range(8):
        one[token, token % EXPERTS] = other[token, token % EXPERTS] = 2.0
        one[token, EXPERTS] = 1.0
        other[token, EXPERTS + token % 2] = 1.0
    losses = [balance_loss(route(logits, 2, EXPERTS)) for logits in (one, other)]
    torch.testing.assert_close(losses[0], losses[1])
    even = balance_loss(route(torch.zeros(4, 6), 2, 6))
    torch.testing.assert_close(even, torch.tensor(2.0))  # where probabilities are even it is the number of choices


def test_every_parameter_learns() -> None:
    ours = layer(3, nulls=2)
    with watched(ours) as found:
        (ours(texts(8, 16)).square().mean() + balance_loss(found[0])).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in ours.parameters())


def changes_before(made: torch.Tensor, other: torch.Tensor, place: int) -> bool:
    return not torch.allclose(made[:, :place], other[:, :place], atol=1e-6)


def test_only_tokens_that_choose_keep_the_future_out() -> None:
    torch.manual_seed(0)
    experts = ExpertChoice(WIDTH, HIDDEN, experts=EXPERTS, capacity=1.0)
    depths = MixtureOfDepths(WIDTH, 0.25)
    x = texts(16, 12)
    other = x.clone()
    other[:, 8:] = 3 * torch.randn(16, 4, WIDTH, generator=torch.Generator().manual_seed(2))
    chosen = layer(3, nulls=2)
    assert not changes_before(chosen(x), chosen(other), 8)
    assert changes_before(experts(x), experts(other), 8)
    assert changes_before(depths(x, lambda part, _: part), depths(other, lambda part, _: part), 8)


def test_experts_that_choose_work_evenly() -> None:
    torch.manual_seed(0)
    experts, x = ExpertChoice(WIDTH, HIDDEN, experts=EXPERTS, capacity=2.0), texts(2, 8)
    counts = []
    for expert in experts.experts:
        expert.register_forward_hook(lambda _, args, __: counts.append(args[0].shape[:2]))
    experts(x)
    assert counts == [(2, 4)] * EXPERTS
    everyone = ExpertChoice(WIDTH, HIDDEN, experts=EXPERTS, capacity=EXPERTS)
    shares = everyone.gate(x).softmax(-1)
    dense = sum(shares[..., n, None] * expert(x) for n, expert in enumerate(everyone.experts))
    torch.testing.assert_close(everyone(x), dense, atol=1e-6, rtol=1e-5)


def test_depths_of_full_capacity_pass_nobody_by() -> None:
    torch.manual_seed(0)
    depths, x = MixtureOfDepths(WIDTH, 1.0), texts()
    seen = depths(x, lambda part, places: part * (1 + places[..., None]))
    expected = x + depths.router(x) * x * torch.arange(1, 8)[:, None]
    torch.testing.assert_close(seen, expected)


def test_too_many_choices_are_refused() -> None:
    with pytest.raises(ValueError, match="6 choices among 4 experts and 1"):
        TokenChoice(WIDTH, HIDDEN, experts=EXPERTS, choices=6, nulls=1)
