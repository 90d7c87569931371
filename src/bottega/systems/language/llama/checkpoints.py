"""LLaMA in the two layouts that are published: transformers' folders, and Meta's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from bottega.errors import WeightsError
from bottega.networks import LlamaConfig, llama_config, llama_json, llama_keys, read_llama_meta, write_llama_meta
from bottega.room import Checkpoint, CheckpointFormat
from bottega.systems.language.llama.model import TOKENIZER
from bottega.tokenizers import (
    TextTokenizer,
    read_language_folder,
    require_fit,
    tokenizer_from_json,
    write_language_folder,
)
from bottega.weights import (
    add_prefix,
    read_folder_config,
    read_folder_tensors,
    take_prefix,
    to_ours,
    to_theirs,
    write_folder,
)

TOKENIZER_FILES: Final = ("tokenizer.json", "tokenizer.model")


def read_hf(path: Path, config: LlamaConfig | None) -> Checkpoint:
    """Reads a folder of transformers' `LlamaForCausalLM`, whole or in shards, with its tokenizer.

    Raises:
        FileError: A file is missing or damaged, or the tokenizer is another model's.
        WeightsError: Another architecture or size than asked for, or keys that do not fit.
    """
    found = llama_config(read_folder_config(path))
    _require_same(config, found, path / "config.json")
    tensors = to_ours(llama_keys(found), read_folder_tensors(path))
    return Checkpoint(config=found, tensors=add_prefix(tensors, "decoder"), assets=_tokenizer(found, path))


def write_hf(checkpoint: Checkpoint, path: Path) -> None:
    """Writes a folder that transformers opens, in shards of at most 5 GB."""
    config: LlamaConfig = checkpoint.config
    theirs = to_theirs(llama_keys(config), take_prefix(checkpoint.tensors, "decoder"))
    said, special = llama_json(config), dict[str, Any]()
    if TOKENIZER in checkpoint.assets:
        tokenizer = tokenizer_from_json(checkpoint.assets[TOKENIZER])
        special = {"bos_token_id": tokenizer.start, "eos_token_id": tokenizer.end, "pad_token_id": tokenizer.pad}
        write_language_folder(path, tokenizer, config.context)
    write_folder(path, said | special, theirs)


def read_meta(path: Path, config: LlamaConfig | None) -> Checkpoint:
    """Reads Meta's folder: `params.json` beside `consolidated.*.pth`, with `tokenizer.model` there or one level up.

    The files do not say the context: name the preset, or it is LLaMA's 2048.

    Raises:
        FileError: A file or shard is missing or damaged, or the tokenizer is another model's.
        WeightsError: Another size than asked for, or shards that do not fit together.
    """
    found, tensors = read_llama_meta(path, 2048 if config is None else config.context)
    _require_same(config, found, path / "params.json")
    places = [place for place in (path, path.parent) if any((place / name).is_file() for name in TOKENIZER_FILES)]
    return Checkpoint(
        config=found,
        tensors=add_prefix(tensors, "decoder"),
        assets=_tokenizer(found, places[0] if places else path),
    )


def write_meta(checkpoint: Checkpoint, path: Path) -> None:
    """Writes Meta's layout, its one shard as safetensors.

    Raises:
        WeightsError: A size whose head is tied to its embeddings, which the layout cannot say.
    """
    config: LlamaConfig = checkpoint.config
    write_llama_meta(path, config, take_prefix(checkpoint.tensors, "decoder"))
    if TOKENIZER in checkpoint.assets:
        write_language_folder(path, tokenizer_from_json(checkpoint.assets[TOKENIZER]), config.context)


def _tokenizer(config: LlamaConfig, folder: Path) -> dict[str, str]:
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        return {}
    tokenizer: TextTokenizer = read_language_folder(folder)
    require_fit(tokenizer, config.vocabulary)
    return {TOKENIZER: tokenizer.to_json()}


def _require_same(asked: LlamaConfig | None, found: LlamaConfig, path: Path) -> None:
    if asked is not None and asked != found:
        fields = [name for name in LlamaConfig.__slots__ if getattr(asked, name) != getattr(found, name)]
        name = fields[0]
        raise WeightsError(
            f"{path} says {name} {getattr(found, name)}, but the preset has {getattr(asked, name)}; "
            "leave out --preset or name the right one"
        )


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
