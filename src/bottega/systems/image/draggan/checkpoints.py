"""StyleGAN2 as NVIDIA publishes it, and as DragGAN's authors use it: the networks of a pickle, read as data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bottega.errors import WeightsError
from bottega.networks import StyleGan2Config
from bottega.room import Checkpoint, CheckpointFormat
from bottega.systems.image.draggan.config import DragGanConfig, published
from bottega.weights import (
    Drop,
    KeyTable,
    Rename,
    read_metadata,
    read_persistent,
    read_tensors,
    to_ours,
    to_theirs,
    write_tensors,
)

GENERATOR, DISCRIMINATOR = "G_ema", "D"
_SETTINGS = "stylegan2"
_FILTER = "the low-pass filter (1, 3, 3, 1), a constant of ours"
_LABEL_LAYERS = 8
"""Layers of the discriminator's map of labels."""


def _renamed(ours: str, theirs: str, names: str = "weight bias") -> KeyTable:
    return tuple(Rename(f"{ours}.{name}", f"{theirs}.{name}") for name in names.split())


def _styled(ours: str, theirs: str) -> KeyTable:
    names = "affine.weight affine.bias weight bias noise_strength"
    return (*_renamed(ours, theirs, names), Rename(f"{ours}.noise", f"{theirs}.noise_const"))


def _generator(config: StyleGan2Config) -> KeyTable:
    rows: list[Any] = [Rename("generator.mapping.mean_style", f"{GENERATOR}.mapping.w_avg")]
    for i in range(config.mapping_layers):
        rows += _renamed(f"generator.mapping.layers.{i}", f"{GENERATOR}.mapping.fc{i}")
    if config.labels:
        rows += _renamed("generator.mapping.embed", f"{GENERATOR}.mapping.embed")
    for i, side in enumerate(config.sides):
        ours, theirs = f"generator.synthesis.blocks.{i}", f"{GENERATOR}.synthesis.b{side}"
        rows += _styled(f"{ours}.up", f"{theirs}.conv0") if i else [Rename(f"{ours}.const", f"{theirs}.const")]
        rows += _styled(f"{ours}.conv", f"{theirs}.conv1")
        rows += _renamed(f"{ours}.to_picture", f"{theirs}.torgb", "affine.weight affine.bias weight bias")
    return tuple(rows)


def _discriminator(config: StyleGan2Config) -> KeyTable:
    rows: list[Any] = [*_renamed("discriminator.from_picture", f"{DISCRIMINATOR}.b{config.resolution}.fromrgb")]
    for i, side in enumerate(config.sides[:0:-1]):
        ours, theirs = f"discriminator.blocks.{i}", f"{DISCRIMINATOR}.b{side}"
        rows += _renamed(f"{ours}.conv", f"{theirs}.conv0")
        rows += _renamed(f"{ours}.shrink", f"{theirs}.conv1")
        rows += _renamed(f"{ours}.skip", f"{theirs}.skip", "weight")
    for ours, theirs in (("conv", "conv"), ("hidden", "fc"), ("score", "out")):
        rows += _renamed(f"discriminator.{ours}", f"{DISCRIMINATOR}.b4.{theirs}")
    if config.labels:
        rows += _renamed("discriminator.embed", f"{DISCRIMINATOR}.mapping.embed")
        for i in range(_LABEL_LAYERS):
            rows += _renamed(f"discriminator.label_layers.{i}", f"{DISCRIMINATOR}.mapping.fc{i}")
    return tuple(rows)


def _filters(config: StyleGan2Config, _: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The constants of their layers."""
    line = torch.tensor((1.0, 3.0, 3.0, 1.0)) / 8
    owners = [f"{GENERATOR}.synthesis.b4", f"{GENERATOR}.synthesis.b4.conv1", f"{DISCRIMINATOR}.b4.conv"]
    for side in config.sides[1:]:
        made, seen = f"{GENERATOR}.synthesis.b{side}", f"{DISCRIMINATOR}.b{side}"
        owners += [made, f"{made}.conv0", f"{made}.conv1", seen, *(f"{seen}.{p}" for p in ("conv0", "conv1", "skip"))]
    owners.append(f"{DISCRIMINATOR}.b{config.resolution}.fromrgb")
    return {f"{owner}.resample_filter": torch.outer(line, line) for owner in owners}


def nvidia_table(config: StyleGan2Config) -> KeyTable:
    """Both networks against `training/networks.py` of stylegan2-ada-pytorch."""
    make = partial(_filters, config)
    return (
        *_generator(config),
        *_discriminator(config),
        Drop("{rest}.resample_filter", _FILTER, optional=True, make=make),
    )


def network_config(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> StyleGan2Config:
    """The size of published networks, from their tensors' shapes.

    Args:
        tensors: By their names.
        settings: What shapes do not say: "clamp" and "std_group".

    Raises:
        WeightsError: They are no StyleGAN2 networks, or of another architecture than the published ones.
    """
    start = f"{GENERATOR}.synthesis.b"
    sides = sorted({int(k.removeprefix(start).partition(".")[0]) for k in tensors if k.startswith(start)})
    first, last = f"{GENERATOR}.mapping.fc0.weight", f"{GENERATOR}.synthesis.b4.torgb.affine.weight"
    if not sides or first not in tensors or last not in tensors:
        raise WeightsError("these are no networks of StyleGAN2 with styles mapped from latents (G_ema.mapping.fc0 ...)")
    layers = sum(k.startswith(f"{GENERATOR}.mapping.fc") and k.endswith("weight") for k in tensors)
    widths = {side: tensors[f"{start}{side}.conv1.weight"].shape[0] for side in sides}
    embed = tensors.get(f"{GENERATOR}.mapping.embed.weight")
    style_dim = tensors[last].shape[1]
    config = StyleGan2Config(
        resolution=sides[-1],
        latent_dim=tensors[first].shape[1] - (0 if embed is None else embed.shape[0]),
        style_dim=style_dim,
        mapping_layers=layers,
        channel_base=widths[sides[-1]] * sides[-1],
        channel_max=widths[4],
        labels=0 if embed is None else embed.shape[1],
        picture_channels=tensors[f"{start}4.torgb.weight"].shape[0],
        clamp=settings.get("clamp"),
        std_group=settings.get("std_group", 4),
    )
    if {side: config.channels(side) for side in config.sides} != widths:
        raise WeightsError(f"these networks have other widths than any StyleGAN2: {widths} by side")
    return config


def read_nvidia(path: Path, config: DragGanConfig | None) -> Checkpoint:
    """Reads a published `.pkl` without unpickling it, or the same networks as safetensors.

    Raises:
        FileError: The file is damaged, or holds no such networks.
        WeightsError: They are of another kind or size.
    """
    if path.suffix.lower() == ".pkl":
        theirs, attributes = read_persistent(path, (GENERATOR, DISCRIMINATOR))
        settings = _told(attributes)
    else:
        theirs = read_tensors(path)
        settings = json.loads(read_metadata(path).get(_SETTINGS, "{}"))
    found = network_config(theirs, settings)
    if config is None:
        config = published(found)
    elif replace(config.network, clamp=found.clamp, std_group=found.std_group) == found:
        config = replace(config, network=found)
    else:
        raise WeightsError(f"{path} holds networks of {found.resolution} pixels and another size than this preset")
    return Checkpoint(config=config, tensors=to_ours(nvidia_table(found), theirs))


def write_nvidia(checkpoint: Checkpoint, path: Path) -> None:
    """Writes the networks under their published names, as safetensors."""
    network: StyleGan2Config = checkpoint.config.network
    settings = {"clamp": network.clamp, "std_group": network.std_group}
    write_tensors(path, to_theirs(nvidia_table(network), checkpoint.tensors), {_SETTINGS: json.dumps(settings)})


def _told(attributes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the parts of a pickle say of themselves that shapes do not.

    Raises:
        WeightsError: An architecture that was not published with StyleGAN2's weights.
    """
    kinds = {str(part["architecture"]) for part in attributes.values() if "architecture" in part}
    if kinds - {"skip", "resnet"}:
        raise WeightsError(f"these networks have blocks of the architecture {', '.join(sorted(kinds))}; ours skip")
    clamps = [part["conv_clamp"] for part in attributes.values() if "conv_clamp" in part]
    groups = [part["group_size"] for part in attributes.values() if "group_size" in part]
    told: dict[str, Any] = {"clamp": float(clamps[0]) if clamps else None}
    return told | ({"std_group": int(groups[0])} if groups else {})


FORMATS = {
    "nvidia": CheckpointFormat(
        description="A .pkl of stylegan2-ada-pytorch (also DragGAN's), read as data in a process with bounded memory "
        "and time: nothing inside is run. Or its networks G_ema and D under their names as safetensors.",
        read=read_nvidia,
        write=write_nvidia,
    ),
}
