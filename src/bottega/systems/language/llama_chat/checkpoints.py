"""Llama 2-Chat in transformers' folders, with its adapters in peft's beside them, and in Meta's."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from bottega.errors import FileError, WeightsError
from bottega.layers import merged_weight
from bottega.networks import (
    Llama,
    LlamaConfig,
    llama_lora_parts,
    read_llama_hf,
    read_llama_meta,
    read_peft,
    require_same_size,
    write_llama_hf,
    write_llama_meta,
    write_peft,
)
from bottega.room import Checkpoint, CheckpointFormat
from bottega.systems.language.llama_chat.config import ChatConfig, Role
from bottega.systems.language.llama_chat.model import ChatModel, new_adapters, new_heads
from bottega.tokenizers import has_tokenizer, read_tokenizer, write_tokenizer
from bottega.weights import add_prefix, read_tensors, take_prefix, write_tensors

HEADS: Final = "heads.safetensors"
ADAPTERS: Final = "adapters"
SETTINGS: Final = "adapter_config.json"
CONTEXT: Final = 4096  # of Llama 2, where the folder does not say it
MOST_BASES: Final = 4  # adapters of adapters


def read_hf(path: Path, config: ChatConfig | None) -> Checkpoint:
    """Reads a folder of transformers' `LlamaForCausalLM`, and what lies beside it of our own.

    A folder of peft's that holds one adapter is read with its base model's folder, and merged into it. A preset with
    adapters takes new ones where the folder has none: that is how alignment starts from any LLaMA.

    Raises:
        FileError: A file is missing or damaged, or the tokenizer is another model's.
        WeightsError: Another size than asked for, or keys that do not fit.
    """
    decoder, tensors, place = _decoder(path, MOST_BASES)
    found = ChatConfig(decoder=decoder, adapters=None if config is None else config.adapters)
    roles = [role for role in Role if (path / ADAPTERS / role.value / SETTINGS).is_file()]
    if config is None and roles:
        found = dataclasses.replace(found, adapters=read_peft(path / ADAPTERS / roles[0].value).config)
    require_same_size(None if config is None else config.decoder, decoder, path)
    own = _fresh(found)
    for role in roles if found.adapters is not None else ():
        own |= add_prefix(_fitting(path, found, role), f"adapters.{role.value}")
    if found.adapters is not None and (path / HEADS).is_file():
        own |= add_prefix(read_tensors(path / HEADS), "heads")
    tensors = add_prefix(tensors, "decoder") | own
    return Checkpoint(config=found, tensors=tensors, assets=read_tokenizer(place, decoder.vocabulary))


def write_hf(checkpoint: Checkpoint, path: Path) -> None:
    """Writes a folder that transformers opens, with each adapter in a folder below it that peft opens."""
    config: ChatConfig = checkpoint.config
    special = write_tokenizer(path, checkpoint.assets, config.decoder.context)
    write_llama_hf(path, config.decoder, take_prefix(checkpoint.tensors, "decoder"), special)
    if config.adapters is None:
        return
    with torch.device("meta"):
        model = ChatModel(config)
    for role in Role:
        tensors = take_prefix(checkpoint.tensors, f"adapters.{role.value}")
        write_peft(path / ADAPTERS / role.value, model.lora(role), base="../..", tensors=tensors)
    write_tensors(path / HEADS, take_prefix(checkpoint.tensors, "heads"))


def read_meta(path: Path, config: ChatConfig | None) -> Checkpoint:
    """Reads Meta's folder: `params.json` beside `consolidated.*.pth`, with `tokenizer.model` there or one level up.

    Raises:
        FileError: A file or shard is missing or damaged, or the tokenizer is another model's.
        WeightsError: Another size than asked for, or shards that do not fit together.
    """
    decoder, tensors = read_llama_meta(path, CONTEXT if config is None else config.decoder.context)
    require_same_size(None if config is None else config.decoder, decoder, path / "params.json")
    place = next((place for place in (path, path.parent) if has_tokenizer(place)), path)
    return Checkpoint(
        config=ChatConfig(decoder=decoder),
        tensors=add_prefix(tensors, "decoder"),
        assets=read_tokenizer(place, decoder.vocabulary),
    )


def write_meta(checkpoint: Checkpoint, path: Path) -> None:
    """Writes Meta's layout, its one shard as safetensors.

    Raises:
        WeightsError: A model with adapters, which the layout has no place for.
    """
    config: ChatConfig = checkpoint.config
    if config.adapters is not None:
        raise WeightsError("Meta's layout has no place for adapters; write --to hf")
    write_llama_meta(path, config.decoder, take_prefix(checkpoint.tensors, "decoder"))
    write_tokenizer(path, checkpoint.assets, config.decoder.context)


def _decoder(path: Path, bases: int) -> tuple[LlamaConfig, dict[str, Tensor], Path]:
    """The decoder of a folder, its tensors, and where its tokenizer lies."""
    if not (path / SETTINGS).is_file():
        return *read_llama_hf(path), path
    adapter = read_peft(path)
    places = [place for place in (path / adapter.base, Path(adapter.base)) if adapter.base and place.is_dir()]
    if not places or bases == 0:
        raise FileError(
            f"{path} is an adapter of {adapter.base or 'a model that it does not name'}, which is no folder here; "
            f"copy that model's folder there, or name it in {SETTINGS}"
        )
    found, tensors, place = _decoder(places[0], bases - 1)
    with torch.device("meta"):
        model = Llama(found)
    lora = adapter.onto(model, llama_lora_parts(found))
    merged = {f"{name}.weight": name for name in dict.fromkeys(part.layer for part in lora.parts)}
    return (
        found,
        {key: merged_weight(merged[key], value, (lora,)) if key in merged else value for key, value in tensors.items()},
        place,
    )


def _fresh(config: ChatConfig) -> dict[str, Tensor]:
    """New adapters and heads under our names."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        with torch.device("meta"):
            decoder = Llama(config.decoder)
        adapters, heads = new_adapters(decoder, config), new_heads(config)
    return add_prefix(adapters.state_dict(), "adapters") | add_prefix(heads.state_dict(), "heads")


def _fitting(path: Path, config: ChatConfig, role: Role) -> dict[str, Tensor]:
    """The factors of one of our adapters.

    Raises:
        WeightsError: It has another size.
    """
    adapter = read_peft(path / ADAPTERS / role.value)
    if adapter.config != config.adapters:
        raise WeightsError(f"{path / ADAPTERS / role.value} has {adapter.config}, but the preset has {config.adapters}")
    with torch.device("meta"):
        decoder = Llama(config.decoder)
    return dict(adapter.onto(decoder, llama_lora_parts(config.decoder)).state_dict())


FORMATS: Final = {
    "hf": CheckpointFormat(
        description="transformers' LlamaForCausalLM: a folder with config.json, safetensors (whole or in shards with "
        "an index) and tokenizer.json or tokenizer.model; adapters of alignment lie in adapters/ROLE as peft has them. "
        "A folder of peft's is read with its base model.",
        read=read_hf,
        write=write_hf,
    ),
    "meta": CheckpointFormat(
        description="Meta's folder: params.json, consolidated.00.pth and its further shards (written as one "
        "consolidated.safetensors), and tokenizer.model there or one level up.",
        read=read_meta,
        write=write_meta,
        presets=("7b", "13b", "70b"),
    ),
}
"""Published layouts by name."""
