"""Score SDE models under the names of their authors' code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from bottega.errors import RequestError
from bottega.networks import ncsnpp_keys
from bottega.processes.diffusion import VeGeometric
from bottega.room import Checkpoint, CheckpointFormat
from bottega.systems.diffusion.score_sde.config import ScoreSdeConfig
from bottega.weights import (
    Drop,
    KeyTable,
    add_prefix,
    read_tensors,
    take_prefix,
    to_ours,
    to_theirs,
    write_tensors,
)

SCALES = {32: 1000}
"""Noise levels in the authors' buffer, by the side of pictures; 2000 where the side is another."""


def table(config: ScoreSdeConfig) -> KeyTable:
    """The network against `models/ncsnpp.py`."""
    return (*ncsnpp_keys(config.network), Drop("sigmas", "noise levels, which the SDE knows", make=_sigmas(config)))


def _sigmas(config: ScoreSdeConfig):  # noqa: ANN202 - what `Drop` takes
    sde = config.sde if isinstance(config.sde, VeGeometric) else VeGeometric()
    count = SCALES.get(config.network.size, 2000)

    def make(ours: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {"sigmas": sde.sigma(torch.linspace(1.0, 1e-12, count, dtype=torch.float64))}

    return make


def read_authors(path: Path, config: ScoreSdeConfig | None) -> Checkpoint:
    """Reads a state dict, or the `model` entry of a published checkpoint.

    Raises:
        RequestError: No size was named; the files do not say it.
        FileError: The file is missing or damaged.
        WeightsError: The keys or shapes do not fit the size.
    """
    if config is None:
        raise RequestError("the authors' files do not say which size they hold; name one with --preset")
    theirs = read_tensors(path, inside=None if path.suffix == ".safetensors" else "model")
    theirs = take_prefix(theirs, "module") or theirs  # as DataParallel saves it
    return Checkpoint(config=config, tensors=add_prefix(to_ours(table(config), theirs), "network"))


def write_authors(checkpoint: Checkpoint, path: Path) -> None:
    """Writes the state dict under the authors' names as safetensors."""
    theirs = to_theirs(table(checkpoint.config), take_prefix(checkpoint.tensors, "network"))
    write_tensors(path, add_prefix(theirs, "module"))


FORMATS = {
    "authors": CheckpointFormat(
        description="The state dict of yang-song/score_sde_pytorch's NCSN++: a .pth with the entry `model`, or "
        "safetensors. Name the preset.",
        read=read_authors,
        write=write_authors,
    ),
}
