"""Drags in a diffusion model whose network is a small transformer over patches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bottega.errors import RequestError
from bottega.layers import PreNormBlock
from bottega.processes.diffusion import DiscreteVp, Prior, Taps, V
from bottega.processes.dragging import (
    DiffusionCanvas,
    DiffusionDrag,
    DragSession,
    DragSettings,
    NearestFeature,
    PictureLora,
    drawn_state,
    inverted_state,
)
from bottega.processes.dragging.diffusion import rows_of, sharing

SIDE, ROWS, WIDTH = 16, 4, 32


class Patches(nn.Module):
    """Tokens of 4 x 4 pixels, two blocks, and back; told its time and condition by addition."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.out = nn.Linear(48, WIDTH), nn.Linear(WIDTH, 48)
        self.time, self.place = nn.Linear(1, WIDTH), nn.Parameter(torch.randn(ROWS**2, WIDTH))
        self.blocks = nn.ModuleList(PreNormBlock(WIDTH, 2) for _ in range(2))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        tokens = nn.functional.unfold(x, 4, stride=4).transpose(1, 2)
        h = self.into(tokens) + self.place + self.time(t[:, None, None] / 1000)
        h = h if cond is None else h + cond[:, None]
        for block in self.blocks:
            h = block(h)
        return nn.functional.fold(self.out(h).transpose(1, 2), (SIDE, SIDE), 4, stride=4)


@pytest.fixture
def prior() -> Prior:
    network = Patches().eval()
    return Prior(
        network=network, path=DiscreteVp.scaled_linear(), prediction=V(), shape=(3, SIDE, SIDE), size=SIDE,
        to_pictures=lambda states: states, from_pictures=lambda pictures: pictures,
        condition=lambda texts: torch.stack([torch.full((WIDTH,), float(len(text))) for text in texts]),
        null_cond=torch.zeros(1, WIDTH),
        taps=Taps(
            block=network.blocks[0], maps=lambda tokens: tokens.transpose(1, 2).unflatten(2, (ROWS, ROWS)),
            projections=tuple(block.attention.qkv for block in network.blocks),
        ),
    )  # fmt: skip


HOW = DiffusionDrag(steps=10, depth=0.6)


def quiet(*_: object) -> None:
    """Hears nothing."""


def draw(prior: Prior, how: DiffusionDrag = HOW, guidance: float = 1.0) -> DiffusionCanvas:
    state = drawn_state(prior, prior.null_cond, how, torch.Generator().manual_seed(0), quiet, guidance=guidance)
    return DiffusionCanvas(prior, state, prior.null_cond, how, guidance=guidance)


@pytest.mark.parametrize("reference", [True, False])
def test_a_picture_that_is_not_dragged_is_the_source(prior, reference):
    canvas = draw(prior, DiffusionDrag(steps=10, depth=0.6, reference=reference), guidance=2.0)
    plain = draw(prior, DiffusionDrag(steps=10, depth=0.6, reference=False), guidance=2.0)
    torch.testing.assert_close(canvas.finished(canvas.latent), plain.finished(plain.latent))


def test_the_depth_says_how_much_of_the_way_is_left():
    assert (HOW.kept, DiffusionDrag(steps=10, depth=0.01).kept, DiffusionDrag(steps=10, depth=0.99).kept) == (6, 1, 9)


def test_a_session_moves_the_state_and_leaves_the_model(prior):
    canvas = draw(prior)
    kept = {name: value.clone() for name, value in prior.network.state_dict().items()}
    session = DragSession(canvas, canvas.latent, DragSettings(rate=0.05, tracker=NearestFeature(radius=3), near=0.5))
    session.place([(5.0, 5.0)], [(9.0, 5.0)])
    first = session.step()
    while not session.done and session.state.number < 6:
        session.step()
    assert first.loss > 0
    assert not torch.equal(session.latent, canvas.latent)
    assert session.state.picture().shape == (1, 3, SIDE, SIDE)
    assert all(torch.equal(kept[name], value) for name, value in prior.network.state_dict().items())
    assert not any(part._forward_hooks for part in prior.network.modules())


def test_shared_attention_takes_keys_and_values_of_the_row_before(prior):
    x, t = torch.randn(4, 3, SIDE, SIDE), torch.full((4,), 500.0)
    seen: list[Tensor] = []
    with sharing(prior.taps.projections):
        handle = prior.taps.projections[0].register_forward_hook(lambda m, i, output: seen.append(output))
        shared = prior.network(x, t, None)
        handle.remove()
    alone = prior.network(x, t, None)
    torch.testing.assert_close(shared[::2], alone[::2])
    assert not torch.allclose(shared[1::2], alone[1::2])
    assert torch.equal(seen[0][1::2, :, WIDTH:], seen[0][::2, :, WIDTH:])
    assert not torch.equal(seen[0][1::2, :, :WIDTH], seen[0][::2, :, :WIDTH])


def test_inversion_finds_the_way_back(prior):
    with torch.no_grad():
        for parameter in prior.network.out.parameters():
            parameter.mul_(0.1)
    picture, how = torch.rand(1, 3, SIDE, SIDE) * 2 - 1, DiffusionDrag(steps=100, depth=0.5, reference=False)
    state = inverted_state(prior, picture, prior.null_cond, how, quiet)
    again = DiffusionCanvas(prior, state, prior.null_cond, how).finished(state)
    assert (again - picture).abs().mean() < 0.1 * picture.abs().mean()


def test_a_picture_is_learned_within_its_context_alone(prior):
    picture = torch.rand(1, 3, SIDE, SIDE) * 2 - 1
    lora, heard = PictureLora(prior.taps.projections, rank=4), []
    probe, t = torch.randn(1, 3, SIDE, SIDE), torch.full((1,), 300.0)
    before = prior.network(probe, t, prior.null_cond)
    with lora.applied():
        assert torch.equal(prior.network(probe, t, prior.null_cond), before)
    lora.learn(prior, picture, prior.null_cond, 12, lambda *told: heard.append(told))
    assert heard[-1] == (12, 12, "learn the picture")
    with lora.applied():
        assert not torch.allclose(prior.network(probe, t, prior.null_cond), before)
    assert torch.equal(prior.network(probe, t, prior.null_cond), before)


def test_conditions_of_any_kind_are_repeated():
    assert rows_of(None, 2) is None
    pair = rows_of((torch.tensor([[1.0]]), torch.tensor([3])), 2)
    assert [part.tolist() for part in pair] == [[[1.0], [1.0]], [3, 3]]


@pytest.mark.parametrize("change", [{"steps": 1}, {"depth": 0.0}, {"depth": 1.0}])
def test_ways_that_cannot_be_are_refused(change):
    with pytest.raises(RequestError, match="between"):
        DiffusionDrag(**change)
