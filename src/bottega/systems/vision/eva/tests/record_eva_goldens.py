"""Records what the authors' and open_clip's modules answer at a tiny width: eva_goldens.json.

Run it where baaivision/EVA, mlfoundations/open_clip and huggingface/pytorch-image-models are checked out, with
`EVA-CLIP/rei`, `EVA-01/eva`, `open_clip/src` and `pytorch-image-models` on the path, and anything named torchvision:

    python record_eva_goldens.py OUT.json
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

setattr(np, "float", float)  # noqa: B010 - the authors' code is of 2022

SEEN = dict(image_size=16, layers=2, width=32, patch_size=4, head_width=16)
TEXT = dict(context_length=8, vocab_size=40, width=24, heads=2, layers=2)


def filled(model: nn.Module) -> dict[str, list[int]]:
    """Fills every parameter by a formula; returns the names and shapes of what a file would hold."""
    generator = torch.Generator().manual_seed(0)
    shapes = {}
    for name, tensor in sorted(model.state_dict().items()):
        shapes[name] = list(tensor.shape)
        if "freqs_" not in name:
            ones = float(("norm" in name or "ln" in name) and name.endswith("weight"))
            tensor.data.copy_(0.3 * torch.randn(tensor.shape, generator=generator) + ones)
    return shapes


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pictures, tokens (39 ends a text), and which patches are hidden."""
    generator = torch.Generator().manual_seed(1)
    pictures = torch.randn(2, 3, 16, 16, generator=generator)
    tokens = torch.tensor([[38, 5, 17, 3, 39, 0, 0, 0], [38, 30, 2, 39, 0, 0, 0, 0]])
    return pictures, tokens, torch.rand(2, 16, generator=generator).argsort(1) < 6


def numbers(tensor: torch.Tensor) -> list[float]:
    """A tensor as a flat list."""
    return [round(float(value), 7) for value in tensor.detach().flatten()]


@torch.no_grad()
def clip_case(model: nn.Module) -> dict[str, object]:
    """Names, shapes and both features of an EVA-CLIP."""
    shapes, (pictures, tokens, _) = filled(model), inputs()
    model.eval()
    return {
        "shapes": shapes,
        "pictures": numbers(model.encode_image(pictures)),
        "texts": numbers(model.encode_text(tokens)),
    }


def authors() -> dict[str, object]:
    """EVA-CLIP of baaivision/EVA."""
    from eva_clip.model import CustomCLIP

    kinds = {
        "clip-g": dict(mlp_ratio=3.0),
        "clip-l": dict(mlp_ratio=2.6667, rope=True, pt_hw_seq_len=16, intp_freq=True, naiveswiglu=True, subln=True),
        "clip-e": dict(mlp_ratio=3.0, postnorm=True),
    }
    return {
        f"authors {name}": clip_case(
            CustomCLIP(20, {**SEEN, "eva_model_name": "any", "drop_path_rate": 0.0, **kind}, TEXT)
        )
        for name, kind in kinds.items()
    }


def open_clip() -> dict[str, object]:
    """EVA-CLIP of open_clip, whose towers are timm's."""
    from open_clip.model import CustomTextCLIP

    small = dict(img_size=16, patch_size=4, embed_dim=32, depth=2, num_heads=2)
    kinds = {
        "clip-g": ("eva_giant_patch14_224", dict(mlp_ratio=3.0)),
        "clip-l": ("eva02_large_patch14_clip_224", dict(mlp_ratio=2.6667)),
        "clip-e": ("eva02_enormous_patch14_clip_224", dict(mlp_ratio=3.0)),
    }
    made = {}
    for name, (tower, kind) in kinds.items():
        vision = dict(image_size=16, timm_model_name=tower, timm_pool="token", timm_proj=None)
        vision["timm_model_kwargs"] = {**small, **kind}
        made[f"open_clip {name}"] = clip_case(CustomTextCLIP(20, vision, TEXT))
    return made


@torch.no_grad()
def pretraining() -> dict[str, object]:
    """Masked pre-training of baaivision/EVA: EVA-g, and EVA-L."""
    import modeling_mae_pretrain
    import modeling_pretrain

    pictures, _, mask = inputs()
    norm = partial(nn.LayerNorm, eps=1e-6)
    size = dict(img_size=16, patch_size=4, embed_dim=32, depth=2, num_heads=2, predict_feature_dim=20)
    beit = modeling_pretrain.VisionTransformerForMaskedImageModeling(
        **size, mlp_ratio=3.0, qkv_bias=True, norm_layer=norm
    )
    shapes = filled(beit)
    told = beit.eval()(pictures, bool_masked_pos=mask)
    made = {"authors eva-g": {"shapes": shapes, "told": numbers(told)}}
    mae = modeling_mae_pretrain.MaskedAutoencoderViT(
        **size, mlp_dim=96, decoder_embed_dim=24, decoder_depth=2, decoder_num_heads=2, norm_layer=norm, grad_ckpt=False
    )
    shapes = filled(mae)

    def given(x: torch.Tensor, ratio: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        order = mask.int().argsort(dim=1, stable=True)
        kept = order[:, : int((~mask[0]).sum())]
        return torch.gather(x, 1, kept[..., None].expand(-1, -1, x.shape[-1])), mask.float(), order.argsort(1)

    mae.random_masking = given
    latent, _, restore = mae.eval().forward_encoder(pictures, 0.0)
    made["authors eva-l"] = {"shapes": shapes, "told": numbers(mae.forward_decoder(latent, restore))}
    return made


if __name__ == "__main__":
    goldens = {**authors(), **open_clip(), **pretraining()}
    Path(sys.argv[1]).write_text(json.dumps(goldens) + "\n")
