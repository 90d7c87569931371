"""Mixtral's layout, with the gate of null experts where there are some."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from bottega.errors import WeightsError
from bottega.networks import MixtralConfig, mixtral_config, mixtral_json, mixtral_keys
from bottega.room import Checkpoint, CheckpointFormat
from bottega.systems.language.adamoe.model import TOKENIZER
from bottega.tokenizers import read_language_folder, require_fit, tokenizer_from_json, write_language_folder
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
    tensors, assets = to_ours(mixtral_keys(found), read_folder_tensors(path)), dict[str, str]()
    if any((path / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        tokenizer = read_language_folder(path)
        require_fit(tokenizer, found.decoder.vocabulary)
        assets[TOKENIZER] = tokenizer.to_json()
    return Checkpoint(config=found, tensors=add_prefix(tensors, "decoder"), assets=assets)


def write_hf(checkpoint: Checkpoint, path: Path) -> None:
    """Writes a folder that transformers opens, unless there are null experts, which it does not know.

    Raises:
        WeightsError: A routing that the layout does not have.
    """
    config: MixtralConfig = checkpoint.config
    said: dict[str, Any] = mixtral_json(config)
    theirs = to_theirs(mixtral_keys(config), take_prefix(checkpoint.tensors, "decoder"))
    if (text := checkpoint.assets.get(TOKENIZER)) is not None:
        tokenizer = tokenizer_from_json(text)
        said |= {"bos_token_id": tokenizer.start, "eos_token_id": tokenizer.end, "pad_token_id": tokenizer.pad}
        write_language_folder(path, tokenizer, config.decoder.context)
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
