"""Mixtral's layout, with the gate of null experts where there are some."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bottega.errors import WeightsError
from bottega.networks import MixtralConfig, mixtral_config, mixtral_json, mixtral_keys
from bottega.room import Checkpoint, CheckpointFormat
from bottega.tokenizers import read_tokenizer, write_tokenizer
from bottega.weights import (
    add_prefix,
    read_folder_config,
    read_folder_tensors,
    take_prefix,
    to_ours,
    to_theirs,
    write_folder,
)


def read_hf(path: Path, config: MixtralConfig | None) -> Checkpoint:
    """Reads a folder of transformers' `MixtralForCausalLM`, whole or in shards, with its tokenizer.

    Raises:
        FileError: A file is missing or damaged, or the tokenizer is another model's.
        WeightsError: Another architecture or size than asked for, or keys that do not fit.
    """
    found = mixtral_config(read_folder_config(path))
    if config is not None and config != found:
        raise WeightsError(f"{path / 'config.json'} says {found}, but the preset has {config}; leave out --preset")
    tensors = to_ours(mixtral_keys(found), read_folder_tensors(path))
    assets = read_tokenizer(path, found.decoder.vocabulary)
    return Checkpoint(config=found, tensors=add_prefix(tensors, "decoder"), assets=assets)


def write_hf(checkpoint: Checkpoint, path: Path) -> None:
    """Writes a folder that transformers opens, unless there are null experts, which it does not know.

    Raises:
        WeightsError: A routing that the layout does not have.
    """
    config: MixtralConfig = checkpoint.config
    theirs = to_theirs(mixtral_keys(config), take_prefix(checkpoint.tensors, "decoder"))
    said = mixtral_json(config) | write_tokenizer(path, checkpoint.assets, config.decoder.context)
    write_folder(path, said, theirs)


FORMATS: Final = {
    "hf": CheckpointFormat(
        description="transformers' MixtralForCausalLM: a folder with config.json, safetensors (whole or in shards with "
        "an index) and a tokenizer; null experts are `gate2`, as in the authors' code, and num_null_experts.",
        read=read_hf,
        write=write_hf,
        presets=("8x7b", "8x22b", "tiny", "tiny-mixtral", "tiny-dense"),
    ),
}
"""Published layouts by name."""
