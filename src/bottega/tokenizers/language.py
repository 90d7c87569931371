"""Tokenizers of language models: lossless on whitespace, with the bytes of each token for text that streams.

The merging is the `tokenizers` or the `sentencepiece` library's; this module says what the tokens mean.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import io
import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Final, Protocol

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from bottega.errors import FileError

START, END, PAD, UNKNOWN = "<s>", "</s>", "<pad>", "<unk>"
"""The special tokens of tokenizers trained here; LLaMA's, and a pad."""

WORDS: Final = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""How text is cut before merging: as GPT-2 cuts it, but every digit by itself (as LLaMA's tokenizer does)."""

SPARE: Final = 2048
"""Most rows of an embedding beyond the tokenizer's ids; published models round their vocabularies up."""

BLANK: Final = "\u2581"  # how sentencepiece writes a space


class TokenBytes(Protocol):
    """What a token says, as bytes."""

    @property
    def leads(self) -> bool:
        """Whether encoding puts a space in front of a text, which decoding takes away again."""
        ...

    def token_bytes(self, number: int) -> bytes:
        """What a token adds to a text in UTF-8: part of a letter perhaps; nothing for special and unused ids."""
        ...


class TextStream:
    """Text that grows token by token and shows whole letters only.

    Args:
        tokenizer: Whose tokens come.
        opening: Whether the first token begins a text rather than going on with one.
    """

    def __init__(self, tokenizer: TokenBytes, *, opening: bool = False) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._lead = opening and tokenizer.leads

    def push(self, number: int) -> str:
        """The letters that a token completes, perhaps none."""
        return self._shown(self._decoder.decode(self._tokenizer.token_bytes(number)))

    def close(self) -> str:
        """What is left: U+FFFD where the last letter is not complete."""
        return self._shown(self._decoder.decode(b"", final=True))

    def _shown(self, text: str) -> str:
        if self._lead and text:
            self._lead, text = False, text.removeprefix(" ")
        return text


class LanguageTokenizer:
    """Byte-pair encoding by the `tokenizers` library, over bytes or over letters with bytes for rare ones.

    Args:
        tokenizer: The engine; what its JSON says about cutting, merging and decoding is kept.
        start: Id in front of a text, or None.
        end: Id after a text.
        pad: Id that fills a batch.
    """

    def __init__(self, tokenizer: Tokenizer, *, start: int | None, end: int, pad: int) -> None:
        self.tokenizer, self.start, self.end, self.pad = tokenizer, start, end, pad
        self.tokenizer.encode_special_tokens = True  # a user's text is text, whatever it says
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        whole = json.loads(tokenizer.to_str())
        kinds = {part["type"]: part for part in _parts(whole["decoder"])}
        metaspace = kinds.get("Metaspace")
        self.vocabulary: int = 1 + max(tokenizer.get_vocab().values())
        self.leads: bool = "Strip" in kinds or (
            metaspace is not None and metaspace.get("prepend_scheme", "always") != "never"
        )

    def ids(self, text: str, *, start: bool = False, end: bool = False) -> list[int]:
        """The text's ids, on request between start and end."""
        return _framed(self, self.tokenizer.encode(text, add_special_tokens=False).ids, start=start, end=end)

    def text(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        return _joined(self, ids)

    def token_bytes(self, number: int) -> bytes:
        """What a token adds to a text in UTF-8."""
        return self._bytes[number] if 0 <= number < len(self._bytes) else b""

    def to_json(self) -> str:
        """Everything about this tokenizer as one JSON text."""
        special = {"start": self.start, "end": self.end, "pad": self.pad}
        return json.dumps({"kind": "tokenizers", "special": special, "tokenizer": json.loads(self.tokenizer.to_str())})

    @classmethod
    def from_json(cls, text: str) -> LanguageTokenizer:
        """The tokenizer that `to_json` wrote.

        Raises:
            FileError: If the text is not such a tokenizer.
        """
        try:
            data = json.loads(text)
            special, tokenizer = data["special"], Tokenizer.from_str(json.dumps(data["tokenizer"]))
            return cls(tokenizer, start=special["start"], end=special["end"], pad=special["pad"])
        except Exception as error:  # the tokenizers library raises bare Exception for malformed input
            raise FileError(
                f"the tokenizer cannot be read ({error}); take it from the checkpoint's own files"
            ) from error

    @classmethod
    def trained(cls, texts: Iterable[str], vocabulary: int) -> LanguageTokenizer:
        """A tokenizer over bytes, trained on texts, that has every digit by itself.

        Args:
            texts: The texts to learn merges from.
            vocabulary: Most token ids, at least 259.
        """
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=[AddedToken(name, special=True, normalized=False) for name in (START, END, PAD)],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{START} $A", pair=f"{START} $A {START} $B", special_tokens=[(START, 0)]
        )
        return cls(tokenizer, start=0, end=1, pad=2)

    @cached_property
    def _bytes(self) -> tuple[bytes, ...]:
        """Every id's bytes."""
        whole = json.loads(self.tokenizer.to_str())
        letters = any(part["type"] == "ByteLevel" for part in _parts(whole["decoder"]))
        added = {token["id"]: b"" if token["special"] else token["content"].encode() for token in whole["added_tokens"]}
        found = [b""] * self.vocabulary
        for token, number in self.tokenizer.get_vocab().items():
            plain = _bytes_of_letters(token) if letters else _bytes_of_piece(token)
            found[number] = added.get(number, plain)
        return tuple(found)


class SentencePieceTokenizer:
    """The tokenizer in a `tokenizer.model`, as LLaMA publishes it.

    Args:
        model: The file's bytes.
        pad: Id that fills a batch; None for the file's own, or the end's where it has none.

    Raises:
        FileError: The bytes are no such model, or it has no end token.
    """

    def __init__(self, model: bytes, *, pad: int | None = None) -> None:
        self.model, self._pieces = model, sentencepiece.SentencePieceProcessor()
        try:
            self._pieces.LoadFromSerializedProto(model)
        except (RuntimeError, OSError) as error:
            raise FileError("the tokenizer is not a sentencepiece model; copy tokenizer.model again") from error
        if self._pieces.eos_id() < 0:
            raise FileError("the tokenizer has no end token, so answers would never end; take the model's own file")
        self.start = self._pieces.bos_id() if self._pieces.bos_id() >= 0 else None
        self.end: int = self._pieces.eos_id()
        own = self._pieces.pad_id() if self._pieces.pad_id() >= 0 else self.end
        self.pad: int = own if pad is None else pad
        self.vocabulary: int = max(self._pieces.get_piece_size(), self.pad + 1)
        self.leads: bool = self._pieces.encode("a", out_type=str)[0].startswith(BLANK)

    def ids(self, text: str, *, start: bool = False, end: bool = False) -> list[int]:
        """The text's ids, on request between start and end."""
        return _framed(self, self._pieces.encode(text, out_type=int), start=start, end=end)

    def text(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        return _joined(self, ids)

    def token_bytes(self, number: int) -> bytes:
        """What a token adds to a text in UTF-8."""
        if not 0 <= number < self._pieces.get_piece_size() or self._pieces.is_control(number):
            return b""
        if self._pieces.is_unknown(number):
            return " \u2047 ".encode()
        return _bytes_of_piece(self._pieces.id_to_piece(number))

    def token(self, number: int) -> str:
        """The name of a token, as the file says it."""
        return self._pieces.id_to_piece(number)

    def to_json(self) -> str:
        """Everything about this tokenizer as one JSON text."""
        model = base64.b64encode(self.model).decode("ascii")
        return json.dumps({"kind": "sentencepiece", "pad": self.pad, "model": model})

    @classmethod
    def from_json(cls, text: str) -> SentencePieceTokenizer:
        """The tokenizer that `to_json` wrote.

        Raises:
            FileError: If the text is not such a tokenizer.
        """
        try:
            data = json.loads(text)
            model, pad = base64.b64decode(data["model"], validate=True), data["pad"]
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            raise FileError(
                f"the tokenizer cannot be read ({error}); take it from the checkpoint's own files"
            ) from error
        return cls(model, pad=pad)

    @classmethod
    def trained(cls, texts: Iterable[str], vocabulary: int) -> SentencePieceTokenizer:
        """A tokenizer trained on texts in LLaMA's manner: BPE, every digit by itself, rare letters as bytes.

        Args:
            texts: The texts to learn merges from.
            vocabulary: Most token ids, at least 260.
        """
        written = io.BytesIO()
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter(texts), model_writer=written, model_type="bpe", vocab_size=vocabulary,
            hard_vocab_limit=False, split_digits=True, byte_fallback=True, normalization_rule_name="identity",
            remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, character_coverage=0.9999,
            num_threads=1, minloglevel=2,
        )  # fmt: skip
        return cls(written.getvalue())


TextTokenizer = LanguageTokenizer | SentencePieceTokenizer
"""Text to ids and back, exactly; both kinds have the same methods."""


def tokenizer_from_json(text: str) -> TextTokenizer:
    """The tokenizer of either kind that `to_json` wrote.

    Raises:
        FileError: If the text is no such tokenizer.
    """
    try:
        kind = json.loads(text)["kind"]
    except (ValueError, KeyError, TypeError) as error:
        raise FileError("the text is no tokenizer of a language model; take it from the checkpoint's files") from error
    kinds: dict[str, type[TextTokenizer]] = {"tokenizers": LanguageTokenizer, "sentencepiece": SentencePieceTokenizer}
    if kind not in kinds:
        raise FileError(f"the tokenizer is of kind {kind!r}, but it must be one of {', '.join(kinds)}")
    return kinds[kind].from_json(text)


def require_fit(tokenizer: TextTokenizer, vocabulary: int, spare: int = SPARE) -> None:
    """Raises `FileError` for a tokenizer that belongs to a model of another vocabulary.

    Args:
        tokenizer: Whose ids go in.
        vocabulary: Rows of the model's embedding; as many as ids, or a few more.
        spare: Most rows without an id.
    """
    if not 0 <= vocabulary - tokenizer.vocabulary <= spare:
        raise FileError(
            f"the tokenizer has {tokenizer.vocabulary} tokens, but the model has {vocabulary}; "
            "take the tokenizer's files from the folder of the same checkpoint"
        )


def _framed(tokenizer: TextTokenizer, ids: list[int], *, start: bool, end: bool) -> list[int]:
    first = [] if not start or tokenizer.start is None else [tokenizer.start]
    return [*first, *ids, *([tokenizer.end] if end else [])]


def _joined(tokenizer: TokenBytes, ids: Sequence[int]) -> str:
    text = b"".join(tokenizer.token_bytes(number) for number in ids).decode("utf-8", "replace")
    return text.removeprefix(" ") if tokenizer.leads else text


def _parts(decoder: dict[str, Any] | None) -> list[dict[str, Any]]:
    """A decoder's steps, those of a sequence one by one."""
    if decoder is None:
        return []
    return [inner for part in decoder.get("decoders", ()) for inner in _parts(part)] or [decoder]


def _letters_of_bytes() -> dict[str, int]:
    """GPT-2's letter for each byte: printable ones stand for themselves, the others follow from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


_BYTES: Final = _letters_of_bytes()


def _bytes_of_letters(token: str) -> bytes:
    return bytes(_BYTES[letter] for letter in token) if all(letter in _BYTES for letter in token) else token.encode()


def _bytes_of_piece(piece: str) -> bytes:
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        return bytes([int(piece[3:5], 16)])
    return piece.replace(BLANK, " ").encode()
