"""Tokenizers of language models in published folders: `tokenizer.json` as transformers has it, or `tokenizer.model`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer

from bottega.errors import FileError
from bottega.tokenizers.language import (
    LanguageTokenizer,
    SentencePieceTokenizer,
    TextTokenizer,
    require_fit,
    tokenizer_from_json,
)
from bottega.weights import read_json, write_bytes, write_text

TOKENIZER: Final = "tokenizer"
"""Under this name a language model's weights carry their tokenizer among their assets."""

FILES: Final = ("tokenizer.json", "tokenizer.model")
ENDS = ("</s>", "<|endoftext|>", "<|end_of_text|>")
LARGEST = 64 << 20  # bytes of a tokenizer's file


def read_language_folder(folder: Path) -> TextTokenizer:
    """Reads `tokenizer.json`, else `tokenizer.model`, with what the folder's other files say of special tokens.

    Raises:
        FileError: If the folder holds neither, or a damaged one, or its end token is not known.
    """
    names = _special_names(folder)
    fast, pieces = (folder / name for name in FILES)
    if fast.is_file():
        return _from_fast(fast, names)
    if not pieces.is_file():
        raise FileError(f"{folder} holds neither tokenizer.json nor tokenizer.model; copy the tokenizer's file there")
    added = read_json(folder / "added_tokens.json") if (folder / "added_tokens.json").is_file() else {}
    return SentencePieceTokenizer(_checked(pieces).read_bytes(), pad=added.get(names.get("pad_token", "")))


def read_tokenizer(folder: Path, vocabulary: int) -> dict[str, str]:
    """The asset of a folder's tokenizer; empty where the folder holds none.

    Args:
        folder: The model's folder.
        vocabulary: Tokens that the model knows.

    Raises:
        FileError: The file is damaged, or another model's.
    """
    if not has_tokenizer(folder):
        return {}
    tokenizer = read_language_folder(folder)
    require_fit(tokenizer, vocabulary)
    return {TOKENIZER: tokenizer.to_json()}


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer that `read_language_folder` reads."""
    return any((folder / name).is_file() for name in FILES)


def write_tokenizer(folder: Path, assets: Mapping[str, str], longest: int) -> dict[str, int | None]:
    """Writes the tokenizer among a model's assets, if there is one.

    Args:
        folder: Made when it is missing.
        assets: The model's assets.
        longest: Most tokens of a text.

    Returns:
        What transformers' `config.json` says of its special tokens.
    """
    if TOKENIZER not in assets:
        return {}
    tokenizer = tokenizer_from_json(assets[TOKENIZER])
    write_language_folder(folder, tokenizer, longest)
    return {"bos_token_id": tokenizer.start, "eos_token_id": tokenizer.end, "pad_token_id": tokenizer.pad}


def write_language_folder(folder: Path, asset: TextTokenizer, longest: int) -> None:
    """Writes a tokenizer so that transformers opens it and gives the same ids.

    Args:
        folder: Made when it is missing.
        asset: The tokenizer.
        longest: Most tokens of a text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    match asset:
        case LanguageTokenizer():
            kind, names = "PreTrainedTokenizerFast", _names(asset, asset.tokenizer.id_to_token)
            write_text(folder / "tokenizer.json", asset.tokenizer.to_str(pretty=True))
        case SentencePieceTokenizer():
            kind, names = "LlamaTokenizer", _names(asset, asset.token) | {"unk_token": "<unk>", "legacy": True}
            write_bytes(folder / "tokenizer.model", asset.model)
    config = {
        "tokenizer_class": kind,
        "model_max_length": longest,
        "add_bos_token": asset.start is not None,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        **names,
    }
    write_text(folder / "tokenizer_config.json", json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def _names(tokenizer: TextTokenizer, name: Any) -> dict[str, Any]:  # noqa: ANN401 - two libraries' bound methods
    start = {} if tokenizer.start is None else {"bos_token": name(tokenizer.start)}
    return {**start, "eos_token": name(tokenizer.end), "pad_token": name(tokenizer.pad)}


def _special_names(folder: Path) -> dict[str, str]:
    """The special tokens' names by role, from the folder's two files that say them."""
    found: dict[str, str] = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / file).is_file():
            for role, token in read_json(folder / file).items():
                text = token.get("content") if isinstance(token, dict) else token
                if role in ("bos_token", "eos_token", "pad_token") and isinstance(text, str):
                    found[role] = text
    return found


def _checked(path: Path) -> Path:
    if path.stat().st_size > LARGEST:
        raise FileError(f"{path} has {path.stat().st_size >> 20} MiB, more than any tokenizer; copy it again")
    return path


def _from_fast(path: Path, names: dict[str, str]) -> LanguageTokenizer:
    try:
        tokenizer = Tokenizer.from_str(_checked(path).read_text("utf-8"))
    except Exception as error:  # the tokenizers library raises bare Exception for malformed input
        raise FileError(f"{path} is no tokenizer ({error}); copy it again") from error

    def number(role: str) -> int | None:
        return tokenizer.token_to_id(names[role]) if role in names else None

    known = [found for found in map(tokenizer.token_to_id, ENDS) if found is not None]
    end = number("eos_token") if "eos_token" in names else next(iter(known), None)
    if end is None:
        raise FileError(f"{path} has no end token {names.get('eos_token', '')!r}; name it in tokenizer_config.json")
    start, pad = number("bos_token"), number("pad_token")
    if start is None and "bos_token" not in names:
        start = tokenizer.token_to_id("<s>")
    return LanguageTokenizer(tokenizer, start=start, end=end, pad=end if pad is None else pad)
