"""The weights that come with the package know emoji: likelihoods, anomalies and drawn pictures, as their card says."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

import bottega
from bottega.data import pictures_to_tensor
from bottega.metrics import PixelFeatures, kernel_distance
from bottega.processes.diffusion import bits_per_dimension, dequantised
from bottega.systems.diffusion.score_sde.evaluation import PixelGaussian, auroc
from bottega.systems.diffusion.score_sde.model import ScoreSde
from bottega.systems.diffusion.score_sde.sampling import Corrected, Plan, Sampler, draw, likelihood
from bottega.training import draw_generators
from bottega.weights import WeightsCard, bundled_path, card_path, read_card
from bottega.worlds.emoji import reference_pictures

ROOM = Path(__file__).parents[1]
COUNT = 8


@cache
def model() -> ScoreSde:
    found = bottega.load("score_sde").model
    assert isinstance(found, ScoreSde)
    return found


def card() -> WeightsCard:
    return read_card(card_path(bundled_path(ROOM, "tiny")))


def tiles(name: str) -> torch.Tensor:
    return torch.from_numpy(reference_pictures(name, model().config.network.size)[0]).permute(0, 3, 1, 2)


def test_the_file_is_small_and_its_card_is_whole() -> None:
    assert "bottega train score_sde" in card().command
    assert bundled_path(ROOM, "tiny").stat().st_size < 2e6


def test_emoji_are_likelier_than_noise_and_than_a_gaussian_says() -> None:
    """Bits within four standard errors of the card's; below the Gaussian's; and noise is told from emoji."""
    held_out = tiles("heldout")
    chosen = held_out[torch.randperm(len(held_out), generator=torch.Generator().manual_seed(1))[:COUNT]]
    noise = torch.randint(256, chosen.shape, generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    random = torch.Generator().manual_seed(3)
    given = dequantised(torch.cat([chosen, noise]), random)
    judged = likelihood(model(), given, probes=1, tolerance=0.03, generator=random)
    bits = bits_per_dimension(judged.log_prob, chosen[0].numel()).float()
    emoji, unusual = bits[:COUNT], bits[COUNT:]
    recorded = card().metrics["bits per dimension of held-out emoji"]
    assert float(emoji.mean()) < recorded + 4 * float(emoji.std()) / COUNT**0.5
    assert float(emoji.mean()) < float(PixelGaussian(tiles("train"), 0).bits(chosen, 0).mean())
    assert auroc(emoji, unusual) == 1.0


def test_drawn_pictures_are_nearer_to_emoji_than_their_shuffled_pixels() -> None:
    """As everywhere beside a control: pixels of the same places, each of another picture."""
    plan, count = Plan(sampler=Sampler.ANCESTRAL, corrector=Corrected.NONE, steps=40), 24
    with torch.no_grad():
        made = model().to_pictures(draw(model(), plan, draw_generators(5, count))).clamp(-1, 1)
    order = torch.stack([torch.randperm(count, generator=torch.Generator().manual_seed(i)) for i in range(256)])
    mixed = made.flatten(2).gather(0, order.T[:, None].expand(-1, 3, -1)).reshape(made.shape)
    features = PixelFeatures()
    real = features.features(pictures_to_tensor(reference_pictures("train", 16)[0][::40]))
    own, control = (kernel_distance(features.features(part), real).value for part in (made, mixed))
    assert own < 0.6 * control
