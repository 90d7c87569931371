"""LLaMA in the two layouts that are published: transformers' folders, and Meta's."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from bottega.errors import FileError, WeightsError
from bottega.networks import LlamaConfig, llama_config, llama_json, llama_keys, llama_meta_keys
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
    read_tensors,
    take_prefix,
    to_ours,
    to_theirs,
    write_folder,
    write_tensors,
    write_text,
)

COLUMNS: Final = ("attention.wq", "attention.wk", "attention.wv", "feed_forward.w1", "feed_forward.w3", "output")
"""What Meta's shards cut along the outputs; `ROWS` along the inputs (embeddings: along the channels)."""
ROWS: Final = ("attention.wo", "feed_forward.w2", "tok_embeddings")
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
    params = read_folder_config(path, "params.json")
    theirs = _joined(path, _shards(path))
    try:
        found = _meta_config(params, theirs, 2048 if config is None else config.context)
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(f"{path / 'params.json'} does not describe a LLaMA ({error}); copy it again") from error
    _require_same(config, found, path / "params.json")
    tensors = to_ours(llama_meta_keys(found), theirs)
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
    if config.tied:
        raise WeightsError("Meta's layout has no head that is tied to the embeddings; write --to hf")
    path.mkdir(parents=True, exist_ok=True)
    write_tensors(
        path / "consolidated.safetensors",
        to_theirs(llama_meta_keys(config), take_prefix(checkpoint.tensors, "decoder")),
    )
    write_text(path / "params.json", json.dumps(_meta_params(config), indent=2) + "\n")
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


def _shards(path: Path) -> list[Path]:
    """The files of Meta's weights, in order.

    Raises:
        FileError: None is there, or one is missing.
    """
    found = {}
    for file in sorted(path.iterdir()):
        if match := re.fullmatch(r"consolidated(?:\.(\d\d))?\.(?:pth|safetensors)", file.name):
            found[int(match[1] or 0)] = file
    missing = sorted(set(range(max(found, default=0) + 1)) - set(found))
    if missing:
        raise FileError(f"{path} lacks consolidated.{missing[0]:02}.pth; copy all of the model's files there")
    return [found[number] for number in sorted(found)]


def _joined(path: Path, shards: list[Path]) -> dict[str, Tensor]:
    """Meta's shards as one: cut along outputs or inputs, or repeated in each.

    Raises:
        WeightsError: They do not fit together.
    """
    parts = [read_tensors(shard) for shard in shards]
    for shard, part in zip(shards, parts, strict=True):
        if part.keys() != parts[0].keys():
            odd = sorted(part.keys() ^ parts[0].keys())
            raise WeightsError(f"{shard} and {shards[0].name} are not of one model: only one has {odd[0]}")
    if len(parts) == 1:
        return parts[0]
    return {key: _whole(path, key, [part.pop(key) for part in parts]) for key in list(parts[0])}


def _whole(path: Path, key: str, pieces: list[Tensor]) -> Tensor:
    name = re.sub(r"^layers\.\d+\.", "", key).removesuffix(".weight")
    if name in COLUMNS or name in ROWS:
        if len({piece.shape for piece in pieces}) > 1:
            raise WeightsError(f"the shards of {path} have {key} in different shapes; copy them again")
        return torch.cat(pieces, dim=0 if name in COLUMNS else 1)
    if not all(torch.equal(piece, pieces[0]) for piece in pieces):
        raise WeightsError(f"the shards of {path} differ in {key}, which each holds whole; copy them again")
    return pieces[0]


def _meta_config(params: dict[str, Any], tensors: dict[str, Tensor], context: int) -> LlamaConfig:
    """Source: meta-llama/llama, `ModelArgs` and `FeedForward`."""
    width, heads = int(params["dim"]), int(params["n_heads"])
    vocabulary = int(params.get("vocab_size", -1))
    hidden = _rounded(width, float(params.get("ffn_dim_multiplier") or 1.0), int(params["multiple_of"]))
    return LlamaConfig(
        vocabulary=len(tensors["tok_embeddings.weight"]) if vocabulary < 0 else vocabulary,
        context=context,
        width=width,
        depth=int(params["n_layers"]),
        num_heads=heads,
        num_kv_heads=int(params.get("n_kv_heads") or heads),
        hidden=hidden,
        rope_base=float(params.get("rope_theta", 10_000.0)),
        eps=float(params["norm_eps"]),
    )


def _meta_params(config: LlamaConfig) -> dict[str, Any]:
    params: dict[str, Any] = {
        "dim": config.width,
        "n_layers": config.depth,
        "n_heads": config.num_heads,
        "norm_eps": config.eps,
        "vocab_size": config.vocabulary,
        **_rounding(config),
    }
    if config.num_kv_heads != config.num_heads:
        params["n_kv_heads"] = config.num_kv_heads
    return params if config.rope_base == 10_000.0 else params | {"rope_theta": config.rope_base}


def _rounded(width: int, multiplier: float, multiple: int) -> int:
    """Channels of the feed-forward layer as Meta's files say them."""
    return multiple * math.ceil(int(multiplier * (2 * 4 * width // 3)) / multiple)


def _rounding(config: LlamaConfig) -> dict[str, Any]:
    """How Meta's files say the channels of the feed-forward layer."""
    powers = [2**power for power in range(8, 13)] + [2**power for power in range(8)]
    for multiple in powers:
        if _rounded(config.width, 1.0, multiple) == config.hidden:
            return {"multiple_of": multiple}
    if _rounded(config.width, 1.3, 4096) == config.hidden:
        return {"multiple_of": 4096, "ffn_dim_multiplier": 1.3}  # Llama 2 70B
    return {"multiple_of": 1, "ffn_dim_multiplier": (config.hidden + 0.5) / (2 * 4 * config.width // 3)}


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
