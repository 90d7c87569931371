"""Karras et al.'s denoiser and sampler against their own code, every parameter randomised.

The numbers below were made with NVlabs/edm at its main branch by this script in its root (torch 2.13, CPU):

    net = EDMPrecond(img_resolution=16, img_channels=3, label_dim=5, model_type="DhariwalUNet", model_channels=64,
                     channel_mult=[1, 2], num_blocks=1, attn_resolutions=[8], dropout=0.0).eval()
    g = torch.Generator().manual_seed(0)
    for name, p in sorted(net.model.named_parameters()):
        p.data.copy_(0.06 * torch.randn(p.shape, generator=g) + (p.ndim == 1 and name.endswith("weight")))
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    labels = torch.eye(5)[torch.tensor([4, 1])]
    d = net(x * 3, torch.tensor([3.0, 0.4]), labels).flatten()
    y = edm_sampler(net, x, labels, num_steps=6).flatten()                                        # of generate.py
    for v in (d, y):  print(v[torch.linspace(0, len(v) - 1, 6).long()].tolist(), v.norm().item())
"""

from __future__ import annotations

import pytest
import torch

from bottega.networks import AdmUnet, AdmUnetConfig, adm_keys_edm
from bottega.processes.diffusion import X0, Denoised, EdmGrid, EdmPreconditioned, Heun
from bottega.systems.diffusion.edm_experts.objective import PATH
from bottega.weights import load_into, to_ours, to_theirs

CONFIG = AdmUnetConfig(size=16, width=64, multipliers=(1, 2), blocks=1, attention_sizes=(8,), classes=5)
DENOISED = [0.09838821738958359, -0.17936600744724274, -0.23281249403953552, -3.906468152999878, 2.0216898918151855,
            -3.0923376083374023]  # fmt: skip
DRAWN = [-0.7635222673416138, 2.543423652648926, 1.726575493812561, -0.7644907236099243, 1.2338236570358276,
         -2.1200010776519775]  # fmt: skip
NORMS = (54.31039810180664, 48.67025629172064)


@pytest.fixture(scope="module")
def network() -> EdmPreconditioned:
    unet, generator = AdmUnet(CONFIG).eval(), torch.Generator().manual_seed(0)
    theirs = to_theirs(adm_keys_edm(CONFIG), unet.state_dict())
    filled = {
        name: 0.06 * torch.randn(tensor.shape, generator=generator)
        + float(tensor.ndim == 1 and name.endswith("weight"))
        for name, tensor in sorted(theirs.items())
        if not name.endswith("resample_filter")
    }
    load_into(unet, to_ours(adm_keys_edm(CONFIG), theirs | filled), source="golden")
    return EdmPreconditioned(unet)


def picked(y: torch.Tensor) -> torch.Tensor:
    return y[torch.linspace(0, len(y) - 1, 6).long()].float()


@torch.no_grad()
def test_the_denoiser_equals_the_authors(network: EdmPreconditioned) -> None:
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    made = network(x * 3, torch.tensor([3.0, 0.4]), torch.tensor([4, 1])).flatten()
    torch.testing.assert_close(picked(made), torch.tensor(DENOISED), rtol=1e-5, atol=1e-5)
    assert made.norm().item() == pytest.approx(NORMS[0], rel=1e-5)


@torch.no_grad()
def test_heun_on_their_grid_draws_the_authors_pictures(network: EdmPreconditioned) -> None:
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    times = EdmGrid(6)(PATH)
    made = Heun()(Denoised(network, PATH, X0()), x * times[0], times, PATH, cond=torch.tensor([4, 1])).flatten()
    torch.testing.assert_close(picked(made), torch.tensor(DRAWN), rtol=1e-4, atol=1e-4)
    assert made.norm().item() == pytest.approx(NORMS[1], rel=1e-4)
