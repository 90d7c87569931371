"""NCSN and NCSNv2 in the files that their authors publish: lists with the state dict first, the averages last."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from bottega.errors import RequestError
from bottega.room import Checkpoint, CheckpointFormat
from bottega.systems.diffusion.ncsn.config import DEEPEST, NcsnConfig
from bottega.weights import KeyTable, Rename, Rule, Split, list_length, read_tensors, to_ours, to_theirs, write_tensors


def _norm(config: NcsnConfig, ours: str, theirs: str) -> list[Rule]:
    """InstanceNorm++: NCSN keeps scales, shares and offsets of all levels side by side in one embedding."""
    parts = (f"{ours}.scale", f"{ours}.share", f"{ours}.offset")
    if config.conditional:
        return [Split(parts, f"{theirs}.embed.weight", dim=1)]
    names = ("gamma", "alpha", "beta")
    return [Rename(part, f"{theirs}.{name}") for part, name in zip(parts, names, strict=True)]


def _stage_rules(config: NcsnConfig, number: int, name: str) -> list[Rule]:
    stage, rules = config.stages[number], []
    for block in range(2):
        ours, theirs = f"network.blocks.{2 * number + block}", f"{name}.{block}"
        first = block == 0 and number > 0
        inner = ".conv" if first and stage.halve else ""  # a convolution inside their module that also pools
        rules += _norm(config, f"{ours}.norm1", f"{theirs}.normalize1")
        rules += _norm(config, f"{ours}.norm2", f"{theirs}.normalize2")
        rules.append(Rename(f"{ours}.conv1.{{rest}}", f"{theirs}.conv1.{{rest}}"))
        rules += [Rename(f"{ours}.conv2.{part}", f"{theirs}.conv2{inner}.{part}") for part in ("weight", "bias")]
        if first and (stage.halve or stage.dilation > 1):
            rules += [Rename(f"{ours}.shortcut.{p}", f"{theirs}.shortcut{inner}.{p}") for p in ("weight", "bias")]
    return rules


def _unit_rules(config: NcsnConfig, ours: str, theirs: str, pairs: int) -> list[Rule]:
    rules: list[Rule] = []
    for i in range(2 * pairs):
        name = f"{theirs}.{i // 2 + 1}_{i % 2 + 1}"
        rules.append(Rename(f"{ours}.convs.{i}.weight", f"{name}_conv.weight"))
        rules += _norm(config, f"{ours}.norms.{i}", f"{name}_norm") if config.conditional else []
    return rules


def _refine_rules(config: NcsnConfig, number: int, name: str) -> list[Rule]:
    ours, inputs, is_last = f"network.refine.{number}", 2 if number else 1, number == len(config.stages) - 1
    rules = [Rename(f"{ours}.pooling.convs.{{i}}.weight", f"{name}.crp.convs.{{i}}.weight")]
    rules += _unit_rules(config, f"{ours}.output", f"{name}.output_convs", 3 if is_last else 1)
    for i in range(inputs):
        rules += _unit_rules(config, f"{ours}.adapt.{i}", f"{name}.adapt_convs.{i}", 2)
    if number:
        rules.append(Rename(f"{ours}.join.{{i}}.{{rest}}", f"{name}.msf.convs.{{i}}.{{rest}}"))
    if config.conditional:
        rules += _norm(config, f"{ours}.pooling.norms.{{i}}", f"{name}.crp.norms.{{i}}")
        rules += _norm(config, f"{ours}.join_norms.{{i}}", f"{name}.msf.norms.{{i}}") if number else []
    return rules


def key_table(config: NcsnConfig) -> KeyTable:
    """The score network against `CondRefineNetDilated` of ermongroup/ncsn, or the `NCSNv2*` of ermongroup/ncsnv2."""
    rules: list[Rule] = [] if config.conditional else [Rename("sigmas", "sigmas")]
    numbers = ["1", "2", "3", "31", "4", "5"] if config.stages == DEEPEST else None
    for number in range(len(config.stages)):
        name = numbers[number] if numbers else str(number + 1)
        rules += _stage_rules(config, number, f"res{name}")
        # on the way up the authors' extra block stands between refine2 and refine3
        rules += _refine_rules(config, number, f"refine{['1', '2', '31', '3', '4', '5'][number] if numbers else name}")
    rules += _norm(config, "network.norm_out", "normalizer")
    rules += [Rename(f"network.conv_{end}.{{rest}}", f"{name}_conv.{{rest}}") for end, name in _ENDS]
    return tuple(rules)


_ENDS = (("in", "begin"), ("out", "end"))
_PARALLEL = "module."
AVERAGES = 4
"""Where the list of an NCSNv2 run (network, optimizer, epoch, step, averages) holds the averaged weights."""


def read_authors(path: Path, config: NcsnConfig | None) -> Checkpoint:
    """Reads a published checkpoint, averaged where it holds averages, or a bare state dict.

    Raises:
        RequestError: No size was named; the files do not say it.
        FileError: The file is missing or damaged.
        WeightsError: The keys or shapes do not fit the size.
    """
    if config is None:
        raise RequestError("the authors' files do not say which size they hold; name one with --preset")
    length = list_length(path)
    theirs = _plain_names(read_tensors(path, inside=None if length is None else 0))
    if length is not None and length > AVERAGES:
        theirs |= _plain_names(read_tensors(path, inside=AVERAGES))
    return Checkpoint(config=config, tensors=to_ours(key_table(config), theirs))


def _plain_names(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(_PARALLEL): value for key, value in theirs.items()}


def write_authors(checkpoint: Checkpoint, path: Path) -> None:
    """Writes the same names as safetensors."""
    write_tensors(path, to_theirs(key_table(checkpoint.config), checkpoint.tensors))


FORMATS = {
    "authors": CheckpointFormat(
        description="The checkpoints of ermongroup/ncsn and ermongroup/ncsnv2 (lists of network, optimizer and more; "
        "NCSNv2's averages are taken), or the state dict by itself. Name the preset.",
        read=read_authors,
        write=write_authors,
    ),
}
