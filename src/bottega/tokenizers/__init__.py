"""Text, sound and layout to tokens and back."""

from bottega.tokenizers.bpe import BpeTokenizer
from bottega.tokenizers.chat import ChatTokens, chat_text, chat_texts, chat_tokens, with_system
from bottega.tokenizers.folders import read_tokenizer_folder, write_tokenizer_folder
from bottega.tokenizers.language import (
    SPARE,
    LanguageTokenizer,
    SentencePieceTokenizer,
    TextStream,
    TextTokenizer,
    require_fit,
    tokenizer_from_json,
)
from bottega.tokenizers.language_folders import (
    TOKENIZER,
    has_tokenizer,
    read_language_folder,
    read_tokenizer,
    write_language_folder,
    write_tokenizer,
)
from bottega.tokenizers.until import TextUntil

__all__ = [
    "SPARE",
    "TOKENIZER",
    "has_tokenizer",
    "read_tokenizer",
    "write_tokenizer",
    "BpeTokenizer",
    "ChatTokens",
    "LanguageTokenizer",
    "SentencePieceTokenizer",
    "TextStream",
    "TextTokenizer",
    "TextUntil",
    "chat_text",
    "chat_texts",
    "chat_tokens",
    "read_language_folder",
    "read_tokenizer_folder",
    "require_fit",
    "tokenizer_from_json",
    "with_system",
    "write_language_folder",
    "write_tokenizer_folder",
]
