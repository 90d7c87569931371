"""Key tables of the ADM U-Net in the three layouts that are published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bottega.errors import WeightsError
from bottega.networks.adm_unet import AdmPlace, AdmUnetConfig, Resample, adm_places
from bottega.weights import ConvAsLinear, Drop, Fuse, KeyTable, Rename, Rule, Transpose


@dataclass(frozen=True, slots=True)
class HeadRows:
    """The rows of a query-key-value projection in another order; ours are (query key value, head, channel).

    Args:
        heads: Attention heads.
        order: Theirs, as an order of ours: (1, 0, 2) is (head, query key value, channel).
        spatial_dims: Dimensions of theirs after the first two, all 1, as of a convolution; the weight alone has them.
    """

    heads: int
    order: tuple[int, int, int]
    spatial_dims: int

    def to_ours(self, tensor: Tensor) -> Tensor:
        """Our tensor for theirs."""
        if tensor.shape[0] % (3 * self.heads):
            raise WeightsError(f"{tensor.shape[0]} rows are not those of 3 projections of {self.heads} heads")
        flat = tensor if tensor.dim() == 1 else ConvAsLinear(self.spatial_dims).to_ours(tensor)
        sizes = (3, self.heads, len(flat) // 3 // self.heads)
        split = flat.reshape(*(sizes[part] for part in self.order), *flat.shape[1:])
        inverse = tuple(self.order.index(part) for part in range(3))
        return split.permute(*inverse, *range(3, split.dim())).reshape(flat.shape)

    def to_theirs(self, tensor: Tensor) -> Tensor:
        """Their tensor for ours."""
        sizes = (3, self.heads, len(tensor) // 3 // self.heads)
        split = tensor.reshape(*sizes, *tensor.shape[1:])
        flat = split.permute(*self.order, *range(3, split.dim())).reshape(tensor.shape)
        return flat if tensor.dim() == 1 else ConvAsLinear(self.spatial_dims).to_theirs(flat)


EDM_ROWS, NEW_ROWS, LEGACY_ROWS = (1, 2, 0), (0, 1, 2), (1, 0, 2)
"""Orders of rows: of NVlabs/edm, of guided-diffusion's "new attention order" (64 pixels), and of its other sizes."""


def adm_keys_edm(config: AdmUnetConfig) -> KeyTable:
    """NVlabs/edm's `DhariwalUNet`."""
    encoder, middle, decoder = adm_places(config)
    table: list[Rule] = [
        Rename("embedding.time1.{rest}", "map_layer0.{rest}"),
        Rename("embedding.time2.{rest}", "map_layer1.{rest}"),
        Rename("conv_in.{rest}", f"enc.{config.size}x{config.size}_conv.{{rest}}"),
        Rename("norm_out.{rest}", "out_norm.{rest}"),
        Rename("conv_out.{rest}", "out_conv.{rest}"),
    ]
    if config.classes:
        table.append(Rename("embedding.class_embed.weight", "map_label.weight", change=Transpose()))
    if config.augment_dim:
        table.append(Rename("embedding.augment_embed.weight", "map_augment.weight"))
    for ours, theirs, places in (("encoder", "enc", encoder), ("middle", "dec", middle), ("decoder", "dec", decoder)):
        for i, place in enumerate(places):
            side = config.size >> place.level
            part = {Resample.DOWN: "down", Resample.UP: "up"}.get(place.resample, f"block{place.number}")
            block = f"{theirs}.{side}x{side}_" + (f"in{place.number}" if ours == "middle" else part)
            table += _edm_block(f"{ours}.{i}", block, place, config)
            if place.resample is not Resample.KEEP:
                table += [_box_filter(f"{block}.{conv}.resample_filter") for conv in ("conv0", "skip")]
    return tuple(table)


def _box_filter(key: str) -> Drop:
    def make(_: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {key: torch.full((1, 1, 2, 2), 0.25)}

    return Drop(key, "the mean of 2 x 2, a constant", make=make)


def _edm_block(ours: str, theirs: str, place: AdmPlace, config: AdmUnetConfig) -> list[Rename]:
    names = [("norm1", "norm0"), ("conv1", "conv0"), ("affine", "affine"), ("norm2", "norm1"), ("conv2", "conv1")]
    if place.channels_in != place.channels_out:
        names.append(("shortcut", "skip"))
    rules = [Rename(f"{ours}.{a}.{kind}", f"{theirs}.{b}.{kind}") for a, b in names for kind in ("weight", "bias")]
    if place.attends:
        parts = ("norm2", "qkv", "proj")
        rules += _attention(ours, tuple(f"{theirs}.{part}" for part in parts), place, config, EDM_ROWS)
    return rules


def adm_keys_guided(config: AdmUnetConfig, order: tuple[int, int, int] = LEGACY_ROWS) -> KeyTable:
    """openai/guided-diffusion's `UNetModel`.

    Args:
        config: The size.
        order: How query, key and value rows lie; `NEW_ROWS` for the 64-pixel model.
    """
    encoder, middle, decoder = adm_places(config)
    table: list[Rule] = [
        Rename("embedding.time1.{rest}", "time_embed.0.{rest}"),
        Rename("embedding.time2.{rest}", "time_embed.2.{rest}"),
        Rename("conv_in.{rest}", "input_blocks.0.0.{rest}"),
        Rename("norm_out.{rest}", "out.0.{rest}"),
        Rename("conv_out.{rest}", "out.2.{rest}"),
    ]
    if config.classes:
        table.append(Rename("embedding.class_embed.weight", "label_emb.weight"))
    for i, place in enumerate(encoder):
        table += _guided_block(f"encoder.{i}", f"input_blocks.{i + 1}", 0, place, config, order)
    table += _guided_block("middle.0", "middle_block", 0, middle[0], config, order)
    table += _guided_block("middle.1", "middle_block", 2, middle[1], config, order)
    number, beside = -1, 0
    for i, place in enumerate(decoder):
        if place.resample is Resample.UP:  # theirs stands at the end of the block before
            table += _guided_block(f"decoder.{i}", f"output_blocks.{number}", beside, place, config, order)
            continue
        number, beside = number + 1, 1 + place.attends
        table += _guided_block(f"decoder.{i}", f"output_blocks.{number}", 0, place, config, order)
    return tuple(table)


def _guided_block(
    ours: str, theirs: str, index: int, place: AdmPlace, config: AdmUnetConfig, order: tuple[int, int, int]
) -> list[Rename]:
    block = f"{theirs}.{index}"
    names = [
        ("norm1", "in_layers.0"), ("conv1", "in_layers.2"), ("affine", "emb_layers.1"), ("norm2", "out_layers.0"),
        ("conv2", "out_layers.3"),
    ]  # fmt: skip
    if place.channels_in != place.channels_out:
        names.append(("shortcut", "skip_connection"))
    rules = [Rename(f"{ours}.{a}.{{rest}}", f"{block}.{b}.{{rest}}") for a, b in names]
    if place.attends:
        parts = tuple(f"{theirs}.{index + 1}.{part}" for part in ("norm", "qkv", "proj_out"))
        rules += _attention(ours, parts, place, config, order)
    return rules


def adm_keys_diffusers(config: AdmUnetConfig) -> KeyTable:
    """The `UNet2DModel` of diffusers with "scale_shift" and "resnet" resampling, as consistency models publish it."""
    encoder, middle, decoder = adm_places(config)
    table: list[Rule] = [
        Rename("embedding.time1.{rest}", "time_embedding.linear_1.{rest}"),
        Rename("embedding.time2.{rest}", "time_embedding.linear_2.{rest}"),
        Rename("conv_in.{rest}", "conv_in.{rest}"),
        Rename("norm_out.{rest}", "conv_norm_out.{rest}"),
        Rename("conv_out.{rest}", "conv_out.{rest}"),
    ]
    if config.classes:
        table.append(Rename("embedding.class_embed.weight", "class_embedding.weight"))
    for i, place in enumerate(encoder):
        down = place.resample is Resample.DOWN  # theirs stands at the end of the level before
        theirs, name = f"down_blocks.{place.level - down}", "downsamplers.0" if down else f"resnets.{place.number}"
        table += _diffusers_block(f"encoder.{i}", theirs, name, place)
    for i, place in enumerate(middle):
        table += _diffusers_block(f"middle.{i}", "mid_block", f"resnets.{i}", place)
    last = len(config.multipliers) - 1
    for i, place in enumerate(decoder):
        up = place.resample is Resample.UP
        theirs, name = f"up_blocks.{last - place.level - up}", "upsamplers.0" if up else f"resnets.{place.number}"
        table += _diffusers_block(f"decoder.{i}", theirs, name, place)
    return tuple(table)


def _diffusers_block(ours: str, theirs: str, name: str, place: AdmPlace) -> list[Rule]:
    names = [(part, part) for part in ("norm1", "conv1", "norm2", "conv2")] + [("affine", "time_emb_proj")]
    if place.channels_in != place.channels_out:
        names.append(("shortcut", "conv_shortcut"))
    rules: list[Rule] = [Rename(f"{ours}.{a}.{{rest}}", f"{theirs}.{name}.{b}.{{rest}}") for a, b in names]
    if not place.attends:
        return rules
    attention, fused = f"{theirs}.attentions.{place.number}", ("to_q", "to_k", "to_v")
    return [
        *rules,
        Rename(f"{ours}.attention.norm.{{rest}}", f"{attention}.group_norm.{{rest}}"),
        Rename(f"{ours}.attention.proj.{{rest}}", f"{attention}.to_out.0.{{rest}}"),
        *(
            Fuse(f"{ours}.attention.qkv.{kind}", tuple(f"{attention}.{part}.{kind}" for part in fused))
            for kind in ("weight", "bias")
        ),
    ]


def _attention(
    ours: str, theirs: tuple[str, ...], place: AdmPlace, config: AdmUnetConfig, order: tuple[int, int, int]
) -> list[Rename]:
    norm, qkv, proj = theirs
    dims = 2 if order == EDM_ROWS else 1
    rows = HeadRows(config.heads(place.channels_out), order, dims)
    return [
        Rename(f"{ours}.attention.norm.{{rest}}", f"{norm}.{{rest}}"),
        Rename(f"{ours}.attention.qkv.weight", f"{qkv}.weight", change=rows),
        Rename(f"{ours}.attention.qkv.bias", f"{qkv}.bias", change=rows),
        Rename(f"{ours}.attention.proj.weight", f"{proj}.weight", change=ConvAsLinear(dims)),
        Rename(f"{ours}.attention.proj.bias", f"{proj}.bias"),
    ]
