"""Byte-pair text tokenizers: trained here, or read from the files that CLIP and GPT-2 publish.

The merging itself is the `tokenizers` library's; this module fixes special tokens, lengths and padding.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from bottega.errors import FileError

START, END = "<|startoftext|>", "<|endoftext|>"

CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""How CLIP cuts text into words (arXiv:2103.00020, published tokenizer)."""


@dataclass(frozen=True, slots=True)
class BpeTokenizer:
    """A text tokenizer with a start and an end token.

    Args:
        tokenizer: The merging engine.
        start: Id in front of a text, or None when texts have no start token.
        end: Id after a text.
        pad: Id that fills a batch up to a common length.
    """

    tokenizer: Tokenizer
    start: int | None
    end: int
    pad: int

    @property
    def vocabulary(self) -> int:
        """Number of token ids."""
        return self.tokenizer.get_vocab_size()

    def ids(self, text: str) -> list[int]:
        """The text's ids without start and end."""
        return self.tokenizer.encode(text, add_special_tokens=False).ids

    def batch(self, texts: Sequence[str], length: int) -> Tensor:
        """Ids `(texts, length)`: start, text, end, padding; a text too long loses its tail but keeps its end."""
        out = torch.full((len(texts), length), self.pad, dtype=torch.long)
        first = [] if self.start is None else [self.start]
        for row, encoding in enumerate(self.tokenizer.encode_batch(list(texts), add_special_tokens=False)):
            ids = [*first, *encoding.ids][: length - 1] + [self.end]
            out[row, : len(ids)] = torch.tensor(ids)
        return out

    def text(self, ids: Sequence[int]) -> str:
        """The text of ids; special tokens are left out."""
        return " ".join(self.tokenizer.decode(list(ids), skip_special_tokens=True).split())

    def to_json(self) -> str:
        """Everything about this tokenizer as one JSON text."""
        special = {"start": self.start, "end": self.end, "pad": self.pad}
        return json.dumps({"special": special, "tokenizer": json.loads(self.tokenizer.to_str())})

    @classmethod
    def from_json(cls, text: str) -> BpeTokenizer:
        """The tokenizer that `to_json` wrote.

        Raises:
            FileError: If the text is not such a tokenizer.
        """
        try:
            data = json.loads(text)
            special = data["special"]
            tokenizer = Tokenizer.from_str(json.dumps(data["tokenizer"]))
            return cls(tokenizer, special["start"], special["end"], special["pad"])
        except Exception as error:  # the tokenizers library raises bare Exception for malformed input
            raise FileError(
                f"the tokenizer cannot be read ({error}); take it from the checkpoint's own files"
            ) from error

    @classmethod
    def trained(cls, texts: Iterable[str], vocabulary: int) -> BpeTokenizer:
        """A lower-case tokenizer trained on texts, in CLIP's manner: words end in `</w>`, the pad is the end token.

        Args:
            texts: The texts to learn merges from.
            vocabulary: Most token ids.
        """
        lines = list(texts)
        tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=END))
        _cut_like_clip(tokenizer)
        # The trainer numbers the last letters of words in an order that differs from run to run, and breaks ties by
        # number; named beforehand, they have an order.
        endings = [f"{letter}</w>" for letter in _last_letters(tokenizer, lines)]
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=[START, END, *endings],
            end_of_word_suffix="</w>",
            show_progress=False,
        )
        tokenizer.train_from_iterator(lines, trainer)
        learnt = json.loads(tokenizer.to_str())["model"]
        merges = [tuple(pair) for pair in learnt["merges"]]
        plain = Tokenizer(models.BPE(learnt["vocab"], merges, end_of_word_suffix="</w>", unk_token=END))
        _cut_like_clip(plain)
        plain.add_special_tokens([START, END])
        end = _number(plain, END)
        return cls(plain, _number(plain, START), end, end)

    @classmethod
    def clip(cls, vocabulary: dict[str, int], merges: Sequence[str]) -> BpeTokenizer:
        """CLIP's tokenizer from the contents of its published `vocab.json` and `merges.txt`."""
        pairs = [(a, b) for a, b in (line.split() for line in merges if line and not line.startswith("#"))]
        tokenizer = Tokenizer(models.BPE(vocabulary, pairs, end_of_word_suffix="</w>", unk_token=END))
        _cut_like_clip(tokenizer, byte_level=True)
        tokenizer.add_special_tokens([START, END])
        end = _number(tokenizer, END)
        return cls(tokenizer, _number(tokenizer, START), end, end)

    @classmethod
    def gpt2(cls, vocabulary: dict[str, int], merges: Sequence[str], *, end: str = END) -> BpeTokenizer:
        """GPT-2's tokenizer from the contents of its published `vocab.json` and `merges.txt`."""
        pairs = [(a, b) for a, b in (line.split() for line in merges if line and not line.startswith("#"))]
        tokenizer = Tokenizer(models.BPE(vocabulary, pairs))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens([end])
        end_id = _number(tokenizer, end)
        return cls(tokenizer, None, end_id, end_id)


def _number(tokenizer: Tokenizer, token: str) -> int:
    number = tokenizer.token_to_id(token)
    if number is None:
        raise FileError(f"the tokenizer has no token {token!r}; its files do not belong together")
    return number


def _last_letters(tokenizer: Tokenizer, lines: Iterable[str]) -> list[str]:
    """Every letter that a word of the texts ends in, in order."""
    found: set[str] = set()
    for line in lines:
        words = tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(line))
        found |= {word[-1] for word, _ in words}
    return sorted(found)


def _cut_like_clip(tokenizer: Tokenizer, *, byte_level: bool = False) -> None:
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = pre_tokenizers.Split(Regex(CLIP_WORDS), behavior="removed", invert=True)
    steps = [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)] if byte_level else [words]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
