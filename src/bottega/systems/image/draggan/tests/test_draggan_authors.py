"""StyleGAN2 against the official code, every parameter randomised.

The numbers below were made with NVlabs/stylegan2-ada-pytorch at its main branch, by this script in its root (torch
2.13, CPU), for labels 0 and 3:

    import torch
    from training.networks import Generator, Discriminator
    def fill(parts, seed=0):
        generator = torch.Generator().manual_seed(seed)
        named = {f"{part}.{name}": value for part, network in parts.items()
                 for name, value in network.state_dict().items()}
        for name, value in sorted(named.items()):
            if not name.endswith("resample_filter"):
                value.copy_(torch.randn(value.shape, generator=generator))
    shape = dict(c_dim=labels, img_resolution=32, img_channels=3)
    G = Generator(16, w_dim=20, mapping_kwargs=dict(num_layers=3),
                  synthesis_kwargs=dict(channel_base=256, channel_max=24, conv_clamp=60), **shape).eval()
    D = Discriminator(channel_base=256, channel_max=24, conv_clamp=60, **shape).eval()
    fill({"G_ema": G, "D": D})
    generator = torch.Generator().manual_seed(1)
    z, ws = torch.randn(8, 16, generator=generator), torch.randn(8, 8, 20, generator=generator)
    c = torch.eye(3)[torch.arange(8) % 3] if labels else torch.zeros(8, 0)
    drawn, styles = G(z, c, truncation_psi=0.6, noise_mode="const"), G.synthesis(ws, noise_mode="none")
    scores = D(torch.randn(8, 3, 32, 32, generator=generator), c)[:, 0]
    y = drawn.flatten();  print(y[torch.linspace(0, len(y) - 1, 6).long()], y.norm())       # and for styles
    x = torch.randn(4, 3, 32, 32, generator=generator).requires_grad_()
    slope, = torch.autograd.grad(D(x, c[:4]).sum(), x, create_graph=True)
    r1 = slope.square().sum([1, 2, 3]).mean()
    print(r1, torch.autograd.grad(r1, D.b4.fc.weight)[0].norm())
    w = torch.randn(2, 8, 20, generator=generator).requires_grad_()
    made = G.synthesis(w, noise_mode="const")
    noise = torch.randn(made.shape, generator=generator) / 32
    slope, = torch.autograd.grad((made * noise).sum(), w, create_graph=True)
    lengths = slope.square().sum(2).mean(1).sqrt()
    print(lengths, torch.autograd.grad(lengths.sum(), G.synthesis.b16.conv0.weight)[0].norm())
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bottega.errors import WeightsError
from bottega.networks import Noise, StyleGan2Config
from bottega.processes.adversarial import path_lengths, r1_penalty
from bottega.room import Checkpoint
from bottega.systems.image.draggan.checkpoints import network_config, nvidia_table, read_nvidia, write_nvidia
from bottega.systems.image.draggan.config import published
from bottega.systems.image.draggan.model import DragGan
from bottega.weights import load_into, read_tensors, to_ours, to_theirs, write_tensors

GOLDEN = {
    0: {
        "drawn": [1.1572805643081665, -2.3596832752227783, -1.6446659564971924, -6.252186298370361,
                  -3.1245193481445312, -1.7934648990631104, 653.2059936523438],
        "styles": [1.215064287185669, -3.073883056640625, 5.950399875640869, 0.8028733730316162,
                   0.2550969123840332, -1.3790910243988037, 608.6514282226562],
        "scores": [1.6243388652801514, 1.4610934257507324, 1.4903337955474854, 1.5521855354309082,
                   1.5597481727600098, 1.452779769897461, 1.5029022693634033, 1.48228120803833],
        "r1": [0.0055489204823970795, 0.0033167176879942417],
        "paths": [4.5237040519714355, 4.620997428894043, 1.9524850845336914],
    },
    3: {
        "drawn": [-3.3053503036499023, 1.226851463317871, -4.879863262176514, -10.689525604248047,
                  3.0140089988708496, -3.08243465423584, 584.6707763671875],
        "styles": [-2.6111626625061035, -11.458868026733398, -4.255032539367676, 3.329949378967285,
                   -5.3472418785095215, 0.6474590301513672, 649.4806518554688],
        "scores": [-0.015165275894105434, -0.014227686449885368, -0.01561142411082983, -0.014260985888540745,
                   -0.014578267000615597, -0.01393122598528862, -0.015013614669442177, -0.014239143580198288],
        "r1": [1.619019087684137e-07, 1.1174469705110823e-07],
        "paths": [6.0596489906311035, 11.857285499572754, 3.852423906326294],
    },
}  # fmt: skip
"""Six probes and the norm; scores; the penalty and its gradient's norm; two path lengths and their gradient's norm."""


def config(labels: int) -> StyleGan2Config:
    return StyleGan2Config(
        resolution=32, latent_dim=16, style_dim=20, mapping_layers=3, channel_base=256, channel_max=24, labels=labels,
        clamp=60.0,
    )  # fmt: skip


@pytest.fixture(params=GOLDEN)
def networks(request) -> tuple[DragGan, dict[str, list[float]]]:
    """Ours with the numbers that the script above gives theirs."""
    size = config(request.param)
    model = DragGan(published(size)).eval()
    shapes, draw = to_theirs(nvidia_table(size), model.state_dict()), torch.Generator().manual_seed(0)
    named = sorted(name for name in shapes if not name.endswith("resample_filter"))
    filled = {name: torch.randn(shapes[name].shape, generator=draw) for name in named}
    load_into(model, to_ours(nvidia_table(size), filled), source="the formula")
    return model, GOLDEN[request.param]


def probe(values: torch.Tensor) -> torch.Tensor:
    flat = values.flatten()
    return torch.stack([*flat[torch.linspace(0, len(flat) - 1, 6).long()], flat.norm()])


def close(found: torch.Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(found.detach(), torch.tensor(expected), atol=0, rtol=2e-4)


def test_networks_are_the_official_ones(networks):
    model, golden = networks
    draw, labels = torch.Generator().manual_seed(1), model.config.network.labels
    latents, styles = torch.randn(8, 16, generator=draw), torch.randn(8, 8, 20, generator=draw)
    kinds = torch.arange(8) % 3 if labels else None
    close(probe(model.generator(latents, kinds, psi=0.6)), golden["drawn"])
    close(probe(model.generator.synthesis(styles, Noise.NONE)), golden["styles"])
    pictures = torch.randn(8, 3, 32, 32, generator=draw)
    close(model.discriminator(pictures, kinds), golden["scores"])
    few = None if kinds is None else kinds[:4]
    penalty = r1_penalty(lambda x: model.discriminator(x, few), torch.randn(4, 3, 32, 32, generator=draw))
    (slope,) = torch.autograd.grad(penalty, model.discriminator.hidden.weight)
    torch.testing.assert_close(torch.stack((penalty, slope.norm())), torch.tensor(golden["r1"]), atol=1e-12, rtol=2e-3)
    w = torch.randn(2, 8, 20, generator=draw).requires_grad_()
    made = model.generator.synthesis(w)
    lengths = path_lengths(made, w, torch.randn(made.shape, generator=draw))
    (slope,) = torch.autograd.grad(lengths.sum(), model.generator.synthesis.blocks[2].up.weight)
    close(torch.cat((lengths, slope.norm()[None])), golden["paths"])


def test_the_published_names_give_the_size_back(networks, tmp_path):
    model, _ = networks
    path = tmp_path / "networks.safetensors"
    write_nvidia(Checkpoint(config=model.config, tensors=model.state_dict()), path)
    back = read_nvidia(path, None)
    assert back.config == model.config
    assert all(torch.equal(back.tensors[name], value) for name, value in model.state_dict().items())
    assert torch.equal(read_tensors(path)["D.b32.conv1.resample_filter"][0], torch.tensor((1.0, 3.0, 3.0, 1.0)) / 64)


def test_other_networks_are_refused(tmp_path):
    model = DragGan(published(config(0)))
    path = tmp_path / "networks.safetensors"
    write_nvidia(Checkpoint(config=model.config, tensors=model.state_dict()), path)
    larger = replace(model.config, network=replace(model.config.network, style_dim=24))
    with pytest.raises(WeightsError, match="another size"):
        read_nvidia(path, larger)
    theirs = read_tensors(path)
    theirs["G_ema.synthesis.b16.conv1.weight"] = torch.zeros(7, 16, 3, 3)
    with pytest.raises(WeightsError, match="other widths"):
        network_config(theirs, {})
    write_tensors(path, {"something": torch.zeros(2)})
    with pytest.raises(WeightsError, match="no networks of StyleGAN2"):
        read_nvidia(path, None)
