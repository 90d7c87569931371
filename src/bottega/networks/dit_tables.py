"""Key tables and configuration of DiT in the layouts of its authors and of diffusers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from bottega.errors import WeightsError
from bottega.networks.dit import DIT_SIZES, DitConfig, position_waves
from bottega.weights import Drop, Fuse, KeyTable, Rename


def dit_block_keys(ours: str, theirs: str) -> KeyTable:
    """One block in the authors' names; MDT uses the same."""
    return (
        Rename(f"{ours}.modulation.{{rest}}", f"{theirs}.adaLN_modulation.1.{{rest}}"),
        Rename(f"{ours}.attention.qkv.{{rest}}", f"{theirs}.attn.qkv.{{rest}}"),
        Rename(f"{ours}.attention.proj.{{rest}}", f"{theirs}.attn.proj.{{rest}}"),
        Rename(f"{ours}.mlp.{{rest}}", f"{theirs}.mlp.{{rest}}"),
    )


DIT_END_KEYS: KeyTable = (
    Rename("patch_embed.proj.{rest}", "x_embedder.proj.{rest}"),
    Rename("told.time.{rest}", "t_embedder.mlp.{rest}"),
    Rename("told.classes.weight", "y_embedder.embedding_table.weight"),
    Rename("head.modulation.{rest}", "final_layer.adaLN_modulation.1.{rest}"),
    Rename("head.linear.{rest}", "final_layer.linear.{rest}"),
)
"""What lies around the blocks, in the authors' names; MDT uses the same."""


def dit_keys(config: DitConfig) -> KeyTable:
    """facebookresearch/DiT, `models.py`."""

    def positions(_: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {"pos_embed": position_waves(config.rows, config.width).unsqueeze(0)}

    return (
        Drop("pos_embed", "fixed sines and cosines, which our model computes", make=positions),
        *dit_block_keys("blocks.{i}", "blocks.{i}"),
        *DIT_END_KEYS,
    )


_EMBEDDERS = (
    ("told.time.0.{rest}", "timestep_embedder.linear_1.{rest}"),
    ("told.time.2.{rest}", "timestep_embedder.linear_2.{rest}"),
    ("told.classes.{rest}", "class_embedder.embedding_table.{rest}"),
)
_BLOCK = (
    ("modulation", "norm1.linear"),
    ("attention.proj", "attn1.to_out.0"),
    ("mlp.fc1", "ff.net.0.proj"),
    ("mlp.fc2", "ff.net.2"),
)


def _copied(block: int) -> Drop:
    """The embedders of a later block, which are those of the first again."""
    place = f"transformer_blocks.{block}.norm1.emb"

    def again(ours: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        stems = [(mine.removesuffix("{rest}"), theirs.removesuffix("{rest}")) for mine, theirs in _EMBEDDERS]
        return {
            f"{place}.{theirs}{key.removeprefix(mine)}": tensor
            for mine, theirs in stems
            for key, tensor in ours.items()
            if key.startswith(mine)
        }

    return Drop(f"{place}.{{rest}}", "a copy of the first block's embedders", make=again)


def dit_diffusers_keys(config: DitConfig) -> KeyTable:
    """Diffusers' DiTTransformer2DModel, in which every block carries a copy of the embedders."""
    qkv = ("to_q", "to_k", "to_v")
    return (
        Rename("patch_embed.proj.{rest}", "pos_embed.proj.{rest}"),
        *(Rename(mine, f"transformer_blocks.0.norm1.emb.{theirs}") for mine, theirs in _EMBEDDERS),
        *(_copied(block) for block in range(1, config.depth)),
        *(Rename(f"blocks.{{i}}.{a}.{{rest}}", f"transformer_blocks.{{i}}.{b}.{{rest}}") for a, b in _BLOCK),
        *(
            Fuse(
                f"blocks.{{i}}.attention.qkv.{kind}",
                tuple(f"transformer_blocks.{{i}}.attn1.{part}.{kind}" for part in qkv),
            )
            for kind in ("weight", "bias")
        ),
        Rename("head.modulation.{rest}", "proj_out_1.{rest}"),
        Rename("head.linear.{rest}", "proj_out_2.{rest}"),
    )


_PLAIN = {
    "activation_fn": "gelu-approximate", "attention_bias": True, "dropout": 0.0, "norm_elementwise_affine": False,
    "norm_type": "ada_norm_zero", "upcast_attention": False,
}  # fmt: skip
DIFFUSERS_LAST_FREQUENCY = 127


def dit_config(theirs: Mapping[str, Any]) -> DitConfig:
    """Our configuration for diffusers' `config.json`.

    Raises:
        WeightsError: It asks for something that no published DiT has.
    """
    strange = {name: theirs[name] for name, value in _PLAIN.items() if theirs.get(name, value) != value}
    if strange:
        raise WeightsError(f"a DiT has {_PLAIN}, but this one says {strange}; it is another network")
    channels, heads = theirs["in_channels"], theirs["num_attention_heads"]
    return DitConfig(
        size=theirs["sample_size"],
        channels=channels,
        patch_size=theirs["patch_size"],
        width=heads * theirs["attention_head_dim"],
        depth=theirs["num_layers"],
        num_heads=heads,
        classes=theirs["num_embeds_ada_norm"],
        learn_sigma=theirs.get("out_channels", channels) == 2 * channels,
        last_frequency=DIFFUSERS_LAST_FREQUENCY,
        mlp_eps=theirs.get("norm_eps", 1e-5),
    )


def dit_json(config: DitConfig) -> dict[str, Any]:
    """Diffusers' `config.json` for our configuration.

    Raises:
        WeightsError: diffusers cannot say this size.
    """
    if not config.null_class or config.mlp_ratio != 4.0:
        raise WeightsError(
            "diffusers' DiT has a null class and MLPs of four times the width; write the authors' layout"
        )
    return _PLAIN | {
        "_class_name": "DiTTransformer2DModel",
        "sample_size": config.size,
        "in_channels": config.channels,
        "out_channels": config.outputs,
        "patch_size": config.patch_size,
        "num_attention_heads": config.num_heads,
        "attention_head_dim": config.width // config.num_heads,
        "num_layers": config.depth,
        "num_embeds_ada_norm": config.classes,
        "norm_eps": config.mlp_eps,
        "norm_num_groups": 32,
    }


def as_diffusers(config: DitConfig) -> DitConfig:
    """The size with the two numbers in which diffusers' network differs from the authors'."""
    return replace(config, last_frequency=DIFFUSERS_LAST_FREQUENCY, mlp_eps=1e-5)


DIT_DIFFUSERS_SIZES = {name: as_diffusers(config) for name, config in DIT_SIZES.items()}
"""The published sizes with diffusers' numerics."""
