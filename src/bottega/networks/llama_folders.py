"""LLaMA in folders: transformers', and Meta's `params.json` beside `consolidated.*.pth` in any number of shards."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from bottega.errors import FileError, WeightsError
from bottega.networks.llama import LlamaConfig
from bottega.networks.llama_tables import llama_config, llama_json, llama_keys, llama_meta_keys
from bottega.weights import (
    read_folder_config,
    read_folder_tensors,
    read_tensors,
    to_ours,
    to_theirs,
    write_folder,
    write_tensors,
    write_text,
)

COLUMNS: Final = ("attention.wq", "attention.wk", "attention.wv", "feed_forward.w1", "feed_forward.w3", "output")
"""What Meta's shards cut along the outputs; `ROWS` along the inputs (embeddings: along the channels)."""
ROWS: Final = ("attention.wo", "feed_forward.w2", "tok_embeddings")


def read_llama_hf(path: Path) -> tuple[LlamaConfig, dict[str, Tensor]]:
    """Reads a folder of transformers' `LlamaForCausalLM`, whole or in shards: its size and tensors by our names.

    Raises:
        FileError: A file is missing or damaged.
        WeightsError: Another architecture, or keys that do not fit.
    """
    found = llama_config(read_folder_config(path))
    return found, to_ours(llama_keys(found), read_folder_tensors(path))


def write_llama_hf(
    path: Path, config: LlamaConfig, tensors: Mapping[str, Tensor], special: Mapping[str, int | None] | None = None
) -> None:
    """Writes a folder that transformers opens, in shards of at most 5 GB.

    Args:
        path: Made when it is missing.
        config: The decoder's size.
        tensors: By our names.
        special: What `config.json` says of special tokens besides.
    """
    write_folder(path, llama_json(config) | dict(special or {}), to_theirs(llama_keys(config), tensors))


def require_same_size(asked: LlamaConfig | None, found: LlamaConfig, path: Path) -> None:
    """Refuses a size that is not the one asked for.

    Raises:
        WeightsError: They differ; the first field that does is named.
    """
    if asked is not None and asked != found:
        name = next(name for name in LlamaConfig.__slots__ if getattr(asked, name) != getattr(found, name))
        raise WeightsError(
            f"{path} says {name} {getattr(found, name)}, but the preset has {getattr(asked, name)}; "
            "leave out --preset or name the right one"
        )


def read_llama_meta(path: Path, context: int = 2048) -> tuple[LlamaConfig, dict[str, Tensor]]:
    """Reads a folder: the decoder's size and its tensors by our names.

    Args:
        path: The folder.
        context: The files do not say it.

    Raises:
        FileError: A file or shard is missing or damaged.
        WeightsError: Shards that do not fit together.
    """
    params = read_folder_config(path, "params.json")
    theirs = _joined(path, _shards(path))
    try:
        found = meta_config(params, theirs, context)
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(f"{path / 'params.json'} does not describe a LLaMA ({error}); copy it again") from error
    return found, to_ours(llama_meta_keys(found), theirs)


def write_llama_meta(path: Path, config: LlamaConfig, tensors: Mapping[str, Tensor]) -> None:
    """Writes a folder, its one shard as safetensors.

    Raises:
        WeightsError: A size whose head is tied to its embeddings, which the layout cannot say.
    """
    if config.tied:
        raise WeightsError("Meta's layout has no head that is tied to the embeddings; write --to hf")
    path.mkdir(parents=True, exist_ok=True)
    write_tensors(path / "consolidated.safetensors", to_theirs(llama_meta_keys(config), tensors))
    write_text(path / "params.json", json.dumps(meta_params(config), indent=2) + "\n")


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


def meta_config(params: dict[str, Any], tensors: dict[str, Tensor], context: int) -> LlamaConfig:
    """The size that `params.json` and the tensors say (meta-llama/llama, `ModelArgs` and `FeedForward`)."""
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


def meta_params(config: LlamaConfig) -> dict[str, Any]:
    """What `params.json` says of a decoder."""
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
