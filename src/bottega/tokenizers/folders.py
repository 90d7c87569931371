"""Tokenizers in the folders that transformers publishes: `tokenizer.json`, or `vocab.json` and `merges.txt`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from bottega.errors import FileError
from bottega.tokenizers.bpe import END, BpeTokenizer
from bottega.weights import read_json, write_text


def read_tokenizer_folder(folder: Path) -> BpeTokenizer:
    """Reads the tokenizer of a folder.

    Raises:
        FileError: If the folder holds neither form, or a damaged one.
    """
    config = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    end = _text(config.get("eos_token")) or END
    if (folder / "tokenizer.json").is_file():
        return _from_fast(folder / "tokenizer.json", config, end)
    for name in ("vocab.json", "merges.txt"):
        if not (folder / name).is_file():
            raise FileError(f"{folder} holds neither tokenizer.json nor {name}; copy the tokenizer's files there")
    vocabulary: dict[str, int] = read_json(folder / "vocab.json")
    if (folder / "added_tokens.json").is_file():
        vocabulary |= read_json(folder / "added_tokens.json")
    merges = (folder / "merges.txt").read_text("utf-8").splitlines()
    if any(token.endswith("</w>") for token in vocabulary):
        return BpeTokenizer.clip(vocabulary, merges)
    return BpeTokenizer.gpt2(vocabulary, merges, end=end)


def write_tokenizer_folder(folder: Path, asset: str, kind: str, longest: int) -> None:
    """Writes a tokenizer so that transformers opens it.

    Args:
        folder: Made when it is missing.
        asset: The tokenizer as `BpeTokenizer.to_json` writes it.
        kind: transformers' class, "CLIPTokenizer" or "GPT2Tokenizer".
        longest: Most tokens of a text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = BpeTokenizer.from_json(asset)
    whole = json.loads(asset)["tokenizer"]
    names = {name: tokenizer.tokenizer.id_to_token(number) for name, number in _special(tokenizer).items()}
    config = {"tokenizer_class": kind, "model_max_length": longest, **names}
    merges = [
        "#version: 0.2",
        *(pair if isinstance(pair, str) else " ".join(pair) for pair in whole["model"]["merges"]),
    ]
    write_text(folder / "tokenizer.json", json.dumps(whole, ensure_ascii=False))
    write_text(folder / "vocab.json", json.dumps(whole["model"]["vocab"], ensure_ascii=False))
    write_text(folder / "merges.txt", "\n".join(merges) + "\n")
    write_text(folder / "tokenizer_config.json", json.dumps(config, indent=2) + "\n")


def _special(tokenizer: BpeTokenizer) -> dict[str, int]:
    start = {} if tokenizer.start is None else {"bos_token": tokenizer.start}
    return {**start, "eos_token": tokenizer.end, "pad_token": tokenizer.pad}


def _from_fast(path: Path, config: dict[str, Any], end: str) -> BpeTokenizer:
    tokenizer = Tokenizer.from_str(path.read_text("utf-8"))

    def number(name: str) -> int | None:
        token = _text(config.get(name))
        return None if token is None else tokenizer.token_to_id(token)

    end_id = tokenizer.token_to_id(end)
    if end_id is None:
        raise FileError(f"{path} has no end token {end!r}; name it as eos_token in tokenizer_config.json")
    pad = number("pad_token")
    start = number("bos_token")
    return BpeTokenizer(tokenizer, None if start == end_id else start, end_id, end_id if pad is None else pad)


def _text(token: Any) -> str | None:  # noqa: ANN401 - JSON: a text, or an object with the text in "content"
    return token["content"] if isinstance(token, dict) else token
