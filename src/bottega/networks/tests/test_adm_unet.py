"""The ADM U-Net against both published codes and diffusers, every parameter randomised, and its published sizes.

The numbers of NVlabs/edm and openai/guided-diffusion below were made with their main branches by this script in a
folder that holds both (torch 2.13, CPU; guided-diffusion with `unet.checkpoint` replaced by a plain call):

    def fill(model, std, seed=0):
        generator = torch.Generator().manual_seed(seed)
        for name, p in sorted(model.named_parameters()):
            p.data.copy_(std * torch.randn(p.shape, generator=generator) + (p.ndim == 1 and name.endswith("weight")))
    edm = DhariwalUNet(img_resolution=16, in_channels=3, out_channels=3, label_dim=5, augment_dim=4, model_channels=64,
                       channel_mult=[1, 2], num_blocks=1, attn_resolutions=[8], dropout=0.0)
    heads = dict(num_heads=2)                                                                               # "legacy"
    heads = dict(num_head_channels=64, use_new_attention_order=True)                                        # "new"
    guided = UNetModel(image_size=16, in_channels=6, model_channels=128, out_channels=6, num_res_blocks=2,
                       attention_resolutions=(2, 4), channel_mult=(1, 1, 2), num_classes=5,
                       use_scale_shift_norm=True, resblock_updown=True, **heads)
    fill(edm, 0.08);  fill(guided, 0.05)
    generator = torch.Generator().manual_seed(1)
    x, time = torch.randn(2, 3 (edm) or 6, 16, 16, generator=generator), torch.tensor([-1.3, 412.5])
    augment, labels = torch.randn(2, 4, generator=generator), torch.tensor([4, 1])
    y = edm(x, time, torch.eye(5)[labels], augment) or guided(x, time, labels);  y = y.flatten()
    print(y[torch.linspace(0, len(y) - 1, 8).long()], y.norm(), len(model.state_dict()))
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bottega.networks import (
    ADM_SIZES,
    LEGACY_ROWS,
    NEW_ROWS,
    AdmUnet,
    AdmUnetConfig,
    adm_keys_diffusers,
    adm_keys_edm,
    adm_keys_guided,
)
from bottega.networks.adm_unet import boosted_scores
from bottega.weights import KeyTable, load_into, to_ours, to_theirs

EDM = AdmUnetConfig(
    size=16, width=64, multipliers=(1, 2), blocks=1, attention_sizes=(8,), classes=5, augment_dim=4
)  # fmt: skip
GUIDED = {
    "size": 16, "channels_in": 6, "channels_out": 6, "width": 128, "multipliers": (1, 1, 2), "blocks": 2,
    "attention_sizes": (8, 4), "classes": 5,
}  # fmt: skip
LEGACY, NEW = AdmUnetConfig(**GUIDED, num_heads=2), AdmUnetConfig(**GUIDED)
CASES: dict[str, tuple[AdmUnetConfig, KeyTable, float, list[float], float, int]] = {
    "edm": (
        EDM, adm_keys_edm(EDM), 0.08,
        [0.3206157684326172, 1.508698582649231, -0.010997988283634186, 1.3004240989685059, 1.6985796689987183,
         1.0470619201660156, -0.5838978886604309, 0.7086381912231445], 43.58740997314453, 150,
    ),
    "legacy": (
        LEGACY, adm_keys_guided(LEGACY, LEGACY_ROWS), 0.05,
        [0.46169114112854004, -0.3544601798057556, 1.7159717082977295, 0.3527767062187195, 0.8611945509910583,
         0.6557786464691162, -0.22334742546081543, -0.3429706394672394], 52.965328216552734, 307,
    ),
    "new": (
        NEW, adm_keys_guided(NEW, NEW_ROWS), 0.05,
        [0.5061618089675903, -0.24691584706306458, 1.9510889053344727, 0.6602600812911987, 0.7256736755371094,
         0.6126534938812256, -0.1863982379436493, -0.2592998445034027], 52.87812042236328, 307,
    ),
}  # fmt: skip
SMALL = AdmUnetConfig(
    size=8, width=16, multipliers=(1, 2), blocks=1, attention_sizes=(8, 4), head_dim=8, classes=3, vector_dim=6,
    context_dim=10,
)  # fmt: skip


def filled(theirs: dict[str, Tensor], std: float) -> dict[str, Tensor]:
    """The same names and shapes with the script's values; buffers stay."""
    generator = torch.Generator().manual_seed(0)

    def value(name: str, tensor: Tensor) -> Tensor:
        if name.endswith("resample_filter"):
            return tensor
        noise = std * torch.randn(tensor.shape, generator=generator)
        return noise + float(tensor.ndim == 1 and name.endswith("weight"))

    return {name: value(name, tensor) for name, tensor in sorted(theirs.items())}


def loaded(case: str) -> tuple[AdmUnet, dict[str, Tensor]]:
    config, table, std = CASES[case][:3]
    network = AdmUnet(config).eval()
    theirs = filled(to_theirs(table, network.state_dict()), std)
    load_into(network, to_ours(table, theirs), source="golden")
    return network, theirs


@torch.no_grad()
def output(network: AdmUnet) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, network.config.channels_in, 16, 16, generator=generator)
    augment, labels = torch.randn(2, 4, generator=generator), torch.tensor([4, 1])
    told = {"labels": labels, "augment": augment} if network.config.augment_dim else labels
    return network(x, torch.tensor([-1.3, 412.5]), told).flatten()


def picked(y: Tensor) -> Tensor:
    return y[torch.linspace(0, len(y) - 1, 8).long()]


@pytest.mark.parametrize("case", CASES)
def test_equals_the_published_code(case: str) -> None:
    network, theirs = loaded(case)
    values, norm, tensors = CASES[case][3:]
    assert len(theirs) == tensors
    y = output(network)
    torch.testing.assert_close(picked(y), torch.tensor(values), rtol=1e-5, atol=1e-5)
    assert y.norm().item() == pytest.approx(norm, rel=1e-5)
    back = to_theirs(CASES[case][1], network.state_dict())
    assert all(torch.equal(back[name], tensor) for name, tensor in theirs.items())


def test_rows_of_the_wrong_order_are_seen() -> None:
    """The planted mutation: the same file read with the other size's order of query, key and value rows."""
    network, theirs = loaded("new")
    load_into(network, to_ours(adm_keys_guided(NEW, LEGACY_ROWS), theirs), source="golden")
    assert (picked(output(network)) - torch.tensor(CASES["new"][3])).abs().max() > 1e-2


@torch.no_grad()
def test_equals_diffusers() -> None:
    """The U-Net in which consistency models for ImageNet are published, cut small."""
    from diffusers import UNet2DModel

    config = AdmUnetConfig(
        size=16, channels_out=6, width=32, multipliers=(1, 2, 3), blocks=2, attention_sizes=(8, 4), head_dim=16,
        classes=5,
    )  # fmt: skip
    peer = UNet2DModel(
        sample_size=16, in_channels=3, out_channels=6, block_out_channels=(32, 64, 96), layers_per_block=2,
        down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"), downsample_type="resnet",
        upsample_type="resnet", attention_head_dim=16, resnet_time_scale_shift="scale_shift", norm_num_groups=8,
        attn_norm_num_groups=8, num_class_embeds=5, norm_eps=1e-5,
    ).eval()  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    for name, p in sorted(peer.named_parameters()):
        p.copy_(0.1 * torch.randn(p.shape, generator=generator) + (p.ndim == 1 and name.endswith("weight")))
    ours = AdmUnet(config).eval()
    load_into(ours, to_ours(adm_keys_diffusers(config), peer.state_dict()), source="peer")
    for part in ours.modules():  # diffusers has one number of groups for all widths
        if isinstance(part, torch.nn.GroupNorm):
            part.num_groups = 8
    x, time = torch.randn(2, 3, 16, 16, generator=generator), torch.tensor([3.0, 700.0])
    made, expected = ours(x, time, torch.tensor([2, 0])), peer(x, time, torch.tensor([2, 0])).sample
    assert float((made - expected).abs().max() / expected.abs().max()) < 1e-5
    back = to_theirs(adm_keys_diffusers(config), ours.state_dict())
    assert back.keys() == peer.state_dict().keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in peer.state_dict().items())


@pytest.mark.parametrize(("name", "parameters"), [
    ("edm-imagenet-64", 295_899_267), ("imagenet-64", 295_904_454), ("imagenet-128", 421_529_606),
    ("imagenet-256", 553_838_086), ("imagenet-256-unconditional", 552_814_086), ("imagenet-512", 558_997_638),
    ("upsample-64-256", 311_795_910), ("lsun-256", 552_814_086),
])  # fmt: skip
def test_published_sizes(name: str, parameters: int) -> None:
    """arXiv:2105.05233, tables 11 and 12: 296, 422, 554, 559 and 312 M; NVlabs/edm prints 295.9 M."""
    with torch.device("meta"):
        network = AdmUnet(ADM_SIZES[name])
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def small(seed: int = 0) -> AdmUnet:
    torch.manual_seed(seed)
    network = AdmUnet(SMALL)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return network


def told(batch: int = 2, **more: Tensor) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    context = torch.randn(batch, 4, 10, generator=generator)
    return {
        "labels": torch.arange(batch) % 3, "vector": torch.randn(batch, 6, generator=generator), "context": context,
        **more,
    }  # fmt: skip


def test_gradients_reach_every_parameter() -> None:
    network = small()
    x = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    network(x, torch.tensor([0.1, 0.5, 2.0]), told(3)).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@torch.no_grad()
def test_starts_at_zero_and_ignores_what_no_layer_reads_yet() -> None:
    torch.manual_seed(0)
    assert AdmUnet(SMALL)(torch.randn(2, 3, 8, 8), torch.ones(2), told()).abs().max() == 0


@torch.no_grad()
def test_class_weights_stand_for_classes_and_zeros_for_none() -> None:
    network, x, time = small().eval(), torch.randn(2, 3, 8, 8), torch.tensor([0.3, 1.0])
    ids = network(x, time, told())
    torch.testing.assert_close(network(x, time, told(labels=torch.eye(3)[:2])), ids)
    silent = {name: value for name, value in told().items() if name != "labels"}
    torch.testing.assert_close(network(x, time, told(labels=torch.zeros(2, 3))), network(x, time, silent))


@torch.no_grad()
def test_hidden_tokens_are_not_seen() -> None:
    network, x, time = small().eval(), torch.randn(2, 3, 8, 8), torch.tensor([0.3, 1.0])
    mask = torch.tensor([[True, True, False, False], [True, False, True, False]])
    given = told(context_mask=mask)
    other = given["context"] + torch.randn(2, 4, 10) * ~mask[..., None]
    torch.testing.assert_close(network(x, time, given), network(x, time, {**given, "context": other}))
    shown = network(x, time, {**given, "context": other, "context_mask": torch.ones_like(mask)})
    assert (shown - network(x, time, given)).abs().max() > 1e-3


@torch.no_grad()
def test_a_boost_pulls_attention_to_its_token_where_it_is_painted() -> None:
    generator = torch.Generator().manual_seed(3)
    q, k = torch.randn(1, 2, 6, 4, generator=generator), torch.randn(1, 2, 3, 4, generator=generator)
    boost = torch.zeros(1, 3, 6)
    boost[0, 1, :3] = 5.0
    bias = boosted_scores(q, k, boost, None)
    plain = q @ k.transpose(-2, -1) / 2
    before, after = plain.softmax(-1), (plain + bias).softmax(-1)
    assert (after[:, :, :3, 1] > before[:, :, :3, 1]).all()
    torch.testing.assert_close(after[:, :, 3:], before[:, :, 3:])
    torch.testing.assert_close(bias[0, :, 0, 1], 5 * plain.amax((-2, -1))[0])
    network, x, time = small().eval(), torch.randn(2, 3, 8, 8), torch.ones(2)
    nothing = network(x, time, told(boost=torch.zeros(2, 4, 8, 8)))
    torch.testing.assert_close(nothing, network(x, time, told()))


@pytest.mark.parametrize("changes", [{"size": 10, "multipliers": (1, 2, 3)}, {"blocks": 0}, {"num_heads": 7}])
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="multiple|at least|divided"):
        AdmUnetConfig(**{"size": 16, **changes})
