"""Score SDE models under the names of their authors' code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from bottega.errors import RequestError, WeightsError
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
    """Reads a published checkpoint, with its averaged weights, or a bare state dict.

    Raises:
        RequestError: No size was named; the files do not say it.
        FileError: The file is missing or damaged.
        WeightsError: The keys or shapes do not fit the size.
    """
    if config is None:
        raise RequestError("the authors' files do not say which size they hold; name one with --preset")
    theirs = read_tensors(path) if path.suffix == ".safetensors" else _averaged(path)
    theirs = take_prefix(theirs, "module") or theirs  # as DataParallel saves it
    return Checkpoint(config=config, tensors=add_prefix(to_ours(table(config), theirs), "network"))


def _averaged(path: Path) -> dict[str, Tensor]:
    """The entry `model` with the averages, a list without names of what is trained, in the order of the model's names.

    Raises:
        WeightsError: The list does not fit the names.
    """
    model = read_tensors(path, inside="model")
    averages = list(read_tensors(path, inside=("ema", "shadow_params")).values())
    fixed = ("sigmas", "all_modules.0.W")  # the noise levels, and the frequencies of the times
    trained = [key for key in model if not key.endswith(fixed)]
    if [tensor.shape for tensor in averages] != [model[key].shape for key in trained]:
        raise WeightsError(
            f"{path} has {len(averages)} averages that do not fit the {len(trained)} weights of its model"
        )
    return model | dict(zip(trained, averages, strict=True))


def write_authors(checkpoint: Checkpoint, path: Path) -> None:
    """Writes the state dict under the authors' names as safetensors."""
    theirs = to_theirs(table(checkpoint.config), take_prefix(checkpoint.tensors, "network"))
    write_tensors(path, add_prefix(theirs, "module"))


FORMATS = {
    "authors": CheckpointFormat(
        description="yang-song/score_sde_pytorch's NCSN++: a .pth with the entries `model` and `ema` (the averages are "
        "taken), or the state dict as safetensors. Name the preset.",
        read=read_authors,
        write=write_authors,
    ),
}
