"""NCSN++ and DDPM++ under the names of the authors' code, yang-song/score_sde_pytorch `models/ncsnpp.py`.

There all modules lie in one list, `all_modules.0`, `all_modules.1`, ..., in order of construction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from bottega.errors import WeightsError
from bottega.networks.ncsnpp import BlockKind, NcsnppConfig, Progressive, TimeEmbedding
from bottega.weights import Fuse, KeyTable, Rename, Rule, Transpose


@dataclass(frozen=True, slots=True)
class MatrixAsConv:
    """Theirs is a matrix `(in, out)`, ours the weight of a convolution with kernel 1, `(out, in, 1, 1)`."""

    def to_ours(self, tensor: Tensor) -> Tensor:
        """Our tensor for theirs."""
        if tensor.dim() != 2:
            raise WeightsError(f"shape {tuple(tensor.shape)} is not that of a matrix")
        return tensor.t().contiguous()[:, :, None, None]

    def to_theirs(self, tensor: Tensor) -> Tensor:
        """Their tensor for ours."""
        if tensor.dim() != 4 or tuple(tensor.shape[2:]) != (1, 1):
            raise WeightsError(f"shape {tuple(tensor.shape)} is not (out, in, 1, 1)")
        return tensor[:, :, 0, 0].t().contiguous()


def ncsnpp_keys(config: NcsnppConfig) -> KeyTable:
    """The key table of a size. The authors' buffer `sigmas` is none of the network's: the caller drops it."""
    rules: list[Rule] = []
    for number, (ours, kind) in enumerate(_modules(config)):
        theirs = f"all_modules.{number}"
        match kind:
            case "fourier":
                rules.append(Rename(f"{ours}.frequencies", f"{theirs}.W"))
            case "block" | "shortcut block":
                rules += _block(config, ours, theirs, shortcut=kind == "shortcut block")
            case "attention":
                rules += _attention(ours, theirs)
            case _:
                rules += _both(ours, f"{theirs}{kind}")
    return tuple(rules)


def _modules(config: NcsnppConfig) -> Iterator[tuple[str, str]]:
    """Our modules in the authors' order, each with its kind, or with what stands between its name and its tensors'."""
    if config.time is TimeEmbedding.FOURIER:
        yield "features", "fourier"
    yield from (("time1", ""), ("time2", ""), ("conv_in", ""))
    for level in range(len(config.widths)):
        yield from _down(config, level)
    yield from (("middle1", "block"), ("middle_attention", "attention"), ("middle2", "block"))
    for step, level in enumerate(reversed(range(len(config.widths)))):
        yield from _up(config, step, level)
    if config.output is not Progressive.SKIP:
        yield from (("norm_out", ""), ("conv_out", ""))


def _down(config: NcsnppConfig, level: int) -> Iterator[tuple[str, str]]:
    before = config.widths[level - 1] if level else config.width
    for i in range(config.blocks):
        yield f"down.{level}.blocks.{i}", "block" if before == config.widths[level] else "shortcut block"
        before = config.widths[level]
        if config.sides[level] in config.attention_sizes:
            yield f"down.{level}.attentions.{i}", "attention"
    if level < len(config.widths) - 1:
        yield from _change(config, f"down.{level}.down")
        yield from _shrink(config, level)


def _up(config: NcsnppConfig, step: int, level: int) -> Iterator[tuple[str, str]]:
    for i in range(config.blocks + 1):
        yield f"up.{step}.blocks.{i}", "shortcut block"
    if config.sides[level] in config.attention_sizes:
        yield f"up.{step}.attention", "attention"
    yield from _picture(config, step)
    if level:
        yield from _change(config, f"up.{step}.up")


def _change(config: NcsnppConfig, ours: str) -> Iterator[tuple[str, str]]:
    """What leads to the next level."""
    if config.block is BlockKind.BIGGAN:
        yield ours, "shortcut block"
    else:
        yield f"{ours}.conv", _resampled(config)


def _shrink(config: NcsnppConfig, level: int) -> Iterator[tuple[str, str]]:
    if config.input is Progressive.SKIP:
        yield f"down.{level}.combine", ".Conv_0"
    elif config.input is Progressive.RESIDUAL:
        yield f"down.{level}.shrink.conv", _resampled(config)


def _picture(config: NcsnppConfig, step: int) -> Iterator[tuple[str, str]]:
    if config.output is Progressive.SKIP or (config.output is Progressive.RESIDUAL and step == 0):
        yield from ((f"up.{step}.norm", ""), (f"up.{step}.to_picture", ""))
    elif config.output is Progressive.RESIDUAL:
        yield f"up.{step}.grow.conv", _resampled(config)


def _resampled(config: NcsnppConfig) -> str:
    return ".Conv2d_0" if config.fir else ".Conv_0"


def _both(ours: str, theirs: str) -> list[Rule]:
    return [Rename(f"{ours}.{part}", f"{theirs}.{part}") for part in ("weight", "bias")]


def _block(config: NcsnppConfig, ours: str, theirs: str, *, shortcut: bool) -> list[Rule]:
    parts = (("norm1", "GroupNorm_0"), ("conv1", "Conv_0"), ("time", "Dense_0"))
    parts += (("norm2", "GroupNorm_1"), ("conv2", "Conv_1"))
    rules = [rule for part, name in parts for rule in _both(f"{ours}.{part}", f"{theirs}.{name}")]
    if shortcut and config.block is BlockKind.BIGGAN:
        rules += _both(f"{ours}.shortcut", f"{theirs}.Conv_2")
    elif shortcut:
        rules.append(Rename(f"{ours}.shortcut.weight", f"{theirs}.NIN_0.W", change=MatrixAsConv()))
        rules.append(Rename(f"{ours}.shortcut.bias", f"{theirs}.NIN_0.b"))
    return rules


def _attention(ours: str, theirs: str) -> list[Rule]:
    qkv = [f"{theirs}.NIN_{i}" for i in range(3)]
    return [
        *_both(f"{ours}.inner.norm", f"{theirs}.GroupNorm_0"),
        Fuse(f"{ours}.inner.qkv.weight", tuple(f"{name}.W" for name in qkv), change=Transpose()),
        Fuse(f"{ours}.inner.qkv.bias", tuple(f"{name}.b" for name in qkv)),
        Rename(f"{ours}.inner.proj.weight", f"{theirs}.NIN_3.W", change=Transpose()),
        Rename(f"{ours}.inner.proj.bias", f"{theirs}.NIN_3.b"),
    ]
