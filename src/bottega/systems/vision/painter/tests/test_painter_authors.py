"""Painter against its authors' code, every parameter randomised.

The numbers below were made with baaivision/Painter at commit cfec845, by this script beside its `models_painter.py`
(torch 2.13, CPU; timm's `Mlp` and `trunc_normal_` as published, `DropPath` as nothing, detectron2, fvcore and fairscale
as empty modules, for nothing of theirs is used by this network):

    from functools import partial; import torch; from torch import nn; import models_painter
    model = models_painter.Painter(img_size=(32, 16), patch_size=4, embed_dim=16, depth=24, num_heads=2,
        norm_layer=partial(nn.LayerNorm, eps=1e-6), use_rel_pos=True, decoder_embed_dim=4, pretrain_img_size=12).eval()
    generator = torch.Generator().manual_seed(0)
    for name, p in sorted(model.state_dict().items()):
        one = name.endswith("weight") and ("norm" in name or name == "decoder_pred.1.weight")
        p.data.copy_(0.2 * torch.randn(p.shape, generator=generator) + one)
    g = torch.Generator().manual_seed(1)
    x, y = torch.randn(2, 3, 32, 16, generator=g), torch.randn(2, 3, 32, 16, generator=g)
    masked = torch.rand(2, 32, generator=g) < 0.5
    valid = (torch.rand(2, 3, 32, 16, generator=g) < 0.8).float()
    valid = valid * (1 + 9 * (torch.rand(2, 3, 32, 16, generator=g) < 0.2))
    loss, made, _ = model(x, y, masked, valid);  made = model.unpatchify(made).flatten()
    print(made[torch.linspace(0, len(made) - 1, 8).long()], made.norm(), loss)

and for the suppression with `mask_matrix_nms` of `util/matrix_nms.py`:

    g = torch.Generator().manual_seed(5)
    masks, scores = torch.rand(5, 4, 4, generator=g) < 0.6, torch.rand(5, generator=g)
    scores, _, _, kept = mask_matrix_nms(masks, torch.zeros(5), scores)           # put back into the order given
"""

import pytest
import torch

from bottega.errors import RequestError, WeightsError
from bottega.networks import PainterConfig, painter_keys
from bottega.ops import matrix_nms
from bottega.processes.painting import PointBrush, painting_loss
from bottega.systems.vision.painter.checkpoints import read_authors, write_authors
from bottega.systems.vision.painter.config import PRESETS, PainterTasksConfig
from bottega.systems.vision.painter.model import PainterSystem
from bottega.systems.vision.painter.objective import EPS
from bottega.weights import load_into, to_ours, to_theirs

CONFIG = PainterTasksConfig(
    network=PainterConfig(
        size=16, patch_size=4, width=16, depth=24, num_heads=2, decoder_width=4, position_rows=3, drop_path=0.0
    )
)
GOLDEN = [-0.13311240077018738, 0.3819260597229004, -0.3425935208797455, 0.3012712895870209, -0.23981621861457825,
          -0.23541197180747986, 0.5835847854614258, 0.4708779752254486]  # fmt: skip
NORM, LOSS = 15.531049728393555, 0.8319188952445984
FADED = [0.2823738157749176, 0.2571217715740204, 0.3371402621269226, 0.6998243927955627, 0.8436713814735413]


@pytest.fixture(scope="module")
def loaded():
    """Our model with the script's values, read through the key table; and those values under the authors' names."""
    model = PainterSystem(CONFIG).eval()
    table = painter_keys(CONFIG.network)
    generator = torch.Generator().manual_seed(0)
    theirs = {}
    for name, tensor in sorted(to_theirs(table, model.network.state_dict()).items()):
        one = name.endswith("weight") and ("norm" in name or name == "decoder_pred.1.weight")
        theirs[name] = 0.2 * torch.randn(tensor.shape, generator=generator) + float(one)
    load_into(model.network, to_ours(table, theirs), source="golden")
    return model, theirs


@torch.no_grad()
def test_equal_to_the_authors(loaded):
    generator = torch.Generator().manual_seed(1)
    shape = (2, 3, 32, 16)
    x, y = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
    masked = (torch.rand(2, 32, generator=generator) < 0.5).view(2, 8, 4)
    valid = (torch.rand(shape, generator=generator) < 0.8).float()
    valid = valid * (1 + 9 * (torch.rand(shape, generator=generator) < 0.2))
    made = loaded[0].network(x, y, masked)
    values = made.flatten()
    assert values[torch.linspace(0, len(values) - 1, 8).long()].tolist() == pytest.approx(GOLDEN, abs=2e-5)
    assert values.norm().item() == pytest.approx(NORM, rel=1e-5)
    assert painting_loss(made, y, masked, valid, eps=EPS).item() == pytest.approx(LOSS, rel=1e-5)


def test_suppression_is_the_authors():
    generator = torch.Generator().manual_seed(5)
    masks, scores = torch.rand(5, 4, 4, generator=generator) < 0.6, torch.rand(5, generator=generator)
    assert matrix_nms(masks, scores).tolist() == pytest.approx(FADED, abs=1e-6)


def test_the_published_size_has_the_authors_tensors():
    """`sum(p.numel() for p in model.parameters())` and `len(model.state_dict())` of their ViT-L."""
    with torch.device("meta"):
        model = PainterSystem(PRESETS["vit_l"].config)
    theirs = to_theirs(painter_keys(PRESETS["vit_l"].config.network), model.network.state_dict())
    assert len(theirs) == 352
    assert sum(tensor.numel() for tensor in theirs.values()) == PRESETS["vit_l"].parameters == 370_721_155
    assert theirs["blocks.23.attn.rel_pos_h"].shape == (111, 64)
    assert theirs["decoder_embed.weight"].shape == (16384, 4096)


@pytest.mark.parametrize("nested", [True, False])
def test_the_published_file_is_read(loaded, tmp_path, nested):
    theirs = loaded[1]
    torch.save({"model": theirs, "epoch": 14} if nested else theirs, tmp_path / "painter_vit_large.pth")
    read = read_authors(tmp_path, CONFIG)
    ours = loaded[0].state_dict()
    assert read.tensors.keys() == ours.keys()
    assert all(torch.equal(read.tensors[name], ours[name]) for name in ours)
    write_authors(read, tmp_path / "again.safetensors")
    again = read_authors(tmp_path / "again.safetensors", CONFIG)
    assert all(torch.equal(again.tensors[name], ours[name]) for name in ours)


def test_a_file_that_does_not_fit_is_refused(loaded, tmp_path):
    path = tmp_path / "painter_vit_large.pth"
    torch.save({"model": {**loaded[1], "head.weight": torch.zeros(1)}}, path)
    with pytest.raises(WeightsError, match=r"head\.weight"):
        read_authors(path, CONFIG)
    with pytest.raises(RequestError, match="preset"):
        read_authors(path, None)


def test_sizes_that_cannot_be_are_refused():
    network = PainterConfig()
    for wrong in (
        {"network": PainterConfig(typed=True)},
        {"network": network, "classes": 3, "stuff": (3,)},
        {"network": network, "classes": 3, "class_names": ("one",)},
        {"network": network, "brush": PointBrush(count=5)},
        {"network": network, "farthest": 0.0},
    ):
        with pytest.raises(ValueError, match=r"\w"):
            PainterTasksConfig(**wrong)


def test_sides_change_places_in_a_mirror():
    for preset in PRESETS.values():
        config = preset.config
        for left, right in config.mirror_pairs:
            assert config.joints[left].removeprefix("left") == config.joints[right].removeprefix("right")
        assert len(config.mirror_pairs) == sum(name.startswith("left ") for name in config.joints)
