"""LLaMA in the two layouts that are published: transformers' folders, and Meta's."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bottega.networks import (
    LlamaConfig,
    read_llama_hf,
    read_llama_meta,
    require_same_size,
    write_llama_hf,
    write_llama_meta,
)
from bottega.room import Checkpoint, CheckpointFormat
from bottega.tokenizers import has_tokenizer, read_tokenizer, write_tokenizer
from bottega.weights import add_prefix, take_prefix


def read_hf(path: Path, config: LlamaConfig | None) -> Checkpoint:
    """Reads a folder of transformers' `LlamaForCausalLM`, whole or in shards, with its tokenizer.

    Raises:
        FileError: A file is missing or damaged, or the tokenizer is another model's.
        WeightsError: Another architecture or size than asked for, or keys that do not fit.
    """
    found, tensors = read_llama_hf(path)
    require_same_size(config, found, path / "config.json")
    return Checkpoint(
        config=found, tensors=add_prefix(tensors, "decoder"), assets=read_tokenizer(path, found.vocabulary)
    )


def write_hf(checkpoint: Checkpoint, path: Path) -> None:
    """Writes a folder that transformers opens, in shards of at most 5 GB."""
    config: LlamaConfig = checkpoint.config
    special = write_tokenizer(path, checkpoint.assets, config.context)
    write_llama_hf(path, config, take_prefix(checkpoint.tensors, "decoder"), special)


def read_meta(path: Path, config: LlamaConfig | None) -> Checkpoint:
    """Reads Meta's folder: `params.json` beside `consolidated.*.pth`, with `tokenizer.model` there or one level up.

    The files do not say the context: name the preset, or it is LLaMA's 2048.

    Raises:
        FileError: A file or shard is missing or damaged, or the tokenizer is another model's.
        WeightsError: Another size than asked for, or shards that do not fit together.
    """
    found, tensors = read_llama_meta(path, 2048 if config is None else config.context)
    require_same_size(config, found, path / "params.json")
    place = next((place for place in (path, path.parent) if has_tokenizer(place)), path)
    return Checkpoint(
        config=found, tensors=add_prefix(tensors, "decoder"), assets=read_tokenizer(place, found.vocabulary)
    )


def write_meta(checkpoint: Checkpoint, path: Path) -> None:
    """Writes Meta's layout, its one shard as safetensors.

    Raises:
        WeightsError: A size whose head is tied to its embeddings, which the layout cannot say.
    """
    config: LlamaConfig = checkpoint.config
    write_llama_meta(path, config, take_prefix(checkpoint.tensors, "decoder"))
    write_tokenizer(path, checkpoint.assets, config.context)


FORMATS: Final = {
    "hf": CheckpointFormat(
        description="transformers' LlamaForCausalLM: a folder with config.json, safetensors (whole or in shards with "
        "an index) and tokenizer.json or tokenizer.model.",
        read=read_hf,
        write=write_hf,
    ),
    "meta": CheckpointFormat(
        description="Meta's folder: params.json, consolidated.00.pth and its further shards (written as one "
        "consolidated.safetensors), and tokenizer.model there or one level up. Name the preset for a context other "
        "than 2048.",
        read=read_meta,
        write=write_meta,
    ),
}
"""Published layouts by name."""
